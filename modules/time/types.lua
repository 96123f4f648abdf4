---@meta ws.time.native

local time = {}

--- The time of day: seconds since 1970-01-01T00:00:00Z, leap seconds not counted. It jumps when the clock is set.
---@return number seconds
function time.now() end

--- Seconds on a clock that only goes forward, for measuring; its zero means nothing.
---@return number seconds
function time.monotonic() end

--- As `monotonic`, but it goes on while the machine sleeps: for what others take to have expired meanwhile.
---@return number seconds
function time.boottime() end

return time
