--- `wsrun plan WORKFLOW ARGS`, and `--plan` with any workflow: says what a run would do, and does nothing of it.
local display = require "ws.display"
local engine = require "ws.engine"
local errors = require "ws.error"
local interrupt = require "ws.cli.interrupt"
local json = require "ws.json"
local plan = require "ws.plan"
local project = require "ws.project"
local report = require "ws.plan.report"
local runs = require "ws.cli.run"

local M = {}

local CHANGES = 2 -- exit code with --detailed-exitcode

--- Says what was found out on stdout.
local function tell(run, globals)
  if globals.json then
    print(json.encode(report.document(run)))
  else
    local tty = engine.native.is_tty(1)
    print(report.text(run, { paint = display.painter(display.wants_color(tty, globals)), unicode = display.unicode(),
      verbose = globals.verbose }))
  end
end

--- What a plan came to: its error, or nil.
local function failure_of(run, ok, failure)
  if run.interrupted then return errors.new { kind = "interrupted", message = "the plan was interrupted" } end
  if run.failed_step then return run.failed_step.err end
  if ok then return nil end
  if plan.is_stop(failure) then
    run.plan.stopped = failure
    return nil
  end
  return failure
end

local function finish(run, ok, failure, globals, command)
  local err = failure_of(run, ok, failure)
  if not run.interrupted then tell(run, globals) end
  if err then
    local look = { paint = display.painter(display.wants_color(engine.native.is_tty(2), globals)),
      marks = display.marks(), command = command }
    display.write(require "ws.card".failure(run, err, look) .. "\n")
    if globals.verbose and err.traceback then display.write(err.traceback .. "\n") end
    return run.interrupted and interrupt.codes[run.signal] or require "ws.cli".exit_code(err)
  end
  return globals["detailed-exitcode"] and plan.has_changes(run) and CHANGES or 0
end

--- What the plan as a whole rests on: the script, the manifests, the commit.
local function pin_whole(run, about, workflow, args)
  local facts = { { kind = "file", path = about.script }, { kind = "commit", dir = "." } }
  for _, arg in ipairs(workflow.args) do
    if arg.type == "manifest" and args[arg[1]] then
      facts[#facts + 1] = { kind = "file", path = args[arg[1]].path }
    end
  end
  for _, fact in ipairs(facts) do
    local ok, err = run.plan:pin(nil, fact)
    if not ok then return nil, err end
  end
  return true
end

local function stopped_early(run)
  return errors.new { kind = "unsupported", message = "the plan was not saved: the workflow could not be followed to "
    .. "its end", detail = tostring(run.plan.stopped.message) }
end

local function save(run, about, globals)
  about.title, about.report = run.title, report.document(run)
  return require "ws.plan.saved".write(globals.save, run.plan, about)
end

---@class ws.PlanGuard
---@field id string
---@field dir string    for logs, plans of Terraform, temporary files; removed at its end unless the plan failed
---@field grant fun(what: string): string
---@field keep boolean  the logs say what went wrong

--- Guards what is done from now on: nothing but the private folders can be changed any more. The task that calls this
--- keeps its leave, since it writes the report and the saved plan.
---@async
---@return ws.PlanGuard? guard
---@return ws.Error? err
function M.guard()
  local id, dir = runs.new_id "plans"
  if not id then return nil, dir end
  local grant = engine.native.guard(dir, project.state_dir())
  grant "everything"
  return { id = id, dir = dir, grant = grant, keep = false }
end

--- A script that is no workflow cannot be planned; what it did so far changed nothing.
---@param path string
---@return nil
---@return ws.Error err
function M.refuse(path)
  return nil, errors.new { kind = "invalid", exit = 65, message = path .. " is a plain script: it cannot be planned",
    hint = "a workflow returns ws.workflow{…}, and does its work in steps" }
end

--- Removes what a plan leaves; of one that failed only Terraform's plans, which hold secrets.
local function clean(guard)
  local fs = require "ws.fs"
  if not guard.keep then return fs.remove(guard.dir, { recursive = true, missing_ok = true }) end
  for _, name in ipairs(fs.glob("{*.tfplan,new}", { dir = guard.dir }) or {}) do
    fs.remove(guard.dir .. "/" .. name, { recursive = true, missing_ok = true })
  end
end

--- Plans a workflow.
---@async
---@param path string
---@param workflow ws.Workflow
---@param words string[]
---@param globals table
---@param guard ws.PlanGuard
---@return integer? code
---@return ws.Error? err
function M.workflow(path, workflow, words, globals, guard)
  local _ <close> = setmetatable({}, { __close = function() require "ws.task".shield(clean, guard) end })
  local args, err = runs.read_args(path, workflow, words)
  if not args then return nil, err end
  local grant = guard.grant
  local options = setmetatable({ ["keep-going"] = true }, { __index = globals })
  local run = require "ws.run".new { id = guard.id, dir = guard.dir, title = runs.title(path, args, workflow),
    options = options }
  run.plan = plan.new { grant = grant, saved = globals.save ~= nil }
  local about = runs.about(path, words, globals)
  if globals.save then
    local pinned, problem = pin_whole(run, about, workflow, args)
    if not pinned then return nil, problem end
  end
  local screen = display.open(setmetatable({ json = false }, { __index = globals }))
  local _ <close> = setmetatable({}, { __close = function() screen.close() end })
  run.emit = globals.quiet and function() end or screen.emit
  runs.watch_signals(run, screen.emit)
  run.emit { type = "run_start", run = run, fields = { title = run.title .. " (plan)",
    command = runs.again(path, words, globals) } }
  local ok, failure = runs.perform(run, { run = function(...)
    grant "nothing"
    return workflow.run(...)
  end }, args)
  screen.close()
  local code = finish(run, ok, failure, globals, runs.again(path, words, globals))
  if globals.save and (code == 0 or code == CHANGES) then
    local saved, problem
    if ok then saved, problem = save(run, about, globals) else problem = stopped_early(run) end
    if not saved then return nil, problem end
    if not globals.quiet then
      display.write(("saved; wsrun apply %s does it. The file is as secret as Terraform's plans in it\n"):format(
        globals.save))
    end
  end
  guard.keep = code ~= 0 and code ~= CHANGES
  return code
end

--- `wsrun plan WORKFLOW ARGS`
function M.main(words, globals)
  globals.plan = true
  if not words[1] then
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun plan needs the name of a workflow",
      hint = "wsrun list shows them" }
  end
  return runs.main(words, globals)
end

return M
