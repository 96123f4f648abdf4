--- Versions as semver.org 2.0 describes them: reading, comparing, and ranges such as `^1.2`.
---
--- A version is a table that compares with `<`, `<=` and `==` and prints as it was written. Precedence is the
--- specification's: `1.0.0-rc.1 < 1.0.0`, numbers as numbers, and what follows a `+` does not count.
local errors = require "ws.error"

local M = {}

local DIGITS = 18 -- of one of the three numbers; more do not fit an integer

---@class ws.semver.Version
---@field major integer
---@field minor integer
---@field patch integer
---@field prerelease? string  what follows the dash: "rc.1"
---@field build? string       what follows the plus; it has no part in comparing
local Version = {}
Version.__index = Version

local function refuse(op, message, ...)
  return nil, errors.new { kind = "parse", op = op, message = message:format(...) }
end

--- What is wrong with the dot-separated identifiers of a prerelease or build, or nil.
local function identifiers_problem(text, what, numbers)
  for identifier in (text .. "."):gmatch("(.-)%.") do
    if identifier == "" then return ("its %s has an empty part"):format(what) end
    local odd = identifier:match("[^%w-]")
    if odd then return ("its %s has %q, allowed are letters, digits and dashes"):format(what, odd) end
    if numbers and identifier:find("^0%d+$") then
      return ("its %s has the number %s with a leading zero"):format(what, identifier)
    end
  end
end

--- What is wrong with a text that is no version, for people.
local function problem_of(text)
  if text == "" then return "it is empty" end
  if text:find("^[vV=]") then return ("it begins with %q"):format(text:sub(1, 1)) end
  local core = text:match("^[^+-]*")
  local count = select(2, core:gsub("%.", "")) + 1
  if core:find("[^%d.]") then return ("it has %q where digits belong"):format(core:match("[^%d.]")) end
  if count ~= 3 then return ("it has %d number%s and not three"):format(count, count == 1 and "" or "s") end
  for number in (core .. "."):gmatch("(.-)%.") do
    if number == "" then return "one of its three numbers is empty" end
    if #number > 1 and number:find("^0") then return ("the number %s has a leading zero"):format(number) end
    if #number > DIGITS then return ("the number %s is too large"):format(number) end
  end
  return "it is none"
end

--- Reads a version: three numbers, and perhaps a prerelease and build. A leading `v` is none of it.
---
--- ```lua
--- local semver = require "ws.semver"
--- local v = assert(semver.parse "1.4.2-rc.1+linux")
--- assert(v.minor == 4 and v.prerelease == "rc.1" and v.build == "linux")
--- assert(v < assert(semver.parse "1.4.2") and tostring(v) == "1.4.2-rc.1+linux")
--- ```
---@param text string
---@return ws.semver.Version? version
---@return ws.Error? err  kind `parse`; says what is wrong with it
function M.parse(text)
  if type(text) ~= "string" then error("semver.parse: a string expected, got " .. type(text), 2) end
  local function no(why)
    return refuse("semver.parse", "%q is not a version such as 1.4.2: %s", text, why)
  end
  local rest, build = text:match("^([^+]*)%+(.*)$")
  rest = rest or text
  local core, prerelease = rest:match("^([^-]*)%-(.*)$")
  local numbers = { (core or rest):match("^(%d+)%.(%d+)%.(%d+)$") }
  if #numbers ~= 3 then return no(problem_of(text)) end
  for _, number in ipairs(numbers) do
    if #number > DIGITS or (#number > 1 and number:find("^0")) then return no(problem_of(text)) end
  end
  local why = prerelease and identifiers_problem(prerelease, "prerelease", true)
    or build and identifiers_problem(build, "build")
  if why then return no(why) end
  return setmetatable({ major = math.tointeger(numbers[1]), minor = math.tointeger(numbers[2]),
    patch = math.tointeger(numbers[3]), prerelease = prerelease, build = build }, Version)
