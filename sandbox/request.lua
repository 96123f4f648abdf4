--- Requests that do not come over a socket: how the sandbox seeds itself and how its tests call handlers.
local json = require "ws.json"
local router = require "sandbox.router"

local M = {}

local function parse_query(text)
  local query, list = {}, {}
  for pair in (text or ""):gmatch("[^&]+") do
    local key, value = pair:match("^([^=]*)=?(.*)$")
    key, value = router.decode((key:gsub("%+", " "))), router.decode((value:gsub("%+", " ")))
    query[key], list[#list + 1] = value, { key, value }
  end
  return query, list
end

--- A request in the form of ws.server's.
---@param opts { method?: string, url: string, headers?: table, body?: string|table, file?: string, tls?: boolean }
---  `url`: path and query; a table as body is sent as JSON; `file`: the body is read from it
---@return table
function M.new(opts)
  local path, query = opts.url:match("^([^?]*)%??(.*)$")
  local body = opts.body or ""
  local headers = { host = "127.0.0.1" }
  for k, v in pairs(opts.headers or {}) do headers[k:lower()] = v end
  if type(body) == "table" then
    body = json.encode(body)
    headers["content-type"] = headers["content-type"] or "application/json"
  end
  local values, list = parse_query(query)
  local req = { method = opts.method or "GET", path = path, query = values, query_list = list, headers = headers,
    remote = "127.0.0.1", tls = opts.tls or false }
  local left = body
  function req.body() return body end
  function req.read()
    if not left or left == "" then return nil end
    local chunk = left:sub(1, 65536)
    left = left:sub(65537)
    return chunk
  end
  if opts.file then
    local file = assert(io.open(opts.file, "rb"))
    req.read = function()
      local chunk = file:read(65536)
      if not chunk then file:close() end
      return chunk
    end
    req.body = function() return file:read("a") end
  end
  return req
end

--- The body of a response, whichever way it is given.
---@param response table
---@return string
function M.read(response)
  if response.file then
    local file = assert(io.open(response.file, "rb"))
    file:seek("set", response.offset or 0)
    local bytes = response.length == 0 and "" or file:read(response.length or "a") or ""
    file:close()
    return bytes
  elseif response.stream then
    local parts = {}
    response.stream(function(chunk)
      parts[#parts + 1] = chunk
      return true
    end)
    return table.concat(parts)
  end
  return response.body or ""
end

--- Calls the sandbox from inside; raises unless the status is below 400.
---@async
---@param cloud sandbox.Cloud
---@param opts table  see `new`
---@return any value  decoded when it is JSON
---@return table response
function M.call(cloud, opts)
  opts.headers = opts.headers or {}
  opts.headers.authorization = opts.headers.authorization or "Bearer sandbox"
  local response = cloud:handle(M.new(opts))
  local body = M.read(response)
  if response.status >= 400 then
    error(("%s %s: %d %s"):format(opts.method or "GET", opts.url, response.status, body), 2)
  end
  local is_json = (response.headers["Content-Type"] or ""):find("json", 1, true) and body ~= ""
  return is_json and json.decode(body) or body, response
end

return M
