-- main.lua - the function that is the program: words of the command line in, exit code out.
-- Only what the command at hand needs is loaded: -e costs no more than the language itself.
local function run_code(words)
  local chunk, message = load(words[2] or "", "=(command line)")
  if not chunk then
    io.stderr:write("wsrun: ", message, "\n")
    return 65
  end
  chunk(table.unpack(words, 3))
  return 0
end

return function(...)
  local _ <close> = setmetatable({}, { __close = require "ws.engine".finish_streams })
  local words = { ... }
  if words[1] == "-e" then return run_code(words) end
  return require("ws.cli").main(words)
end
