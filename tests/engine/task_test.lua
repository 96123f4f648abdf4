local task = require "ws.task"
local error = require "ws.error"

return function(test)
  test("a task's results and errors reach whoever joins it", function(t)
    local a = task.spawn(function(x, y) return x + y, "b" end, 1, 2)
    t:eq({ a:join() }, { true, 3, "b" })
    t:eq({ a:join() }, { true, 3, "b" }, "joined twice")
    local b = task.spawn(function() _G.error("boom") end)
    local err = t:err("internal", b:join())
    t:has(err.message, "boom")
    t:has(err.traceback, "task_test.lua")
    local c = task.spawn(function() _G.error(error.new { kind = "denied", message = "no" }) end)
    t:err("denied", c:join())
  end)

  test("waits pass through a script's own coroutines", function(t)
    local function numbers()
      return coroutine.wrap(function()
        for i = 1, 3 do
          task.sleep(0.001)
          coroutine.yield(i, i * 2)
        end
      end)
    end
    local got = {}
    for i, double in numbers() do got[#got + 1] = i + double end
    t:eq(got, { 3, 6, 9 })
    local co = coroutine.create(function(a)
      task.sleep(0.001)
      local b = coroutine.yield(a + 1)
      task.sleep(0.001)
      error.missing(b)
    end)
    t:eq({ coroutine.resume(co, 1) }, { true, 2 })
    local ok, message = coroutine.resume(co, 5)
    t:eq(ok, false)
    t:has(message, "missing")
    t:eq({ coroutine.resume(co) }, { false, "cannot resume dead coroutine" })
  end)

  test("where Lua cannot yield, waiting is an error and nothing breaks", function(t)
    t:raises("cannot wait here", function()
      table.sort({ 3, 2, 1 }, function(a, b) task.sleep(0) return a < b end)
    end)
    t:raises("cannot wait here", function()
      table.sort({ 3, 2, 1 }, function(a, b)
        coroutine.wrap(function() task.sleep(0) end)()
        return a < b
      end)
    end)
    task.sleep(0)
  end)

  test("a yield outside a coroutine ends the task with an error", function(t)
    local err = t:err("internal", task.spawn(coroutine.yield, 1):join())
    t:has(err.message, "outside a coroutine")
    local co = coroutine.create(function() task.sleep(5) end)
    local a = task.spawn(function() coroutine.resume(co) end)
    task.sleep(0.001)
    local ok, message = coroutine.resume(co)
    t:eq(ok, false)
    t:has(message, "another task")
    a:cancel()
  end)

  test("cancel raises where the task waits and runs its close variables", function(t)
    local closed
    local a = task.spawn(function()
      local _ <close> = setmetatable({}, { __close = function()
        task.shield(task.sleep, 0.001)
        closed = true
      end })
      task.sleep(60)
    end)
    task.sleep(0.001)
    a:cancel()
    t:err("cancelled", a:join())
    t:eq(closed, true)
  end)

  test("timeout cancels and waits for the end", function(t)
    local ended = false
    t:err("timeout", task.timeout(0.01, function()
      local _ <close> = setmetatable({}, { __close = function() ended = true end })
      task.sleep(60)
    end))
    t:eq(ended, true)
    t:eq({ task.timeout(5, function(a) return a, 2 end, 1) }, { 1, 2 })
    t:err("internal", task.timeout(5, function() _G.error("x") end))
  end)

  test("all waits for everybody and gives the first error of the list", function(t)
    local done = {}
    local _, err = task.all {
      function() task.sleep(0.01) done[1] = true _G.error("first") end,
      function() _G.error("second") end,
      function() task.sleep(0.02) done[3] = true end,
    }
    t:has(err.message, "first")
    t:eq(done, { [1] = true, [3] = true })
    local most, now = 0, 0
    local functions = {}
    for i = 1, 10 do
      functions[i] = function()
        now = now + 1
        most = math.max(most, now)
        task.sleep(0.001)
        now = now - 1
        return i
      end
    end
    local results = assert(task.all(functions, { jobs = 3 }))
    t:eq(#results, 10)
    t:eq(most, 3)
  end)

  test("queues hand over in order and time out", function(t)
    local q = task.queue()
    task.spawn(function() for i = 1, 3 do q:push(i) task.sleep(0.001) end end)
    t:eq({ q:pop(), q:pop(), q:pop() }, { 1, 2, 3 })
    t:err("timeout", q:pop(0.005))
  end)

  test("values of a task are inherited by the tasks it starts", function(t)
    task.with("a", 1, function()
      task.with("b", 2, function()
        t:eq({ select(2, task.spawn(function() return { task.get("a"), task.get("b") } end):join()) }, { { 1, 2 } })
      end)
      t:eq(task.get("b"), nil)
      pcall(task.with, "a", 5, function() _G.error("x") end)
      t:eq(task.get("a"), 1)
    end)
    t:eq(task.get("a"), nil)
  end)

  test("ten thousand tasks", function(t)
    local sum, tasks = 0, {}
    for i = 1, 10000 do tasks[i] = task.spawn(function() task.sleep(0.001) sum = sum + i end) end
    for _, x in ipairs(tasks) do assert(x:join()) end
    t:eq(sum, 50005000)
  end)

  test("a limit gives places in the order of asking, and who is cancelled takes none along", function(t)
    local limit, order, tasks = task.limit(1), {}, {}
    limit:acquire()
    for i = 1, 5 do
      tasks[i] = task.spawn(function()
        limit:acquire()
        order[#order + 1] = i
        task.sleep(0)
        limit:release()
      end)
      task.sleep(0)
    end
    tasks[2]:cancel()
    tasks[2]:join()
    limit:release()
    tasks[3]:cancel() -- its turn has come or not: the place is not lost
    for _, one in ipairs(tasks) do one:join() end
    t:eq(order[1], 1)
    t:eq({ order[#order - 1], order[#order] }, { 4, 5 })
    local again = task.spawn(function() limit:acquire() limit:release() end)
    t:ok(again:join(1))
  end)
end
