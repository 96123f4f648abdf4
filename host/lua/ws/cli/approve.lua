--- `wsrun approve RUN`: says yes to what a parked run waits for, and resumes it.
local approval = require "ws.approval"
local errors = require "ws.error"
local flags = require "ws.flags"

local M = {}

M.options = { { "resume", default = true, doc = "continue the run (--no-resume: only note the approval)" } }

local function approve(id)
  local journal, err = require "ws.journal".open()
  if not journal then return nil, err end
  local _ <close> = journal
  local record
  record, err = journal:find(id)
  if not record then return nil, err end
  local by_path, rows = journal:steps(record.id)
  if not by_path then return nil, rows end
  local waiting -- the step that asks is the innermost of those that failed so
  for _, row in ipairs(rows) do
    if by_path[row.path] == row and row.status == "failed" and row.error and row.error.kind == "parked"
      and (not waiting or #row.path > #waiting.path) then waiting = row end
  end
  if record.status ~= "parked" or not waiting then
    return nil, errors.new { kind = "invalid", usage = true,
      message = ("run %s waits for no approval: it is %s"):format(record.id, record.status) }
  end
  local ok
  ok, err = journal:approve(record, waiting, approval.given())
  if not ok then return nil, err end
  io.stderr:write(("approved: %s\n"):format((waiting.error.message:gsub("^waits for approval: ", ""))))
  return record
end

function M.main(words, globals)
  local opts, rest = flags.parse(M.options, words)
  if not opts then return nil, rest end
  if #rest ~= 1 then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun approve takes a run",
      hint = "wsrun runs lists them" }
  end
  local record, err = approve(rest[1])
  if not record then return nil, err end
  if not opts.resume then return 0 end
  return require "ws.cli.resume".continue(record, {}, globals)
end

return M
