--- `wsrun version`
local M = {}

--- Prints the version; with --json also the tools that were found.
function M.main(_, globals)
  local native = require "ws.engine".native
  if not globals.json then
    print("wsrun " .. native.version)
    return 0
  end
  local tools = {}
  for _, tool in ipairs(require "ws.cli.doctor".tools()) do
    tools[tool.name] = tool.version or require "ws.json".null
  end
  print(require "ws.json".encode({ version = native.version, lua = _VERSION, tools = tools }, { indent = 2 }))
  return 0
end

return M
