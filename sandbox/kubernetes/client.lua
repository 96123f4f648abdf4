--- Talks to a cluster's API in the same process, without a socket: for tests and for other parts of the sandbox.
local json = require "ws.json"

local M = {}

---@class kubernetes.Client
local Client = {}
Client.__index = Client

--- A client that identifies itself by a token.
---@param api kubernetes.Api
---@param token string
---@return kubernetes.Client
function M.new(api, token)
  return setmetatable({ api = api, token = token }, Client)
end

local function parse_query(text)
  local query = {}
  for pair in text:gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    query[name] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return query
end

--- Sends a request and gives the response as the API makes it.
---@async
---@param method string
---@param target string  path and query
---@param body? string|table  a table is sent as JSON
---@param headers? table<string, string>  names in lower case
---@return table res  status, headers, body or stream
function Client:send(method, target, body, headers)
  local path, query = target:match "^([^?]*)%??(.*)$"
  local all = { authorization = "Bearer " .. self.token, ["user-agent"] = "wsrun/1",
    ["content-type"] = "application/json" }
  for k, v in pairs(headers or {}) do all[k] = v end
  local text = type(body) == "table" and json.encode(body) or body or ""
  return self.api:handle {
    method = method, path = path, query = parse_query(query), headers = all, remote = "127.0.0.1", tls = true,
    body = function() return text end,
  }
end

--- Sends a request and decodes the answer's JSON.
---@async
---@param method string
---@param target string
---@param body? string|table
---@param content_type? string  default application/json
---@return integer status
---@return any body  a string when the answer is not JSON
function Client:call(method, target, body, content_type)
  local res = self:send(method, target, body, { ["content-type"] = content_type })
  if res.headers["Content-Type"]:find("application/json", 1, true) then return res.status,
    assert(json.decode(res.body)) end
  return res.status, res.body
end

return M