end

local function compare_identifiers(a, b)
  local a_number, b_number = not a:find("%D"), not b:find("%D")
  if a_number ~= b_number then return a_number and -1 or 1 end
  if a_number and #a ~= #b then return #a < #b and -1 or 1 end -- without leading zeros, the longer is the larger
  return a == b and 0 or a < b and -1 or 1
end

local function compare_prereleases(a, b)
  if a == b then return 0 end
  if not a or not b then return a and -1 or 1 end
  local next_a, next_b = (a .. "."):gmatch("(.-)%."), (b .. "."):gmatch("(.-)%.")
  while true do
    local x, y = next_a(), next_b()
    if not x or not y then return x and 1 or y and -1 or 0 end
    local order = compare_identifiers(x, y)
    if order ~= 0 then return order end
  end
end

local function compare(a, b)
  for _, field in ipairs { "major", "minor", "patch" } do
    if a[field] ~= b[field] then return a[field] < b[field] and -1 or 1 end
  end
  return compare_prereleases(a.prerelease, b.prerelease)
end

function Version.__eq(a, b) return compare(a, b) == 0 end

function Version.__lt(a, b) return compare(a, b) < 0 end

function Version.__le(a, b) return compare(a, b) <= 0 end

function Version:__tostring()
  return ("%d.%d.%d%s%s"):format(self.major, self.minor, self.patch, self.prerelease and "-" .. self.prerelease or "",
    self.build and "+" .. self.build or "")
end

--- A version from what a caller gave; a text that is none is misuse.
local function taken(name, value)
  if getmetatable(value) == Version then return value end
  if type(value) ~= "string" then error(("semver.%s: a version expected, got %s"):format(name, type(value)), 3) end
  local version, err = M.parse(value)
  if not version then error(err.message, 3) end
  return version
end

--- Which of two versions comes first. Raises for a text that is no version: `parse` what comes from outside.
---
--- ```lua
--- assert(require "ws.semver".compare("1.9.0", "1.10.0") == -1)
--- ```
---@param a string|ws.semver.Version
---@param b string|ws.semver.Version
---@return integer order  -1, 0 or 1
function M.compare(a, b)
  return compare(taken("compare", a), taken("compare", b))
end

---@class ws.semver.Range
---@field has fun(self: ws.semver.Range, version: string|ws.semver.Version): boolean  whether a version is in it
---@field best fun(self: ws.semver.Range, list: string[]): string?, ws.semver.Version?  the highest of some texts that
---  are versions in it, a leading `v` allowed; others are passed over

--- Reads a range of versions.
---
--- `^1.2` is below 2.0.0 (`^0.2` below 0.3.0), `~1.4` and `1.4.x` below 1.5.0, `1.x` below 2.0.0, `*` all;
--- `>=1.0 <2` and `>=1.0, <2` both conditions, `1.2 - 1.4` from the first to the second, `a || b` either. Operators:
--- `=`, `!=`, `<`, `<=`, `>`, `>=`. A prerelease is in a range only when a condition names a prerelease of the same
--- three numbers: `>=1.5.0-rc.1` has 1.5.0-rc.2 and not 1.6.0-rc.1.
---
--- ```lua
--- local semver = require "ws.semver"
--- local range = assert(semver.range "^1.2 || 3.x")
--- assert(range:has "1.9.1" and range:has "3.0.0" and not range:has "2.0.0")
--- assert(range:best { "1.2.0", "1.10.0", "2.0.0", "latest" } == "1.10.0")
--- ```
---@param text string
---@return ws.semver.Range? range
---@return ws.Error? err  kind `parse`
function M.range(text)
  if type(text) ~= "string" then error("semver.range: a string expected, got " .. type(text), 2) end
  return require "ws.semver.range".parse(M, text)
end

--- Whether a value is a version of this module.
---@param value any
---@return boolean
function M.is(value)
  return getmetatable(value) == Version
end

return M
