--- A plan as people read it, and as programs do.
local json = require "ws.json"
local plan = require "ws.plan"

local M = {}

local SCHEMA_VERSION = 1
local MARKS = { add = { "+", "green" }, change = { "~", "yellow" }, remove = { "-", "red" },
  replace = { "±", "yellow" } }
local MAX_VALUE = 120 -- characters of a value on the screen

local function shorten(text)
  text = text:gsub("\n", "\\n")
  if #text <= MAX_VALUE then return text end
  local cut = MAX_VALUE
  while cut > 0 and (text:byte(cut + 1) or 0) & 0xc0 == 0x80 do cut = cut - 1 end -- not inside a character
  return text:sub(1, cut) .. "…"
end

local function show_change(lines, change, look, verbose)
  local mark, color = table.unpack(MARKS[change.action])
  if mark == "±" and not look.unicode then mark = "-/+" end
  local text = ("  %s %-10s %s"):format(mark, change.what, change.name)
  if change.detail then text = text .. "  " .. change.detail end
  if change.unknown then text = text .. "  (more is known when it is made)" end
  lines[#lines + 1] = look.paint(color, text)
  if change.action ~= "change" and change.action ~= "replace" and not verbose then return end
  for _, attribute in ipairs(change.attributes or {}) do
    local before, after = attribute.before, attribute.after
    local value = before and after and shorten(before) .. (look.unicode and " → " or " -> ") .. shorten(after)
      or before and shorten(before) .. " is removed" or shorten(after or "")
    lines[#lines + 1] = ("      %s: %s"):format(attribute.name, value)
  end
end

--- The steps that have something to say, in the order in which they began.
local function entries(run)
  local list = {}
  for _, step in ipairs(run.steps) do
    if step.planned then list[#list + 1] = { step = step, entry = step.planned } end
  end
  return list
end

--- "3 to add, 1 to change; 2 steps deferred".
---@param run ws.Run
---@return string
function M.tally(run)
  local totals = plan.totals(run)
  local parts = { plan.words(totals) }
  local function steps(n, what)
    if n > 0 then parts[#parts + 1] = ("%d step%s %s"):format(n, n == 1 and "" or "s", what) end
  end
  steps(totals.deferred, "deferred")
  steps(totals.would_run, "without a plan would run")
  steps(totals.failed, "could not be planned")
  return table.concat(parts, "; ")
end

--- The report as text. `look` has `paint` (of ws.display.painter), `unicode` and `verbose`.
---@param run ws.Run
---@param look { paint: function, unicode: boolean, verbose?: boolean }
---@return string
function M.text(run, look)
  local lines, quiet_steps = { look.paint("bold", run.title) .. "  plan; nothing was changed", "" }, 0
  for _, one in ipairs(entries(run)) do
    local step, entry = one.step, one.entry
    local before = #lines
    if step.status == "failed" and not step.inherited then
      lines[#lines + 1] = look.paint("red", "  ! could not be planned: " .. tostring(step.err):gsub("%s+", " "))
    end
    if entry.deferred then lines[#lines + 1] = look.paint("cyan", "  ? deferred: " .. entry.deferred) end
    if entry.status == "would_run" then lines[#lines + 1] = "  > would run; it has no plan of its own" end
    for _, change in ipairs(entry.changes) do show_change(lines, change, look, look.verbose) end
    if #lines > before then
      if entry.note then lines[#lines + 1] = "    " .. entry.note end
      table.insert(lines, before + 1, look.paint("bold", step.path))
      lines[#lines + 1] = ""
    elseif entry.status == "planned" then
      quiet_steps = quiet_steps + 1
      if look.verbose then
        lines[#lines + 1] = ("%s: no changes"):format(step.path)
        lines[#lines + 1] = ""
      end
    end
  end
  if run.plan.stopped then
    lines[#lines + 1] = look.paint("cyan", "? the workflow goes on with what is not known yet: "
      .. tostring(run.plan.stopped.message))
    lines[#lines + 1] = ""
  end
  lines[#lines + 1] = look.paint("bold", "plan: " .. M.tally(run))
    .. (quiet_steps > 0 and (" (%d steps without changes)"):format(quiet_steps) or "")
  return table.concat(lines, "\n")
end

--- The report for programs.
---@param run ws.Run
---@return table
function M.document(run)
  local steps = json.array {}
  for _, one in ipairs(entries(run)) do
    local step, entry = one.step, one.entry
    local changes = json.array {}
    for i, change in ipairs(entry.changes) do
      local copy = {}
      for key, value in pairs(change) do copy[key] = value end
      if copy.attributes then copy.attributes = json.array(copy.attributes) end
      changes[i] = copy
    end
    local status = step.status == "failed" and "failed" or entry.status
    steps[#steps + 1] = { step = step.path, status = status, changes = changes, deferred = entry.deferred,
      note = entry.note, where = step.line,
      error = step.err and { kind = step.err.kind, message = tostring(step.err.message) } or nil }
  end
  return { schema_version = SCHEMA_VERSION, title = run.title, steps = steps, totals = plan.totals(run),
    changes = plan.has_changes(run), stopped = run.plan.stopped and tostring(run.plan.stopped.message) or nil }
end

return M
