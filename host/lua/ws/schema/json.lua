--- A declared schema as JSON Schema (draft 2020-12), for editors.
---
--- ```lua
--- local s = require "ws.schema"
--- local machine = s.record { fields = { { "count", s.integer { min = 1, required = true, doc = "How many." } } } }
--- local schema = require "ws.schema.json" (machine, { title = "Machine" })
--- assert(schema.properties.count.minimum == 1 and schema.required[1] == "count")
--- ```
local values = require "ws.json"
local schema = require "ws.schema"

-- What cidr.parse accepts, but for the beginning of ranges, which a regular expression cannot know.
local BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
local ADDRESS = BYTE .. ("\\." .. BYTE):rep(3)

local function object(pairs_)
  local o = values.object()
  for i = 1, #pairs_, 2 do
    if pairs_[i + 1] ~= nil then o[pairs_[i]] = pairs_[i + 1] end
  end
  return o
end

local convert
local write = {}

function write.string(t, o)
  o.type = "string"
  o.minLength = t.min
  o.maxLength = t.max
  o.pattern = t.format and t.format.regex
end

function write.version(t, o)
  -- 1.30 without quotes is read as a number by editors; the characters count for us
  o.type = values.array { "string", "number" }
  o.pattern = t.format and t.format.regex
end

function write.integer(t, o)
  o.type = "integer"
  o.minimum = t.min
  o.maximum = t.max
  o.enum = t.one_of and values.array(table.move(t.one_of, 1, #t.one_of, 1, {}))
end

function write.number(t, o)
  o.type = "number"
  o.minimum = t.min
  o.maximum = t.max
  o.exclusiveMinimum = t.above
end

function write.boolean(_, o)
  o.type = "boolean"
end

function write.enum(t, o)
  o.enum = values.array(table.move(t.one_of, 1, #t.one_of, 1, {}))
end

function write.cidr(t, o)
  o.type = "string"
  local sizes = {}
  for n = t.most or 32, t.least or 0, -1 do sizes[#sizes + 1] = tostring(n) end
  local range = "/(" .. table.concat(sizes, "|") .. ")"
  o.pattern = "^" .. ADDRESS .. (t.single and "(" .. range .. ")?" or range) .. "$"
end

function write.list(t, o)
  o.type = "array"
  o.items = convert(t.of)
  o.minItems = t.min
  o.maxItems = t.max
  o.uniqueItems = t.unique
end

function write.map(t, o)
  o.type = "object"
  if t.keys then o.propertyNames = object { "pattern", t.keys.regex } end
  if t.of.kind ~= "any" then o.additionalProperties = convert(t.of) end
end

function write.record(t, o)
  local properties, required = values.object(), values.array()
  for _, field in ipairs(t.fields) do
    properties[field[1]] = convert(field[2])
    if field[2].required then required[#required + 1] = field[1] end
  end
  o.type = "object"
  o.properties = properties
  o.additionalProperties = false
  if #required > 0 then o.required = required end
end

function write.either(t, o)
  o.anyOf = values.array()
  for i, of in ipairs(t.of) do o.anyOf[i] = convert(of) end
end

function write.any() end

--- What the editor shows for a key: its purpose, what is allowed, what happens without it.
local function description(t)
  local parts = { t.doc }
  if t.kind ~= "record" and t.kind ~= "any" and t.kind ~= "boolean" then
    parts[#parts + 1] = "Allowed: " .. schema.allowed(t) .. "."
  end
  if t.otherwise then parts[#parts + 1] = "Without the key: " .. t.otherwise .. "." end
  return #parts > 0 and table.concat(parts, " ") or nil
end

function convert(t)
  local o = values.object()
  o.description = description(t)
  write[t.kind](t, o)
  o.default = t.default
  return o
end

--- Writes a schema as JSON Schema. Checks between fields have no form there and are left out.
---@param t ws.schema.Type
---@param opts? { title?: string, id?: string }
---@return table schema  for json.encode
return function(t, opts)
  local o = object { "$schema", "https://json-schema.org/draft/2020-12/schema", "$id", opts and opts.id,
    "title", opts and opts.title }
  for key, value in values.pairs(convert(t)) do o[key] = value end
  return o
end
