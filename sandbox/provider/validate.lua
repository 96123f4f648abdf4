--- Checks of a configuration that the schema alone does not make: values of enumerations, and arguments that exclude
--- each
--- other. Terraform itself has checked names, types and required arguments by then.
local diagnostics = require "sandbox.provider.diagnostics"
local values = require "sandbox.provider.values"

local M = {}

--- Summary and detail of the error for a type that the sandbox's provider cannot create.
---@param type_name string
---@return string summary
---@return string detail
function M.not_served(type_name)
  return ("The sandbox's provider does not create %s"):format(type_name),
    "It knows the type's schema, so that the configuration is checked, but the sandbox has no such service. "
      .. "docs/sandbox.md lists what it has."
end

--- Calls fn(path, value) for every value that a dotted attribute path leads to; blocks count from 0.
local function each(v, path, at, fn)
  local name, rest = path:match("^([^.]+)%.?(.*)$")
  if type(v) ~= "table" then return end
  if #v > 0 and v[name] == nil then
    for i, element in ipairs(v) do each(element, path, at .. (i - 1) .. ".", fn) end
    return
  end
  local value = v[name]
  if rest == "" then
    if not values.is_null(value) and value ~= values.unknown then fn(at .. name, value) end
  else
    each(value, rest, at .. name .. ".", fn)
  end
end

local function check_enums(spec, config, found)
  for path, allowed in pairs(spec.enums or {}) do
    each(config, path, "", function(at, value)
      for _, candidate in ipairs(allowed) do
        if value == candidate then return end
      end
      local name = at:match("[^.]+$")
      found[#found + 1] = diagnostics.error(("expected %s to be one of %s, got %s"):format(name,
        table.concat(allowed, ", "), tostring(value)), nil, at)
    end)
  end
end

local function check_patterns(spec, config, found)
  for path, rule in pairs(spec.patterns or {}) do
    each(config, path, "", function(at, value)
      if not tostring(value):find(rule[1]) then
        found[#found + 1] = diagnostics.error(("%q is not a valid %s: %s"):format(value, at, rule[2]), nil, at)
      end
    end)
  end
end

local function check_conflicts(spec, config, found)
  for _, names in ipairs(spec.conflicts or {}) do
    local set = {}
    for _, name in ipairs(names) do
      if not values.is_zero(config[name]) then set[#set + 1] = name end
    end
    if #set > 1 then
      found[#found + 1] = diagnostics.error("Conflicting configuration arguments",
        ("%q conflicts with %s"):format(set[1], set[2]), set[1])
    end
  end
  for _, names in ipairs(spec.exactly_one or {}) do
    local set = 0
    for _, name in ipairs(names) do
      if config[name] == values.unknown or not values.is_zero(config[name]) then set = set + 1 end
    end
    if set ~= 1 then
      found[#found + 1] = diagnostics.error("Invalid combination of arguments",
        ("exactly one of %s must be specified, %d are"):format(table.concat(names, ", "), set))
    end
  end
end

--- Checks a resource's configuration.
---@param type_name string
---@param spec sandbox.provider.Resource?
---@param config table
---@return table[] diagnostics
function M.resource(type_name, spec, config)
  if not spec then return { diagnostics.error(M.not_served(type_name)) } end
  local found = {}
  check_enums(spec, config, found)
  check_patterns(spec, config, found)
  check_conflicts(spec, config, found)
  if spec.validate then
    for _, problem in ipairs(spec.validate(config) or {}) do found[#found + 1] = problem end
  end
  return found
end

--- Checks a data source's configuration.
---@param type_name string
---@param spec table?
---@return table[] diagnostics
function M.data_source(type_name, spec)
  if not spec then return { diagnostics.error(M.not_served(type_name)) } end
  return {}
end

return M
