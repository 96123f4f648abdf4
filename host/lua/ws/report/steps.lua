--- The steps of a report: each folded to one line, with all that is known of it inside.
local display = require "ws.display"
local h = require "ws.report.html"
local json = require "ws.json"
local time = require "ws.time"

local M = {}

local TAIL_LINES = 15 -- of a log, before it has to be opened
local RESULT_BYTES = 64 * 1024
local FEW = 8         -- lines of progress that are not folded

--- The marks of states, as on the screen; the word stands beside or is there for who hears the page.
M.marks = { done = "✔", failed = "✖", killed = "✖", skipped = "○", running = "…", undone = "↶", interrupted = "✖",
  parked = "…", denied = "✖" }

--- A moment, in UTC, as people read it.
---@param seconds number  since 1970
---@return ws.report.Element
function M.moment(seconds)
  local text = time.rfc3339(seconds)
  return h.time { datetime = text, class = "num", (text:gsub("T", " "):gsub("Z$", " UTC")) }
end

--- A duration without a fraction that says nothing: "2m", "30s", "0.5s".
---@param seconds number
---@return string
function M.round_duration(seconds)
  if seconds < 60 then return ("%gs"):format(seconds) end
  return (display.duration(seconds):gsub("m00s$", "m"):gsub("h00m$", "h"))
end

--- A table that scrolls where it is too wide.
---@param columns string[]
---@param rows ws.report.Element[]
---@return ws.report.Element
function M.table(columns, rows)
  local heads = {}
  for i, name in ipairs(columns) do heads[i] = h.th { scope = "col", name } end
  return h.div { class = "scroll", h.table { h.thead { h.tr { heads } }, h.tbody { rows } } }
end

--- What, where, why and what to do.
---@param err table  of the journal
---@param command? string  to type next
---@param step? table      that it happened in
---@return ws.report.Element
function M.error_card(err, command, step)
  local function line(name, text)
    return text and { h.dt { name }, h.dd { text } }
  end
  local where = err.where
  if step and step.row.line then where = where and where .. " ← " .. step.row.line or step.row.line end
  return h.div { class = "error", role = "group", ["aria-label"] = "Error", h.dl {
    h.dt { "Error" }, h.dd { class = "message", err.op and err.op .. ": ", err.message or err.kind or "failed" },
    step and line("Step", h.a { href = "#" .. step.id, step.path }),
    line("Kind", err.kind and (err.status and ("%s (%s)"):format(err.kind, err.status) or err.kind)),
    line("Where", where), line("Why", err.detail), line("Hint", err.hint),
    command and { h.dt { "Next" }, h.dd { h.code { command } } },
  } }
end

local function bytes(n)
  if n < 1024 then return n .. " bytes" end
  if n < 1 << 20 then return ("%.0f KiB"):format(n / 1024) end
  return ("%.1f MiB"):format(n / (1 << 20))
end

--- The last lines of a text, and whether there are more before.
local function last_lines(text, count)
  text = text:gsub("%s+$", "")
  local at, n = #text, 0
  while at > 0 do
    if text:byte(at) == 10 then
      n = n + 1
      if n == count then return text:sub(at + 1), true end
    end
    at = at - 1
  end
  return text, false
end

--- What Terraform tells machines, as it tells people: its messages, with the details of errors.
local function readable(text)
  if not text:find('{"@level"', 1, true) then return text end
  return (text:gsub("[^\n]+", function(line)
    local entry = line:find('^{"@level"') and json.decode(line)
    if type(entry) ~= "table" or type(entry["@message"]) ~= "string" then return nil end
    local at = tostring(entry["@timestamp"] or ""):match("T(%d%d:%d%d:%d%d)")
    local diagnostic = type(entry.diagnostic) == "table" and entry.diagnostic.detail
    return (at and at .. "  " or "") .. entry["@message"] .. (type(diagnostic) == "string" and diagnostic ~= ""
      and "\n" .. diagnostic or "")
  end))
end

