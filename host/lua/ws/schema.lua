--- Declared schemas: what a value may be, its defaults and its documentation, said once.
---
--- A schema is made of types; `record` names its fields in order. `check` reports all problems of a value at once, each
--- with its place in the text that it was read from. `ws.schema.json` and `ws.schema.markdown` write the same schema for
--- editors and for people.
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
local values = require "ws.json"
local errors = require "ws.error"
local nearest = require "ws.nearest"
local cidr = require "ws.cidr"

local M = {}

---@class ws.schema.Type
---@field kind string
---@field doc? string        what it is for; one or a few sentences
---@field required? boolean  of a record's field
---@field default? any       given to a record's field that is absent
---@field otherwise? string  what happens without the key, in words, when there is no default
---@field secret? boolean    its value is never shown
---@field example? any

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

local function constructor(kind)
  return function(spec)
    local t = { kind = kind }
    for key, value in pairs(spec or {}) do
      local wanted = common[key] or own[kind][key]
      if key ~= "default" and key ~= "example" and not wanted then
        error(("schema: %s has no option '%s'"):format(kind, tostring(key)), 2)
      end
      if wanted and type(value) ~= wanted then
        error(("schema: option '%s' of %s must be a %s, not %s"):format(key, kind, wanted, type(value)), 2)
      end
      t[key] = value
    end
    return t
  end
end

--- Text. Options: `min`, `max` (bytes), `format` (see `ws.schema.Format`).
---@param spec? table
---@return ws.schema.Type
M.string = constructor "string"

--- Text that people write without quotes although it looks like a number, such as 1.30: the characters count.
---@param spec? table  `format`
---@return ws.schema.Type
M.version = constructor "version"

--- A whole number. Options: `min`, `max`, `one_of`.
---@param spec? table
---@return ws.schema.Type
M.integer = constructor "integer"

--- Any number. Options: `min`, `max`, `above` (the value itself is not allowed).
---@param spec? table
---@return ws.schema.Type
M.number = constructor "number"

--- true or false.
---@param spec? table
---@return ws.schema.Type
M.boolean = constructor "boolean"

--- One of the texts in `one_of`.
---@param spec table
---@return ws.schema.Type
M.enum = constructor "enum"

--- A range of IPv4 addresses. Options: `single` (an address alone is allowed), `least` and `most` (of the prefix).
---@param spec? table
---@return ws.schema.Type
M.cidr = constructor "cidr"

--- A list. Options: `of` (type of the entries), `min`, `max` (entries), `unique`.
---@param spec table
---@return ws.schema.Type
M.list = constructor "list"

--- A map with any keys. Options: `of` (type of the values), `keys` (format of the keys).
---@param spec table
---@return ws.schema.Type
M.map = constructor "map"

--- A map with the given keys. Options: `fields`, a list of { name, type }; `check(value, report)` calls
--- report(path, message) for what does not fit together; a field that is wrong by itself is absent there.
---@param spec table
---@return ws.schema.Type
M.record = constructor "record"

--- One of several types, told apart by whether the value is text, a number, a boolean, a list or a map.
---@param spec table  `of`, a list of types
---@return ws.schema.Type
M.either = constructor "either"

--- Anything.
---@param spec? table
---@return ws.schema.Type
M.any = constructor "any"

---@class ws.schema.Format
---@field match string|fun(text: string): boolean?, string?  a Lua pattern, or a function that may say what is wrong
---@field regex string    the same for JSON Schema
---@field allowed string  in words

-- What a value is, in the words of messages.
local function kind_of(value)
  if type(value) == "table" or value == values.null then
    return ({ null = "null", array = "list", object = "map" })[values.kind(value)] or "table"
  end
  if type(value) == "number" then return math.type(value) == "integer" and "integer" or "number" end
  return type(value)
end

local function found(t, value)
  local kind = kind_of(value)
  if kind == "null" then return "nothing (null)" end
  if kind == "list" or kind == "map" then return "a " .. kind end
  if t.secret then return "a " .. kind end
  if kind == "string" then
    local text = #value > 60 and value:sub(1, 57) .. "..." or value
    return ("%s (string)"):format(values.encode(text, { invalid_utf8 = "replace" }))
  end
  return ("%s (%s)"):format(tostring(value), kind)
end

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
  list = function(t) return (t.min and ("list with at least %d entries: "):format(t.min) or "list: ") .. M.allowed(t.of) end,
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

