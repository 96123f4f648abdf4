--- The display on a terminal: finished steps scroll by, running ones have a line each at the bottom.
local display = require "ws.display"
local native = require "ws.engine".native
local task = require "ws.task"

local M = {}

local INTERVAL = 0.2 -- seconds between redraws

--- Cuts a line to the terminal's width; escape sequences take no room.
local function fit(text, width)
  local out, room, i = {}, width, 1
  while i <= #text do
    local escape = text:match("^\27%[[%d;]*m", i)
    if escape then
      out[#out + 1] = escape
      i = i + #escape
    else
      local char = text:match("^[%z\1-\127\194-\253][\128-\191]*", i) or text:sub(i, i)
      if room > 0 then out[#out + 1] = char end
      room, i = room - 1, i + #char
    end
  end
  return table.concat(out)
end

---@param context table
function M.new(context)
  local running, drawn = {}, 0
  local paint = context.paint

  local function erase()
    if drawn > 0 then io.stderr:write(("\27[%dA\27[J"):format(drawn)) end
    drawn = 0
  end

  local function is_container(step)
    for _, other in ipairs(running) do
      if other.parent == step then return true end
    end
  end

  local function line(step)
    local progress = step.progress
    local count = progress and progress.total and ("  %d/%d"):format(progress.done or 0, progress.total) or ""
    return ("%s %s  %s%s%s"):format(paint("cyan", context.marks.running), step.path,
      paint("dim", display.duration(native.monotonic() - step.started)), count,
      progress and "  " .. progress.text or "")
  end

  local function draw()
    local _, width = native.is_tty(2)
    local lines = {}
    for _, step in ipairs(running) do
      if not is_container(step) then lines[#lines + 1] = fit(line(step), width - 1) .. "\n" end
    end
    display.write(table.concat(lines))
    drawn = #lines
  end

  local function say(text)
    erase()
    display.write(text .. "\n")
    draw()
  end

  local handlers = {
    run_start = function(e) say(("%s  %s"):format(paint("bold", e.run.title), paint("dim", "run " .. e.run.id))) end,
    step_start = function(e)
      running[#running + 1] = e.step
      erase()
      draw()
    end,
    step_end = function(e)
      for i, step in ipairs(running) do
        if step == e.step then table.remove(running, i) break end
      end
      if e.step.status ~= "skipped" or context.options.verbose then
        say(display.end_line(context, e.step))
      end
    end,
    step_note = function(e)
      say(("%s %s%s"):format(context.marks.note, e.step and e.step.path .. ": " or "", e.text))
    end,
    annotation = function(e) say(display.annotation(e.fields, paint)) end,
    text = function(e) say(e.text) end,
  }

  local ticker = task.spawn(function()
    while true do
      task.sleep(INTERVAL)
      if #running > 0 then
        erase()
        draw()
      end
    end
  end)

  return display.screen(handlers, ticker, erase)
end

return M
