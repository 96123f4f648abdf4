--- Batches of JSON API calls: multipart/mixed in, multipart/mixed out, one `application/http` part for each call.
local crypto = require "ws.crypto"
local reply = require "sandbox.reply"
local request = require "sandbox.request"
local multipart = require "sandbox.storage.multipart"

local M = {}

local MAX_CALLS = 100
local MAX_PART = 8 << 20

--- The request inside a part: request line, headers, body.
local function parse_call(text, outer)
  local line, rest = text:match("^%s*([^\r\n]+)\r?\n(.*)$")
  line, rest = line or text, rest or ""
  local method, target = line:match("^(%u+)%s+(%S+)")
  if not method then return nil end
  local headers = { host = outer.headers.host, authorization = outer.headers.authorization }
  while true do
    local header, after = rest:match("^([^\r\n]*)\r?\n(.*)$")
    if not header then break end
    rest = after
    if header == "" then break end
    local name, value = header:match("^([%w%-]+)%s*:%s*(.*)$")
    if name then headers[name:lower()] = value end
  end
  local body = headers["content-length"] and rest:sub(1, tonumber(headers["content-length"])) or rest
  return { method = method, url = (target:gsub("^https?://[^/]+", "")), headers = headers, body = body }
end

local function render(response, id)
  local lines = { "Content-Type: application/http" }
  if id then lines[#lines + 1] = "Content-ID: <response-" .. id:gsub("^<", "") end
  lines[#lines + 1] = ""
  lines[#lines + 1] = ("HTTP/1.1 %d %s"):format(response.status, response.status < 400 and "OK" or "Error")
  local body = request.read(response)
  for name, value in pairs(response.headers or {}) do lines[#lines + 1] = ("%s: %s"):format(name, value) end
  lines[#lines + 1] = "Content-Length: " .. #body
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
end

--- Adds the route.
---@param cloud sandbox.Cloud
---@param service sandbox.Service
function M.routes(cloud, service)
  service:on("POST", "/batch/storage/v1", function(c)
    local boundary = multipart.boundary(c.headers["content-type"])
    if not boundary then reply.fail(400, "badContent", "The Content-Type names no boundary.") end
    local parts = {}
    local _, problem = multipart.parse(function() return c.req:read() end, boundary, function(headers, index)
      if index > MAX_CALLS then reply.fail(400, "badRequest", "A batch holds at most 100 calls.") end
      local part = { id = headers["content-id"], size = 0 }
      parts[index] = part
      return function(bytes)
        part.size = part.size + #bytes
        if part.size > MAX_PART then reply.fail(413, "uploadTooLarge", "A call of a batch is too large.") end
        part[#part + 1] = bytes
      end
    end)
    if problem then reply.fail(400, "badContent", "Malformed batch: " .. problem) end
    local out, mark = {}, "batch_" .. crypto.random_hex(12)
    for _, part in ipairs(parts) do
      local call = parse_call(table.concat(part), c)
      local response = call and not call.url:find("^/batch/") and cloud:handle(request.new(call))
        or reply.json(reply.error_body(400, "badRequest", "Failed to parse the call."), 400)
      out[#out + 1] = ("--%s\r\n%s\r\n"):format(mark, render(response, part.id))
    end
    out[#out + 1] = ("--%s--\r\n"):format(mark)
    return reply.raw { status = 200, body = table.concat(out),
      headers = { ["Content-Type"] = ('multipart/mixed; boundary="%s"'):format(mark) } }
  end)
end

return M
