--- The command line.
local M = {}

--- Reads the arguments and runs the command; returns the exit code.
function M.main(engine, first, ...)
  if first and (first:find("/", 1, true) or first:find("%.lua$")) then
    local folder = first:match("^(.*)/[^/]*$") or "."
    table.insert(engine.script_folders, folder)
    table.insert(engine.script_folders, "workflows")
    local chunk, message = loadfile(first)
    if not chunk then
      io.stderr:write("wsrun: ", message, "\n")
      return 65
    end
    chunk(...)
    return 0
  end
  io.stderr:write("usage: wsrun SCRIPT [ARGS]\n")
  return 64
end

return M
