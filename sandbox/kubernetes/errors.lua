--- The API's errors: Status objects, raised by whoever finds the problem and answered by the router.
local values = require "sandbox.kubernetes.values"

local M = {}

---@class kubernetes.Failure
---@field code integer
---@field body table  the Status object
local Failure = {}
Failure.__index = Failure
Failure.__tostring = function(self) return self.body.message end

local CODES = {
  BadRequest = 400, Unauthorized = 401, Forbidden = 403, NotFound = 404, MethodNotAllowed = 405, AlreadyExists = 409,
  Conflict = 409, Expired = 410, UnsupportedMediaType = 415, Invalid = 422, InternalError = 500, NotAcceptable = 406,
  TooManyRequests = 429, RequestEntityTooLarge = 413, ServiceUnavailable = 503,
}

--- Raises a Status.
---@param reason string  "" for a failure that has none
---@param message string
---@param details? table  name, group, kind, causes
function M.raise(reason, message, details)
  error(M.new(reason, message, details), 0)
end

--- A Status that can be raised or answered.
---@param reason string
---@param message string
---@param details? table
---@return kubernetes.Failure
function M.new(reason, message, details)
  local code = CODES[reason] or 500
  if reason == "" then reason = nil end
  return setmetatable({ code = code, body = {
    kind = "Status", apiVersion = "v1", metadata = values.object(), status = "Failure",
    message = message, reason = reason, details = details, code = code,
  } }, Failure)
end

--- Whether a raised value is a Status.
---@param v any
---@return boolean
function M.is(v)
  return getmetatable(v) == Failure
end

local function qualified(resource)
  return resource.group == "" and resource.plural or resource.plural .. "." .. resource.group
end

local function qualified_kind(resource)
  return resource.group == "" and resource.kind or resource.kind .. "." .. resource.group
end

local function details_of(resource, name)
  return { name = name, group = resource.group ~= "" and resource.group or nil, kind = resource.plural }
end

--- Raises 404 for an object.
function M.not_found(resource, name)
  M.raise("NotFound", ('%s "%s" not found'):format(qualified(resource), name), details_of(resource, name))
end

--- Raises 409 for an object that is there already.
function M.already_exists(resource, name)
  M.raise("AlreadyExists", ('%s "%s" already exists'):format(qualified(resource), name), details_of(resource, name))
end

--- Raises 409 for a write that lost a race.
function M.conflict(resource, name, why)
  M.raise("Conflict", ('Operation cannot be fulfilled on %s "%s": %s'):format(qualified(resource), name,
    why or "the object has been modified; please apply your changes to the latest version and try again"),
    details_of(resource, name))
end

--- Raises 403 for an object.
---@param causes? table[]
function M.forbidden(resource, name, why, causes)
  local details = details_of(resource, name)
  details.causes = causes
  M.raise("Forbidden", ('%s "%s" is forbidden: %s'):format(qualified(resource), name, why), details)
end

--- Raises 422 for the problems found in an object.
---@param resource kubernetes.Resource
---@param name string
---@param problems { reason: string, field: string, message: string }[]
function M.invalid(resource, name, problems)
  local texts, causes = {}, values.array()
  for i, p in ipairs(problems) do
    texts[i] = p.field .. ": " .. p.message
    causes[i] = { reason = p.reason, message = p.message, field = p.field }
  end
  local text = #texts == 1 and texts[1] or "[" .. table.concat(texts, ", ") .. "]"
  M.raise("Invalid", ('%s "%s" is invalid: %s'):format(qualified_kind(resource), name, text),
    { name = name ~= "" and name or nil, group = resource.group ~= "" and resource.group or nil, kind = resource.kind,
      causes = causes })
end

--- Raises 400.
function M.bad_request(format, ...)
  M.raise("BadRequest", format:format(...))
end

return M
