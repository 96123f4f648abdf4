--- Plans a resource: what it will be after apply, as far as that is known, and what forces its replacement.
---
--- Terraform proposes: configured values, and prior values where a computed attribute is not configured. What a new
--- object gets from the cloud becomes unknown here, defaults of the published provider are filled in, and a link that
--- is only spelled differently keeps its old spelling, so that it makes no change.
local diagnostics = require "sandbox.provider.diagnostics"
local values = require "sandbox.provider.values"

local M = {}

local unknown = values.unknown

--- Attributes whose value changes with any change of the resource.
local VOLATILE = values.set {
  "fingerprint", "label_fingerprint", "metadata_fingerprint", "tags_fingerprint", "etag", "update_time", "updated",
}

--- The prior element that an element of the configuration continues; lists go by position, sets by what is configured.
local function counterpart(of, prior, element, index)
  if type(prior) ~= "table" then return nil end
  if of.kind ~= "set" then return prior[index] end
  for _, candidate in ipairs(prior) do
    local same = true
    for name, v in pairs(element) do
      if type(v) ~= "table" and v ~= unknown and v ~= candidate[name] then same = false end
    end
    if same then return candidate end
  end
end

local plan_object

local function plan_block(spec, path, of, planned, prior, config)
  if planned == unknown or planned == nil then return planned end
  if of.kind == "object" then return plan_object(spec, path, of, planned, prior, config) end
  local result = {}
  for i, element in ipairs(planned) do
    if type(element) == "table" then
      local before = counterpart(of, prior, element, i)
      local configured = type(config) == "table" and config[i] or element
      result[i] = plan_object(spec, path, of.elem, element, before, of.kind == "set" and element or configured)
    else
      result[i] = element
    end
  end
  return result
end

local function plan_attribute(spec, path, attribute, planned, prior, config, creating)
  -- An API leaves out what is false, 0 or empty: that is no change.
  if not creating and values.is_zero(planned) and values.is_zero(prior) then return prior end
  if config == nil then
    local default = spec.defaults and spec.defaults[path]
    if planned == nil and default ~= nil then return default end
    if attribute.computed and planned == nil and creating and not (spec.null and spec.null[path]) then
      return unknown
    end
    return planned
  end
  if type(planned) == "string" and prior ~= planned and values.same_reference(prior, planned) then return prior end
  return planned
end

function plan_object(spec, path, of, planned, prior, config)
  local block, result = of.block, {}
  config = type(config) == "table" and config or {}
  for name in pairs(of.attributes) do
    local at = path == "" and name or path .. "." .. name
    local before
    if type(prior) == "table" then before = prior[name] end
    local attribute, nested = block.attributes[name], block.blocks[name]
    if attribute then
      result[name] = plan_attribute(spec, at, attribute, planned[name], before, config[name], prior == nil)
    elseif spec.computed_blocks and spec.computed_blocks[at] and values.is_zero(planned[name]) then
      if prior == nil then
        result[name] = unknown
      else
        result[name] = before or {}
      end
    else
      result[name] = plan_block(spec, at, nested.type, planned[name], before, config[name])
    end
  end
  return result
end

--- Names of the attributes and blocks at the top that differ between two states.
---@param of table  type of the resource
---@param a table
---@param b table
---@return table<string, boolean>
function M.differences(of, a, b)
  local names = {}
  for name, attribute in pairs(of.attributes) do
    if name ~= "timeouts" and not values.equal(attribute, a[name], b[name]) then names[name] = true end
  end
  return names
end

--- Paths below `path` whose change forces a replacement.
local function forced(spec, of, path, steps, prior, planned, found)
  local block = of.block
  for name, attribute in pairs(of.attributes) do
    local at = path == "" and name or path .. "." .. name
    local rule = spec.forces_replacement(at)
    if rule and not values.equal(attribute, prior[name], planned[name]) then
      local step = table.move(steps, 1, #steps, 1, {})
      step[#step + 1] = { attribute_name = name }
      local below = block.blocks[name]
      if rule == "inside" and below and below.nesting == "list" and type(planned[name]) == "table" then
        for i, element in ipairs(planned[name]) do
          local before = type(prior[name]) == "table" and prior[name][i]
          if before and type(element) == "table" then
            local deeper = table.move(step, 1, #step, 1, {})
            deeper[#deeper + 1] = { element_key_int = i - 1 }
            forced(spec, attribute.elem, at, deeper, before, element, found)
          end
        end
      elseif rule == true then
        found[#found + 1] = { steps = step }
      end
    end
  end
  return found
end

--- Makes the plan.
---@param spec sandbox.provider.Resource
---@param prior table?  nil: it will be created
---@param proposed table
---@param config table
---@param context table
---@return table planned
---@return table[] requires_replace  attribute paths
function M.make(spec, prior, proposed, config, context)
  local of = spec.block.type
  local planned = plan_object(spec, "", of, proposed, prior, config)
  if spec.plan then spec.plan(planned, prior, config, context) end
  if not prior then return planned, {} end
  local changed = M.differences(of, prior, planned)
  if next(changed) then
    for name in pairs(VOLATILE) do
      local attribute = spec.block.attributes[name]
      if attribute and attribute.computed and config[name] == nil then planned[name] = unknown end
    end
  end
  local replace = forced(spec, of, "", {}, prior, planned, {})
  for _, name in ipairs(spec.replace_when and spec.replace_when(planned, prior) or {}) do
    replace[#replace + 1] = diagnostics.path(name)
  end
  return planned, replace
end

return M
