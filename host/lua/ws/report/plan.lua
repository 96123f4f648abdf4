--- The plan that a run was made to follow, as a section of its report: what `wsrun plan` said, kept in plan.json.
local h = require "ws.report.html"

local MOST = 2000 -- changes
local signs = { add = "+", change = "~", remove = "−", replace = "±" }

local function text(value)
  return type(value) == "string" and value or nil
end

local function attribute_lines(change)
  local items = {}
  for i, attribute in ipairs(type(change.attributes) == "table" and change.attributes or {}) do
    local before, after = text(attribute.before), text(attribute.after)
    items[i] = h.li { h.code { text(attribute.name) or "?" }, ": ",
      before and after and { before, " → ", after } or before and { before, " is removed" } or after }
  end
  return #items > 0 and h.ul { class = "plain small", items }
end

local function change_row(step, change)
  local action = text(change.action) or ""
  return h.tr { h.th { scope = "row", step }, h.td { class = "num", signs[action] or "·", " ", action },
    h.td { h.span { class = "soft", text(change.what), " " }, h.code { text(change.name) }, attribute_lines(change) },
    h.td { text(change.detail), change.unknown and h.span { class = "soft", " more is known when it is made" } } }
end

local function note_row(step, mark, what)
  return h.tr { h.th { scope = "row", step }, h.td { class = "num", mark }, h.td { what }, h.td {} }
end

--- The section, or nil without a plan.
---@param saved any  what plan.json holds: its `report` is that of `wsrun plan --json`
---@return ws.report.Element?
return function(saved)
  local report = type(saved) == "table" and saved.report
  local rows = {}
  for _, entry in ipairs(type(report) == "table" and type(report.steps) == "table" and report.steps or {}) do
    local step = text(entry.step) or ""
    if text(entry.deferred) then rows[#rows + 1] = note_row(step, "? deferred", entry.deferred) end
    if entry.status == "would_run" then rows[#rows + 1] = note_row(step, "› run", "it has no plan of its own") end
    for _, change in ipairs(type(entry.changes) == "table" and entry.changes or {}) do
      if type(change) == "table" and #rows < MOST then rows[#rows + 1] = change_row(step, change) end
    end
  end
  if #rows == 0 then return nil end
  return h.section { id = "plan", ["aria-labelledby"] = "plan-title", h.h2 { id = "plan-title", "What was planned" },
    saved.created and h.p { class = "soft", "Planned at ", text(saved.created), "." },
    require "ws.report.steps".table({ "Step", "Action", "What", "Detail" }, rows) }
end
