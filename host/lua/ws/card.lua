--- The last lines on the screen: what a run came to, and after a failure what, where, why and what to do next.
local display = require "ws.display"
local secret = require "ws.secret"

local M = {}

local function first_lines(text, n)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
    if #lines == n then break end
  end
  return table.concat(lines, "\n         ")
end

--- The failure card of a run.
---@param run ws.Run
---@param err ws.Error
---@param context { paint: function, marks: table, command: string }
---@return string
function M.failure(run, err, context)
  local step, paint = run.failed_step, context.paint
  local counts = run:tally()
  local head = run.interrupted and "interrupted after " .. display.duration(counts.seconds)
    or step and ("%s failed after %s"):format(step.path, display.duration(step.seconds)) or "failed"
  local lines = {
    ("%s %s  %s   (run %s, %d done, %d failed, %d not started)"):format(paint("red", context.marks.failed),
      paint("bold", run.title), head, run.id, counts.done, counts.failed, counts.skipped + counts.waiting),
    ("  Error  %s"):format(first_lines(tostring(err.message), 12)),
  }
  local where = {}
  if err.where then where[#where + 1] = err.where end
  if step and step.line then where[#where + 1] = step.line end
  if #where > 0 then lines[#lines + 1] = "  Where  " .. table.concat(where, " ← ") end
  if err.detail then lines[#lines + 1] = "  Why    " .. first_lines(err.detail, 6) end
  if err.hint then lines[#lines + 1] = "  Hint   " .. first_lines(err.hint, 6) end
  lines[#lines + 1] = "  Next   " .. (err.next or context.command)
  lines[#lines + 1] = "  Logs   " .. run.dir
  return secret.redact(table.concat(lines, "\n"))
end

--- Steps in the order in which they began, each followed by its own sub-steps.
local function in_order(steps)
  local children, rows = {}, {}
  for _, step in ipairs(steps) do
    local key = step.parent or steps
    children[key] = children[key] or {}
    table.insert(children[key], step)
  end
  local function visit(list)
    for _, step in ipairs(list or {}) do
      rows[#rows + 1] = step
      visit(children[step])
    end
  end
  visit(children[steps])
  return rows
end

--- The line that says what a run that went well came to.
---@param run ws.Run
---@param context { paint: function, marks: table }
---@return string
function M.outcome(run, context)
  return ("%s %s  %s in %s   (run %s)"):format(context.paint("green", context.marks.done),
    context.paint("bold", run.title), M.changes(run), display.duration(run:tally().seconds), run.id)
end

--- How much a run changed, in words.
---@param run ws.Run
---@return string
function M.changes(run)
  return run.change_count == 0 and "nothing changed" or run.change_count == 1 and "1 change"
    or ("%d changes"):format(run.change_count)
end

--- The lines that end a run that went well: every step with its time, and whether anything changed.
---@param run ws.Run
---@param context { paint: function, marks: table }
---@return string
function M.success(run, context)
  local width, lines = 0, {}
  for _, step in ipairs(run.steps) do width = math.max(width, #step.path) end
  for _, step in ipairs(in_order(run.steps)) do
    local line = ("  %s%s  %6s  %s"):format(step.path, (" "):rep(width - #step.path), display.duration(step.seconds),
      step.summary or "")
    lines[#lines + 1] = line:match("^(.-)%s*$")
  end
  lines[#lines + 1] = M.outcome(run, context)
  return secret.redact(table.concat(lines, "\n"))
end

return M
