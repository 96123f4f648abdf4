--- Ranges of versions; see `semver.range`.
---
--- A range is a list of alternatives; an alternative is a list of conditions { op, version } that must all hold.
local errors = require "ws.error"

local M = {}

local Range = {}
Range.__index = Range

local DIGITS = 15 -- of a number of a range: one more than it is still a number that a version may have

--- The parts of "1.2", "1.x", "*", "v1.2.3-rc.1": numbers, how many there are, and the whole version when it is one.
local function partial(semver, text)
  local plain = text:gsub("^[vV]", "")
  local whole = semver.parse(plain)
  if whole then
    if math.max(whole.major, whole.minor, whole.patch) >= 10 ^ DIGITS then return nil end
    return { whole = whole, count = 3, whole.major, whole.minor, whole.patch }
  end
  local parts, wild = { count = 0 }, false
  for part in (plain .. "."):gmatch("(.-)%.") do
    local number = part:find("^%d+$") and #part <= DIGITS and math.tointeger(part)
    if part:find("^[xX*]$") then
      wild = true
    elseif not number or wild or part:find("^0%d") then
      return nil
    else
      parts.count = parts.count + 1
      parts[parts.count] = number
    end
  end
  if parts.count > 2 or select(2, plain:gsub("%.", "")) > 2 then return nil end
  return parts
end

local function version(semver, major, minor, patch)
  return assert(semver.parse(("%d.%d.%d"):format(major, minor or 0, patch or 0)))
end

--- The lowest version that a partial one stands for.
local function floor(semver, p)
  return p.whole or version(semver, p[1] or 0, p[2], p[3])
end

--- The first version above all that share the first `n` numbers. As a bound below it has no prerelease either.
local function ceiling(semver, p, n)
  if n == 1 then return version(semver, p[1] + 1) end
  if n == 2 then return version(semver, p[1], p[2] + 1) end
  return version(semver, p[1], p[2], p[3] + 1)
end

local function between(semver, p, n)
  if p.count == 0 then return { { ">=", version(semver, 0) } } end
  return { { ">=", floor(semver, p) }, { "<", ceiling(semver, p, n) } }
end

--- What each operator makes of a partial version.
local operators = {
  ["="] = function(semver, p)
    if p.whole then return { { "=", p.whole } } end
    return between(semver, p, p.count)
  end,
  ["!="] = function(_, p)
    return p.whole and { { "!=", p.whole } }
  end,
  ["^"] = function(semver, p)
    local n = 1 -- up to and with the first number that is not zero
    while n < p.count and p[n] == 0 do n = n + 1 end
    return between(semver, p, n)
  end,
  ["~"] = function(semver, p)
    return between(semver, p, math.min(p.count, 2))
  end,
  [">="] = function(semver, p) return { { ">=", floor(semver, p) } } end,
  ["<"] = function(semver, p) return { { "<", floor(semver, p) } } end,
  [">"] = function(semver, p)
    if p.whole then return { { ">", p.whole } } end
    if p.count == 0 then return nil end
    return { { ">=", ceiling(semver, p, p.count) } }
  end,
  ["<="] = function(semver, p)
    if p.whole then return { { "<=", p.whole } } end
    if p.count == 0 then return { { ">=", version(semver, 0) } } end
    return { { "<", ceiling(semver, p, p.count) } }
  end,
}

local function conditions_of(semver, op, text)
  local make = operators[op == "" and "=" or op == "~>" and "~" or op == "==" and "=" or op]
  local p = make and text ~= "" and partial(semver, text)
  return p and make(semver, p)
end

--- Reads one alternative: conditions side by side. Returns nil and the word that is none.
local function alternative(semver, text)
  local low, high = text:match("^%s*(%S+)%s+%-%s+(%S+)%s*$")
  if low then
    local from, to = conditions_of(semver, ">=", low), conditions_of(semver, "<=", high)
    if not from or not to then return nil, from and high or low end
    return { from[1], to[1] }
  end
  local list = {}
  local joined = text:gsub("([<>=!^~]+)%s+", "%1"):gsub(",", " ")
  for word in joined:gmatch("%S+") do
    local op, rest = word:match("^([<>=!^~]*)(.*)$")
    local conditions = conditions_of(semver, op, rest)
    if not conditions then return nil, word end
    table.move(conditions, 1, #conditions, #list + 1, list)
  end
  if #list == 0 then return nil, "" end
  return list
end

--- See semver.range.
function M.parse(semver, text)
  local alternatives = {}
  for part in (text .. "||"):gmatch("(.-)||") do
    local conditions, word = alternative(semver, part)
    if not conditions then
      return nil, errors.new { kind = "parse", op = "semver.range",
        message = ("%q is not a range of versions: %s"):format(text,
          word == "" and "a part of it is empty" or ("%q is no condition"):format(word)),
        hint = "ranges look like ^1.2, ~1.4, 1.x, >=1.0 <2, 1.2 - 1.4, or several with ||" }
    end
    alternatives[#alternatives + 1] = conditions
  end
  return setmetatable({ text = text, alternatives = alternatives, semver = semver }, Range)
end

local holds = {
  ["="] = function(a, b) return a == b end,
  ["!="] = function(a, b) return a ~= b end,
  ["<"] = function(a, b) return a < b end,
  ["<="] = function(a, b) return a <= b end,
  [">"] = function(a, b) return a > b end,
  [">="] = function(a, b) return a >= b end,
}

local function same_numbers(a, b)
  return a.major == b.major and a.minor == b.minor and a.patch == b.patch
end

local function all_hold(conditions, v)
  local prerelease_named = not v.prerelease
  for _, condition in ipairs(conditions) do
    local op, bound = condition[1], condition[2]
    if not holds[op](v, bound) then return false end
    if bound.prerelease and same_numbers(v, bound) then prerelease_named = true end
  end
  return prerelease_named
end

--- Whether a version is in the range. Raises for a text that is no version.
---@param v string|ws.semver.Version
---@return boolean
function Range:has(v)
  if type(v) == "string" then
    local parsed, err = self.semver.parse(v)
    if not parsed then error(err.message, 2) end
    v = parsed
  end
  if not self.semver.is(v) then error("range:has: a version expected, got " .. type(v), 2) end
  for _, conditions in ipairs(self.alternatives) do
    if all_hold(conditions, v) then return true end
  end
  return false
end

--- The highest of some texts that are versions in the range, as it was written; others are passed over. A leading `v`
--- is allowed, as tags of images have it.
---@param list string[]
---@return string? best  nil: none is in the range
---@return ws.semver.Version? version
function Range:best(list)
  local best, best_version
  for _, text in ipairs(list) do
    local v = self.semver.parse((text:gsub("^v", "")))
    if v and self:has(v) and (not best_version or best_version < v) then best, best_version = text, v end
  end
  return best, best_version
end

function Range:__tostring()
  return self.text
end

return M
