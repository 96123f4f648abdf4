--- Custom resource definitions: their kinds as resources, their schemas as nodes, their values checked.
local values = require "sandbox.kubernetes.values"
local schema = require "sandbox.kubernetes.schema"

local M = {}

local SCALAR_NODES = { string = "string", integer = "int", number = "number", boolean = "bool" }

--- The node of an OpenAPI v3 structural schema.
---@param s? table
---@return kubernetes.Node
function M.node(s)
  if type(s) ~= "table" then return { type = "any" } end
  if s["x-kubernetes-int-or-string"] then return { type = "intstr", schema = s } end
  if s["x-kubernetes-embedded-resource"] then return { type = "any", schema = s } end
  if s.type == "array" then
    local kind = s["x-kubernetes-list-type"]
    return { type = "list", elem = M.node(s.items), set = kind == "set" or nil,
      keys = kind == "map" and s["x-kubernetes-list-map-keys"] or nil, schema = s }
  end
  if SCALAR_NODES[s.type] then return { type = SCALAR_NODES[s.type], schema = s } end
  if s.type ~= "object" then return { type = "any", schema = s } end
  local atomic = s["x-kubernetes-map-type"] == "atomic" or nil
  if s.additionalProperties and not s.properties then
    local elem = type(s.additionalProperties) == "table" and M.node(s.additionalProperties) or { type = "any" }
    return { type = "map", elem = elem, atomic = atomic, schema = s }
  end
  local node = { type = "object", fields = {}, atomic = atomic, schema = s,
    preserve = s["x-kubernetes-preserve-unknown-fields"] or nil }
  for name, property in pairs(s.properties or {}) do node.fields[name] = M.node(property) end
  return node
end

local function kind_node(s)
  local node = M.node(s or { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true })
  node.fields = node.fields or {}
  node.type = "object"
  node.fields.apiVersion, node.fields.kind = schema.scalars.string, schema.scalars.string
  node.fields.metadata = schema.metadata()
  return node
end

--- The resource that a definition makes.
---@param definition table
---@return kubernetes.Resource
function M.resource(definition)
  local spec = definition.spec
  local names, stored = spec.names, nil
  local versions, nodes, subresources, columns, scale = {}, {}, {}, {}, {}
  for _, v in ipairs(spec.versions) do
    if v.storage then stored = v.name end
    if v.served then
      versions[#versions + 1] = v.name
      local s = values.get(v, "schema", "openAPIV3Schema")
      if spec.preserveUnknownFields then s = nil end
      nodes[v.name] = kind_node(s)
      if values.get(v, "subresources", "status") then subresources.status = true end
      if values.get(v, "subresources", "scale") then
        subresources.scale = true
        scale[v.name] = v.subresources.scale
      end
      columns[v.name] = v.additionalPrinterColumns
    end
  end
  require("sandbox.kubernetes.resources").sort_versions(versions)
  local selectable = {}
  for _, v in ipairs(spec.versions) do
    for _, f in ipairs(v.selectableFields or {}) do selectable[#selectable + 1] = (f.jsonPath:gsub("^%.", "")) end
  end
  return {
    group = spec.group, versions = versions, stored = stored, plural = names.plural, kind = names.kind,
    singular = names.singular or names.kind:lower(), namespaced = spec.scope == "Namespaced",
    short = names.shortNames or {}, categories = names.categories or {}, subresources = subresources,
    nodes = nodes, columns = columns, scale = scale, selectable = selectable, crd = definition,
    list_kind = names.listKind,
  }
end

--- Fills the defaults of a schema, in place.
---@param value any
---@param node kubernetes.Node
function M.fill(value, node)
  if type(value) ~= "table" then return end
  if node.type == "list" and values.is_array(value) then
    for i = 1, #value do M.fill(value[i], node.elem) end
  elseif values.is_object(value) then
    for name, field in pairs(node.fields or {}) do
      local default = field.schema and field.schema.default
      if value[name] == nil and default ~= nil then value[name] = values.copy(default) end
      if value[name] ~= nil then M.fill(value[name], field) end
    end
    if node.type == "map" then
      for _, v in pairs(value) do M.fill(v, node.elem) end
    end
  end
end

local function join(path, name)
  return path == "" and name or path .. "." .. name
end

local function check_bounds(value, s, path, add)
  if s.enum then
    local found, shown = false, {}
    for i, v in ipairs(s.enum) do
      found = found or values.equal(v, value)
      shown[i] = values.canonical(v)
    end
    if not found then
      add("FieldValueNotSupported", path, "Unsupported value: " .. values.canonical(value):gsub("%%", "%%%%")
        .. ": supported values: " .. table.concat(shown, ", "))
    end
  end
  if type(value) == "number" then
    if s.minimum and value < s.minimum then
      add("FieldValueInvalid", path, ("Invalid value: %s: %s in body should be greater than or equal to "
        .. "%s"):format(value, path, s.minimum))
    end
    if s.maximum and value > s.maximum then
      add("FieldValueInvalid", path, ("Invalid value: %s: %s in body should be less than or equal to %s"):format(value,
        path, s.maximum))
    end
  elseif type(value) == "string" then
    local length = utf8.len(value) or #value
    if s.minLength and length < s.minLength then
      add("FieldValueInvalid", path, ("Invalid value: %q: %s in body should be at least %d chars long"):format(value,
        path, s.minLength))
    end
    if s.maxLength and length > s.maxLength then
      add("FieldValueTooLong", path, ("Too long: may not be more than %d bytes"):format(s.maxLength))
    end
  elseif values.is_array(value) then
    if s.minItems and #value < s.minItems then
      add("FieldValueInvalid", path, ("Invalid value: %d: %s in body should have at least %d items"):format(#value,
        path, s.minItems))
    end
    if s.maxItems and #value > s.maxItems then
      add("FieldValueTooMany", path, ("Too many: %d: must have at most %d items"):format(#value, s.maxItems))
    end
  end
end

--- The problems of a custom resource's values against its schema (required, enum and bounds; the expressions of
--- `pattern` and of `x-kubernetes-validations` are not evaluated).
---@param value any
---@param node kubernetes.Node
---@param path string
---@param problems table[]  grows
---@return table[] problems
function M.check(value, node, path, problems)
  local function add(reason, field, message)
    problems[#problems + 1] = { reason = reason, field = field, message = message }
  end
  local s = node.schema
  if s then
    check_bounds(value, s, path, add)
    if values.is_object(value) then
      for _, name in ipairs(s.required or {}) do
        if value[name] == nil then add("FieldValueRequired", join(path, name), "Required value") end
      end
    end
  end
  if values.is_array(value) and node.elem then
    for i = 1, #value do M.check(value[i], node.elem, ("%s[%d]"):format(path, i - 1), problems) end
  elseif values.is_object(value) then
    for _, name in ipairs(values.keys(value)) do
      local field = node.fields and node.fields[name] or (node.type == "map" and node.elem)
      if field and field.schema then M.check(value[name], field, join(path, name), problems) end
    end
  end
  return problems
end

return M
