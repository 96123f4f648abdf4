--- `wsrun run WORKFLOW` and `wsrun SCRIPT`: from words to an exit code.
local display = require "ws.display"
local engine = require "ws.engine"
local errors = require "ws.error"
local interrupt = require "ws.cli.interrupt"
local project = require "ws.project"

local M = {}

local function invalid(message, hint, fields)
  local object = { kind = "invalid", message = message, hint = hint, exit = 65 }
  for k, v in pairs(fields or {}) do object[k] = v end
  return nil, errors.new(object)
end

--- What a script raised as an error object with a traceback.
local function keep_traceback(raised)
  if errors.is(raised) then return raised end
  return errors.new { kind = "internal", message = tostring(raised), traceback = debug.traceback(nil, 2) }
end

--- Loads a script file: a chunk, or an error with the file's line.
local function load_script(path)
  local file, message = io.open(path, "rb")
  if not file then
    return invalid(("cannot read %s"):format(message), "wsrun list shows the workflows of this project")
  end
  local text = file:read("a")
  file:close()
  if not text then return invalid(path .. " is not a file") end
  text = text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", "") -- as Lua itself: a byte order mark, a first line #!
  local chunk, problem = load(text, "@" .. path)
  if not chunk then return invalid(problem, "the script has a syntax error: nothing was run") end
  return chunk
end

--- A run's identity (when it began, and a few random digits) and its own folder, which no other run has.
---@async
---@param kind string  "runs", "plans": the folder of the state in which its folder is
---@return string? id
---@return string|ws.Error dir
function M.new_id(kind)
  local fs, all = require "ws.fs", project.state_dir() .. "/" .. kind
  local ok, err = fs.mkdir(all, { parents = true, mode = 448 })
  while ok do
    local id = os.date("!%Y%m%d-%H%M%S-") .. ("%04x"):format(math.random(0, 0xffff))
    ok, err = fs.mkdir(all .. "/" .. id, { exclusive = true, mode = 448 })
    if ok then return id, all .. "/" .. id end
    ok = err.kind == "exists"
  end
  return nil, err
end

--- What the summary calls the run: the platform and the workflow.
---@param path string
---@param args table
---@param workflow ws.Workflow
---@return string
function M.title(path, args, workflow)
  local name = path:match("([^/]+)%.lua$") or path
  for _, arg in ipairs(workflow.args) do
    if arg.type == "manifest" and args[arg[1]] then return args[arg[1]].name .. "  " .. name end
  end
  return name
end

local function quoted(word)
  if word:find("^[%w_%-%./=:@,]+$") then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- The command line to type for running this again.
