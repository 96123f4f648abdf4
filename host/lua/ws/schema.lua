--- Declared schemas: what a value may be, its defaults and its documentation, said once.
---
--- A schema is made of types; `record` names its fields in order. `check` reports all problems of a value at once, each
--- with its place in the text that it was read from. `ws.schema.json` and `ws.schema.markdown` write the same schema
--- for editors and for people.
---
--- ```lua
--- local s = require "ws.schema"
--- local machine = s.record { fields = {
---   { "type", s.string { required = true, doc = "Machine type." } },
---   { "count", s.integer { min = 1, max = 10, default = 1, doc = "How many." } },
--- } }
--- local value = assert(s.validate(machine, { type = "e2-small" }))
--- assert(value.count == 1)
--- local _, err = s.validate(machine, { tpye = "e2-small", count = 0 })
--- assert(err.problems[1].text == 'count: found 0 (integer), allowed: integer 1..10')
--- assert(err.problems[2].text == 'tpye: no such key, did you mean "type"?')
--- assert(err.problems[3].text == 'the key "type" is missing (string)')
--- ```
local errors = require "ws.error"

local M = {}

---@class ws.schema.Type
---@field kind string
---@field doc? string        what it is for; one or a few sentences
---@field required? boolean  of a record's field
---@field default? any       given to a record's field that is absent
---@field otherwise? string  what happens without the key, in words, when there is no default
---@field secret? boolean    its value is never shown

---@class ws.schema.Problem
---@field path (string|integer)[]
---@field line? integer
---@field column? integer
---@field message string
---@field text string  "file:line:column: path: message"

local common = { doc = "string", required = "boolean", otherwise = "string", secret = "boolean" }

local own = {
  string = { min = "number", max = "number", format = "table" },
  version = { format = "table" },
  integer = { min = "number", max = "number", one_of = "table" },
  number = { min = "number", max = "number", above = "number" },
  boolean = {},
  enum = { one_of = "table" },
  cidr = { single = "boolean", least = "number", most = "number" },
  list = { of = "table", min = "number", max = "number", unique = "boolean" },
  map = { of = "table", keys = "table" },
  record = { fields = "table", check = "function" },
  either = { of = "table" },
  any = {},
}

local function make(kind, spec)
  local t = { kind = kind }
  for key, value in pairs(spec or {}) do
    local wanted = common[key] or own[kind][key]
    if key ~= "default" and not wanted then
      error(("schema: %s has no option '%s'"):format(kind, tostring(key)), 3)
    end
    if wanted and type(value) ~= wanted then
      error(("schema: option '%s' of %s must be a %s, not %s"):format(key, kind, wanted, type(value)), 3)
    end
    t[key] = value
  end
  return t
end

--- Text. Options: `min`, `max` (bytes), `format` (see `ws.schema.Format`).
---@param spec? table
---@return ws.schema.Type
function M.string(spec)
  return make("string", spec)
end

--- Text that people write without quotes although it looks like a number, such as 1.30: the characters count.
---@param spec? table  `format`
---@return ws.schema.Type
function M.version(spec)
  return make("version", spec)
end

--- A whole number. Options: `min`, `max`, `one_of`.
---@param spec? table
---@return ws.schema.Type
function M.integer(spec)
  return make("integer", spec)
end

--- Any number. Options: `min`, `max`, `above` (the value itself is not allowed).
---@param spec? table
---@return ws.schema.Type
function M.number(spec)
  return make("number", spec)
end

--- true or false.
---@param spec? table
---@return ws.schema.Type
function M.boolean(spec)
  return make("boolean", spec)
end

--- One of the texts in `one_of`.
---@param spec table
---@return ws.schema.Type
function M.enum(spec)
  return make("enum", spec)
end

--- A range of IPv4 addresses. Options: `single` (an address alone is allowed), `least` and `most` (of the prefix).
---@param spec? table
---@return ws.schema.Type
function M.cidr(spec)
  return make("cidr", spec)
end

--- A list. Options: `of` (type of the entries), `min`, `max` (entries), `unique`.
---@param spec table
---@return ws.schema.Type
function M.list(spec)
  return make("list", spec)
end

--- A map with any keys. Options: `of` (type of the values), `keys` (format of the keys).
---@param spec table
---@return ws.schema.Type
function M.map(spec)
  return make("map", spec)
end

