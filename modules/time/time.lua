--- Clocks, and times as text.
local native = require "ws.time.native"

local M = {
  now = native.now,
  monotonic = native.monotonic,
  boottime = native.boottime,
}

--- A time as RFC 3339 text in UTC.
---
--- ```lua
--- assert(time.rfc3339(0) == "1970-01-01T00:00:00Z")
--- assert(time.rfc3339(1.5, 3) == "1970-01-01T00:00:01.500Z")
--- ```
---@param t? number  seconds since 1970; default: now
---@param digits? integer  of the second's fraction, which is cut and not rounded; default 0
---@return string
function M.rfc3339(t, digits)
  t = t or native.now()
  if type(t) ~= "number" or t ~= t or t < -62167219200 or t >= 253402300800 then
    error("rfc3339: seconds in the years 0 to 9999 expected, got " .. tostring(t), 2)
  end
  local whole = math.floor(t)
  local text = os.date("!%Y-%m-%dT%H:%M:%S", whole)
  if #text < 19 then text = ("0"):rep(19 - #text) .. text end
  if digits and digits > 0 then
    local fraction = math.min(math.floor((t - whole) * 10 ^ digits), 10 ^ digits - 1)
    text = ("%s.%0" .. digits .. "d"):format(text, math.tointeger(fraction))
  end
  return text .. "Z"
end

--- Days from 1970-01-01 to a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
end

local function month_length(year, month)
  if month ~= 2 then return (month == 4 or month == 6 or month == 9 or month == 11) and 30 or 31 end
  return (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 29 or 28
end

--- Reads RFC 3339 text. A leap second (…:60) counts as the first second of the next minute.
---
--- ```lua
--- assert(time.parse_rfc3339("1970-01-01T01:00:00.5+01:00") == 0.5)
--- ```
---@param text string
---@return number? seconds  since 1970
---@return ws.Error? err  kind `parse`
function M.parse_rfc3339(text)
  if type(text) ~= "string" then error("parse_rfc3339: string expected, got " .. type(text), 2) end
  local year, month, day, hour, minute, second, fraction, zone =
    text:match("^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)(%.?%d*)([Zz+-].*)$")
  local offset = zone and zone:upper() == "Z" and 0
  if zone and not offset then
    local sign, h, m = zone:match("^([+-])(%d%d):(%d%d)$")
    if sign and tonumber(h) < 24 and tonumber(m) < 60 then
      offset = (tonumber(h) * 3600 + tonumber(m) * 60) * (sign == "-" and -1 or 1)
    end
  end
  year, month, day = math.tointeger(year), math.tointeger(month), math.tointeger(day)
  hour, minute, second = math.tointeger(hour), math.tointeger(minute), math.tointeger(second)
  if not offset or fraction == "." or (#fraction > 0 and fraction:sub(1, 1) ~= ".") or month < 1 or month > 12
    or day < 1 or day > month_length(year, month) or hour > 23 or minute > 59 or second > 60 then
    return nil, require "ws.error".new {
      kind = "parse", op = "time.parse_rfc3339", message = ("not a time such as 2026-11-22T18:45:36Z: %q"):format(text),
    }
  end
  local seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset
  return fraction == "" and seconds or seconds + tonumber("0" .. fraction)
end

return M
