--- The display without a terminal: one line per change of state, a heartbeat a minute while steps run.
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
    display.write(text .. "\n")
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
      if e.step.status ~= "skipped" or context.options.verbose then say(display.end_line(context, e.step)) end
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