--- A map with the given keys. Options: `fields`, a list of { name, type }; `check(value, report)` calls
--- report(path, message) for what does not fit together; what is wrong by itself is false there.
---@param spec table
---@return ws.schema.Type
function M.record(spec)
  return make("record", spec)
end

--- One of several types, told apart by whether the value is text, a number, a boolean, a list or a map.
---@param spec table  `of`, a list of types
---@return ws.schema.Type
function M.either(spec)
  return make("either", spec)
end

--- Anything.
---@param spec? table
---@return ws.schema.Type
function M.any(spec)
  return make("any", spec)
end

---@class ws.schema.Format
---@field match string|fun(text: string): boolean?, string?  a Lua pattern, or a function that may say what is wrong
---@field regex string    the same for JSON Schema
---@field allowed string  in words

local function between(t, unit)
  if t.min and t.max then return ("%s %s..%s"):format(unit, t.min, t.max) end
  if t.min then return ("%s, at least %s"):format(unit, t.min) end
  if t.max then return ("%s, at most %s"):format(unit, t.max) end
  if t.above then return ("%s above %s"):format(unit, t.above) end
  return unit
end

local allowed = {
  string = function(t)
    if t.format then return t.format.allowed end
    if t.min or t.max then return between(t, "string of a length") end
    return "string"
  end,
  version = function(t) return t.format and t.format.allowed or "version" end,
  integer = function(t)
    return t.one_of and "one of " .. table.concat(t.one_of, ", ") or between(t, "integer")
  end,
  number = function(t) return between(t, "number") end,
  boolean = function() return "true or false" end,
  enum = function(t) return "one of " .. table.concat(t.one_of, ", ") end,
  cidr = function(t)
    local sizes = ""
    if t.least and t.least == t.most then
      sizes = (" of exactly /%d"):format(t.least)
    elseif t.least and t.most then
      sizes = (" of /%d to /%d"):format(t.least, t.most)
    elseif t.most then
      sizes = (" of /%d or larger"):format(t.most)
    end
    return (t.single and "address, or " or "") .. "range" .. sizes .. " such as 10.32.0.0/" .. (t.most or 20)
  end,
  list = function(t)
    return (t.min and ("list with at least %d entries: "):format(t.min) or "list: ") .. M.allowed(t.of)
  end,
  map = function(t) return t.of.kind == "any" and "map" or "map of " .. M.allowed(t.of) end,
  record = function(t)
    local names = {}
    for i, field in ipairs(t.fields) do names[i] = field[1] end
    return "map with " .. table.concat(names, ", ")
  end,
  either = function(t)
    local parts = {}
    for i, of in ipairs(t.of) do parts[i] = M.allowed(of) end
    return table.concat(parts, "; or ")
  end,
  any = function() return "anything" end,
}

--- What a type allows, in words.
---@param t ws.schema.Type
---@return string
function M.allowed(t)
  return allowed[t.kind](t)
end

--- The path of a value as people write it: applications[2].name.
---@param path (string|integer)[]
---@return string
function M.path_text(path)
  local parts = {}
  for i, part in ipairs(path) do
    if math.type(part) == "integer" then
      parts[i] = ("[%d]"):format(part)
    elseif part:find("^[%w_-]+$") then
      parts[i] = (i > 1 and "." or "") .. part
    else
      parts[i] = ("[%q]"):format(part)
    end
  end
  return table.concat(parts)
end

--- Checks a value and gives it its defaults; the value itself is changed.
---@param t ws.schema.Type
---@param value any
---@param marks? ws.yaml.Marks  where the parts of the value are, from `yaml.load_marked`
---@return any value
---@return ws.schema.Problem[] problems  in the order of the text
function M.check(t, value, marks)
  return require "ws.schema.check"(t, value, marks)
end

--- As `check`, with all problems in one error.
---@param t ws.schema.Type
---@param value any
---@param marks? ws.yaml.Marks
---@return any? value
---@return ws.Error? err  kind `invalid`; its message has a line for each problem, its field `problems` the list
function M.validate(t, value, marks)
  local checked, problems = M.check(t, value, marks)
  if #problems == 0 then return checked end
  local lines = {}
  for i, problem in ipairs(problems) do lines[i] = problem.text end
  local err = errors.new { kind = "invalid", message = table.concat(lines, "\n") }
  err.problems = problems
  return nil, err
end

return M
