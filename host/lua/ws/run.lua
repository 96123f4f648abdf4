--- A run of a workflow: its steps, what runs side by side, and what is left out after a failure.
---
--- Invariants
--- - A step's name path ("kubernetes/cluster") is unique in a run; its parent is the step whose function started it.
--- - After a failure or an interruption running steps finish and no new step starts.
--- - With --jobs, a step that starts sub-steps gives its place to them.
--- - A step is done when the journal has its result durably; a run without a journal (tests) keeps none.
--- - Everything that is shown goes through `emit`; a display only listens.
local caller = require "ws.caller"
local engine = require "ws.engine"
local errors = require "ws.error"
local task = require "ws.task"

local M = {}

---@class ws.Run
---@field id string          e.g. 20261122-184501-7f3a
---@field dir string         the run's private folder: full logs, inputs of children
---@field sandbox boolean
---@field options table      wsrun's own options
local Run = {}
Run.__index = Run

---@class ws.Step
---@field path string
---@field status "waiting"|"running"|"done"|"failed"|"skipped"
---@field reused? table  the journal's record of the run that is resumed, which stands for this step

---@class ws.StepOptions
---@field needs? any[]       steps that must be done first: their names, or what they returned
---@field timeout? number    seconds
---@field retry? table       { attempts = 3, delay = 1, max_delay = 60, within = 600, kinds = { "unavailable" } }; in
---  seconds, `within` bounds all attempts together; default kinds: errors that are retryable
---@field inputs? any        what its work depends on: a resumed run does it again when this has changed
---@field always? boolean    a resumed run does it again in any case: connections, checks, locks
---@field read? fun(): any   gives its result again without doing its work, for results that hold secrets or cannot be
---  stored
---@field undo? fun(result: any)  undoes it when a later step fails; see Run:defer
---@field plan? (fun(step: ws.Step): table?, any)|boolean|"run"  what `wsrun plan` does in its place: a function that
---  says what would change (a list of ws.Change, or { deferred = "why" }) and may return the result as well; true: the
---  step only holds others, its function is called; "run": it only looks, it is done; false: it is passed over (locks)

local step_options = { needs = "table", timeout = "number", retry = "table", inputs = "any", always = "boolean",
  read = "function", undo = "function", plan = "any" }
local now = engine.native.monotonic

--- Makes a run. `emit` receives every event; see host/lua/ws/display.lua.
---@param spec { id: string, dir: string, title: string, options: table, emit: fun(event: table), journal?: ws.Journal,
---  replay?: ws.Replay, explain?: boolean, plan?: ws.Plan }  explain: only say what a resumed run would do
---@return ws.Run
function M.new(spec)
  return setmetatable({
    id = spec.id, dir = spec.dir, title = spec.title, options = spec.options, emit = spec.emit,
    sandbox = spec.options.sandbox == true,
    steps = {}, locks = {}, by_path = {}, told = {}, by_result = setmetatable({}, { __mode = "k" }),
    limit = spec.options.jobs and task.limit(spec.options.jobs),
    journal = spec.journal, replay = spec.replay, explain = spec.explain, plan = spec.plan,
    undos = {},
    change_count = 0, started = now(), settled = require "ws.task.native".signal(),
  }, Run)
end

local function as_error(value)
  if errors.is(value) then return value end
  return errors.new { kind = "internal", message = tostring(value) }
end

--- What xpcall keeps of something that a step raised: an error object with a traceback.
local function keep(value)
  local err = as_error(value)
  if not err.traceback then err.traceback = debug.traceback(nil, 2) end
  return err
end

Run.keep_error = keep

--- Ends a step and tells who waits for it.
---@private
function Run:settle(step, status, err)
  step.status, step.err = status, err
  if status == "failed" then -- a step whose sub-step failed fails with the same error: it is told once
    step.inherited = self.told[err]
    self.told[err] = true
  end
  step.seconds = step.started and now() - step.started or 0
  if self.journal and status == "failed" then -- a step that is done was recorded before
    local recorded, problem = task.shield(self.journal.step_end, self.journal, step, "failed")
    if not recorded then self.broken_journal = problem end
  end
  self.emit { type = "step_end", step = step, run = self }
  require "ws.task.native".notify(self.settled)
end

