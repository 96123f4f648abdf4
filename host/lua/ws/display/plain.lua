--- The display without a terminal: one line per change of state, a heartbeat a minute while steps run. In a CI a step
--- that ended is followed by what it said: folded where the log can fold, else only of a step that failed.
local details = require "ws.display.details"
local display = require "ws.display"
local task = require "ws.task"

local M = {}

local HEARTBEAT = 60 -- seconds

---@param context table
function M.new(context)
  local running, order = {}, {}
  local last = require "ws.engine".native.monotonic()
  local now = require "ws.engine".native.monotonic

  local function say(text)
    last = now()
    display.write(display.prefixed(text, context.prefix) .. "\n")
  end

  local function say_end(step)
    local title, ci = display.end_line(context, step), context.ci
    local lines = ci and not step.inherited and (ci.group or step.status == "failed") and details.lines(step) or {}
    if #lines == 0 or (#lines == 1 and step.status == "done") then return say(title) end -- nothing worth a fold
    if not ci.group then return say(title .. "\n" .. table.concat(lines, "\n")) end
    last = now()
    display.command(ci.group(title, lines, step))
  end

  local handlers = {
    run_start = function(e)
      say(("%s (run %s)"):format(e.run.title, e.run.id))
    end,
    step_start = function(e)
      running[e.step] = true
      order[#order + 1] = e.step
      say(("%s %s"):format(context.marks.running, e.step.path))
    end,
    step_end = function(e)
      running[e.step] = nil
      if e.step.status ~= "skipped" or context.options.verbose then say_end(e.step) end
    end,
    step_progress = context.ci and function(e) details.note(e.step) end or nil,
    annotation = function(e)
      if context.ci and context.ci.annotation then
        display.command(context.ci.annotation(e.fields))
      else
        say(display.annotation(e.fields, context.paint))
      end
    end,
    step_note = function(e)
      say(("%s %s%s"):format(context.marks.note, e.step and e.step.path .. ": " or "", e.text))
    end,
    text = function(e) say(e.text) end,
  }

  local heartbeat = task.spawn(function()
    while true do
      task.sleep(HEARTBEAT / 4)
      if now() - last >= HEARTBEAT then
        for _, step in ipairs(order) do
          if running[step] then
            local progress = step.progress and "  " .. step.progress.text or ""
            say(("%s %s  %s%s"):format(context.marks.running, step.path, display.duration(now() - step.started),
              progress))
          end
        end
      end
    end
  end)

  return display.screen(handlers, heartbeat)
end

return M
