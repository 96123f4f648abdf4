-- The real servers of servers.sh, for Lua tests.
local fs = require "ws.fs"
local process = require "ws.process"

local M = {}

--- Starts a server for the length of a test and returns what it puts in the environment.
---@param t table
---@param name string  as servers.sh knows it
---@return table<string, string>
function M.start(t, name)
  local dir = assert(fs.realpath(t:tmpdir())) .. "/" .. name
  local r = assert(process.run({ "tests/real/servers.sh", "start", name, dir }, { timeout = 120 }))
  t:eq(r.code, 0, r.stdout .. r.stderr)
  t:defer(function() assert(process.run({ "tests/real/servers.sh", "stop", dir }, { timeout = 60 })) end)
  local env = {}
  for key, value in r.stdout:gmatch("([%w_]+)=([^\n]*)") do env[key] = value end
  return env
end

return M
