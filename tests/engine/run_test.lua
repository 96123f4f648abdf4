local errors = require "ws.error"
local runs = require "ws.run"
local task = require "ws.task"
local workflow = require "ws.workflow"
local ws = require "ws"

--- A run whose events are collected as "type path".
local function new_run(options)
  local events = {}
  local run = runs.new { id = "t", dir = "/nowhere", title = "t", options = options or {}, emit = function(e)
    events[#events + 1] = e.type .. (e.step and " " .. e.step.path or "")
  end }
  return run, events
end

local function states(run)
  local result = {}
  for _, step in ipairs(run.steps) do result[step.path] = step.status end
  return result
end

return function(test)
  test("a step returns what its function returns, and is named by its path", function(t)
    local run, events = new_run()
    local a, b = run:step("outer", function()
      return run:step("inner", function() return 1, nil, 3 end), 2
    end)
    t:eq({ a, b }, { 1, 2 })
    t:eq(events, { "step_start outer", "step_start outer/inner", "step_end outer/inner", "step_end outer" })
    t:has(run.steps[1].line, "run_test.lua")
  end)

  test("needs: by name or by what a step returned, also when the step begins later", function(t)
    local run, order = new_run(), {}
    local function body(name)
      return function()
        task.sleep(0.005)
        order[name] = #order + 1
        order[#order + 1] = name
        return { name = name }
      end
    end
    run:together {
      function() run:step("c", { needs = { "a", "b" } }, body "c") end,
      function()
        local a = run:step("a", body "a")
        run:step("d", { needs = { a } }, body "d")
      end,
      function() task.sleep(0.01) run:step("b", body "b") end,
    }
    t:eq(#order, 4)
    t:ok(order.c > order.a and order.c > order.b and order.d > order.a, table.concat(order, " "))
  end)

  test("a failure lets running steps finish and starts no new one", function(t)
    local run = new_run()
    local err = t:raises("boom", run.together, run, {
      function() run:step("a", function() task.sleep(0.005) error("boom") end) end,
      function()
        run:step("b", function() task.sleep(0.3) end)
        run:step("c", function() end)
      end,
      function() run:step("d", { needs = { "a" } }, function() end) end,
    })
    t:eq(err.kind, "internal")
    t:ok(err.traceback)
    t:eq(states(run), { a = "failed", b = "done", c = "skipped", d = "skipped" })
    t:eq(run.failed_step.path, "a")
  end)

  test("the failed step is the innermost one, and nil, err fails as well", function(t)
    local run = new_run()
    t:raises("no such thing", run.step, run, "outer", function()
      run:step("inner", function() return nil, errors.new { kind = "not_found", message = "no such thing" } end)
    end)
    t:eq(run.failed_step.path, "outer/inner")
    t:eq(run.failed_step.err.kind, "not_found")
  end)

  test("with --keep-going what does not need the failed step goes on", function(t)
    local run = new_run { ["keep-going"] = true }
    pcall(run.together, run, {
      function() run:step("a", function() error("boom") end) end,
      function() task.sleep(0.01) run:step("b", function() end) end,
      function() run:step("c", { needs = { "a" } }, function() end) end,
    })
    t:eq(states(run), { a = "failed", b = "done", c = "skipped" })
  end)

  test("retries only what may help, with a bound", function(t)
    local run, calls = new_run(), 0
    t:eq(run:step("a", { retry = { attempts = 3, delay = 0.001 } }, function()
      calls = calls + 1
      if calls < 3 then error(errors.new { kind = "unavailable", message = "503" }) end
      return calls
    end), 3)
    calls = 0
    t:raises("403", run.step, run, "b", { retry = { attempts = 3, delay = 0.001 } }, function()
      calls = calls + 1
      error(errors.new { kind = "denied", message = "403" })
    end)
    t:eq(calls, 1)
  end)

  test("a step's timeout ends it", function(t)
    local run = new_run()
    local err = t:raises("too long", run.step, run, "a", { timeout = 0.01 }, function() task.sleep(60) end)
    t:eq(err.kind, "timeout")
    t:eq(new_run():step("b", { timeout = 5 }, function() return 7 end), 7)
  end)

  test("--jobs bounds the steps that run; containers give up their place", function(t)
    local run = new_run { jobs = 2 }
    local now, most = 0, 0
    local function leaf()
      now = now + 1
      most = math.max(most, now)
      task.sleep(0.003)
      now = now - 1
    end
    local functions = {}
    for i = 1, 4 do
      functions[i] = function()
        run:step("outer" .. i, function()
          run:together {
            function() run:step("x", leaf) end,
            function() run:step("y", leaf) end,
          }
        end)
      end
    end
    run:together(functions)
    t:eq(most, 2)
    t:eq(run.limit.free, 2)
  end)

  test("an interruption starts nothing new", function(t)
    local run = new_run()
    t:raises("interrupted", run.together, run, {
      function()
        run:step("a", function() run:interrupt() end)
        run:step("b", function() end)
      end,
    })
    t:eq(states(run), { a = "done", b = "skipped" })
  end)

  test("misuse of steps raises", function(t)
    local run = new_run()
    t:raises("takes a name", run.step, run, "a/b", function() end)
    t:raises("takes a name", run.step, run, "a")
    t:raises("unknown option 'need'", run.step, run, "a", { need = {} }, function() end)
    run:step("once", function() end)
    t:raises("exists already", run.step, run, "once", function() end)
    t:raises("inside of a step", run.changed, run, "x")
    t:raises("names of steps", run.step, run, "z", { needs = { {} } }, function() end)
  end)

  test("changes are counted, and none is said", function(t)
    local run = new_run()
    run:step("a", function() run:changed("1 added") run:changed("2 removed") end)
    run:step("b", function() run:summary("no change") end)
    t:eq(run.change_count, 2)
    t:eq({ run.steps[1].summary, run.steps[2].summary }, { "1 added, 2 removed", "no change" })
    local card = require "ws.card".success(run, { paint = function(_, s) return s end, marks = { done = "ok" } })
    t:has(card, "2 changes")
  end)

  test("a workflow's declaration is checked", function(t)
    t:raises("takes a table", ws.workflow, 1)
    t:raises("unknown field 'sumary'", ws.workflow, { sumary = "x" })
    t:raises("needs a summary", ws.workflow, { summary = "x" })
    t:raises("must be a function", ws.workflow, { summary = "x", run = 1 })
    t:raises("unknown type 'plattform'", ws.workflow,
      { summary = "x", run = print, args = { { "a", type = "plattform" } } })
  end)

  test("arguments are read by their types", function(t)
    local w = workflow.define { summary = "x", run = print,
      args = { { "n", type = "integer" }, { "who", default = "me" } }, options = { { "loud", doc = "" } } }
    t:eq(w:read_args { "3", "--loud" }, { n = 3, who = "me", loud = true })
    t:err("N is missing", w:read_args {})
    t:err("N is empty", w:read_args { "" })
    t:err("whole number", w:read_args { "x" })
    t:err("unexpected argument 'c'", w:read_args { "1", "b", "c" })
    t:has(w:help("wsrun x.lua"), "Usage: wsrun x.lua N [WHO] [options]")
  end)
end