--- Why no new step may start, or nil.
function Run:stopping()
  if self.broken_journal then return "io", "the journal cannot be written: " .. self.broken_journal.message end
  if self.interrupted then return "interrupted", "the run was interrupted" end
  if self.aborted then return "cancelled", "not started: " .. self.aborted.message end
  if self.failed_step and not self.options["keep-going"] then
    return "cancelled", ("not started: %s failed"):format(self.failed_step.path)
  end
end

local function find_needed(self, step, need)
  if type(need) == "string" then
    local parent = step.path:match("^(.*/)[^/]*$") or ""
    return self.by_path[parent .. need] or self.by_path[need], need
  end
  local found = self.by_result[need]
  if not found then
    error(("step %s: needs takes names of steps and what steps returned"):format(step.path), 5)
  end
  return found, found.path
end

--- Waits until the steps that `needs` names are done; keeps them in step.needed.
local function wait_for_needs(self, step, needs)
  for i, need in ipairs(needs) do
    while true do
      local found, name = find_needed(self, step, need)
      if found and found.status == "done" then
        step.needed[i] = found
        break
      end
      if found and (found.status == "failed" or found.status == "skipped") then
        error(errors.new { kind = "cancelled", message = ("not started: it needs %s"):format(name) })
      end
      local kind, why = self:stopping()
      if kind and not (found and found.status == "running") then error(errors.new { kind = kind, message = why }) end
      step.waits_for = name
      local ok = require "ws.task.native".wait(self.settled, 3600)
      if not ok then
        error(errors.new { kind = "timeout", message = ("waited an hour for step %s"):format(name),
          hint = found and nil or "no step has that name: look at `needs`" })
      end
    end
  end
end

local function may_retry(retry, err, attempt, since)
  if not retry or attempt >= (retry.attempts or 3) or now() - since >= (retry.within or math.huge) then return false end
  if not retry.kinds then return err.retryable == true end
  for _, kind in ipairs(retry.kinds) do
    if kind == err.kind then return true end
  end
  return false
end

--- Calls the step's function, again as long as its retry policy says so. Returns ok, results… or err.
local function attempt(self, step, opts, fn)
  local retry, delay = opts.retry, opts.retry and opts.retry.delay or 1
  local count, since = 1, now()
  while true do
    local results
    if opts.timeout then
      results = table.pack(task.timeout(opts.timeout, function() return true, fn(step) end))
      if results[1] == nil then results = { false, keep(results[2]), n = 2 } end
    else
      results = table.pack(xpcall(fn, keep, step))
    end
    local err = results[2]
    if results[1] or self:stopping() or not may_retry(retry, err, count, since) then return results end
    self.emit { type = "step_note", step = step, run = self,
      text = ("attempt %d failed (%s), again in %.0f s"):format(count, tostring(err), delay) }
    task.sleep(delay * (0.5 + math.random() / 2))
    delay, count = math.min(delay * 2, retry.max_delay or 60), count + 1
  end
end

