local time = require "ws.time"

--- How long ago a time was, in kubectl's short form.
---@param timestamp? string  RFC 3339
---@param now? number
---@return string
local function age(timestamp, now)
  local at = timestamp and time.parse_rfc3339(timestamp)
  if not at then return "<unknown>" end
  local s = math.max(0, math.floor((now or time.now()) - at))
  if s < 120 then return s .. "s" end
  local m = s // 60
  if m < 10 then
    return s % 60 == 0 and m .. "m" or ("%dm%ds"):format(m, s % 60)
  elseif m < 180 then
    return m .. "m"
  end
  local h = s // 3600
  if h < 8 then
    return m % 60 == 0 and h .. "h" or ("%dh%dm"):format(h, m % 60)
  elseif h < 48 then
    return h .. "h"
  end
  local d = h // 24
  if d < 8 then return h % 24 == 0 and d .. "d" or ("%dd%dh"):format(d, h % 24) end
  if d < 730 then return d .. "d" end
  return ("%dy%dd"):format(d // 365, d % 365)
end

return age
