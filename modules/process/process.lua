--- Programs: run one and wait, or start one and talk to it.
---
--- No shell is involved. A program is finished when it has exited and its output has ended. Its process group gets the
--- signals; it inherits its standard streams and no other descriptor. Command lines can be read by every user of a
--- machine: a secret in one is refused.
local native = require "ws.process.native"
local task = require "ws.task"
local environment = require "ws.environment"
local errors = require "ws.error"

local M = {}

local RUN_TIMEOUT = 3600 -- seconds

---@class ws.process.Options
---@field cwd? string  directory of the child; the engine's own never changes
---@field env? table<string, string|ws.Secret|false>  laid over the engine's environment; false removes
---@field clear_env? boolean  start from an empty environment instead
---@field stdin? string|ws.Secret|(fun(): string?)|true  what it reads: a value, or a function that is called for chunks
---  until it gives nil; true (start only): what Child:write gives. Default: nothing
---@field timeout? number  seconds, then it is stopped; default 3600 for run, none for start
---@field grace? number  seconds between the stop signal and KILL; default 10
---@field stop_signal? string  default "TERM"
---@field linger? number  seconds of silence after the exit before a pipe that a grandchild holds is closed; default 2
---@field max_output? integer  bytes kept of each of stdout and stderr, the last ones; default 16 MiB
---@field stdout? "collect"|"discard"|"inherit"|"pipe"|{ file: string, append?: boolean }  default "collect"; "pipe"
---  (start only): what Child:lines gives
---@field stderr? "collect"|"discard"|"inherit"|"pipe"|"stdout"|{ file: string, append?: boolean }  "stdout": the same
---@field on_stdout? fun(line: string)  called for each line as it comes; it may wait, then the child does
---@field on_stderr? fun(line: string)
---@field detached? boolean  (start only) it gets its own session and outlives wsrun; its output cannot be collected
---@field interactive? boolean  it has our terminal and stays in its foreground group

---@class ws.process.Result
---@field code? integer  exit code; nil when a signal ended it
---@field signal? string  name of the signal that ended it, without SIG
---@field stdout? string  when collected
---@field stderr? string
---@field truncated? boolean  only the end of the output was kept
---@field lingering? boolean  a grandchild still held a pipe when it was closed
---@field seconds number  from start to exit

--- Starts natively; misuse is raised `level` calls up, for whoever called the public function.
local function native_start(name, argv, opts, timeout, level)
  local ok, child, err = pcall(native.start, argv, opts, environment.overlay(), timeout)
  if ok then return child, err end
  if errors.is(child) then error(child, 0) end
  error((tostring(child):gsub("^[^:]+:%d+: ", ""):gsub("to '[^']*'", "to '" .. name .. "'", 1)), level)
end

local function reader(child, which, callback)
  local _ <close> = setmetatable({}, { __close = function(_, err)
    child:drop_lines(which)
    if err then child:terminate() end
  end })
  for lines in function() return child:lines_batch(which) end do
    for _, line in ipairs(lines) do callback(line) end
  end
end

local function writer(child, produce)
  local _ <close> = setmetatable({}, { __close = function(_, err)
    child:close_stdin()
    if err then child:terminate() end
  end })
  for chunk in produce do
    local ok, err = child:write(chunk)
    if not ok then
      if err.kind == "connection" then return end -- it did not want to read more
      error(err, 0)
    end
  end
end

