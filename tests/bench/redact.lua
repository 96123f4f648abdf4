-- redact.lua FILE SECRETS TIMES: the median time in seconds of masking the text of FILE (32 copies of it) while every
-- line of the file SECRETS is a secret.
local secret = require "ws.secret"
local timing = require "timing"

for line in io.lines(arg[2]) do secret.new(line) end
local file <close> = assert(io.open(arg[1], "rb"))
local text = file:read("a"):rep(32)
print(("%.9f"):format(timing(math.tointeger(arg[3]), function() assert(#secret.redact(text) == #text) end)))
