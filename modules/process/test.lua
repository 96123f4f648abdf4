local process = require "ws.process"
local fs = require "ws.fs"
local task = require "ws.task"
local secret = require "ws.secret"

local function sh(script, ...) return { "sh", "-c", script, "sh", ... } end

--- Whether a process of this number exists and is no zombie.
local function alive(pid)
  local stat = fs.read(("/proc/%d/stat"):format(pid))
  return stat ~= nil and not stat:find("%) Z ")
end

local function eventually(t, what, condition)
  for _ = 1, 400 do
    if condition() then return end
    task.sleep(0.01)
  end
  t:ok(false, what)
end

return function(test)
  test("the README's example is true", function(t)
    t:examples "modules/process/README.md"
  end)

  test("exit code, output and arguments come through unchanged", function(t)
    local r = t:ok(process.run(sh('printf "%s|" "$@"; echo err >&2; exit 7', "a b", "$HOME", "*", "", "\255\n")))
    t:eq(r.code, 7)
    t:eq(r.signal, nil)
    t:eq(r.stdout, "a b|$HOME|*||\255\n|")
    t:eq(r.stderr, "err\n")
    t:eq(r.truncated, nil)
    t:ok(r.seconds > 0 and r.seconds < 10, r.seconds)
    t:eq(process.run { "echo", 5 }.stdout, "5\n")
  end)

  test("everything written before the exit is collected", function(t)
    for _ = 1, 10 do
      local r = t:ok(process.run(sh("head -c 300000 /dev/zero; head -c 200000 /dev/zero >&2")))
      t:eq(#r.stdout, 300000)
      t:eq(#r.stderr, 200000)
    end
  end)

  test("input and both outputs are pumped together", function(t)
    local data = ("0123456789abcdef"):rep(200000)
    local r = t:ok(process.run(sh("tee /dev/stderr"), { stdin = data }))
    t:ok(r.stdout == data and r.stderr == data, "3.2 MB through tee")
    t:eq(process.run({ "cat" }).stdout, "", "without stdin there is nothing to read")
    t:eq(process.run({ "cat" }, { stdin = "" }).stdout, "")
    t:eq(process.run({ "true" }, { stdin = data }).code, 0, "a child that does not read")
    t:eq(process.run({ "cat" }, { stdin = secret.new("correct horse") }).stdout, "correct horse")
  end)

  test("two hundred at once", function(t)
    local tasks = {}
    for i = 1, 200 do tasks[i] = task.spawn(process.run, { "echo", tostring(i) }) end
    for i, x in ipairs(tasks) do
      local _, r = t:ok(x:join())
      t:eq(r.stdout, i .. "\n")
    end
  end)

  test("a command that cannot be started says which and why", function(t)
    local dir = t:tmpdir()
    local err = t:err("missing_tool", process.run { "no-such-command-here" })
    t:has(err.message, "no-such-command-here (looked in /")
    t:err("missing_tool", process.run { dir .. "/none" })
    local file = fs.join(dir, "tool")
    t:ok(fs.write(file, "not a program\n"))
    err = t:err("denied", process.run { file })
    t:has(err.message, "not an executable file")
    t:err("denied", process.run({ "tool" }, { env = { PATH = dir } }))
    t:ok(fs.chmod(file, 493))
    t:err("invalid", process.run { file })
    t:ok(fs.write(file, "#!/no/such/interpreter\n"))
    err = t:err("missing_tool", process.run { file })
    t:has(err.message, "interpreter")
    err = t:err("not_found", process.run({ "true" }, { cwd = dir .. "/none" }))
    t:has(err.message, "cwd does not exist: " .. dir .. "/none")
    err = t:err("invalid", process.run({ "true" }, { cwd = file }))
    t:has(err.message, "cwd is not a directory")
    err = t:err("too_large", process.run { "true", ("x"):rep(200000) })
    t:has(err.hint, "stdin")
    t:err("not_found", process.run({ "true" }, { stdout = { file = dir .. "/none/x" } }))
  end)

  test("misuse raises where it was called", function(t)
    for _, name in ipairs { "run", "check", "start" } do
      local err = t:raises("unknown option 'timout'", function() return (process[name]({ "true" }, { timout = 1 })) end)
      t:has(err, "modules/process/test.lua:")
      t:has(err, "'process." .. name .. "'")
    end
    local err = t:raises("process.start", function() return (process.check({ "true" }, { detached = true })) end)
    t:has(err, "modules/process/test.lua:")
    t:raises("empty list", process.run, {})
    t:raises("argument 2 of the command: string expected, got table", process.run, { "a", {} })
    t:raises("NUL", process.run, { "a", "b\0c" })
    t:raises("NUL", process.run, { "a" }, { env = { A = "b\0c" } })
    t:raises("NUL", process.run, { "a" }, { cwd = "b\0c" })
    t:raises("cannot be the name", process.run, { "a" }, { env = { ["A=B"] = "c" } })
    t:raises("names must be strings", process.run, { "a" }, { env = { "c" } })
    t:raises("string, secret or false", process.run, { "a" }, { env = { A = true } })
    t:raises("'collect', 'discard'", process.run, { "a" }, { stdout = "stdout" })
    t:raises("'collect', 'discard'", process.run, { "a" }, { stderr = "" })
    t:raises("'collect', 'discard'", process.run, { "a" }, { stderr = 5 })
    t:raises("function expected", process.run, { "a" }, { on_stdout = "x" })
    t:raises("needs stdout", process.run, { "a" }, { on_stdout = print, stdout = "inherit" })
    t:raises("no signal has the name", process.run, { "a" }, { stop_signal = "SIGTERM" })
    t:raises("option 'timeout'", process.run, { "a" }, { timeout = -1 })
    t:raises("process.start", process.run, { "a" }, { stdout = "pipe" })
    t:raises("process.start", process.run, { "a" }, { detached = true })
    t:raises("cannot be read", process.start, { "a" }, { detached = true, on_stdout = print })
  end)

  test("a secret in the command line is refused", function(t)
    local s = secret.new("hunter2-hunter2")
    local err = t:raises("argument 2 of the command contains a secret", process.run, { "echo", s })
    t:ok(not err:find("hunter2"), err)
    t:raises("contains a secret", process.run, { "echo", "--password=" .. "hunter2-" .. "hunter2" })
    t:eq(process.run(sh("echo $P"), { env = { P = s } }).stdout, "hunter2-hunter2\n")
  end)

  test("the environment is merged, hidden and cleared", function(t)
    local r = process.run(sh("echo $A-$HOME-${NONE-unset}"), { env = { A = "1", HOME = false, NONE = false } })
    t:eq(r.stdout, "1--unset\n")
    r = process.run({ "/usr/bin/env" }, { clear_env = true, env = { B = "2" } })
    t:eq(r.stdout, "B=2\n")
    t:eq(process.run({ "/usr/bin/env" }, { clear_env = true }).stdout, "")
    local environment = require "ws.environment"
    environment.set { WSRUN_TEST_OVERLAY = "laid" }
    t:defer(function() environment.set { WSRUN_TEST_OVERLAY = false } end)
    t:eq(process.run(sh("echo $WSRUN_TEST_OVERLAY")).stdout, "laid\n")
    t:eq(process.run(sh("echo $WSRUN_TEST_OVERLAY"), { env = { WSRUN_TEST_OVERLAY = "over" } }).stdout, "over\n")
  end)

  test("the command is looked up on the child's PATH and runs in its cwd", function(t)
    local dir = t:tmpdir()
    t:ok(fs.write(fs.join(dir, "mine"), "#!/bin/sh\npwd\n", { mode = 493 }))
    local real = fs.realpath(dir) .. "\n"
    t:eq(process.run({ "mine" }, { cwd = dir, env = { PATH = dir .. ":/bin:/usr/bin" } }).stdout, real)
    t:eq(process.run({ "./mine" }, { cwd = dir }).stdout, real)
    t:err("missing_tool", process.run { "./mine" })
    t:err("missing_tool", process.run({ "mine" }, { cwd = dir, env = { PATH = ".:/bin" } }))
    t:eq(process.which("sh"):match("/sh$"), "/sh")
    t:err("missing_tool", process.which("no-such-command-here"))
  end)

  test("the child inherits 0, 1 and 2, default signals and its own group", function(t)
    local file <close> = io.open("/dev/null") -- luacheck: ignore 211
    local r = process.run({ "ls", "/proc/self/fd" })
    t:eq(r.stdout, "0\n1\n2\n3\n", "3 is the directory that ls reads")
    local status = process.run({ "cat", "/proc/self/status" }).stdout
    t:eq(status:match("SigBlk:%s*(%x+)"), ("0"):rep(16))
    t:eq(status:match("SigIgn:%s*(%x+)"):sub(-4, -4), "0", "PIPE is not ignored")
    local child = t:ok(process.start { "sleep", "60" })
    t:eq(fs.read("/proc/" .. child.pid .. "/stat"):match("^%d+ %(.-%) %a %d+ (%d+)"), tostring(child.pid))
    child:stop()
  end)

  test("timeout: the stop signal, then KILL, for the whole group", function(t)
    local err = t:err("timeout", process.run(sh("echo partial; exec sleep 60"), { timeout = 0.05 }))
    t:eq(err.result.stdout, "partial\n")
    t:eq(err.result.signal, "TERM")
    t:has(err.message, "ended by TERM")
    err = t:err("timeout", process.run(sh("trap '' TERM; sleep 60 & echo $!; wait; sleep 60"),
      { timeout = 0.1, grace = 0.1 }))
    t:has(err.message, "ended by KILL")
    t:eq(err.result.signal, "KILL")
    local grandchild = tonumber(err.result.stdout)
    eventually(t, "the grandchild lives on", function() return not alive(grandchild) end)
    err = t:err("timeout", process.run(sh("trap 'echo bye; exit 0' INT; while :; do sleep 0.01; done"),
      { timeout = 0.1, stop_signal = "INT" }))
    t:eq(err.result.stdout, "bye\n")
    t:eq(err.result.code, 0)
    t:err("timeout", process.run(sh("kill -STOP $$"), { timeout = 0.1 }))
  end)

  test("a cancelled run stops its child before it ends", function(t)
    local pid
    local runner = task.spawn(process.run, sh("echo $$; exec sleep 60"), {
      on_stdout = function(line) pid = tonumber(line) end,
    })
    eventually(t, "no output", function() return pid end)
    runner:cancel()
    t:err("cancelled", runner:join())
    t:eq(alive(pid), false)
    t:eq(process.live(), {})
    runner = task.spawn(process.run, { "sleep", "60" })
    task.sleep(0.01)
    t:eq(#process.live(), 1)
    t:eq(process.live()[1].command, "sleep 60")
    runner:cancel()
    t:err("cancelled", runner:join())
    t:err("timeout", task.timeout(0.05, process.run, { "sleep", "60" }))
  end)

  test("a signal that ended the child is told by name", function(t)
    local r = t:ok(process.run(sh("kill -SEGV $$")))
    t:eq(r.code, nil)
    t:eq(r.signal, "SEGV")
    local err = t:err("failed", process.check(sh("kill -KILL $$")))
    t:has(err.message, "ended by KILL")
  end)

  test("a grandchild that keeps the pipe does not hang us", function(t)
    local r = t:ok(process.run(sh("sleep 60 & echo $!"), { linger = 0.1 }))
    t:eq(r.lingering, true)
    t:ok(r.seconds < 1, r.seconds)
    t:ok(alive(tonumber(r.stdout)))
    process.run { "kill", r.stdout:match("%d+") }
    r = t:ok(process.run(sh("(sleep 0.2; echo late) & echo early"), { linger = 5 }))
    t:eq(r.stdout, "early\nlate\n")
    t:eq(r.lingering, nil)
  end)

  test("lines are called back in order, and the child waits for them", function(t)
    local lines, errors = {}, {}
    local r = t:ok(process.run(sh("for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf last"), {
      on_stdout = function(line) lines[#lines + 1] = line end,
      on_stderr = function(line) errors[#errors + 1] = line end,
    }))
    t:eq(lines, { "out 1", "out 2", "out 3", "last" })
    t:eq(errors, { "err 1", "err 2", "err 3" })
    t:eq(r.stdout, "out 1\nout 2\nout 3\nlast")
    local sum, count = 0, 0
    r = t:ok(process.run({ "seq", "500000" }, {
      stdout = "discard",
      on_stdout = function(line)
        count = count + 1
        sum = sum + tonumber(line)
        if count % 100000 == 0 then task.sleep(0.02) end
      end,
    }))
    t:eq(sum, 125000250000)
    t:eq(r.stdout, nil)
    -- what waits for a slow reader is bounded: the child stops writing long before 20 MB
    local child <close> = t:ok(process.start(sh("yes | head -c 20000000; echo done >&2"), { stdout = "pipe" }))
    task.sleep(0.3)
    t:eq(child:finished(), false)
    local bytes = 0
    for line in child:lines() do bytes = bytes + #line + 1 end
    t:eq(bytes, 20000000)
    t:eq(child:wait().stderr, "done\n")
  end)

  test("a line without an end comes in parts", function(t)
    local parts = {}
    t:ok(process.run(sh("head -c 5000000 /dev/zero; echo; echo x"), {
      stdout = "discard", on_stdout = function(line) parts[#parts + 1] = #line end,
    }))
    local total = 0
    for i = 1, #parts - 1 do total = total + parts[i] end
    t:eq(total, 5000000)
    t:eq(parts[#parts], 1)
  end)

  test("a callback that raises stops the child", function(t)
    t:raises("enough", process.run, sh("while :; do echo x; done"), {
      on_stdout = function() error("enough") end, timeout = 10, grace = 1,
    })
    t:raises("no more", process.run, { "cat" }, { stdin = function() error("no more") end })
    t:eq(process.live(), {})
  end)

  test("stdin from a function", function(t)
    local i = 0
    local r = t:ok(process.run({ "cat" }, { stdin = function()
      i = i + 1
      task.sleep(0.001)
      return i <= 3 and ("chunk " .. i .. "\n") or nil
    end }))
    t:eq(r.stdout, "chunk 1\nchunk 2\nchunk 3\n")
    r = t:ok(process.run(sh("head -c 10"), { stdin = function() return ("x"):rep(100000) end }))
    t:eq(r.stdout, "xxxxxxxxxx", "an endless producer ends with its reader")
  end)

  test("only the end of much output is kept", function(t)
    local r = t:ok(process.run({ "seq", "1000000" }, { max_output = 1000 }))
    t:eq(#r.stdout, 1000)
    t:eq(r.stdout:sub(-8), "1000000\n")
    t:eq(r.truncated, true)
    t:eq(process.run({ "seq", "3" }, { max_output = 0 }).stdout, "")
    t:eq(process.run({ "printf", "12345" }, { max_output = 5 }).truncated, nil)
  end)

  test("output goes where it is told", function(t)
    local dir = t:tmpdir()
    local file = fs.join(dir, "log")
    local r = t:ok(process.run(sh("echo a; echo b >&2"), { stdout = { file = file }, stderr = "stdout" }))
    t:eq(r.stdout, nil)
    t:eq(fs.read(file), "a\nb\n")
    t:ok(process.run({ "echo", "c" }, { stdout = { file = file, append = true } }))
    t:eq(fs.read(file), "a\nb\nc\n")
    r = t:ok(process.run(sh("echo a; echo b >&2"), { stderr = "stdout" }))
    t:eq(r.stdout, "a\nb\n")
    t:eq(process.run(sh("echo a"), { stdout = "discard" }).stdout, nil)
    t:ok(process.run({ "true" }, { stdout = "inherit", stderr = "inherit" }))
  end)

  test("a conversation with a child", function(t)
    local child <close> = t:ok(process.start({ "cat" }, { stdin = true, stdout = "pipe" }))
    local lines = child:lines()
    t:ok(child:write("one\n"))
    t:eq(lines(), "one")
    t:ok(child:write("two\nthree"))
    t:eq(lines(), "two")
    t:err("timeout", child:wait(0.01))
    child:close_stdin()
    t:eq(lines(), "three")
    t:eq(lines(), nil)
    t:eq(child:wait().code, 0)
    t:eq(child:wait().code, 0, "waited twice")
    t:err("connection", child:write("x"))
    t:err("not_found", child:kill())
    local deaf <close> = t:ok(process.start(sh("exec <&-; sleep 60"), { stdin = true }))
    eventually(t, "no EPIPE", function() return not deaf:write("x") end)
  end)

  test("a blocked write and a blocked read can be cancelled", function(t)
    local child <close> = t:ok(process.start({ "sleep", "60" }, { stdin = true, stdout = "pipe" }))
    local writer = task.spawn(child.write, child, ("x"):rep(1000000))
    local reader = task.spawn(child:lines())
    local waiter = task.spawn(child.wait, child)
    task.sleep(0.01)
    t:raises("another write", child.write, child, "x")
    t:raises("another task reads", child:lines())
    t:raises("another task waits", child.wait, child)
    for _, x in ipairs { writer, reader, waiter } do
      x:cancel()
      t:err("cancelled", x:join())
    end
    t:eq(child:finished(), false)
    t:eq(child:stop().signal, "TERM")
  end)

  test("a started child calls back, and wait tells what went wrong there", function(t)
    local seen = {}
    local child = t:ok(process.start({ "seq", "3" }, { on_stdout = function(l) seen[#seen + 1] = l end }))
    t:eq(child:wait().code, 0)
    t:eq(seen, { "1", "2", "3" })
    child = t:ok(process.start({ "seq", "3" }, { on_stdout = function() error("oops") end }))
    t:raises("oops", child.wait, child)
  end)

  test("a forgotten child is stopped when it is collected", function(t)
    local pid = t:ok(process.start { "sleep", "60" }).pid
    eventually(t, "it still runs", function()
      collectgarbage()
      return not alive(pid)
    end)
  end)

  test("a detached child outlives its handle, in its own session", function(t)
    local child = t:ok(process.start({ "sleep", "60" }, { detached = true }))
    local pid = child.pid
    t:eq(process.live(), {})
    t:eq(fs.read("/proc/" .. pid .. "/stat"):match("^%d+ %(.-%) %a %d+ %d+ (%d+)"), tostring(pid))
    child = nil -- luacheck: ignore
    collectgarbage()
    task.sleep(0.02)
    t:eq(alive(pid), true)
    process.run { "kill", tostring(pid) }
    eventually(t, "it still runs", function() return not alive(pid) end)
  end)

  test("interrupts reach every child's group", function(t)
    local a = t:ok(process.start(sh("trap 'echo int; exit 3' INT; while :; do sleep 0.01; done")))
    local b = t:ok(process.start(sh("trap '' INT; sleep 60"), { grace = 0.2 }))
    task.sleep(0.05)
    t:eq(process.interrupt_all("INT"), 2)
    local r = a:wait(10)
    t:eq({ r.code, r.stdout }, { 3, "int\n" })
    t:eq(process.interrupt_all("TERM"), 1)
    t:eq(b:wait(10).signal, "TERM")
    t:raises("invalid option", process.interrupt_all, "HUP")
  end)

  test("the end of wsrun leaves no child", function(t)
    local dir = t:tmpdir()
    local script, pids = fs.join(dir, "x.lua"), fs.join(dir, "pids")
    t:ok(fs.write(script, ([[
      local process = require "ws.process"
      local a = process.start { "sleep", "60" }
      local b = process.start { "sh", "-c", "trap '' TERM; sleep 60 & wait; sleep 60" }
      require "ws.task".sleep(0.05)
      require "ws.fs".write(%q, a.pid .. " " .. b.pid)
      KEEP = { a, b }
    ]]):format(pids)))
    local r = t:ok(process.run { os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), script })
    t:eq(r.code, 0, r.stderr)
    for pid in fs.read(pids):gmatch("%d+") do t:eq(alive(tonumber(pid)), false) end
  end)

  test("without pidfd the ends are seen all the same", function(t)
    if not process.which("strace") then t:skip("strace is not installed") end
    local dir = t:tmpdir()
    local script = fs.join(dir, "x.lua")
    t:ok(fs.write(script, [[
      local process, task = require "ws.process", require "ws.task"
      local tasks = {}
      for i = 1, 20 do tasks[i] = task.spawn(process.run, { "sh", "-c", "exit " .. i }) end
      for i, t in ipairs(tasks) do
        local _, r = assert(t:join())
        assert(r.code == i)
      end
      assert(select(2, process.run({ "sleep", "60" }, { timeout = 0.05 })).kind == "timeout")
      print("fine")
    ]]))
    local r = t:ok(process.run({ "strace", "-qq", "-e", "trace=pidfd_open", "-e", "inject=pidfd_open:error=ENOSYS",
      "-o", fs.join(dir, "log"), os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), script },
      { env = { ASAN_OPTIONS = "detect_leaks=0" } })) -- leaks cannot be looked for while it is traced
    t:eq(r.stdout, "fine\n", r.stderr)
    t:has(fs.read(fs.join(dir, "log")), "INJECTED")
  end)
end
