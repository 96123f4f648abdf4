--- A plan: what a run would do, step by step, found out without doing it.
---
--- Invariants
--- - The workflow's own code may change nothing and start nothing; a step's plan function may start programs and write
---   below the run's private folders. The natives see to it (native.guard).
--- - A step that would change something gives an unknown value, so that the code after it goes on; code that needs the
---   value itself ends there, and the step that it belongs to is deferred.
local errors = require "ws.error"
local unknown = require "ws.unknown"

local M = {}

---@class ws.Change
---@field what "terraform"|"helm"|"kubernetes"|"manifest"|"bucket"|"image"|string
---@field action "add"|"change"|"remove"|"replace"
---@field name string
---@field detail? string               one line
---@field unknown? boolean             more of it is known only when it is made
---@field attributes? { name: string, before?: string, after?: string }[]  texts, secrets masked

---@class ws.PlannedStep
---@field status "planned"|"deferred"|"would_run"|"looked"
---@field changes ws.Change[]
---@field deferred? string             why it cannot be planned yet
---@field note? string

---@class ws.Plan
---@field pins table[]                what must not have moved when the plan is applied; see ws.plan.pins
---@field kept table<string, table>   what a saved plan takes along, by step
---@field stopped? ws.Error            the workflow's own code needed what is not known
local Plan = {}
Plan.__index = Plan

local actions = { add = true, change = true, remove = true, replace = true }
local change_fields = { what = "string", action = "string", name = "string", detail = "string", unknown = "boolean",
  attributes = "table" }

--- Makes a plan. `grant` is what native.guard() gave.
---@param spec { grant: fun(what: string): string, saved?: boolean }  saved: it will be, so what it rests on matters
---@return ws.Plan
function M.new(spec)
  return setmetatable({ grant = spec.grant, saved = spec.saved == true, pins = {}, kept = {} }, Plan)
end

--- Whether a step's option `plan` is one: a function, true, false or "run".
---@param how any
---@return boolean
function M.is_option(how)
  return how == nil or how == true or how == false or how == "run" or type(how) == "function"
end

--- Calls `fn` with that grant for the task and what it starts.
local function granted(self, what, fn, ...)
  local before = self.grant(what)
  local _ <close> = setmetatable({}, { __close = function() self.grant(before) end })
  return fn(...)
end

--- Raises unless a plan function returned what it should.
local function check(step, changes)
  local where = ("step %s: its plan function"):format(step.path)
  if type(changes) ~= "table" then
    error(("%s returned a %s, not a list of changes"):format(where, type(changes)), 0)
  end
  for i, change in ipairs(changes) do
    for field, value in pairs(change) do
      if type(value) ~= change_fields[field] then
        error(("%s: change %d: %s = %s is not understood"):format(where, i, tostring(field), tostring(value)), 0)
      end
    end
    if not change.what or not change.name or not actions[change.action] then
      error(("%s: change %d needs what, name and an action: add, change, remove or replace"):format(where, i), 0)
    end
  end
end

--- Counts of a list of changes.
---@param changes ws.Change[]
---@return table<string, integer> counts  by action
function M.count(changes)
  local counts = { add = 0, change = 0, remove = 0, replace = 0 }
  for _, change in ipairs(changes) do counts[change.action] = counts[change.action] + 1 end
  return counts
end

