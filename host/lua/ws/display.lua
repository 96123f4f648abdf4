--- What a person or a CI job sees of a run, on stderr; stdout is for results only.
---
--- Three displays listen to the same events: `live` on a terminal, `plain` elsewhere (one line per change of state, and
--- one a minute while nothing changes; in a CI with what its log can fold and mark), `json` (one NDJSON object per
--- event, on stdout).
local M = {}

local ci = require "ws.ci"
local secret = require "ws.secret"

local MARKS = 10 -- for one error; GitHub shows ten of a step

--- "4m02s", "12s", "0.3s".
---@param seconds number
---@return string
function M.duration(seconds)
  if seconds < 10 then return ("%.1fs"):format(seconds) end
  seconds = math.floor(seconds + 0.5)
  if seconds < 60 then return ("%ds"):format(seconds) end
  if seconds < 3600 then return ("%dm%02ds"):format(seconds // 60, seconds % 60) end
  return ("%dh%02dm"):format(seconds // 3600, seconds % 3600 // 60)
end

--- Whether colour is wanted on a file descriptor: no-color.org, force-color.org, CLICOLOR_FORCE, the terminal's own
--- word. A CI's log is no terminal: it gets colours when they are forced.
---@param is_tty boolean
---@param options table
---@return boolean
function M.wants_color(is_tty, options)
  if options.color == false then return false end
  local no_color = os.getenv("NO_COLOR")
  if no_color and no_color ~= "" then return false end
  local force = os.getenv("FORCE_COLOR")
  if os.getenv("CLICOLOR_FORCE") == "1" or (force and force ~= "" and force ~= "0") then return true end
  return is_tty and os.getenv("TERM") ~= "dumb"
end

local codes = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

--- A function that colours text, or leaves it.
---@param wanted boolean
---@return fun(color: string, text: string): string
function M.painter(wanted)
  if not wanted then return function(_, text) return text end end
  return function(color, text) return "\27[" .. codes[color] .. "m" .. text .. "\27[0m" end
end

--- Whether the terminal can show ✔ and ✖.
---@return boolean
function M.unicode()
  local locale = os.getenv("LC_ALL") or os.getenv("LC_CTYPE") or os.getenv("LANG") or ""
  return locale:upper():find("UTF%-?8") ~= nil
end

--- The marks of a step's state; they carry the meaning, colour only repeats it.
---@return table<string, string>
function M.marks()
  if M.unicode() then return { done = "✔", failed = "✖", skipped = "○", running = "…", note = "·" } end
  return { done = "ok", failed = "FAILED", skipped = "--", running = "..", note = "-" }
end

--- Writes to stderr with every secret masked, and nothing that a CI would take for a command.
---@param text string
function M.write(text)
  io.stderr:write(ci.harmless(secret.redact(text)))
end

--- Writes what a CI's dialect made, as it is.
---@param text string
function M.command(text)
  io.stderr:write(secret.redact(text))
end

--- A mark on a file and line as text: "error: app/main.go:12:3: text", further lines of the text below it.
---@param a ws.ci.Place
---@param paint fun(color: string, text: string): string
---@return string
function M.annotation(a, paint)
  local place = a.file and a.file .. (a.line and ":" .. a.line or "") .. (a.col and ":" .. a.col or "") .. ": " or ""
  return ("%s %s%s"):format(paint(a.level == "warning" and "yellow" or "red", a.level .. ":"), place,
    (a.text:gsub("\n", "\n  ")))
end

--- Marks the files and lines that an error belongs to, in a CI that shows such marks.
---@param err ws.Error
---@param step? ws.Step
function M.mark_error(err, step)
  local dialect = ci.current()
  if not dialect or not dialect.annotation then return end
  for i, place in ipairs(ci.places(err, step)) do
    if i > MARKS then break end
    M.command(dialect.annotation { file = place.file, line = place.line, col = place.col, text = place.text,
      level = "error", title = step and step.path .. " failed" or nil })
  end
end

--- Each line of a text with something before it.
---@param text string
---@param prefix? string
---@return string
function M.prefixed(text, prefix)
  return prefix and prefix .. text:gsub("\n", function() return "\n" .. prefix end) or text
end

--- The display for these options: a function that takes events, and has `close`.
---@param options table  wsrun's own options
---@param prefix? string  of each line, where several runs share the screen
---@return { emit: fun(event: table), close: fun() }
function M.open(options, prefix)
  local is_tty = require "ws.engine".native.is_tty(2)
  if options.json then return require "ws.display.json".new(options) end
  local dialect, in_ci = ci.current(), os.getenv("CI")
  local live = is_tty and not options.plain and not dialect and not (in_ci and in_ci ~= "")
    and os.getenv("TERM") ~= "dumb" and not prefix
  local context = { paint = M.painter(M.wants_color(is_tty, options)), marks = M.marks(), options = options,
    ci = dialect, prefix = prefix }
  return require(live and "ws.display.live" or "ws.display.plain").new(context)
end

--- A display made of handlers by event type and a task that redraws; closing it is safe twice.
---@param handlers table<string, fun(event: table)>
---@param ticker ws.Task
---@param finish? fun()  called when it is closed
---@return { emit: fun(event: table), close: fun() }
function M.screen(handlers, ticker, finish)
  return {
    emit = function(event)
      local handler = handlers[event.type]
      if handler then handler(event) end
    end,
    close = function()
      ticker:cancel()
      ticker:join()
      if finish then finish() end
    end,
  }
end

--- The line that says how a step ended.
---@param context table
---@param step ws.Step
---@return string
function M.end_line(context, step)
  local paint, marks = context.paint, context.marks
  if step.status == "done" then
    return ("%s %s  %s%s"):format(paint("green", marks.done), step.path, paint("dim", M.duration(step.seconds)),
      step.summary and "  " .. step.summary or "")
  elseif step.status == "skipped" then
    return paint("dim", ("%s %s  %s"):format(marks.skipped, step.path, tostring(step.err.message)))
  end
  return ("%s %s  %s%s"):format(paint("red", marks.failed), step.path, M.duration(step.seconds),
    step.inherited and "" or "  " .. tostring(step.err):gsub("%s+", " "))
end

return M