-- One run over a value. `marks` may be nil.
local Check = {}
Check.__index = Check

local function extend(path, part)
  local longer = table.move(path, 1, #path, 1, {})
  longer[#longer + 1] = part
  return longer
end

--- The place of the value, of its key with `at_key`, or of the nearest part above it.
function Check:place(path, at_key)
  if not self.marks then return nil end
  for length = #path, 0, -1 do
    local line, column, key_line, key_column = self.marks:get(table.move(path, 1, length, 1, {}))
    if line then
      if key_line and (at_key or length < #path) then return key_line, key_column end
      return line, column
    end
  end
  return 1, 1
end

function Check:report(path, message, at_key)
  local line, column = self:place(path, at_key)
  local place = line and ("%s:%d:%d: "):format(self.marks.filename or "(text)", line, column) or ""
  local where = #path > 0 and M.path_text(path) .. ": " or ""
  self.problems[#self.problems + 1] = {
    path = path, line = line, column = column, message = message, text = place .. where .. message,
  }
end

function Check:wrong(t, value, path, hint)
  self.bad[M.path_text(path)] = true
  self:report(path, ("found %s, allowed: %s%s"):format(found(t, value), M.allowed(t), hint and " (" .. hint .. ")" or ""))
end

local function matches(format, text)
  if type(format.match) == "string" then return text:find(format.match) ~= nil end
  return format.match(text)
end

local function out_of_bounds(t, n)
  return (t.min and n < t.min) or (t.max and n > t.max) or (t.above and n <= t.above)
end

local function one_of(list, value)
  for _, candidate in ipairs(list) do
    if candidate == value then return true end
  end
  return false
end

local checkers = {}

function checkers.string(self, t, value, path)
  if type(value) ~= "string" then
    local scalar = type(value) == "number" or type(value) == "boolean"
    return self:wrong(t, value, path, scalar and "put it in quotes" or nil)
  end
  local ok, why = true, nil
  if t.format then ok, why = matches(t.format, value) end
  if not ok or out_of_bounds(t, #value) then self:wrong(t, value, path, why) end
  return value
end

function checkers.version(self, t, value, path)
  if type(value) == "number" then value = self:source(path) or tostring(value) end
  return checkers.string(self, t, value, path)
end

function checkers.integer(self, t, value, path)
  if math.type(value) ~= "integer" or out_of_bounds(t, value) or (t.one_of and not one_of(t.one_of, value)) then
    self:wrong(t, value, path, type(value) == "string" and tonumber(value) and "without quotes" or nil)
  end
  return value
end

function checkers.number(self, t, value, path)
  if type(value) ~= "number" or value ~= value or out_of_bounds(t, value) then
    self:wrong(t, value, path, type(value) == "string" and tonumber(value) and "without quotes" or nil)
  end
  return value
end

function checkers.boolean(self, t, value, path)
  if type(value) ~= "boolean" then self:wrong(t, value, path) end
  return value
end

function checkers.enum(self, t, value, path)
  if not one_of(t.one_of, value) then
    local near = type(value) == "string" and nearest(value, t.one_of)
    self:wrong(t, value, path, near and ("did you mean %s?"):format(near) or nil)
  end
  return value
end

function checkers.cidr(self, t, value, path)
  if type(value) ~= "string" then return self:wrong(t, value, path) end
  local range, why = cidr.parse(value)
  if range and not t.single and not value:find("/", 1, true) then range, why = nil, "an address, not a range" end
  if not range then
    self:wrong(t, value, path, why)
  elseif value:find("/", 1, true) and ((t.least and range.prefix < t.least) or (t.most and range.prefix > t.most)) then
    self:wrong(t, value, path)
  end
  return value
end

function checkers.list(self, t, value, path)
  if kind_of(value) ~= "list" then return self:wrong(t, value, path) end
  if out_of_bounds(t, #value) then self:report(path, ("%d entries, allowed: %s"):format(#value, M.allowed(t))) end
  local seen = {}
  for i, entry in ipairs(value) do
    value[i] = self:value(t.of, entry, extend(path, i))
    if t.unique and type(entry) ~= "table" then
      if seen[entry] then self:report(extend(path, i), ("%s is in this list already"):format(found(t.of, entry))) end
      seen[entry] = true
    end
  end
  return value
end

function checkers.map(self, t, value, path)
  if kind_of(value) ~= "map" then return self:wrong(t, value, path) end
  for key, entry in values.pairs(value) do
    if t.keys and not matches(t.keys, tostring(key)) then
      self:report(extend(path, key), "the key is not allowed: " .. t.keys.allowed, true)
    end
    value[key] = self:value(t.of, entry, extend(path, key))
  end
  return value
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local made = values.kind(value) == "array" and values.array() or values.object()
  for k, v in values.pairs(value) do made[k] = copy(v) end
  return made
end

function Check:unknown_key(t, path, key)
  local names = {}
  for i, field in ipairs(t.fields) do names[i] = field[1] end
  local near = nearest(tostring(key), names)
  self:report(extend(path, key), near and ("no such key, did you mean %q?"):format(near)
    or "no such key, allowed: " .. table.concat(names, ", "), true)
end

function checkers.record(self, t, value, path)
  if kind_of(value) ~= "map" then return self:wrong(t, value, path) end
  local known = {}
  for _, field in ipairs(t.fields) do known[field[1]] = field[2] end
  for key, entry in values.pairs(value) do
    if known[key] then
      value[key] = self:value(known[key], entry, extend(path, key))
    else
      self:unknown_key(t, path, key)
    end
  end
  for _, field in ipairs(t.fields) do
    local name, of = field[1], field[2]
    if value[name] == nil then
      if of.required then
        self:report(path, ("the key %q is missing (%s)"):format(name, M.allowed(of)), true)
      elseif of.default ~= nil then
        value[name] = copy(of.default)
      end
    end
  end
  return value
end

local families = {
  string = "string", version = "string", enum = "string", cidr = "string", integer = "number", number = "number",
  boolean = "boolean", list = "list", map = "map", record = "map",
}

local function alternative(t, value)
  local kind = kind_of(value)
  if kind == "integer" then kind = "number" end
  for _, of in ipairs(t.of) do
    if families[of.kind] == kind then return of end
  end
end

function checkers.either(self, t, value, path)
  local of = alternative(t, value)
  if of then return self:value(of, value, path) end
  self:wrong(t, value, path)
end

function checkers.any(_, _, value)
  return value
end

--- Checks a value; what it returns takes its place when it is not nil.
function Check:value(t, value, path)
  local checked = checkers[t.kind](self, t, value, path)
  if checked == nil then return value end
  return checked
end

local crossing = {}

function crossing.record(self, t, value, path)
  local view = {}
  for _, field in ipairs(t.fields) do
    if value[field[1]] ~= nil then view[field[1]] = self:cross(field[2], value[field[1]], extend(path, field[1])) end
  end
  if t.check then
    t.check(view, function(relative, message, at_key)
      self:report(table.move(relative, 1, #relative, #path + 1, table.move(path, 1, #path, 1, {})), message, at_key)
    end)
  end
  return view
end

function crossing.list(self, t, value, path)
  local view = {}
  for i, entry in ipairs(value) do
    view[i] = self:cross(t.of, entry, extend(path, i)) or false
  end
  return view
end

function crossing.map(self, t, value, path)
  local view = values.object()
  for key, entry in values.pairs(value) do view[key] = self:cross(t.of, entry, extend(path, key)) end
  return view
end

function crossing.either(self, t, value, path)
  return self:cross(alternative(t, value), value, path)
end

--- Calls the checks of records, innermost first. They see those parts of the value that are right by themselves: a wrong
--- field is absent, a wrong entry of a list false. So one problem does not hide another.
function Check:cross(t, value, path)
  if self.bad[M.path_text(path)] then return nil end
  local visit = crossing[t.kind]
  if visit then return visit(self, t, value, path) end
  return value
end

--- The characters of a scalar in the text that was read.
function Check:source(path)
  return self.marks and self.marks:source(path)
end

--- Checks a value and gives it its defaults; the value itself is changed.
---@param t ws.schema.Type
---@param value any
---@param marks? ws.yaml.Marks  where the parts of the value are, from `yaml.load_marked`
---@return any value
---@return ws.schema.Problem[] problems  in the order of the text
function M.check(t, value, marks)
  local check = setmetatable({ marks = marks, problems = {}, bad = {} }, Check)
  value = check:value(t, value, {})
  check:cross(t, value, {})
  for i, problem in ipairs(check.problems) do problem.index = i end
  table.sort(check.problems, function(a, b)
    if a.line ~= b.line then return (a.line or 0) < (b.line or 0) end
    if a.column ~= b.column then return (a.column or 0) < (b.column or 0) end
    return a.index < b.index
  end)
  return value, check.problems
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
