--- What a resumed run takes over from the journal, step by step, and why.
---
--- A step is known by its name path and its key: its declared inputs, and what the steps that it needs returned. Where
--- it stands in the script does not matter, so an edited script resumes.
local value = require "ws.journal.value"

local M = {}

---@class ws.Replay
---@field id string
---@field steps table<string, table>  of the journal, by path
---@field from? string                this step and what began after it run again
local Replay = {}
Replay.__index = Replay

--- Makes a replay of a run.
---@async
---@param journal ws.Journal
---@param id string
---@param from? string
---@return ws.Replay? replay
---@return ws.Error? err  kind `not_found`: the run has no step `from`
function M.new(journal, id, from)
  local steps, err = journal:steps(id)
  if not steps then return nil, err end
  if from and not steps[from] then
    local known = {}
    for path in pairs(steps) do known[#known + 1] = path end
    local meant = require "ws.nearest"(from, known)
    return nil, require "ws.error".new { kind = "not_found", usage = true,
      message = ("run %s has no step '%s'"):format(id, from),
      hint = meant and ("did you mean '%s'?"):format(meant) or "wsrun show " .. id .. " lists them" }
  end
  return setmetatable({ journal = journal, id = id, steps = steps, from = from, reached = {} }, Replay)
end

--- The key of a step.
---@param opts table  the step's options
---@param needed ws.Step[]
---@return string? key  nil when it declares nothing and needs nothing
function M.key(opts, needed)
  if opts.inputs == nil and #needed == 0 then return nil end
  local parts = {}
  for i, step in ipairs(needed) do parts[i] = step.path .. "=" .. (step.fingerprint or "") end
  return value.fingerprint { opts.inputs, parts } or "opaque"
end

--- Whether the step's record may stand for it: true, or false and why not.
---@param step ws.Step
---@param opts table
---@return boolean reuse
---@return string why
function Replay:judge(step, opts)
  local row, from = self.steps[step.path], self.from
  self.reached[step.path] = true
  if not row then return false, "new" end
  if opts.always then return false, "runs every time" end
  if from and (step.path == from or from:sub(1, #step.path + 1) == step.path .. "/") then
    return false, "asked for with --from"
  end
  if from and row.started >= self.steps[from].started then return false, "began after " .. from end
  if row.status ~= "done" then
    local how = { running = "did not finish", undone = "was undone" }
    return false, how[row.status] or "failed" .. (row.error and ": " .. row.error.message or "")
  end
  if row.key ~= step.key then return false, "changed: its inputs are others" end
  if row.kind == "value" or opts.read then return true, "done" end
  return false, row.kind == "secret" and "its result held a secret, which is not stored"
    or "its result cannot be stored"
end

--- The results that stand for the step's work.
---@async
---@param step ws.Step
---@param opts table
---@return table? results  as table.pack gives them
---@return ws.Error? err
function Replay:results(step, opts)
  local row = self.steps[step.path]
  step.fingerprint, step.summary, step.reused = row.fingerprint or "#" .. row.attempt, row.summary, row
  if row.kind ~= "value" then return table.pack(opts.read()) end
  return self.journal:result(self.id, row)
end

--- Recorded steps that the script did not come to, though the step around them was not taken over either.
---@return string[] paths
function Replay:orphans()
  local paths = {}
  for path in pairs(self.steps) do
    local within = false
    for parent in path:gmatch("()/") do within = within or self.reached[path:sub(1, parent - 1)] == "reused" end
    if not self.reached[path] and not within then paths[#paths + 1] = path end
  end
  table.sort(paths)
  return paths
end

return M
