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

local function attribute_parts(entry)
  if type(entry) == "string" then return entry:match("^(%a*) (%a+)$") end
  return entry[1], entry[2]
end

local function compile_attribute(entry)
  local flags, wire = attribute_parts(entry)
  local attribute = { type = compile_type(wire) }
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

local lines

--- schema.json has one line for each schema, so that only those in use are decoded.
local function load_lines()
  if lines then return lines end
  lines = { resources = {}, data = {} }
  local text = assert(require "ws.engine".program_file("sandbox/provider/schema.json"))
  local section
  for line in text:gmatch("[^\n]+") do
    local name, json_text = line:match('^"([%w_]+)":({.*}),?$')
    if not name then
      section = line:match('^"(%w+)":{$') or section
    elseif name == "provider" then
      lines.provider = json_text
    else
      lines[section][name] = json_text
    end
  end
  return lines
end

local function compiled(section)
  local done = {}
  return function(name)
    local from = load_lines()[section][name]
    if not done[name] and from then done[name] = compile_block(assert(json.decode(from))) end
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
  provider_block = provider_block or compile_block(assert(json.decode(load_lines().provider)))
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
  return sorted_keys(load_lines().resources)
end

--- Names of all data sources, sorted.
---@return string[]
function M.data_source_names()
  return sorted_keys(load_lines().data)
end

--- A block of schema.json as the message that Terraform reads.
local function block_message(raw, description)
  local attributes, nested = {}, {}
  for name, entry in pairs(raw.attributes or {}) do
    local flags, wire = attribute_parts(entry)
    local attribute = { name = name, type = type(wire) == "string" and '"' .. wire .. '"' or json.encode(wire) }
    for flag in flags:gmatch("%a") do attribute[FLAGS[flag]] = true end
    attributes[#attributes + 1] = attribute
  end
  for name, b in pairs(raw.blocks or {}) do
    nested[#nested + 1] = {
      type_name = name, block = block_message(b), nesting = NESTING[b.nesting], min_items = b.min, max_items = b.max,
    }
  end
  return { attributes = attributes, block_types = nested, description = description }
end

local function message(text, description)
  local raw = assert(json.decode(text))
  return { version = raw.version or 0, block = block_message(raw, description) }
end

local DESCRIPTION = "The sandbox's provider: resources of Google Cloud as wsrun's local sandbox keeps them."

local reply

--- The encoded reply to GetProviderSchema; made once.
---@return string
function M.reply()
  if reply then return reply end
  local resources, data = {}, {}
  for name, text in pairs(load_lines().resources) do resources[name] = message(text) end
  for name, text in pairs(load_lines().data) do data[name] = message(text) end
  reply = provider.encode("GetProviderSchema", {
    provider = message(load_lines().provider, DESCRIPTION),
    resource_schemas = resources,
    data_source_schemas = data,
    server_capabilities = { get_provider_schema_optional = true },
  })
  return reply
end

return M
