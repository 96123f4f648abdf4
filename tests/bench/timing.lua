-- The median time in seconds of `times` calls of fn, each after a collection so that none pays for the one before.
local time = require "ws.time"

return function(times, fn)
  local list = {}
  for i = 1, times do
    collectgarbage()
    local start = time.monotonic()
    fn()
    list[i] = time.monotonic() - start
  end
  table.sort(list)
  return list[#list // 2 + 1]
end
