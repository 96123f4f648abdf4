--- `wsrun provider [FILE]`: a Terraform provider as a plugin; the sandbox's, or the one whose handler FILE returns.
local errors = require "ws.error"

local M = {}

local function handler_of(file)
  if not file then return require "sandbox.provider".handler() end
  local chunk, message = loadfile(file)
  if not chunk then
    return nil, errors.new { kind = "parse", message = message }
  end
  local handler = chunk()
  if type(handler) ~= "function" then
    return nil, errors.new { kind = "invalid", message = file .. " returns no handler",
      hint = "it ends in `return function(method, request, connection) ... end`; see `wsrun doc ws.provider`" }
  end
  return handler
end

--- Runs the provider until Terraform asks it to end.
---@async
---@param words string[]
---@return integer? code
---@return ws.Error? err
function M.main(words)
  if #words > 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "usage: wsrun provider [FILE]" }
  end
  local handler, err = handler_of(words[1])
  if not handler then return nil, err end
  local ok
  ok, err = require "ws.provider.plugin".run(handler)
  if not ok then return nil, err end
  return 0
end

return M
