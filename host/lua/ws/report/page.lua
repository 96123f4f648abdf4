--- A run as one page of HTML: no script, nothing from a network, all of it readable by keyboard and on paper.
local crypto = require "ws.crypto"
local display = require "ws.display"
local h = require "ws.report.html"
local steps = require "ws.report.steps"
local time = require "ws.time"
local timeline = require "ws.report.timeline"

local M = {}

local LANE = 26 -- height in CSS pixels

local function fact(name, ...)
  return h.div { h.dt { name }, h.dd { ... } }
end

--- Who began it: the user and the machine that the journal has of the last attempt.
local function who(run)
  local holder = run.holder or {}
  return ("%s on %s"):format(holder.user or "unknown", holder.host or "unknown")
end

local order = { "done", "failed", "running", "killed", "undone", "skipped" }
local words = { skipped = "not started" }

local function tally(data)
  local parts = {}
  for _, status in ipairs(order) do
    local count = data.counts[status]
    if count then parts[#parts + 1] = ("%d %s"):format(count, words[status] or status) end
  end
  return #parts > 0 and table.concat(parts, ", ") or "none"
end

local function header(data)
  local run = data.run
  local words_said = {}
  for i, word in ipairs(run.words) do words_said[i] = " " .. word end
  local last, worked = data.attempts[#data.attempts], data.length
  local until_now = not run.ended and run.status == "running"
  local lasted = (run.ended or until_now and data.now or last and last.to or run.started) - run.started
  return h.header { class = "card", id = "top",
    h.span { class = "badge " .. run.status, steps.marks[run.status] or "·", " ", run.status },
    h.h1 { run.title },
    h.p { class = "soft", h.code { "wsrun ", run.options.sandbox and "--sandbox ", run.script, words_said } },
    h.dl { class = "facts",
      fact("Began", steps.moment(run.started)),
      fact(until_now and "Lasts" or "Lasted", h.span { class = "num", display.duration(lasted) },
        lasted > worked + 60 and h.span { class = "soft", (" (%s of work)"):format(display.duration(worked)) }),
      fact("Steps", tally(data)),
      fact("Changes", data.changes > 0 and data.changes or "none"),
      fact("Exit code", run.exit or "–"),
      fact("By", who(run)),
      fact("Run", h.code { run.id }),
      fact("Attempts", run.attempt),
    },
  }
end

local function failure(data)
  local run = data.run
  if not run.error then return nil end
  local next_command = run.status ~= "done" and run.status ~= "running" and "wsrun resume " .. run.id or nil
  local failed
  for _, step in ipairs(data.steps) do -- the innermost: it ended first
    local told = step.row and step.status == "failed" and not step.inherited
    if told and (not failed or step.row.finished < failed.row.finished) then failed = step end
  end
  return h.section { ["aria-labelledby"] = "failure",
    h.h2 { id = "failure", run.status == "parked" and "Waits for approval" or run.status == "interrupted"
      and "Interrupted" or "What went wrong" },
    steps.error_card(run.error, run.status == "parked" and "wsrun approve " .. run.id or next_command,
      failed) }
end

local function critical_path(data)
  local path = data.critical
  if not path or #path < 2 then return nil end
  local by_path, items, total = {}, {}, 0
  for _, step in ipairs(data.steps) do by_path[step.path] = step end
  for i, row in ipairs(path) do
    local seconds = row.finished - row.started
    total = total + seconds
    local step = by_path[row.path]
    items[i] = h.li { step and h.a { href = "#" .. step.id, row.path } or row.path, " ",
      h.span { class = "soft num", display.duration(seconds) } }
  end
  return { h.p { h.b { "Critical path" }, h.span { class = "soft", (": %s of %s; the run is only shorter when one of "
    .. "these is"):format(display.duration(total), display.duration(data.attempts[#data.attempts].to
    - data.attempts[#data.attempts].from)) } }, h.ol { class = "path", role = "list", items } }
end

local function percent(share)
  return ("%.2f%%"):format(share * 100)
end

--- Lines of a lane: the axis's ticks, and where the run was resumed.
local function grid(data, ticks, height)
  local lines = {}
  for _, tick in ipairs(ticks) do
    local x = percent(tick / data.length)
    lines[#lines + 1] = h.line { class = "tick", x1 = x, x2 = x, y1 = 0, y2 = height }
  end
  for i = 2, #data.attempts do
    local x = percent(data.attempts[i].at / data.length)
    lines[#lines + 1] = h.line { class = "resume", x1 = x, x2 = x, y1 = 0, y2 = height }
  end
  return lines
end

local function axis(data, ticks)
  local labels = {}
  for i, tick in ipairs(ticks) do
    if tick / data.length < 0.96 then
      labels[i] = h.text { x = percent(tick / data.length), y = 12, tick == 0 and "0" or steps.round_duration(tick) }
    end
  end
  return h.div { class = "axis", ["aria-hidden"] = "true", h.span {}, h.span {}, h.svg { height = 18, labels } }
end

local bad = { failed = true, killed = true }

local function lane(data, step, ticks)
  local bars, said = {}, {}
  for i, row in ipairs(step.rows) do
    local attempt
    for _, candidate in ipairs(data.attempts) do
      if candidate.number == row.attempt then attempt = candidate end
    end
    local from = timeline.position(attempt, row.started, data.length)
    local to = timeline.position(attempt, row.finished, data.length)
    local inner = step.depth > 0
    bars[i] = h.rect { class = "bar" .. (bad[row.status] and " bad" or row.critical and " on-path" or "")
      .. (inner and " inner" or ""), x = percent(math.min(from, 0.995)), width = percent(math.max(to - from, 0.005)),
      y = inner and 8 or 6, height = inner and 10 or 14, rx = 2 }
    said[i] = (", %s, began at %s, lasted %s"):format(row.status, display.duration(row.started - attempt.from),
      display.duration(row.finished - row.started))
  end
  return h.li { class = ("lane d%d%s"):format(math.min(step.depth, 3), step.critical and " on-path" or ""),
    h.span { class = "name", h.span { class = step.status, ["aria-hidden"] = "true", steps.marks[step.status] or "·" },
      " ", h.a { href = "#" .. step.id, title = step.path, step.name },
      h.span { class = "quiet", said, step.critical and ", on the critical path" } },
    h.span { class = "time num", ["aria-hidden"] = "true", step.seconds and display.duration(step.seconds) or "" },
    h.svg { height = LANE, ["aria-hidden"] = "true", focusable = "false", grid(data, ticks, LANE), bars } }
end

local function swatch(class, text)
  return h.span { h.svg { ["aria-hidden"] = "true", h.rect { class = class, width = "100%", height = "100%", rx = 2 } },
    text }
end

local function timeline_section(data)
  local ticks, lanes = timeline.ticks(data.length), {}
  for _, step in ipairs(data.steps) do
    if #step.rows > 0 then lanes[#lanes + 1] = lane(data, step, ticks) end
  end
  if #lanes == 0 then return nil end
  return h.section { id = "timeline", ["aria-labelledby"] = "timeline-title",
    h.h2 { id = "timeline-title", "Timeline" }, critical_path(data), axis(data, ticks),
    h.ol { class = "lanes", role = "list", lanes },
    h.p { class = "key", ["aria-hidden"] = "true", swatch("bar on-path", "on the critical path"),
      swatch("bar", "beside it"), swatch("bar bad", "failed"),
      #data.attempts > 1 and h.span { "┆ resumed (the time between is left out)" } },
    data.left_out > 0 and h.p { class = "soft small", ("%d more steps are not shown."):format(data.left_out) } }
end

local function changes_section(data)
  local rows = {}
  for _, step in ipairs(data.steps) do
    for _, row in ipairs(step.rows) do
      for _, change in ipairs(row.changes or {}) do
        rows[#rows + 1] = h.tr { h.th { scope = "row", h.a { href = "#" .. step.id, step.path } }, h.td { change } }
      end
    end
  end
  if #rows == 0 then return nil end
  return h.section { id = "changes", ["aria-labelledby"] = "changes-title",
    h.h2 { id = "changes-title", "What it changed" },
    steps.table({ "Step", "Change" }, rows) }
end

local function attempts_section(data)
  if #data.attempts < 2 then return nil end
  local rows = {}
  for i, attempt in ipairs(data.attempts) do
    local counts, parts = {}, {}
    for _, row in ipairs(attempt.rows) do counts[row.status] = (counts[row.status] or 0) + 1 end
    for _, status in ipairs(order) do
      if counts[status] then parts[#parts + 1] = ("%d %s"):format(counts[status], status) end
    end
    rows[i] = h.tr { h.th { scope = "row", attempt.number }, h.td { steps.moment(attempt.from) },
      h.td { class = "num", display.duration(attempt.to - attempt.from) }, h.td { table.concat(parts, ", ") } }
  end
  return h.section { id = "attempts", ["aria-labelledby"] = "attempts-title",
    h.h2 { id = "attempts-title", "Attempts" },
    steps.table({ "No.", "Began", "Lasted", "Steps that ran" }, rows) }
end

local function permissions_section(data)
  local rows = {}
  for i, used in ipairs(data.permissions or {}) do
    rows[i] = h.tr { h.th { scope = "row", used.list }, h.td { h.code { used.what } },
      h.td { used.allowed and "allowed" or h.span { class = "denied", "✖ denied" } } }
  end
  if #rows == 0 then return nil end
  return h.section { id = "permissions", ["aria-labelledby"] = "permissions-title",
    h.h2 { id = "permissions-title", "Permissions used" },
    steps.table({ "List", "What", "Answer" }, rows) }
end

local function nav(sections)
  local items = {}
  for _, entry in ipairs(sections) do
    if entry[3] then items[#items + 1] = h.li { h.a { href = "#" .. entry[1], entry[2] } } end
  end
  return h.nav { ["aria-label"] = "Sections", h.ul { items } }
end

--- The page.
---@param data table  of ws.report.data
---@return string html
function M.html(data)
  local run = data.run
  local style = require "ws.report.style"
  local policy = ("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'"):format(
    crypto.base64_encode(crypto.sha256(style, { raw = true })))
  local sections = {
    { "timeline", "Timeline", timeline_section(data) },
    { "steps", "Steps", steps.section(data) },
    { "evidence", "Evidence", steps.evidence_section(data) },
    { "changes", "Changes", changes_section(data) },
    { "plan", "Plan", require "ws.report.plan"(data.plan) },
    { "permissions", "Permissions", permissions_section(data) },
    { "attempts", "Attempts", attempts_section(data) },
    { "other", "Other logs", steps.other_section(data) },
  }
  local content = {}
  for i, entry in ipairs(sections) do content[i] = entry[3] end
  local page = h.html { lang = "en",
    h.head {
      h.meta { charset = "utf-8" },
      h.meta { ["http-equiv"] = "Content-Security-Policy", content = policy },
      h.meta { name = "viewport", content = "width=device-width, initial-scale=1" },
      h.meta { name = "referrer", content = "no-referrer" },
      h.title { ("%s: %s"):format(run.title, run.status) },
      h.raw("<style>" .. style .. "</style>"),
    },
    h.body {
      h.a { class = "skip", href = "#main", "Skip to what happened" },
      h.div { class = "wrap", header(data), nav(sections), h.main { id = "main", failure(data), content },
        h.footer { h.p { ("wsrun %s wrote this at %s. Logs: "):format(run.version, time.rfc3339(data.now)),
          h.code { run.dir } } } },
    },
  }
  return "<!doctype html>\n" .. tostring(page) .. "\n"
end

return M