---@param path string
---@param words string[]
---@param globals table
---@return string
function M.again(path, words, globals)
  local parts = { "wsrun" }
  if globals.plan then parts[#parts + 1] = "--plan" end
  if globals.sandbox then parts[#parts + 1] = "--sandbox" end
  parts[#parts + 1] = quoted(path)
  for _, word in ipairs(words) do parts[#parts + 1] = quoted(word) end
  return table.concat(parts, " ")
end

--- Runs a script's chunk; of a plan, without leave to change anything. Returns ok, result or error, and the signal that
--- came.
local function run_chunk(chunk, words, guard)
  return interrupt.run(function()
    if guard then guard.grant "nothing" end
    return xpcall(chunk, keep_traceback, table.unpack(words))
  end)
end

--- What a run does at a signal: nothing new starts, and it says what it waits for.
local function interrupt_run(run, emit, name, first)
  run.signal = run.signal or name
  run:interrupt()
  if not first then return end
  local names = {}
  for _, step in ipairs(run.steps) do
    if step.status == "running" then names[#names + 1] = step.path end
  end
  emit { type = "text", run = run, text = ("\n%s: waiting for %s to stop; a second one ends them at once"):format(
    name == "INT" and "Ctrl-C" or "SIG" .. name, #names > 0 and table.concat(names, ", ") or "nothing") }
end

local watched, presses = {}, 0

local function on_signal(name)
  local process = require "ws.process"
  presses = presses + 1
  for _, w in ipairs(watched) do interrupt_run(w.run, w.emit, name, presses == 1) end
  if presses > 1 then display.write("ending the children; what they held may need `wsrun doctor`\n") end
  process.interrupt_all(presses == 1 and "INT" or "TERM")
  for _, w in ipairs(watched) do
    if w.run.task then w.run.cancel_waits() end
  end
end

--- First Ctrl-C: nothing new starts, children get one SIGINT, we wait. Second: TERM, and KILL after a grace. Several
--- runs of one process may be watched.
---@param run ws.Run
---@param emit fun(event: table)
function M.watch_signals(run, emit)
  watched[#watched + 1] = { run = run, emit = emit }
  if #watched == 1 then require "ws.signal.native".handle(on_signal) end
end

--- Runs a workflow in its own task, so that a signal can end what only waits.
---@async
---@param run ws.Run
---@param workflow { run: fun(w: ws.Run, args: table) }
---@param args table
---@return true? ok
---@return ws.Error? err
function M.perform(run, workflow, args)
  local task = require "ws.task"
  run.cancel_waits = function()
    -- Steps that run a child end when the child does; what only sleeps or polls is cancelled.
    if #require "ws.process".live() == 0 then run.task:cancel() end
  end
  run.stop = function() run.task:cancel() end
  run.task = task.spawn(function()
    local result = table.pack(task.with("run", run, workflow.run, run, args))
    if result[1] == nil and errors.is(result[2]) then error(result[2], 0) end
  end)
  local ok, err = run.task:join()
  if run.aborted then run:wait_for_running() end
  return ok, err
end

--- Starts the sandbox when none runs, and lays its endpoints over the environment.
function M.prepare_sandbox()
  local sandbox = require "sandbox"
  local status, err = sandbox.up {}
  if not status then return nil, err end
  require "ws.environment".set(sandbox.environment())
  return true
end

--- With --quiet, errors that are marked in files are still shown.
local function quiet(screen)
  return function(event)
    if event.type == "annotation" and event.fields.level == "error" then screen.emit(event) end
  end
end

--- wsrun's own options that a resumed run has again.
local KEPT = { "sandbox", "jobs", "keep-going", "wait-lock", "lock-ttl", "push", "allow-run", "allow-net", "allow-read",
  "allow-write", "allow-env", "deny-run", "deny-net", "deny-read", "deny-write", "deny-env" }

--- What it takes to run the same again: the script as the project knows it, and the options that are kept.
---@param path string
---@param words string[]
---@param globals table
---@return { script: string, words: string[], options: table }
function M.about(path, words, globals)
  local options, root, absolute = {}, project.root() .. "/", require "ws.fs".absolute(path)
  for _, name in ipairs(KEPT) do options[name] = globals[name] end
  return { script = absolute:sub(1, #root) == root and absolute:sub(#root + 1) or absolute, words = words,
    options = options }
end

--- Gives a run the saved plan that it applies: of `wsrun apply`, or of the run that is resumed. Its files are kept with
--- the run until it comes to a good end; what it says (plan.json) as long as the run, for its report.
local function attach_plan(run, globals)
  local saved_plan, dir = require "ws.plan.saved", run.dir .. "/plan"
  if globals.saved then
    local ok, err = saved_plan.unpack(globals.saved.file, dir)
    if ok then ok, err = require "ws.fs".copy(dir .. "/plan.json", run.dir .. "/plan.json") end
    if not ok then return nil, err end
  elseif not (globals.resumed and require "ws.fs".exists(dir)) then
    return true
  end
  local err
  run.saved, err = saved_plan.open(dir)
  return run.saved and true, err
end

--- Opens the journal and writes the run into it, or continues the one that is resumed.
local function open_journal(run, about, resumed)
  local journal, err = require "ws.journal".open()
  if not journal then return nil, err end
  local ok
  if resumed then
    ok, err = journal:continue(resumed)
  else
    ok, err = journal:begin(run, about)
  end
  if not ok then
    journal:close()
    return nil, err
  end
  return journal
end

--- Makes the run: its folder, its journal, and of a resumed one what it takes over.
local function make_run(path, workflow, words, globals, args, id)
  local resumed, problem = globals.resumed, nil
  id = id or resumed and resumed.id
  if not id then id, problem = M.new_id "runs" end
  if not id then return nil, problem end
  local dir = project.state_dir() .. "/runs/" .. id
  local made
  made, problem = require "ws.fs".mkdir(dir, { parents = true, mode = 448 })
  if not made then return nil, problem end
  local run = require "ws.run".new { id = id, dir = dir, title = M.title(path, args, workflow), options = globals }
  local about = M.about(path, words, globals)
  about.dir = dir
  made, problem = attach_plan(run, globals)
  if not made then return nil, problem end
  run.journal, problem = open_journal(run, about, resumed)
  if not run.journal then return nil, problem end
  if resumed then
    run.replay, problem = require "ws.journal.replay".new(run.journal, id, globals.from)
    if not run.replay then return nil, problem end
  end
  return run
end

--- The arguments of a workflow, or an error with its exit code and where help is.
---@async
---@param path string
---@param workflow ws.Workflow
---@param words string[]
---@return table? args
---@return ws.Error? err
function M.read_args(path, workflow, words)
  local args, err = workflow:read_args(words)
  if args then return args end
  if not err.usage then
    err.exit = err.exit or 65
  else
    err.hint = (err.hint and err.hint .. "; " or "") .. ("wsrun %s -h shows the arguments"):format(path)
  end
  return nil, err
end

--- Runs a workflow once. `place` is where it runs among several: the prefix of its lines, the places for steps that all
--- of them share, and who wants to know the run.
---@async
---@param path string
---@param workflow ws.Workflow
---@param words string[]
---@param globals table
---@param id? string  that it was given already
---@param place? { prefix: string, limit: table, on_run: fun(run: ws.Run) }
---@return integer? code
---@return ws.Error? err
local function run_once(path, workflow, words, globals, id, place)
  if globals.junit then
    local ready, problem = require "ws.junit".prepare(globals.junit)
    if not ready then return nil, problem end
  end
  local args, err = M.read_args(path, workflow, words)
  if not args then return nil, err end
  if globals.saved then
    local holds, moved = globals.saved:check()
    if not holds then return nil, moved end
  end
  local run, problem = make_run(path, workflow, words, globals, args, id)
  if not run then return nil, problem end
  local _ <close> = run.journal
  if place then
    run.limit = place.limit
    place.on_run(run)
  end
  local screen = display.open(globals, place and place.prefix)
  local _ <close> = setmetatable({}, { __close = function() screen.close() end })
  run.emit = require "ws.journal.events".recorded(run, globals.quiet and quiet(screen) or screen.emit)
  if os.getenv("OTEL_EXPORTER_OTLP_ENDPOINT") or os.getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") then
    run.trace = require "ws.trace".begin()
  end
  M.watch_signals(run, screen.emit)
  run.emit { type = "run_start", run = run, fields = { title = run.title, command = M.again(path, words, globals),
    resumed = run.replay ~= nil or nil } }
  local ok, failure = M.perform(run, workflow, args)
  if not ok and not run.interrupted and not run.aborted and failure.kind ~= "parked" then
    for _, undo_error in ipairs(run:undo()) do
      run:note(("undoing failed: %s"):format(tostring(undo_error)))
    end
  end
  screen.close()
  return M.finish(run, ok, failure, { screen = screen, globals = globals, place = place,
    command = ok and M.again(path, words, globals) or "wsrun resume " .. run.id })
end

local function run_workflow(path, workflow, words, globals, id)
  if globals.help then
    print(workflow:help("wsrun " .. path))
    return 0
  end
  local many = require "ws.cli.many"
  local chosen, err
  if not globals.resumed and not globals.saved then
    chosen, err = many.select(workflow, words, globals)
    if err then return nil, err end
  end
  if not chosen then return run_once(path, workflow, words, globals, id) end
  return many.run(chosen, globals, function(own_words, own_globals, place)
    return run_once(path, workflow, own_words, own_globals, nil, place)
  end)
end

--- Says what a resumed run would do; `globals.resumed` is the run. Nothing is changed: the natives refuse it.
---@async
---@param workflow ws.Workflow
---@param words string[]
---@param globals table
---@return ws.Run? run  its steps have `reused` or `why`
---@return ws.Error? err
local function explain_workflow(path, workflow, words, globals)
  local args, err = workflow:read_args(words)
  if not args then return nil, err end
  local journal
  journal, err = require "ws.journal".open { read_only = true }
  if not journal then return nil, err end
  local _ <close> = journal
  local resumed = globals.resumed
  local run = require "ws.run".new { id = resumed.id, dir = resumed.dir, title = M.title(path, args, workflow),
    options = globals, emit = function() end, journal = journal, explain = true }
  run.replay, err = require "ws.journal.replay".new(journal, resumed.id, globals.from)
  if not run.replay then return nil, err end
  engine.native.forbid("write", "exec")
  local ended, problem = require "ws.task".spawn(workflow.run, run, args):join()
  if not ended and problem.kind ~= "denied" and not problem.unknown then return nil, problem end
  globals.explain(run)
  return 0
end

--- Marks in a CI where the steps of a failed run failed.
local function mark_failures(run, failure)
  local marked
  for _, step in ipairs(run.steps) do
    if step.status == "failed" and not step.inherited and not step.annotated and step.err.kind ~= "interrupted"
      and step.err.kind ~= "cancelled" then
      display.mark_error(step.err, step)
    end
    marked = marked or step.status == "failed"
  end
  if not marked and not run.interrupted then display.mark_error(failure) end
end

--- Writes what outlives the screen: the JUnit report, the CI's summary page. Returns whether the report that was asked
--- for is there.
local function write_reports(run, failure, context)
  local dialect = require "ws.ci".current()
  if dialect and dialect.summary then
    local plain = { paint = display.painter(false), marks = display.marks(), command = context.command }
    local card = failure and require "ws.card".failure(run, failure, plain)
    local written, problem = dialect.summary(run, card)
    if written == nil then display.write(("wsrun: the summary page was not written: %s\n"):format(problem)) end
  end
  local path = context.globals.junit
  if not path then return true end
  local ok, err = require "ws.junit".write(path, run, failure)
  if not ok then
    display.write(("wsrun: the JUnit report was not written: %s\n"):format(err.message))
  end
  return ok
end

--- Shows what a run came to and returns its exit code.
function M.finish(run, ok, failure, context)
  local card = require "ws.card"
  local globals = context.globals
  local is_tty = engine.native.is_tty(2)
  local look = { paint = display.painter(display.wants_color(is_tty, globals)), marks = display.marks(),
    command = context.command }
  local code, err = 0, nil
  local function say(text) display.write(display.prefixed(text, context.place and context.place.prefix) .. "\n") end
  if ok and run.interrupted then -- whatever was still done, it was not what was asked for
    ok, failure = nil, errors.new { kind = "interrupted", message = "the run was interrupted" }
  end
  if run.aborted then ok, failure = nil, run.aborted end
  if not ok then err = run.aborted or run.failed_step and run.failed_step.err or failure end
  if not write_reports(run, err, context) then code = 1 end
  if not ok then code = run.interrupted and interrupt.codes[run.signal] or require "ws.cli".exit_code(err) end
  local status = ok and "done" or run.interrupted and "interrupted" or err.kind == "parked" and "parked" or "failed"
  if ok and run.saved then require "ws.fs".remove(run.saved.dir, { recursive = true, missing_ok = true }) end
  local kept, problem = run.journal:finish(status, code, err, run.change_count)
  if not kept then
    if ok then ok, err = nil, problem end
    code = 74
  end
  for _, text in ipairs(run.trace and require "ws.trace".finish(run.trace, run,
    { status = status, exit = code, err = err }) or {}) do
    display.write(("wsrun: %s\n"):format(text))
  end
  if not ok then
    if globals.json then
      context.screen.emit { type = "run_end", run = run,
        fields = { exit = code, error = require "ws.display.json".error_fields(err) } }
    end
    say(card.failure(run, err, look))
    if globals.verbose and err.traceback then display.write(err.traceback .. "\n") end
    mark_failures(run, err)
  elseif globals.json then
    context.screen.emit { type = "run_end", run = run, fields = { exit = code, changes = run.change_count } }
  elseif not globals.quiet then
    say(context.place and card.outcome(run, look) or card.success(run, look))
  end
  return code
end

local function run_script(path, words, globals)
  local folder = path:match("^(.*)/[^/]*$") or "."
  engine.script_folders[#engine.script_folders + 1] = folder
  engine.script_folders[#engine.script_folders + 1] = project.path("workflows")
  local chunk, err = load_script(path)
  if not chunk then return nil, err end
  if globals.sandbox and not globals.help then
    local ready, problem = M.prepare_sandbox()
    if not ready then return nil, problem end
  end
  local permitted, id = require "ws.permissions".begin(globals, path, function()
    if globals.resumed then return globals.resumed.id end
    return M.new_id "runs"
  end)
  if permitted == nil then return nil, id end
  _G.arg = table.move(words, 1, #words, 1, { [0] = path })
  local guard, problem
  if globals.plan and not globals.help then
    guard, problem = require "ws.cli.plan".guard()
    if not guard then return nil, problem end
  end
  local ran, workflow, signal = run_chunk(chunk, words, guard)
  if signal then
    io.stderr:write("wsrun: interrupted\n")
    return interrupt.codes[signal]
  end
  if not ran then
    problem = workflow
    if problem.exited then return problem.exit end
    if problem.exit == 65 and not problem.message:find(path, 1, true) then
      problem.message = path .. ": " .. problem.message -- a tail call has left no line
    end
    return nil, problem
  end
  local declared = require "ws.workflow".is(workflow)
  if guard and not declared then return require "ws.cli.plan".refuse(path) end
  if workflow == nil then return 0 end
  if declared then
    if guard then return require "ws.cli.plan".workflow(path, workflow, words, globals, guard) end
    return (globals.explain and explain_workflow or run_workflow)(path, workflow, words, globals, id)
  end
  return invalid(("%s returned a %s; a script returns nothing, or what ws.workflow{...} gives"):format(path,
    type(workflow)))
end

--- Runs a script: a workflow is run with steps and journal, any other script simply runs.
---@async
---@param path string
---@param words string[]
---@param globals table
---@return integer? code
---@return ws.Error? err
function M.script(path, words, globals)
  local code, err = run_script(path, words, globals)
  if globals.audit and not globals.help and engine.native.decisions() then
    local out = globals.json and io.stderr or io.stdout
    out:write(require "ws.secret".redact(require "ws.permissions.policy".used()))
  end
  return code, err
end

--- `wsrun run WORKFLOW ARGS`
function M.main(words, globals)
  local name = table.remove(words, 1)
  if not name then
    if globals.help then return require "ws.cli.help".main({ "run" }, globals) end
    return nil, errors.new { kind = "invalid", usage = true, message = "wsrun run needs the name of a workflow",
      hint = "wsrun list shows them" }
  end
  if name:find("/", 1, true) or name:find("%.lua$") then return M.script(name, words, globals) end
  local known = require "ws.cli.list".workflows()
  for _, workflow in ipairs(known) do
    if workflow == name then return M.script(project.path("workflows/" .. name .. ".lua"), words, globals) end
  end
  local meant = require "ws.nearest"(name, known)
  return nil, errors.new { kind = "invalid", usage = true, message = ("no workflow '%s' in %s"):format(name,
    project.path("workflows")), hint = (meant and ("did you mean '%s'? "):format(meant) or "")
    .. "there are: " .. table.concat(known, ", ") }
end

return M
