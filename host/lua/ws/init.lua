--- What a workflow file needs: `local ws = require "ws"`.
local M = {}

--- Declares a workflow; see docs/writing-workflows.md. Raises on an unknown or missing field.
---
--- ```lua
--- local ws = require "ws"
--- return ws.workflow {
---   summary = "Say hello",
---   args = { { "name", doc = "whom to greet" } },
---   run = function(w, args)
---     w:step("greet", function() w:summary("hello, " .. args.name) end)
---   end,
--- }
--- ```
---@param spec ws.WorkflowSpec
---@return ws.Workflow
function M.workflow(spec)
  return require "ws.workflow".define(spec)
end

--- Makes a value that is never shown: it prints as `***` and only sinks open it (stdin and environment of a child, a
--- file of mode 0600, HTTP headers and bodies). Whatever leaves the process has its bytes replaced by `***`.
---@param value string
---@return ws.Secret
function M.secret(value)
  return require "ws.secret".new(value)
end

--- Raises an error object: a workflow's own failure.
---@param message string
---@param fields? { kind?: string, hint?: string, where?: string }  kind: default `failed`
function M.fail(message, fields)
  local object = { kind = "failed", message = message }
  for k, v in pairs(fields or {}) do object[k] = v end
  error(require "ws.error".new(object))
end

return M
