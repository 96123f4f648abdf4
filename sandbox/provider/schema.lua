--- The schema of the published google provider, as far as the sandbox knows it: schema.json, made into types.
---
--- In schema.json an attribute is "FLAGS TYPE" or [FLAGS, TYPE]; flags are r required, o optional, c computed,
--- s sensitive, w write-only, d deprecated. A type here is what ws.provider.pack takes; the type of a block has the
--- block as `block`, the type of a list of blocks also `max` (the most blocks allowed, nil without limit).
local json = require "ws.json"
local provider = require "ws.provider"

local M = {}

---@class sandbox.provider.Attribute
---@field type table
---@field wire any  the type as in schema.json
---@field required boolean
---@field optional boolean
---@field computed boolean
---@field sensitive boolean

---@class sandbox.provider.Block
---@field attributes table<string, sandbox.provider.Attribute>
---@field blocks table<string, table>  nesting, min, max and type of each nested block
---@field type table
---@field version integer

local FLAGS = { r = "required", o = "optional", c = "computed", s = "sensitive", w = "write_only", d = "deprecated" }
local NESTING = { single = 1, list = 2, set = 3 }

local function compile_type(wire)
  if type(wire) == "string" then return { kind = wire } end
  local kind, inner = wire[1], wire[2]
  if kind ~= "object" then return { kind = kind, elem = compile_type(inner) } end
  local attributes = {}
  for name, t in pairs(inner) do attributes[name] = compile_type(t) end
  return { kind = "object", attributes = attributes }
end

local function compile_attribute(entry)
  local flags, wire
  if type(entry) == "string" then
    flags, wire = entry:match("^(%a*) (%a+)$")
  else
    flags, wire = entry[1], entry[2]
  end
  local attribute = { wire = wire, type = compile_type(wire) }
  for flag in flags:gmatch("%a") do attribute[FLAGS[flag]] = true end
  return attribute
end

local function compile_block(raw)
  local block = { attributes = {}, blocks = {}, version = raw.version or 0 }
  local types = {}
  for name, entry in pairs(raw.attributes or {}) do
    local attribute = compile_attribute(entry)
    block.attributes[name] = attribute
    types[name] = attribute.type
  end
  for name, inner in pairs(raw.blocks or {}) do
    local nested = compile_block(inner)
    local of = nested.type
    if inner.nesting ~= "single" then
      of = { kind = inner.nesting, elem = nested.type, max = inner.max, min = inner.min, block = nested }
    end
    block.blocks[name] = { nesting = inner.nesting, min = inner.min, max = inner.max, type = of, block = nested }
    types[name] = of
  end
  block.type = { kind = "object", attributes = types, block = block }
  return block
end

local raw

local function load_raw()
  if not raw then
    local text = assert(require "ws.engine".program_file("sandbox/provider/schema.json"))
    raw = assert(json.decode(text))
  end
  return raw
end

local function compiled(section)
  local done = {}
  return function(name)
    local from = load_raw()[section][name]
    if not done[name] and from then done[name] = compile_block(from) end
    return done[name]
  end
end

--- The schema of a resource type; nil when the provider knows none of that name.
---@type fun(name: string): sandbox.provider.Block?
M.resource = compiled "resources"

--- The schema of a data source.
---@type fun(name: string): sandbox.provider.Block?
M.data_source = compiled "data"

local provider_block

--- The schema of the provider's own configuration.
---@return sandbox.provider.Block
function M.provider()
  provider_block = provider_block or compile_block(load_raw().provider)
  return provider_block
end

local function sorted_keys(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  return keys
end

--- Names of all resource types, sorted.
---@return string[]
function M.resource_names()
  return sorted_keys(load_raw().resources)
end

--- Names of all data sources, sorted.
---@return string[]
function M.data_source_names()
  return sorted_keys(load_raw().data)
end

local function block_message(block, description)
  local attributes, nested = {}, {}
  for _, name in ipairs(sorted_keys(block.attributes)) do
    local a = block.attributes[name]
    attributes[#attributes + 1] = {
      name = name, type = json.encode(a.wire), required = a.required, optional = a.optional, computed = a.computed,
      sensitive = a.sensitive, deprecated = a.deprecated, write_only = a.write_only,
    }
  end
  for _, name in ipairs(sorted_keys(block.blocks)) do
    local b = block.blocks[name]
    nested[#nested + 1] = {
      type_name = name, block = block_message(b.block), nesting = NESTING[b.nesting], min_items = b.min, max_items = b.max,
    }
  end
  return { attributes = attributes, block_types = nested, description = description }
end

local function message(block, description)
  return { version = block.version, block = block_message(block, description) }
end

local reply

--- The encoded reply to GetProviderSchema; made once.
---@return string
function M.reply()
  if reply then return reply end
  local resources, data = {}, {}
  for _, name in ipairs(M.resource_names()) do resources[name] = message(M.resource(name)) end
  for _, name in ipairs(M.data_source_names()) do data[name] = message(M.data_source(name)) end
  reply = provider.encode("GetProviderSchema", {
    provider = message(M.provider(), "The sandbox's provider: resources of Google Cloud as wsrun's local sandbox keeps them."),
    resource_schemas = resources,
    data_source_schemas = data,
    server_capabilities = { get_provider_schema_optional = true },
  })
  return reply
end

return M
