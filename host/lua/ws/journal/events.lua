--- Which events of a run the journal keeps, for reports: what was said, the marks on files, milestones of progress, and
--- why a step was not started. Starts and ends of steps are rows of their own. They are posted: nobody waits for them.
local details = require "ws.display.details"

local M = {}

local MILESTONES = 100 -- of a step

--- Progress that says something new; counting up to a thousand is one milestone.
local function milestone(told, step)
  local mine = told[step] or { count = 0 }
  told[step] = mine
  local gist = details.gist(tostring(step.progress.text))
  if mine[gist] or mine.count >= MILESTONES then return false end
  mine[gist], mine.count = true, mine.count + 1
  return true
end

--- An `emit` that keeps in the run's journal what is to be kept, and passes everything on.
---@param run ws.Run
---@param emit fun(event: table)
---@return fun(event: table)
function M.recorded(run, emit)
  local told = setmetatable({}, { __mode = "k" })
  return function(event)
    local step, kind = event.step, event.type
    if kind == "step_note" then
      run.journal:event("note", step and step.path, { text = event.text })
    elseif kind == "annotation" then
      run.journal:event("annotation", event.fields.step, event.fields)
    elseif kind == "step_progress" and milestone(told, step) then
      run.journal:event("progress", step.path, { text = tostring(step.progress.text) })
    elseif kind == "step_end" and step.status == "skipped" then
      run.journal:event("skipped", step.path, { why = tostring(step.err.message) })
    end
    emit(event)
  end
end

return M
