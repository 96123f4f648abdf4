--- What handlers answer: a plain value becomes JSON with status 200; anything else is made here.
---
--- A handler ends a request with an error by raising it (`reply.fail`), from any depth; the router turns it into the
--- error body that Google's APIs send.
local json = require "ws.json"

local M = {}

local RESPONSE, FAILURE = {}, {}

local STATUS_WORDS = {
  [400] = "INVALID_ARGUMENT", [401] = "UNAUTHENTICATED", [403] = "PERMISSION_DENIED", [404] = "NOT_FOUND",
  [409] = "ALREADY_EXISTS", [412] = "FAILED_PRECONDITION", [416] = "OUT_OF_RANGE", [429] = "RESOURCE_EXHAUSTED",
  [499] = "CANCELLED", [500] = "INTERNAL", [501] = "NOT_IMPLEMENTED", [502] = "UNAVAILABLE", [503] = "UNAVAILABLE",
  [504] = "DEADLINE_EXCEEDED",
}

local REASONS = {
  [400] = "invalid", [401] = "authError", [403] = "forbidden", [404] = "notFound", [409] = "alreadyExists",
  [412] = "conditionNotMet", [416] = "requestedRangeNotSatisfiable", [429] = "rateLimitExceeded",
  [500] = "backendError", [501] = "notImplemented", [502] = "backendError", [503] = "backendError",
}

--- Marks a table as a response of the HTTP server: status, headers, and body, file or stream.
---@param response table
---@return table
function M.raw(response)
  return setmetatable(response, RESPONSE)
end

--- Whether a value is a response and not a value to encode.
---@param v any
---@return boolean
function M.is_raw(v)
  return getmetatable(v) == RESPONSE
end

--- A JSON response.
---@param value any
---@param status? integer  default 200
---@param headers? table<string, string>
---@return table
function M.json(value, status, headers)
  headers = headers or {}
  headers["Content-Type"] = headers["Content-Type"] or "application/json; charset=UTF-8"
  return M.raw { status = status or 200, headers = headers, body = json.encode(value) }
end

--- A response without body.
---@param status? integer  default 204
---@param headers? table<string, string>
---@return table
function M.empty(status, headers)
  return M.raw { status = status or 204, headers = headers or {}, body = "" }
end

--- A plain text response.
---@param text string
---@param status? integer
---@param headers? table<string, string>
---@return table
function M.text(text, status, headers)
  headers = headers or {}
  headers["Content-Type"] = headers["Content-Type"] or "text/plain; charset=utf-8"
  return M.raw { status = status or 200, headers = headers, body = text }
end

--- The error body of Google's APIs, <https://cloud.google.com/apis/design/errors>.
---@param code integer  HTTP status
---@param reason? string  e.g. "notFound"; default: the usual one of the status
---@param message string
---@param word? string  e.g. "NOT_FOUND"; default: the usual one of the status
---@return table
function M.error_body(code, reason, message, word)
  return { error = {
    code = code,
    message = message,
    status = word or STATUS_WORDS[code] or "UNKNOWN",
    errors = json.array { { message = message, domain = "global", reason = reason or REASONS[code] or "unknown" } },
  } }
end

--- Ends the request with an error.
---@param code integer  HTTP status
---@param reason string?  e.g. "resourceInUseByAnotherResource"; default: the usual one of the status
---@param message string
---@param word? string
function M.fail(code, reason, message, word)
  error(setmetatable({ status = code, body = M.error_body(code, reason, message, word) }, FAILURE), 0)
end

--- Ends the request with a response, e.g. an XML error.
---@param response table
function M.abort(response)
  error(setmetatable({ response = response }, FAILURE), 0)
end

--- 404 for a resource by its name.
---@param what string  e.g. "projects/p/global/networks/n"
function M.not_found(what)
  M.fail(404, "notFound", ("The resource '%s' was not found"):format(what))
end

--- The response that an error raised by `fail` or `abort` stands for; nil for any other error.
---@param err any
---@return table?
function M.of_failure(err)
  if getmetatable(err) ~= FAILURE then return nil end
  return err.response or M.json(err.body, err.status)
end

--- One page of a sorted list.
---@param items any[]
---@param name_of fun(item): string  ascending over the list
---@param token string?  as given out by the page before
---@param size string|integer?  wanted, default 1000
---@return any[] page
---@return string? next_token
function M.page(items, name_of, token, size)
  local crypto = require "ws.crypto"
  local limit = math.tointeger(tonumber(size)) or 1000
  if limit <= 0 then limit = 1000 end
  local after = token and token ~= "" and crypto.base64url_decode(token) or nil
  if token and token ~= "" and not after then M.fail(400, "invalid", "Invalid value for field 'pageToken'.") end
  local page = {}
  for _, item in ipairs(items) do
    local name = name_of(item)
    if not after or name > after then
      if #page == limit then
        return json.array(page), crypto.base64url_encode(name_of(page[limit]))
      end
      page[#page + 1] = item
    end
  end
  return json.array(page)
end

return M