--- Starts the tasks that call back into Lua; their list closes them.
local function pumps(child, opts)
  local tasks = setmetatable({}, { __close = function(list)
    for _, t in ipairs(list) do t:cancel() end
  end })
  if opts.on_stdout then tasks[#tasks + 1] = task.spawn(reader, child, "stdout", opts.on_stdout) end
  if opts.on_stderr then tasks[#tasks + 1] = task.spawn(reader, child, "stderr", opts.on_stderr) end
  if type(opts.stdin) == "function" then tasks[#tasks + 1] = task.spawn(writer, child, opts.stdin) end
  return tasks
end

local function join_all(tasks)
  for _, t in ipairs(tasks) do
    local ok, err = t:join()
    if not ok then error(err, 0) end
  end
end

local function needs_pumps(opts)
  return opts and (opts.on_stdout or opts.on_stderr or type(opts.stdin) == "function")
end

--- The work of run and check, which call it directly: misuse is raised two calls up.
local function run(name, argv, opts)
  if type(opts) == "table" then
    if opts.detached then error("a detached program is started, not run: see process.start", 3) end
    if opts.stdout == "pipe" or opts.stderr == "pipe" or opts.stdin == true then
      error("'pipe' and stdin = true are for process.start", 3)
    end
  end
  local child, err = native_start(name, argv, opts, RUN_TIMEOUT, 4)
  if not child then return nil, err end
  if not needs_pumps(opts) then return child:wait(nil, true) end
  local tasks <close> = pumps(child, opts)
  local result, wait_err = child:wait(nil, true)
  join_all(tasks)
  return result, wait_err
end

--- Runs a program and waits for it.
---
--- ```lua
--- local r = assert(process.run({ "sh", "-c", "echo hello; exit 3" }))
--- assert(r.stdout == "hello\n" and r.code == 3)
--- ```
--- A program that ran and failed is a result, not an error: see `check`. Raises on misuse, and what a callback raised
--- (then the program is stopped). When the task is cancelled, the program is stopped first.
---@async
---@param argv string[]
---@param opts? ws.process.Options
---@return ws.process.Result? result
---@return ws.Error? err  kinds: `missing_tool` (no such command), `not_found` (no such cwd), `denied`, `invalid`,
---  `timeout` (with `result`)
function M.run(argv, opts)
  local result, err = run("process.run", argv, opts)
  return result, err
end

local function last_lines(text, count)
  local lines = {}
  for line in (text or ""):gmatch("[^\r\n]+") do
    if line:find("%S") then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n", math.max(1, #lines - count + 1))
end

--- Runs a program that has to succeed: anything but exit code 0 is an error.
---
--- ```lua
--- local version = assert(process.check({ "sh", "-c", "echo 1.2" })).stdout
--- ```
---@async
---@param argv string[]
---@param opts? ws.process.Options
---@return ws.process.Result? result
---@return ws.Error? err  as run; kind `failed` with `status` (the exit code), `result`, and the last lines it wrote
function M.check(argv, opts)
  local result, err = run("process.check", argv, opts)
  if not result then return nil, err end
  if result.code == 0 then return result end
  local how = result.signal and "was ended by " .. result.signal or "failed with exit code " .. result.code
  local said = last_lines(result.stderr ~= "" and result.stderr or result.stdout, 5)
  return nil, errors.new {
    kind = "failed", op = argv[1], status = result.code, result = result,
    message = how .. (said ~= "" and ": " .. require "ws.secret".redact(said) or ""),
  }
end

---@class ws.process.Child
---@field pid integer
---@field command string  for people
local Child = {}
Child.__index = Child

--- Starts a program and returns at once. A child that is no longer referred to is stopped; `<close>` stops it too.
---
--- ```lua
--- local child <close> = assert(process.start({ "cat" }, { stdin = true, stdout = "pipe" }))
--- assert(child:write("hello\n"))
--- child:close_stdin()
--- for line in child:lines() do assert(line == "hello") end
--- assert(child:wait().code == 0)
--- ```
---@param argv string[]
---@param opts? ws.process.Options
---@return ws.process.Child? child
---@return ws.Error? err  as run
function M.start(argv, opts)
  local child, err = native_start("process.start", argv, opts, nil, 3)
  if not child then return nil, err end
  return setmetatable({
    native = child, pid = child.pid, command = child.command, tasks = needs_pumps(opts) and pumps(child, opts) or {},
  }, Child)
end

--- Waits for the child's end. When the waiting task is cancelled the child goes on.
---@async
---@param timeout? number  seconds; default: as long as it takes
---@return ws.process.Result? result
---@return ws.Error? err  kind `timeout`: it still runs, or (with `result`) its own timeout ended it
function Child:wait(timeout)
  local result, err = self.native:wait(timeout)
  if self.native.finished then join_all(self.tasks) end
  return result, err
end

--- Whether it has ended.
---@return boolean
function Child:finished()
  return self.native.finished
end

--- Writes to the child's input; returns when the pipe has taken it.
---@async
---@param data string|ws.Secret
---@return true? ok
---@return ws.Error? err  kind `connection`: the child has closed its input or ended
function Child:write(data)
  return self.native:write(data)
end

--- Ends the child's input.
function Child:close_stdin()
  self.native:close_stdin()
end

--- Iterates over the lines of a stream that was started as "pipe". A line longer than 1 MiB comes in parts.
---@async
---@param which? "stdout"|"stderr"  default "stdout"
---@return fun(): string?
function Child:lines(which)
  local lines, i = {}, 0
  return function()
    i = i + 1
    while lines and not lines[i] do
      lines, i = self.native:lines_batch(which or "stdout"), 1
    end
    return lines and lines[i]
  end
end

--- Signals the child's process group.
---@param signal? string  name without SIG; default "TERM"
---@return true? ok
---@return ws.Error? err  kind `not_found`: it has ended
function Child:kill(signal)
  return self.native:kill(signal)
end

--- Stops the child: its stop signal, after its grace KILL; waits for the end.
---@async
---@return ws.process.Result? result
---@return ws.Error? err
function Child:stop()
  self.native:terminate()
  return task.shield(self.native.wait, self.native)
end

function Child:__close()
  if not self.native.finished then self:stop() end
end

--- The file that a command's name stands for.
---@param name string
---@return string? path
---@return ws.Error? err  kinds: `missing_tool`, `denied`
function M.which(name)
  return native.which(name, environment.get("PATH"))
end

--- The children that have not finished, without the detached ones.
---@return { pid: integer, command: string, seconds: number }[]
function M.live()
  return native.live()
end

--- Passes an interrupt on to every child's group. "TERM" stops them: KILL follows after each one's grace.
---@param signal? "INT"|"TERM"  default "INT"
---@return integer count  of children that were told
function M.interrupt_all(signal)
  return native.interrupt_all(signal)
end

return M
