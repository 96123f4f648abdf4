--- `wsrun apply FILE`: does what a saved plan says, when it still holds.
local errors = require "ws.error"
local flags = require "ws.flags"
local fs = require "ws.fs"
local project = require "ws.project"
local saved_plan = require "ws.plan.saved"

local M = {}

function M.main(words, globals)
  local opts, rest = flags.parse({}, words)
  if not opts then return nil, rest end
  if #rest ~= 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun apply takes the file of one plan",
      hint = "wsrun plan WORKFLOW ARGS --save FILE makes it" }
  end
  if globals.plan then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun apply does what was planned already" }
  end
  local saved, err = saved_plan.peek(rest[1])
  if not saved then return nil, err end
  for name, value in pairs(saved.options) do
    if globals[name] == nil or globals[name] == false then globals[name] = value end
  end
  saved.file, globals.saved = fs.absolute(rest[1]), saved
  local words_then = table.move(saved.words, 1, #saved.words, 1, {})
  return require "ws.cli.run".script(project.path(saved.script), words_then, globals)
end

return M