local function start(self, name, line)
  local parent = task.get("step")
  local path = parent and parent.path .. "/" .. name or name
  if self.by_path[path] then
    error(("a step named %s exists already in this run"):format(path), 3)
  end
  local step = { name = name, path = path, parent = parent, status = "waiting", line = line, changes = {}, needed = {} }
  self.by_path[path] = step
  self.steps[#self.steps + 1] = step
  return step
end

local function check_step(name, opts, fn)
  if type(name) ~= "string" or name == "" or name:find("[/%c]") or type(fn) ~= "function" then
    error("w:step takes a name without '/', options and a function", 3)
  end
  for key, option in pairs(opts) do
    local wanted = step_options[key]
    if not wanted then error(("w:step: unknown option '%s'"):format(tostring(key)), 3) end
    if wanted ~= "any" and type(option) ~= wanted then
      error(("w:step: %s must be a %s, not a %s"):format(key, wanted, type(option)), 3)
    end
  end
  if opts.plan ~= nil and not require "ws.plan".is_option(opts.plan) then
    error('w:step: plan must be a function, true, false or "run"', 3)
  end
end

--- Takes a step over from the run that is resumed, or says why it runs again. Returns its results, or nil.
local function take_over(self, step, opts)
  local reuse, why = self.replay:judge(step, opts)
  step.why = why
  if not reuse then return nil end
  local results, err = self.replay:results(step, opts)
  if not results then error(err, 0) end
  self.replay.reached[step.path] = "reused"
  if type(results[1]) == "table" then self.by_result[results[1]] = step end
  if opts.undo then self.undos[#self.undos + 1] = { step = step, fn = opts.undo, result = results[1] } end
  self:settle(step, "done")
  return results
end

--- What a step that would run gives when a run is only explained: sub-steps are looked at where the last run had some.
local function explain(self, step, fn)
  local has_steps = false
  for path in pairs(self.replay.steps) do has_steps = has_steps or path:sub(1, #step.path + 1) == step.path .. "/" end
  if has_steps then task.with("step", step, pcall, fn, step) end
  self:settle(step, "done")
  return require "ws.unknown".new(step.path)
end

--- Runs `fn` as a named step and returns what it returns. A failure ends the function that called this.
---
--- What `fn` returns as `nil, err` is a failure as well. What it returns is kept in the journal: a resumed run returns
--- it without calling `fn`. Lists, maps, strings, numbers and booleans can be kept; for anything else see `read`.
---@async
---@param name string
---@param opts? ws.StepOptions
---@param fn fun(step: ws.Step): any
---@return any ...
function Run:step(name, opts, fn)
  if type(opts) == "function" then opts, fn = {}, opts end
  check_step(name, opts, fn)
  local step = start(self, name, caller())
  step.always = opts.always
  local ready, why = xpcall(wait_for_needs, keep, self, step, opts.needs or {})
  if ready then
    local kind, text = self:stopping()
    if kind then ready, why = false, errors.new { kind = kind, message = text } end
  end
  if not ready then
    self:settle(step, "skipped", why)
    error(why, 0)
  end
  if self.plan then return self.plan:step(self, step, opts, fn) end
  if self.journal then step.key = require "ws.journal.replay".key(opts, step.needed) end
  if self.replay then
    local results = take_over(self, step, opts)
    if results then return table.unpack(results, 1, results.n) end
    if self.explain then return explain(self, step, fn) end
  end
  return self:perform(step, opts, fn)
end

--- Runs a step that may start now.
---@private
function Run:perform(step, opts, fn)
  local limit, parent = self.limit, step.parent
  if limit then
    if parent and parent.holds_place then
      parent.holds_place = false
      limit:release()
    end
    limit:acquire()
    step.holds_place = true
  end
  step.status, step.started = "running", now()
  if self.journal then self.journal:step_start(step) end
  self.emit { type = "step_start", step = step, run = self }
  local results = task.with("step", step, attempt, self, step, opts, self.saved and self:as_planned(step, fn) or fn)
  if step.holds_place then
    step.holds_place = false
    limit:release()
  end
  if results[1] and results.n >= 3 and results[2] == nil and errors.is(results[3]) then
    results = { false, results[3], n = 2 }
  end
  if results[1] then
    local recorded, problem = self:record(step, table.pack(table.unpack(results, 2, results.n)))
    if not recorded then results = { false, keep(problem), n = 2 } end
  end
  if results[1] then
    if type(results[2]) == "table" then self.by_result[results[2]] = step end
    if opts.undo then self.undos[#self.undos + 1] = { step = step, fn = opts.undo, result = results[2] } end
    self:settle(step, "done")
    return table.unpack(results, 2, results.n)
  end
  local err = results[2]
  if not self.failed_step and err.kind ~= "cancelled" and err.kind ~= "interrupted" then
    self.failed_step = step -- the innermost: sub-steps settle before their parents
  end
  self:settle(step, "failed", err)
  error(err, 0)
end

--- The work of a step in a run that applies a saved plan: refused when what the plan rests on has moved. A step that
--- this run had begun before it was resumed has moved it itself.
---@private
function Run:as_planned(step, fn)
  if not self.saved:concerns(step.path) then return fn end
  return function(...)
    step.begun = self.saved:has_begun(step.path)
    if not step.begun then
      assert(self.saved:check_step(step.path))
      assert(self.saved:begin(step.path))
    end
    return fn(...)
  end
end

--- What the saved plan that is being applied has for the current step, as Plan:keep was given it.
---@return table? item  nil: the run applies none, or the step was not planned; `begun`: an earlier attempt of this run
---  had begun the step
function Run:saved_plan()
  local step = task.get("step")
  local item = step and self.saved and self.saved:step(step.path)
  if not item then return nil end
  item.begun = step.begun
  return item
end

--- Makes a step's end durable. What was done is kept also when the run is being interrupted.
---@private
function Run:record(step, results)
  if not self.journal then return true end
  local ok, err = task.shield(self.journal.step_end, self.journal, step, "done", results)
  step.fingerprint = step.always and "always" or step.fingerprint or "#" .. self.journal.attempt
  if ok then return true end
  self.broken_journal = err
  return nil, err
end

--- Registers what to do when the run fails: the last registered first, after all running steps have ended, each as a
--- step of its own, "undo NAME". A run that ends well forgets them, and so does one that was killed: when it is resumed
--- it registers them anew, also for steps that it takes over.
---@param name string
---@param fn fun()
function Run:defer(name, fn)
  if type(name) ~= "string" or name:find("[/%c]") or type(fn) ~= "function" then
    error("w:defer takes a name without '/' and a function", 2)
  end
  self.undos[#self.undos + 1] = { name = name, fn = fn }
end

--- Undoes what was registered, after a failure; an interrupted run undoes nothing, since it will be resumed. A step
--- that was undone counts as not done when the run is resumed.
---@async
---@return ws.Error[] errors  of those that failed
function Run:undo()
  local failed, entries = {}, self.undos
  self.undos = {}
  for i = #entries, 1, -1 do
    local entry = entries[i]
    local undone = entry.step
    local step = start(self, "undo " .. (entry.name or undone.path:gsub("/", " ")), undone and undone.line)
    step.always = true
    local ok, err = pcall(self.perform, self, step, {}, function() return entry.fn(entry.result) end)
    if ok and undone and self.journal then ok, err = self.journal:step_undone(undone) end
    if not ok then failed[#failed + 1] = err end
  end
  return failed
end

--- Runs functions side by side and waits for all. When one fails, the others' running steps finish, no new step
--- starts, and then the first failure is raised.
---
--- ```lua
--- w:together {
---   function() w:step("one", function() end) end,
---   function() w:step("two", { needs = { "one" } }, function() end) end,
--- }
--- ```
---@async
---@param functions (fun(): any)[]
---@return any ...  the first result of each function
function Run:together(functions)
  local guarded, first = {}, nil
  for i, fn in ipairs(functions) do
    guarded[i] = function()
      local ok, value = xpcall(fn, keep)
      if ok then return { value } end
      local skipped = value.kind == "cancelled"
      if not first or (first.skipped and not skipped) then first = { err = value, skipped = skipped } end
      return {}
    end
  end
  local boxes, err = task.all(guarded)
  if not boxes then error(err, 0) end
  if first then error(first.err, 0) end
  local results = {}
  for i, box in ipairs(boxes) do results[i] = box[1] end
  return table.unpack(results, 1, #functions)
end

local function current_step(what)
  local step = task.get("step")
  if not step then error(what .. " is for the inside of a step", 3) end
  return step
end

local approve_fields = { name = "string", text = "string", inputs = "any" }

--- Asks a person before the run goes on. On a terminal the question is asked there; elsewhere, and with --no-input, the
--- run is parked: it ends with exit code 75, and `wsrun approve RUN` continues it. What was approved stays approved for
--- the same text and inputs.
---
--- ```lua
--- w:approve { text = "deploy 1.4.2 to prod-eu" }
--- ```
---@async
---@param what { text: string, name?: string, inputs?: any }  name: of the step, default "approval"
---@return { by: string, at: string } approval  who said yes, and when (RFC 3339)
function Run:approve(what)
  if type(what) ~= "table" or type(what.text) ~= "string" then error("w:approve takes a table with text", 2) end
  for key, field in pairs(what) do
    local wanted = approve_fields[key]
    if not wanted then error(("w:approve: unknown option '%s'"):format(tostring(key)), 2) end
    if wanted ~= "any" and type(field) ~= wanted then error(("w:approve: %s must be a %s"):format(key, wanted), 2) end
  end
  return self:step(what.name or "approval", { inputs = { what.text, what.inputs } }, function()
    return require "ws.approval".ask(self, what)
  end)
end

--- Shows how far the current step is.
---@param text string
---@param done? integer
---@param total? integer
function Run:progress(text, done, total)
  local step = current_step("w:progress")
  step.progress = { text = text, done = done, total = total }
  self.emit { type = "step_progress", step = step, run = self }
end

--- Says something that stays on the screen.
---@param text string
function Run:note(text)
  self.emit { type = "step_note", step = task.get("step"), run = self, text = text }
end

local levels = { error = true, warning = true }
local annotation_fields = { level = "string", file = "string", line = "number", col = "number", text = "string" }

--- Marks a line of a file: what a test, a linter or a compiler found. A CI shows it at that line of the change;
--- elsewhere it is a line on the screen. It does not make the step fail.
---
--- ```lua
--- w:annotate { file = "app/src/server_test.go", line = 12, text = "got 2, want 3" }
--- ```
---@param a { text: string, level?: "error"|"warning", file?: string, line?: integer, col?: integer }  level: "error"
---  when not given; the file counts from the project's root
function Run:annotate(a)
  if type(a) ~= "table" or type(a.text) ~= "string" then error("w:annotate takes a table with text", 2) end
  for key, value in pairs(a) do
    if not annotation_fields[key] then error(("w:annotate: unknown option '%s'"):format(tostring(key)), 2) end
    if type(value) ~= annotation_fields[key] then
      error(("w:annotate: %s must be a %s, not %s"):format(key, annotation_fields[key], type(value)), 2)
    end
  end
  local level, step = a.level or "error", task.get("step")
  if not levels[level] then error(("w:annotate: level is error or warning, not '%s'"):format(level), 2) end
  if step and level == "error" then step.annotated = true end -- its failure needs no mark of its own
  self.emit { type = "annotation", run = self, fields = { level = level, file = a.file, line = a.line, col = a.col,
    text = a.text, step = step and step.path } }
end

--- Says in a few words what the current step came to; shown when it ends and in the summary.
---@param text string
function Run:summary(text)
  current_step("w:summary").summary = text
end

--- Records that the current step changed something; a run without any such record ends with "nothing changed".
---@param text string
function Run:changed(text)
  local step = current_step("w:changed")
  step.changes[#step.changes + 1] = text
  self.change_count = self.change_count + 1
  step.summary = table.concat(step.changes, ", ")
end

--- The file for the full log of the current step; its folder exists. Its end is shown in a CI and in reports.
---@param suffix? string  default ".log"
---@return string path
function Run:log_file(suffix)
  local step = task.get("step")
  local name = step and step.path:gsub("/", ".") or "run"
  local path = self.dir .. "/" .. name .. (suffix or ".log")
  if step then
    step.logs = step.logs or {}
    if not step.logs[path] then step.logs[#step.logs + 1] = path end
    step.logs[path] = true
  end
  return path
end

--- Stops the start of new steps, as Ctrl-C does.
function Run:interrupt()
  self.interrupted = true
  require "ws.task.native".notify(self.settled)
end

--- Ends the run for a reason that is not a step's: what runs is cancelled, which stops its children, no step starts any
--- more, nothing is undone, and this is what the run failed with.
---@param err ws.Error
function Run:abort(err)
  if self.aborted then return end
  self.aborted = err
  self.emit { type = "text", run = self, text = err.message }
  require "ws.task.native".notify(self.settled)
  if self.stop then self.stop() end
end

--- Waits until no step runs any more.
---@async
function Run:wait_for_running()
  local function runs()
    for _, step in ipairs(self.steps) do
      if step.status == "running" then return true end
    end
  end
  while runs() do require "ws.task.native".wait(self.settled, 1) end
end

--- Ties the run to a lock until it is released: when it is lost the run is aborted, and from then on `ws.fence` refuses
--- what the run would change.
---@param lock ws.Lock
function Run:hold(lock)
  if require "ws.unknown".what(lock) then return end -- of a plan, which takes none
  self.locks[#self.locks + 1] = lock
  lock.on_lost = function(err) self:abort(err) end
  if lock.lost then self:abort(lock.lost) end
end

--- The counts for the last lines on the screen.
function Run:tally()
  local counts = { done = 0, failed = 0, skipped = 0, waiting = 0, running = 0 }
  for _, step in ipairs(self.steps) do
    if not step.inherited then counts[step.status] = counts[step.status] + 1 end
  end
  counts.seconds = now() - self.started
  return counts
end

return M
