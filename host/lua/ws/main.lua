-- main.lua - the function that is the program: arguments in, exit code out.
-- Only what the command at hand needs is loaded.
local engine = require "ws.engine"

local function run_code(code, ...)
  local chunk, message = load(code, "=(command line)")
  if not chunk then
    io.stderr:write("wsrun: ", message, "\n")
    return 65
  end
  chunk(...)
  return 0
end

return function(first, ...)
  if first == "-e" then return run_code(... or "", select(2, ...)) end
  if first == "test" then return require("ws.test").main { ... } end
  return require("ws.cli").main(engine, first, ...)
end
