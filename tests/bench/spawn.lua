-- spawn.lua TIMES HEAP_MIB COMMAND...: the median time in seconds of process.run(COMMAND), in a process whose heap
-- holds HEAP_MIB of written memory.
local process = require "ws.process"
local timing = require "timing"

local times, heap = math.tointeger(arg[1]), math.tointeger(arg[2])
local command = table.pack(table.unpack(arg, 3))
command.n = nil
local ballast = {}
for i = 1, heap do ballast[i] = ("x"):rep(1024 * 1024) end
print(("%.9f"):format(timing(times, function()
  assert(assert(process.run(command)).code == 0)
end)))
assert(#ballast == heap)
