--- Tasks: pieces of a script that run side by side.
---
--- Every function that waits lets the other tasks run. A task that ends with an error keeps it for whoever joins it. A
--- cancelled task gets an error of kind `cancelled` raised where it waits, so its `<close>` variables run.
local native = require "ws.task.native"

local M = {}

---@class ws.Task
local Task = {}
Task.__index = Task

--- Starts a task that calls `fn` with the arguments.
---
--- ```lua
--- local t = task.spawn(function(a, b) return a + b end, 1, 2)
--- assert(select(2, assert(t:join())) == 3)
--- ```
---@param fn function
---@param ... any
---@return ws.Task
function M.spawn(fn, ...)
  return setmetatable({ native = native.spawn(fn, ...) }, Task)
end

--- Waits for the task's end. Raises when a task joins itself.
---@async
---@param timeout? number  seconds; default: as long as it takes
---@return true? ok
---@return any ...  the results of the task's function, or the error object (kind `timeout`: it still runs)
function Task:join(timeout)
  return native.join(self.native, timeout)
end

--- Asks the task to end: its operation is given up and raises an error of kind `cancelled` in it.
function Task:cancel()
  native.cancel(self.native)
end

--- Whether the task has ended.
---@return boolean
function Task:ended()
  return native.ended(self.native)
end

--- Waits.
---@async
---@param seconds number
function M.sleep(seconds)
  native.sleep(seconds)
end

local function cancel_all(tasks)
  return setmetatable({}, { __close = function()
    for _, t in ipairs(tasks) do t:cancel() end
  end })
end

--- Runs functions side by side and waits for all of them, also when one fails.
---
--- ```lua
--- local results = assert(task.all { function() return 1 end, function() return 2 end })
--- assert(results[1] == 1 and results[2] == 2)
--- ```
---@async
---@param functions function[]
---@param opts? { jobs?: integer }  at most this many at once
---@return any[]? results  the first result of each
---@return ws.Error? err  of the first function in the list that failed
function M.all(functions, opts)
  local jobs = opts and opts.jobs or #functions
  local results, first_error, tasks = {}, nil, {}
  local next_one = 1
  local _ <close> = cancel_all(tasks)
  local function worker()
    while next_one <= #functions do
      local i = next_one
      next_one = i + 1
      local t = M.spawn(functions[i])
      tasks[#tasks + 1] = t
      local ok, value = t:join()
      if ok then
        results[i] = value
      elseif not first_error or i < first_error.index then
        first_error = { index = i, err = value }
      end
    end
  end
  local workers = {}
  for i = 1, math.min(jobs, #functions) do
    workers[i] = M.spawn(worker)
    tasks[#tasks + 1] = workers[i]
  end
  for _, w in ipairs(workers) do assert(w:join()) end
  if first_error then return nil, first_error.err end
  return results
end

local function after_timeout(t, ok, first, ...)
  if ok == nil and first.kind == "timeout" and not t:ended() then
    t:cancel()
    M.shield(function() t:join() end)
  end
  if ok == nil then return nil, first end
  return first, ...
end

--- Calls `fn`, but not for longer than `seconds`; then it is cancelled, and this returns when it has ended.
---@async
---@param seconds number
---@param fn function
---@param ... any  arguments of fn
---@return any ...  fn's results
---@return ws.Error? err  kind `timeout`, or what fn raised
function M.timeout(seconds, fn, ...)
  local t = M.spawn(fn, ...)
  local _ <close> = cancel_all { t }
  return after_timeout(t, t:join(seconds))
end

--- Calls `fn` to its end even when this task is cancelled meanwhile: for clean-up that has to wait.
---@async
---@param fn function
---@param ... any
---@return any ...
function M.shield(fn, ...)
  native.shield(1)
  local _ <close> = setmetatable({}, { __close = function() native.shield(-1) end })
  return fn(...)
end

--- A value that belongs to this task and to the tasks it starts; see `with`.
---@param key string
---@return any
function M.get(key)
  local locals = native.locals()
  return locals and locals[key]
end

--- Calls `fn` with `key` set to `value` for this task and the tasks that are started meanwhile.
---
--- ```lua
--- task.with("colour", "blue", function() assert(task.get("colour") == "blue") end)
--- ```
---@async
---@param key string
---@param value any
---@param fn function
---@param ... any
---@return any ...
function M.with(key, value, fn, ...)
  local before = native.locals()
  native.set_locals(setmetatable({ [key] = value }, { __index = before }))
  local _ <close> = setmetatable({}, { __close = function() native.set_locals(before) end })
  return fn(...)
end

---@class ws.Queue
local Queue = {}
Queue.__index = Queue

--- Makes a first-in, first-out queue between tasks.
---@return ws.Queue
function M.queue()
  return setmetatable({ first = 1, last = 0, signal = native.signal() }, Queue)
end

--- Appends a value, which must not be nil.
---@param value any
function Queue:push(value)
  if value == nil then error("a queue cannot hold nil", 2) end
  self.last = self.last + 1
  self[self.last] = value
  native.notify(self.signal)
end

--- Takes the oldest value, waiting for one.
---@async
---@param timeout? number  seconds
---@return any? value
---@return ws.Error? err  kind `timeout`
function Queue:pop(timeout)
  local deadline = timeout and require "ws.engine".native.monotonic() + timeout
  while self.first > self.last do
    local left = deadline and math.max(0, deadline - require "ws.engine".native.monotonic())
    local ok, err = native.wait(self.signal, left)
    if not ok and self.first > self.last then return nil, err end
  end
  local value = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  return value
end

---@class ws.Limit
local Limit = {}
Limit.__index = Limit

--- Makes a limit: at most `n` calls of `limit:run(fn)` are inside at once, the others wait in turn.
---@param n integer
---@return ws.Limit
function M.limit(n)
  return setmetatable({ free = n, waiting = {} }, Limit)
end

--- Waits for room and takes it; who came first gets it first.
---@async
function Limit:acquire()
  if self.free > 0 then
    self.free = self.free - 1
    return
  end
  local turn = { signal = native.signal() }
  self.waiting[#self.waiting + 1] = turn
  local _ <close> = setmetatable({}, { __close = function(_, err) -- cancelled while it waited
    if not err then return end
    if turn.given then return self:release() end
    for i, other in ipairs(self.waiting) do
      if other == turn then return table.remove(self.waiting, i) end
    end
  end })
  while not turn.given do native.wait(turn.signal) end
end

--- Gives back what `acquire` took.
function Limit:release()
  local turn = table.remove(self.waiting, 1)
  if not turn then
    self.free = self.free + 1
    return
  end
  turn.given = true
  native.notify(turn.signal)
end

--- Calls `fn` when there is room.
---@async
---@param fn function
---@param ... any
---@return any ...
function Limit:run(fn, ...)
  self:acquire()
  local _ <close> = setmetatable({}, { __close = function() self:release() end })
  return fn(...)
end

return M
