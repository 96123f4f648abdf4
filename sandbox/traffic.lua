--- Connections that break or crawl: what fault rules do to the bytes of a request and of its response.
local errors = require "ws.error"
local fs = require "ws.fs"
local reply = require "sandbox.reply"
local task = require "ws.task"

local M = {}

local PIECE = 16384 -- bytes

--- Ends the connection: the server does that for a handler that was cancelled, without a word in its log.
function M.cut()
  error(errors.new { kind = "cancelled", message = "connection cut by a fault rule" }, 0)
end

--- Waits as long as so many bytes take.
local function pace(count, rate)
  if rate then task.sleep(count / rate) end
end

--- Changes how a request's body is read: the connection ends after `cut_after` bytes, `rate` bytes come in a second.
---@param req table
---@param cut_after? number
---@param rate? number
function M.limit_request(req, cut_after, rate)
  local read, count = req.read, 0
  function req.read()
    if cut_after and count >= cut_after then M.cut() end
    local chunk, err = read(req)
    if not chunk then return nil, err end
    if cut_after then chunk = chunk:sub(1, math.floor(cut_after) - count) end
    count = count + #chunk
    pace(#chunk, rate)
    return chunk
  end
  function req.body()
    local parts = {}
    for chunk, err in req.read do
      if not chunk then return nil, err end
      parts[#parts + 1] = chunk
    end
    return table.concat(parts)
  end
end

--- The bytes of a response as a stream's function, and how many they are, when that is known.
local function source(response)
  if response.stream then return response.stream, tonumber((response.headers or {})["Content-Length"]) end
  if not response.file then
    return function(write) return write(response.body) end, #(response.body or "")
  end
  local offset = response.offset or 0
  local length = response.length or assert(fs.stat(response.file)).size - offset
  return function(write)
    local file <close> = assert(io.open(response.file, "rb"))
    file:seek("set", offset)
    local left = length
    while left > 0 do
      local piece = file:read(math.min(left, PIECE))
      if not piece or not write(piece) then return end
      left = left - #piece
    end
  end, length
end

--- A response whose connection ends after `cut_after` bytes of its body, or that comes with `rate` bytes a second. One
--- that is shorter comes whole.
---@param response table
---@param cut_after? number
---@param rate? number
---@return table response
function M.limit_response(response, cut_after, rate)
  local produce, length = source(response)
  if length == 0 or cut_after and not rate and length and length <= cut_after then return response end
  local headers = response.headers or {}
  headers["Content-Length"] = headers["Content-Length"] or length and tostring(length)
  return reply.raw { status = response.status, headers = headers, stream = function(write)
    local left = cut_after and math.floor(cut_after) or math.huge
    return produce(function(chunk)
      for first = 1, #chunk, PIECE do
        local piece = chunk:sub(first, math.min(first + PIECE, first + left) - 1)
        pace(#piece, rate)
        if piece ~= "" and not write(piece) then return nil end
        left = left - #piece
        if left <= 0 then M.cut() end
      end
      return true
    end)
  end }
end

return M
