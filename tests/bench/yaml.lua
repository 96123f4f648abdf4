-- yaml.lua FILE TIMES: the median time in seconds to turn FILE into Lua values.
local fs = require "ws.fs"
local yaml = require "ws.yaml"
local timing = require "timing"

local text = assert(fs.read(arg[1]))
print(("%.9f"):format(timing(math.tointeger(arg[2]), function() assert(yaml.decode(text)) end)))
