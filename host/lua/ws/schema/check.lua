--- One run of a schema over a value; see `check` in ws.schema.
local schema = require "ws.schema"
local values = require "ws.json"
local nearest = require "ws.nearest"
local cidr = require "ws.cidr"

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
  local where = #path > 0 and schema.path_text(path) .. ": " or ""
  self.problems[#self.problems + 1] = {
    path = path, line = line, column = column, message = message, text = place .. where .. message,
  }
end

function Check:wrong(t, value, path, hint)
  self.bad[schema.path_text(path)] = true
  self:report(path, ("found %s, allowed: %s%s"):format(found(t, value), schema.allowed(t), hint and " (" .. hint .. ")"
    or ""))
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
  if out_of_bounds(t, #value) then self:report(path, ("%d entries, allowed: %s"):format(#value, schema.allowed(t))) end
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
        self:report(path, ("the key %q is missing (%s)"):format(name, schema.allowed(of)), true)
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
    local name = field[1]
    if value[name] ~= nil then view[name] = self:cross(field[2], value[name], extend(path, name)) end
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
    view[i] = self:cross(t.of, entry, extend(path, i))
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

--- Calls the checks of records, innermost first. They see those parts of the value that are right by themselves,
--- and false in the place of a wrong one. So one problem does not hide another, and makes no second one.
function Check:cross(t, value, path)
  if self.bad[schema.path_text(path)] then return false end
  local visit = crossing[t.kind]
  if visit then return visit(self, t, value, path) end
  return value
end

--- The characters of a scalar in the text that was read.
function Check:source(path)
  return self.marks and self.marks:source(path)
end

--- See `ws.schema.check`.
---@param t ws.schema.Type
---@param value any
---@param marks? ws.yaml.Marks
---@return any value
---@return ws.schema.Problem[] problems
return function(t, value, marks)
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