--- A log, folded; of a step that failed its end is in sight.
local function log_block(log, open)
  local text = readable(log.text)
  local tail, more = last_lines(text, TAIL_LINES)
  local size = h.span { class = "soft small", " ", bytes(log.size) }
  local function block(label, content)
    return h.pre { tabindex = "0", ["aria-label"] = label .. log.name, content }
  end
  local whole = { log.cut and h.p { class = "soft small", ("The last %s; all of it: %s"):format(bytes(#log.text),
    log.path) }, block("Log ", text) }
  if not open then
    return h.details { class = "log", h.summary { h.code { log.name }, size }, whole }
  end
  return { h.h3 { h.code { log.name }, size }, block("End of log ", tail),
    (more or log.cut) and h.details { class = "log", h.summary { "More of ", h.code { log.name } }, whole } }
end

--- Logs that belong to no step.
---@param data table
---@return ws.report.Element?
function M.other_section(data)
  if #data.logs == 0 and #data.events == 0 then return nil end
  local blocks = {}
  for i, log in ipairs(data.logs) do blocks[i] = log_block(log, false) end
  return h.section { id = "other", ["aria-labelledby"] = "other-title",
    h.h2 { id = "other-title", #data.logs == 0 and "What else was said" or "Other logs" },
    M.said(data.events, data.run.started), blocks }
end

--- What was kept of releases that failed.
---@param data table
---@return ws.report.Element?
function M.evidence_section(data)
  if #data.evidence == 0 then return nil end
  local blocks = {}
  for i, file in ipairs(data.evidence) do blocks[i] = log_block(file, file.name:find("summary%.txt$") ~= nil) end
  return h.section { id = "evidence", ["aria-labelledby"] = "evidence-title",
    h.h2 { id = "evidence-title", "Evidence" },
    h.p { class = "soft", "Of what failed to roll out, kept before it was taken back." }, blocks }
end

--- Notes, marks and progress, each with its time since `from`.
---@param events table[]
---@param from number
---@return ws.report.Element?
function M.said(events, from)
  if #events == 0 then return nil end
  local items = {}
  for i, event in ipairs(events) do
    local f = event.fields or {}
    local place = f.file and ("%s%s%s: "):format(f.file, f.line and ":" .. f.line or "", f.col and ":" .. f.col or "")
    local level = event.type == "annotation" and (f.level == "warning" and "warning" or "error")
    items[i] = h.li { h.span { class = "soft num", "+" .. display.duration(math.max(0, event.time - from)) },
      h.span { class = event.type == "progress" and "soft", level and h.span { class = level .. "-level", level, ": " },
        place and h.code { place }, f.text or event.type == "manifest"
        and ("manifest: %s = %s"):format(f.key, f.value == nil and "removed" or tostring(f.value)) or "" } }
  end
  return h.ul { class = "said", role = "list", items }
end

local function as_text(value)
  if type(value) == "string" then return value end
  local ok, text = pcall(json.encode, value, { indent = 2 })
  return ok and text or tostring(value)
end

local why_not = {
  secret = "Not stored: it held a secret.", opaque = "Not stored: it was no plain data.",
  always = "Not stored: the step runs on every resume.",
}

local function returned(step)
  local row = step.row
  if row.status ~= "done" or not row.kind then return nil end
  if why_not[row.kind] then
    return { h.h3 { "Returned" }, h.p { class = "soft", why_not[row.kind] } }
  end
  if not step.returned then
    return { h.h3 { "Returned" }, h.p { class = "soft", ("%s: see wsrun show RUN STEP"):format(bytes(row.size or 0)) } }
  end
  local blocks = {}
  for i = 1, step.returned.n do
    local value = step.returned[i]
    if value ~= nil then
      local text = as_text(value)
      if #text > RESULT_BYTES then text = text:sub(1, RESULT_BYTES) .. "\n…" end
      blocks[#blocks + 1] = h.pre { tabindex = "0", ["aria-label"] = "Returned by " .. step.path, text }
    end
  end
  if #blocks == 0 then return nil end
  return { h.h3 { "Returned" }, blocks }
end

--- What a step said; a long way of progress is folded.
local function said_inside(step)
  local progress, rest = {}, {}
  for _, event in ipairs(step.events) do table.insert(event.type == "progress" and progress or rest, event) end
  if #progress <= FEW then progress, rest = {}, step.events end
  return { #rest > 0 and { h.h3 { "Said" }, M.said(rest, step.row.started) },
    #progress > 0 and h.details { class = "log", h.summary { ("Progress, %d lines"):format(#progress) },
      M.said(progress, step.row.started) } }
end

local function fact(name, ...)
  return h.div { h.dt { name }, h.dd { ... } }
end

local function attempts(step)
  if #step.rows < 2 then return nil end
  local items = {}
  for i, row in ipairs(step.rows) do
    items[i] = h.li { ("attempt %d: %s after %s"):format(row.attempt, row.status, display.duration(row.finished
      - row.started)), row.error and row.status == "failed" and ": " .. (row.error.message or "") }
  end
  return { h.h3 { "Attempts" }, h.ul { class = "plain", items } }
end

local function changes(row)
  if not row.changes or #row.changes == 0 then return nil end
  local items = {}
  for i, change in ipairs(row.changes) do items[i] = h.li { change } end
  return { h.h3 { "Changed" }, h.ul { class = "plain", items } }
end

local function is_bad(step)
  return step.status == "failed" and not step.inherited or step.status == "killed"
end

local function inside(step, data)
  local row = step.row
  if not row then
    return { h.p { class = "soft", step.why or "not started" } }
  end
  local needs = {}
  for i, path in ipairs(row.needs or {}) do
    local found
    for _, other in ipairs(data.steps) do
      if other.path == path then found = other end
    end
    needs[i] = { i > 1 and ", ", found and h.a { href = "#" .. found.id, path } or path }
  end
  return {
    h.dl { class = "facts", fact("Status", step.status), fact("Began", M.moment(row.started)),
      fact("Lasted", h.span { class = "num", display.duration(row.finished - row.started) }),
      row.line and fact("Script", h.code { row.line }), #needs > 0 and fact("Needed", needs) },
    row.error and not step.inherited and M.error_card(row.error),
    step.inherited and h.p { class = "soft", "A step inside it failed." },
    changes(row), attempts(step),
    said_inside(step),
    returned(step),
    (function()
      local blocks = {}
      for i, log in ipairs(step.logs) do blocks[i] = log_block(log, is_bad(step)) end
      return blocks
    end)(),
  }
end

local function summary_of(step)
  local row = step.row
  if not row then return step.why or "" end
  if row.summary then return row.summary end
  if step.inherited then return "a step inside it failed" end
  return row.error and tostring(row.error.message or ""):match("[^\n]*") or ""
end

local function one(step, data)
  return h.details { class = "step", open = is_bad(step),
    h.summary {
      h.span { class = "mark " .. step.status, ["aria-hidden"] = "true", M.marks[step.status] or "·" },
      h.span { class = "title", h.b { step.path }, h.span { class = "quiet", step.status, ". " },
        h.span { class = "soft", summary_of(step) } },
      h.span { class = "num soft", step.critical and { h.span { class = "tag", "critical" }, " " },
        step.seconds and display.duration(step.seconds) or "" },
    },
    h.div { class = "inside", id = step.id, inside(step, data) },
  }
end

--- The section of all steps.
---@param data table
---@return ws.report.Element?
function M.section(data)
  if #data.steps == 0 then return nil end
  local items = {}
  for i, step in ipairs(data.steps) do items[i] = one(step, data) end
  return h.section { id = "steps", ["aria-labelledby"] = "steps-title", h.h2 { id = "steps-title", "Steps" }, items,
    data.left_out > 0 and h.p { class = "soft small", ("%d more steps are not shown: wsrun show %s lists all."):format(
      data.left_out, data.run.id) } }
end

return M
