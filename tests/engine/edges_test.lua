-- How a script begins and ends other than in the plain way: streams, folders, os.exit, signals.
local fs = require "ws.fs"
local process = require "ws.process"
local task = require "ws.task"

local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")

local function script(t, text)
  local dir = t:tmpdir()
  assert(fs.write(dir .. "/s.lua", text))
  return dir
end

local function run(dir, ...)
  return assert(process.run({ wsrun, "s.lua", ... }, { cwd = dir, timeout = 30,
    env = { WSRUN_STATE_DIR = dir .. "/state" } }))
end

--- Starts the script, sends the signals once it has said `ready`, and returns its result.
local function signalled(t, dir, ...)
  local ready, signals = task.queue(), { ... }
  local child = assert(process.start({ wsrun, "s.lua" }, { cwd = dir, timeout = 30,
    env = { WSRUN_STATE_DIR = dir .. "/state" }, on_stdout = function() ready:push(true) end }))
  t:ok(ready:pop(10))
  task.sleep(0.05)
  for _, signal in ipairs(signals) do
    assert(child:kill(signal))
    task.sleep(0.1)
  end
  return assert(child:wait(15))
end

local function alive(pid)
  return fs.exists("/proc/" .. pid)
end

return function(test)
  test("os.exit gives the exit code, closes what is open and ends the children", function(t)
    local dir = script(t, [[
      local task, process, fs = require "ws.task", require "ws.process", require "ws.fs"
      local _ <close> = setmetatable({}, { __close = function() assert(fs.write("closed", "")) end })
      local child = process.start { "sleep", "60" }
      print(child.pid)
      os.exit(7)]])
    local result = run(dir)
    t:eq(result.code, 7, result.stderr)
    t:eq(result.stderr, "")
    t:ok(fs.exists(dir .. "/closed"))
    t:ok(not alive(result.stdout:match("%d+")))
    t:eq(assert(process.run { wsrun, "-e", "os.exit(false)" }).code, 1)
    t:eq(assert(process.run { wsrun, "-e", "os.exit()" }).code, 0)
    t:eq(assert(process.run { wsrun, "-e", "os.exit 'no'" }).code, 1)
  end)

  test("os.exit inside a step ends the run, which still says its end", function(t)
    local dir = script(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w) w:step("one", function() os.exit(9) end) end }]])
    local result = run(dir, "--json")
    t:eq(result.code, 9, result.stderr)
    local last = require "ws.json".decode(result.stdout:match("([^\n]+)\n$"))
    t:eq({ last.type, last.exit }, { "run_end", 9 })
  end)

  test("a signal ends a script's child with it", function(t)
    local dir = script(t, [[
      local child = require "ws.process".start { "sleep", "60" }
      io.stdout:write(child.pid, "\n"):flush()
      child:wait()]])
    for signal, code in pairs { INT = 130, TERM = 143, HUP = 129 } do
      local result = signalled(t, dir, signal)
      t:eq(result.code, code, result.stderr)
      t:ok(not alive(result.stdout:match("%d+")))
    end
  end)

  test("a script that never waits is stopped by a second signal, also in a coroutine, and by one after a while",
    function(t)
      local dir = script(t, 'io.stdout:write("ready\\n"):flush() coroutine.wrap(function() while true do end end)()')
      t:eq(signalled(t, dir, "INT", "INT").code, 130)
      t:eq(signalled(t, dir, "TERM").code, 130)
    end)

  test("a first line with #! and a byte order mark are not Lua", function(t)
    t:eq(run(script(t, "\239\187\191#!/usr/bin/env wsrun\nprint(...)"), "a").stdout, "a\n")
    t:has(run(script(t, "#!/x\nnot lua")).stderr, "s.lua:2:")
  end)

  test("-C names a folder", function(t)
    local result = assert(process.run { wsrun, "-C", "/nowhere", "config" })
    t:eq(result.code, 64)
    t:has(result.stderr, "-C: /nowhere is not a folder")
  end)

  test("--jobs 0 would never start anything", function(t)
    local result = assert(process.run({ wsrun, "--jobs", "0", "list" }, { timeout = 10 }))
    t:eq(result.code, 64)
    t:has(result.stderr, "--jobs takes 1 or more, not 0")
  end)

  test("an interrupted run is called so, whatever its steps came to", function(t)
    local dir = script(t, [[
      local ws, process = require "ws", require "ws.process"
      return ws.workflow { summary = "t", run = function(w) w:step("one", function()
        io.stdout:write("ready\n"):flush()
        return process.check { "sleep", "60" }
      end) end }]])
    local result = signalled(t, dir, "INT")
    t:eq(result.code, 130)
    t:has(result.stderr, "interrupted after")
  end)

  test("outside a project, or with -C, the script's project is meant", function(t)
    local dir, elsewhere = fs.realpath(t:tmpdir()), fs.realpath(t:tmpdir())
    for _, name in ipairs { "/workflows", "/manifests" } do assert(fs.mkdir(dir .. name)) end
    assert(fs.write(dir .. "/workflows/s.lua", 'io.stdout:write(require "ws.project".root())'))
    for _, words in ipairs { { dir .. "/workflows/s.lua" }, { "-C", dir, "workflows/s.lua" } } do
      local env = { WSRUN_CACHE = false }
      local result = assert(process.run({ wsrun, table.unpack(words) }, { cwd = elsewhere, env = env }))
      t:eq(result.stdout, dir, result.stderr)
    end
  end)

  test("closed standard streams are no reason to fail", function(t)
    local dir = script(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w) w:step("one", function()
        assert(require "ws.process".run { "true" })
        assert(require "ws.fs".write("done", ""))
      end) end }]])
    for _, redirection in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full" } do
      local command = ("exec %s s.lua %s"):format(wsrun, redirection)
      local result = assert(process.run({ "sh", "-c", command }, { cwd = dir,
        env = { WSRUN_STATE_DIR = dir .. "/state" } }))
      t:eq(result.code, 0, redirection .. result.stderr)
      assert(fs.remove(dir .. "/done"))
    end
  end)

  test("--quiet says nothing about a run that goes well", function(t)
    local dir = script(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w) w:step("one", function() end) end }]])
    local result = run(dir, "--quiet")
    t:eq({ result.code, result.stdout, result.stderr }, { 0, "", "" })
  end)

  test("what a script still holds at its end does not keep it running", function(t)
    for _, held in ipairs { 'require "ws.fs".watch(".")', 'require "ws.server".listen { handler = print }',
      'require "ws.process".start({ "sleep", "60" })', 'require "ws.sqlite".open(os.getenv "DB")' } do
      local r = t:ok(process.run({ os.getenv "WSRUN", "-e", "Held = assert(" .. held .. ")" }, { timeout = 20,
        env = { DB = t:tmpdir() .. "/x.db" } }))
      t:eq(r.code, 0, held .. r.stderr)
    end
  end)
end