--- "2 to add, 1 to change"; "no changes".
---@param counts table<string, integer>
---@return string
function M.words(counts)
  local parts = {}
  for _, action in ipairs { "add", "change", "remove", "replace" } do
    if counts[action] > 0 then parts[#parts + 1] = ("%d to %s"):format(counts[action], action) end
  end
  return #parts > 0 and table.concat(parts, ", ") or "no changes"
end

--- What a plan function found out; returns the step's result.
local function take(self, step, opts, changes, result)
  local entry = step.planned
  changes = changes or {}
  check(step, changes)
  table.move(changes, 1, #changes, #entry.changes + 1, entry.changes)
  entry.deferred, entry.note = changes.deferred, changes.note
  entry.status = entry.deferred and "deferred" or "planned"
  if result ~= nil then return result end
  if #entry.changes == 0 and not entry.deferred and opts.read then return granted(self, "plan", opts.read) end
  return unknown.new(step.path)
end

local function look(self, step, opts, fn)
  local how = opts.plan
  if how == true then return granted(self, "nothing", fn, step) end
  if how == "run" then return granted(self, "plan", fn, step) end
  return take(self, step, opts, granted(self, "plan", how, step))
end

--- Plans one step and returns what stands for its result.
---@async
---@param run ws.Run
---@param step ws.Step
---@param opts ws.StepOptions
---@param fn function
---@return any ...
function Plan:step(run, step, opts, fn)
  if opts.plan == false then
    step.summary = "not in a plan"
    run:settle(step, "done")
    return unknown.new(step.path)
  end
  step.planned = { status = opts.plan == nil and "would_run" or "looked", changes = {} }
  if opts.plan == nil then
    step.summary = "would run"
    run:settle(step, "done")
    return unknown.new(step.path)
  end
  return run:perform(step, { timeout = opts.timeout, retry = opts.retry }, function()
    local entry = step.planned
    local results = table.pack(xpcall(look, run.keep_error, self, step, opts, fn))
    if not results[1] then
      local err = results[2]
      if not err.unknown then error(err, 0) end
      entry.status, entry.deferred = "deferred", tostring(err.message)
      results = { true, unknown.new(step.path), n = 2 }
    end
    if entry.deferred then
      step.summary = "deferred: " .. entry.deferred
    elseif entry.status == "planned" then
      step.summary = M.words(M.count(entry.changes))
    end
    return table.unpack(results, 2, results.n)
  end)
end

--- What a saved plan rests on: it is refused when this has changed; see ws.plan.pins for the kinds.
---@param step? ws.Step  nil: the plan as a whole
---@param fact table  kind and what it needs; its value is read here
---@return true? ok
---@return ws.Error? err
function Plan:pin(step, fact)
  if not self.saved then return true end
  local root = require "ws.project".root() .. "/" -- a plan may be applied from another checkout
  if fact.path and fact.path:sub(1, #root) == root then fact.path = fact.path:sub(#root + 1) end
  local value, err = require "ws.plan.pins".read(fact)
  if value == nil then return nil, err end
  fact.value, fact.step = value, step and step.path
  self.pins[#self.pins + 1] = fact
  return true
end

--- What the current step will be done with when the saved plan is applied: JSON, and perhaps a file.
---@param step ws.Step
---@param item { file?: string }
function Plan:keep(step, item)
  self.kept[step.path] = item
end

--- Counts of a plan: of changes by action, and of steps that are deferred or would run.
---@param run ws.Run
---@return table<string, integer>
function M.totals(run)
  local totals = { add = 0, change = 0, remove = 0, replace = 0, deferred = 0, would_run = 0, failed = 0 }
  for _, step in ipairs(run.steps) do
    local entry = step.planned
    if entry then
      for action, n in pairs(M.count(entry.changes)) do totals[action] = totals[action] + n end
      local what = step.status == "failed" and not step.inherited and "failed" or entry.status
      if totals[what] then totals[what] = totals[what] + 1 end
    end
  end
  return totals
end

--- Whether the real run would change something, as far as can be told.
---@param run ws.Run
---@return boolean
function M.has_changes(run)
  local n = run.plan.stopped and 1 or 0
  for kind, count in pairs(M.totals(run)) do
    if kind ~= "failed" then n = n + count end
  end
  return n > 0
end

--- What `err` says when the workflow's own code needed a value that is not known: not a failure of the plan.
---@param err any
---@return boolean
function M.is_stop(err)
  return errors.is(err) and err.unknown ~= nil
end

return M
