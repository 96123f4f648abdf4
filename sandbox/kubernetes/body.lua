--- Request bodies: JSON, YAML and protobuf into tables.
local errors = require "sandbox.kubernetes.errors"
local json = require "ws.json"
local protobuf = require "sandbox.kubernetes.protobuf"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The media type of a request, without parameters.
---@param req table
---@return string
function M.media_type(req)
  return ((req.headers["content-type"] or "application/json"):match "^[^;]*"):lower():match "^%s*(.-)%s*$"
end

local function parse_json(text)
  local value, err = json.decode(text)
  if err then errors.bad_request("error decoding: %s", tostring(err.message or err)) end
  return value
end

--- JSON or YAML, whichever it is.
---@param text string
---@return any
function M.parse(text)
  if text:find "^%s*[{%[]" then return parse_json(text) end
  local value, err = require "ws.yaml".decode(text)
  if err then errors.bad_request("error decoding YAML: %s", tostring(err.message or err)) end
  return value
end

--- The body as a table. Raises 400 when it cannot be read, 415 for another media type.
---@param req table
---@param optional? boolean  an empty body is nil
---@return table?
function M.read(req, optional)
  local text, err = req:body()
  if not text then errors.raise("RequestEntityTooLarge", tostring(err)) end
  if text == "" then
    if optional then return nil end
    errors.bad_request("EOF")
  end
  local media = M.media_type(req)
  local value
  if protobuf.is(text) then
    value = protobuf.decode(text)
  elseif media == "application/json" or media == "application/yaml" or media == "" or media == "text/plain"
    or media == "application/x-www-form-urlencoded" then
    value = M.parse(text)
  else
    errors.raise("UnsupportedMediaType", ("the body of the request was in an unknown format - accepted media types "
      .. "include: "
      .. "application/json, application/yaml, application/vnd.kubernetes.protobuf"))
  end
  if not values.is_object(value) then
    errors.bad_request("couldn't get version/kind; json parse error: the body must be an object")
  end
  return value
end

return M
