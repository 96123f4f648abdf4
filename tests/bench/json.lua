-- json.lua FILE TIMES: the median times in seconds to decode FILE and to encode its value, on two lines.
local fs = require "ws.fs"
local json = require "ws.json"
local timing = require "timing"

local text = assert(fs.read(arg[1]))
local times = math.tointeger(arg[2])
local value = assert(json.decode(text))
print(("%.9f"):format(timing(times, function() assert(json.decode(text)) end)))
print(("%.9f"):format(timing(times, function() json.encode(value) end)))
