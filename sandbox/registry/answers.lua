--- How the registry answers: errors in the form of the OCI distribution specification, and preconditions (RFC 9110).
local json = require "ws.json"
local reply = require "sandbox.reply"

local M = {}

local VERSION = "registry/2.0"

--- The specification's code for a status that some other part of the sandbox decided on.
local CODES = { [400] = "UNSUPPORTED", [401] = "UNAUTHORIZED", [403] = "DENIED", [404] = "NAME_UNKNOWN",
  [405] = "UNSUPPORTED", [413] = "SIZE_INVALID", [416] = "BLOB_UPLOAD_INVALID", [429] = "TOOMANYREQUESTS",
  [503] = "UNAVAILABLE" }

--- An error response.
---@param status integer
---@param code? string  of the specification; default: the one that fits the status
---@param message string
---@param opts? { headers?: table<string, string>, detail?: any }
---@return table response
function M.error(status, code, message, opts)
  local headers = opts and opts.headers or {}
  headers["Docker-Distribution-Api-Version"] = VERSION
  headers["Content-Type"] = "application/json"
  local problem = { code = code or CODES[status] or "UNKNOWN", message = message, detail = opts and opts.detail }
  return reply.json({ errors = json.array { problem } }, status, headers)
end

--- Ends the request with an error.
---@param status integer
---@param code string
---@param message string
---@param opts? { headers?: table<string, string>, detail?: any }
function M.fail(status, code, message, opts)
  reply.abort(M.error(status, code, message, opts))
end

--- A response.
---@param status integer
---@param headers table<string, string>
---@param body? string
---@return table response
function M.ok(status, headers, body)
  headers["Docker-Distribution-Api-Version"] = VERSION
  return reply.raw { status = status, headers = headers, body = body or "" }
end

--- Whether a list of entity tags, as If-Match and If-None-Match give it, names the digest.
local function names_tag(list, digest)
  return list:find("^%s*%*%s*$") ~= nil or digest ~= nil and list:find('"' .. digest .. '"', 1, true) ~= nil
end

--- Applies If-Match and If-None-Match: 412 for a change, a response with 304 for a reading whose copy is up to date.
---@param c sandbox.Context
---@param digest string?  of what is there
---@return table? response
function M.precondition(c, digest)
  local match, none_match = c.headers["if-match"], c.headers["if-none-match"]
  local failed = match and not (digest and names_tag(match, digest))
  local known = none_match and digest and names_tag(none_match, digest)
  if known and (c.method == "GET" or c.method == "HEAD") then
    return M.ok(304, { ["ETag"] = ('"%s"'):format(digest), ["Docker-Content-Digest"] = digest })
  elseif failed or known then
    M.fail(412, "DENIED", ("the precondition failed: it is %s"):format(digest or "not there"))
  end
end

return M
