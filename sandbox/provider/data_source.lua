--- Data sources: what Terraform only looks up.
---
--- A description (resources/data.lua) is { of = resource type, ... } for what a resource reads as well, or a function
--- read(context, config) → attributes | nil, err.
local error_object = require "ws.error"
local mapping = require "sandbox.provider.mapping"
local resource = require "sandbox.provider.resource"
local rest = require "sandbox.provider.rest"
local values = require "sandbox.provider.values"

local M = {}

--- The description of a data source; nil when the sandbox's provider does not serve it.
---@param type_name string
---@return table?
function M.get(type_name)
  return require "sandbox.provider.resources.data"[type_name]
end

local function read_resource(spec, block, context, config)
  local of = resource.get(spec.of)
  local object, err
  if of.read_with then
    object, err = of.read_with(context, config)
  else
    object, err = rest.call(context, "GET", of.service, context.fill(of.path))
  end
  if not object then
    return nil, err or error_object.new { kind = "not_found", message = "it does not exist" }
  end
  local view = setmetatable({ block = block, client = {} }, { __index = of })
  for name in pairs(of.client) do
    if name ~= "labels" then view.client[name] = true end
  end
  local state = mapping.state(view, object, nil)
  for name, v in pairs(config) do state[name] = v end
  for name in pairs(of.located) do
    if block.attributes[name] and state[name] == nil then state[name] = context.params[name] end
  end
  if block.attributes.terraform_labels then
    state.terraform_labels, state.effective_labels = object.labels or {}, object.labels or {}
  end
  state.id = context.fill(of.id)
  if of.state then of.state(state, object, state, context, true) end
  return state
end

--- The configuration, with the parts of the resource's link when it names it by `self_link`.
local function named(spec, config)
  local link = spec.of and config.self_link
  local parts = link and resource.parse_import(resource.get(spec.of), link)
  return parts and setmetatable(parts, { __index = config }) or config
end

--- Reads a data source.
---@async
---@param spec table
---@param block sandbox.provider.Block
---@param connection table
---@param config table
---@return table? state
---@return ws.Error? err
function M.read(spec, block, connection, config)
  local context = resource.context(connection, named(spec, config))
  local state, err
  if spec.of then
    state, err = read_resource(spec, block, context, config)
  else
    state, err = spec.read(context, config)
  end
  if not state then return nil, err end
  for name, v in pairs(config) do
    if state[name] == nil then state[name] = v end
  end
  for name in pairs(state) do
    if not block.type.attributes[name] then state[name] = nil end
  end
  return values.known(state)
end

return M
