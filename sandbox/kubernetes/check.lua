--- The first door of every object: right types everywhere, no field the kind does not have.
---
--- One ill-typed object would make every typed list of its kind undecodable for clients, so types are checked always;
--- unknown fields are dropped, and refused, reported or ignored as the request's `fieldValidation` says.
local json = require "ws.json"
local errors = require "sandbox.kubernetes.errors"
local values = require "sandbox.kubernetes.values"

local M = {}

local function go_type(value)
  if type(value) == "boolean" then return "bool" end
  if type(value) == "number" then return "number" end
  if type(value) == "string" then return "string" end
  return values.is_array(value) and "array" or "object"
end

local SCALAR = {}

function SCALAR.string(v) return type(v) == "string" end
function SCALAR.bool(v) return type(v) == "boolean" end
function SCALAR.int(v) return math.type(v) == "integer" or (type(v) == "number" and math.tointeger(v) ~= nil) end
function SCALAR.number(v) return type(v) == "number" end
function SCALAR.intstr(v) return type(v) == "string" or SCALAR.int(v) end
function SCALAR.bytes(v)
  return type(v) == "string" and #v % 4 == 0 and v:find "^[%w+/\r\n]*=?=?$" ~= nil
end
function SCALAR.time(v) return type(v) == "string" and v:find "^%d%d%d%d%-%d%d%-%d%d[Tt]%d%d:%d%d:%d%d" ~= nil end
SCALAR.microtime = SCALAR.time
function SCALAR.quantity(v)
  if type(v) == "number" then return true end
  return type(v) == "string" and (v:find "^[+-]?%d+%.?%d*[numkMGTPE]?i?$" or v:find "^[+-]?%.%d+[numkMGTPE]?i?$"
    or v:find "^[+-]?%d+%.?%d*[eE][+-]?%d+$") ~= nil
end

local function join(path, name)
  return path == "" and name or path .. "." .. name
end

local walk

local function walk_object(value, node, path, found)
  for _, name in ipairs(values.keys(value)) do
    local field = node.fields and node.fields[name]
    if node.type == "map" then
      field = node.elem
    elseif not field then
      if not node.preserve then
        table.insert(found.unknown, join(path, name))
        value[name] = nil
      end
    end
    if field and value[name] ~= nil then
      local replaced = walk(value[name], field, join(path, name), found)
      if replaced ~= nil then value[name] = replaced end
    end
  end
end

local function wrong(found, path, node, value)
  table.insert(found.wrong, { path = path, node = node, value = value, found = go_type(value) })
end

--- Checks a value; what it returns, unless nil, stands in its place.
function walk(value, node, path, found)
  if value == json.null or node.type == "raw" or node.type == "any" then return nil end
  local scalar = SCALAR[node.type]
  if scalar then
    if not scalar(value) then
      wrong(found, path, node, value)
    elseif node.type == "quantity" and type(value) == "number" then
      return tostring(math.tointeger(value) or value)
    elseif node.type == "int" and math.type(value) == "float" then
      return math.tointeger(value)
    end
  elseif node.type == "list" then
    if not values.is_array(value) then
      -- An empty table that lost its kind on the way is an empty list here.
      wrong(found, path, node, value)
      return nil
    end
    for i = 1, #value do
      local replaced = walk(value[i], node.elem, ("%s[%d]"):format(path, i - 1), found)
      if replaced ~= nil then value[i] = replaced end
    end
  elseif not values.is_object(value) then
    wrong(found, path, node, value)
  else
    walk_object(value, node, path, found)
  end
end

local GO_NAMES = {
  int = "int32", bool = "bool", number = "float64", string = "string", bytes = "[]uint8", time = "v1.Time",
  microtime = "v1.MicroTime", quantity = "resource.Quantity", intstr = "intstr.IntOrString",
}

local function go_name(node)
  if node.type == "list" then return "[]" .. go_name(node.elem) end
  if node.type == "map" then return "map[string]" .. go_name(node.elem) end
  return GO_NAMES[node.type] or (node.name and node.name:gsub("^.*/", "")) or "object"
end

local CRD_NAMES = { int = "integer", bool = "boolean", list = "array", map = "object", intstr = "integer or string" }

local function raise_wrong(resource, version, object, found)
  local w = found.wrong[1]
  if resource.crd then
    local problems = {}
    for i, item in ipairs(found.wrong) do
      local shown = item.found == "bool" and "boolean" or item.found
      problems[i] = { reason = "FieldValueTypeInvalid", field = item.path,
        message = ("Invalid value: %q: %s in body must be of type %s: %q")
        :format(shown, item.path, CRD_NAMES[item.node.type] or item.node.type, shown) }
    end
    errors.invalid(resource, values.get(object, "metadata", "name") or "", problems)
  end
  local kind = resource.kind
  if w.node.type == "quantity" then
    errors.bad_request('%s in version "%s" cannot be handled as a %s: quantities must match the regular expression '
      .. "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'", kind, version, kind)
  elseif w.node.type == "bytes" and w.found == "string" then
    errors.bad_request('%s in version "%s" cannot be handled as a %s: illegal base64 data at input byte 0 (%s)', kind,
      version, kind, w.path)
  elseif w.node.type == "time" and w.found == "string" then
    errors.bad_request('%s in version "%s" cannot be handled as a %s: parsing time %q as "2006-01-02T15:04:05Z07:00" '
      .. '(%s)',
      kind, version, kind, w.value, w.path)
  end
  errors.bad_request('%s in version "%s" cannot be handled as a %s: json: cannot unmarshal %s into Go struct field '
    .. '%s of type %s',
    kind, version, kind, w.found, kind .. "." .. w.path, go_name(w.node))
end

--- Checks an object in place: drops nulls and unknown fields, brings numbers into their stored form.
---@param object table
---@param node kubernetes.Node
---@param resource kubernetes.Resource
---@param version string
---@param field_validation? string  "Strict" refuses unknown fields (400), "Warn" returns them, "Ignore" says nothing
---@return string[] warnings
function M.object(object, node, resource, version, field_validation)
  values.without_nulls(object)
  local found = { unknown = {}, wrong = {} }
  walk_object(object, node, "", found)
  if #found.wrong > 0 then raise_wrong(resource, version, object, found) end
  if #found.unknown == 0 or field_validation == "Ignore" then return {} end
  local texts = {}
  for i, path in ipairs(found.unknown) do texts[i] = ('unknown field "%s"'):format(path) end
  if field_validation == "Strict" then
    errors.bad_request('%s in version "%s" cannot be handled as a %s: strict decoding error: %s', resource.kind,
      version,
      resource.kind, table.concat(texts, ", "))
  end
  return texts
end

--- Drops unknown fields of a value and returns its type problems: for parts of objects, as defaults in schemas.
---@param value any
---@param node kubernetes.Node
---@return { path: string }[] wrong
function M.value(value, node)
  local found = { unknown = {}, wrong = {} }
  walk(value, node, "", found)
  return found.wrong
end

return M
