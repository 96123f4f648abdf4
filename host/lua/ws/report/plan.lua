--- The plan that was saved for a run, as a section of its report.
local h = require "ws.report.html"

local signs = { add = "+", create = "+", change = "~", update = "~", remove = "−", delete = "−", replace = "±" }

local function row_of(step, change)
  if change.deferred then
    return h.tr { h.td { step }, h.td { "…" }, h.td { { h.b { "deferred" }, ": ", change.deferred } }, h.td {} }
  end
  local action = tostring(change.action or "")
  return h.tr { h.td { step }, h.td { h.span { class = "num", signs[action] or "·", " ", action } },
    h.td { h.span { class = "soft", change.what, " " }, h.code { change.name or "" } },
    h.td { type(change.detail) == "string" and change.detail or "", change.unknown and h.span { class = "soft",
      " (known after apply)" } } }
end

--- The section, or nil without a plan.
---@param plan any  of plan.json: { steps = { { step, changes = { … } } } }, { changes = { … } } or a list of changes
---@return ws.report.Element?
return function(plan)
  if type(plan) ~= "table" then return nil end
  local rows = {}
  local function add(step, changes)
    if type(changes) ~= "table" then return end
    if changes.deferred then changes = { changes } end
    for _, change in ipairs(changes) do
      if type(change) == "table" then rows[#rows + 1] = row_of(change.step or step or "", change) end
    end
  end
  for _, step in ipairs(type(plan.steps) == "table" and plan.steps or {}) do
    if type(step) == "table" then
      add(step.step or step.path, step.changes or step.deferred and { { deferred = step.deferred } })
    end
  end
  add(nil, plan.changes or not plan.steps and plan)
  if #rows == 0 then return nil end
  return h.section { id = "plan", ["aria-labelledby"] = "plan-title", h.h2 { id = "plan-title", "What was planned" },
    require "ws.report.steps".table({ "Step", "Action", "What", "Detail" }, rows) }
end
