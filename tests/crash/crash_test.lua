-- A run that is killed at any system call is resumed: no finished step runs twice, none is left out, and the end is the
-- same. And a journal that cannot be written ends the run at once.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local task = require "ws.task"

local STEPS = 20
local WSRUN = os.getenv "WSRUN"
local SIDE_BY_SIDE = 2
-- Each system call of the run is one place to be killed at. `make test` looks at every fourth of them, from a beginning
-- that changes; WSRUN_TEST_CRASH_ALL=1 at every one.
local STRIDE = os.getenv "WSRUN_TEST_CRASH_ALL" and 1 or 4

local function project(t)
  local dir = t:tmpdir()
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.copy("tests/crash/reference.lua", dir .. "/workflows/reference.lua"))
  return dir
end

local function run(dir, argv, under)
  local command = table.move(under or {}, 1, under and #under or 0, 1, {})
  for _, word in ipairs { WSRUN, table.unpack(argv) } do command[#command + 1] = word end
  -- The sanitizers' search for leaks is itself a tracer, and there is one already.
  local env = under and { ASAN_OPTIONS = "detect_leaks=0" } or nil
  return assert(process.run(command, { cwd = dir, timeout = 120, env = env }))
end

--- How often each step was run.
local function effects(dir)
  local counts = {}
  for name in (fs.read(dir .. "/effects") or ""):gmatch("[^\n]+") do counts[name] = (counts[name] or 0) + 1 end
  return counts
end

--- The steps that the journal has as done, and the run's name; nil when no run was recorded.
local function recorded(dir)
  local shown = run(dir, { "show", "--json" })
  if shown.code ~= 0 then return nil end
  local document, done = assert(json.decode(shown.stdout)), {}
  for _, step in ipairs(document.steps) do
    if step.status == "done" then done[step.step:match("[^/]+$")] = true end
  end
  return done, document
end

--- Resumes what a kill left and checks the end. Returns how many steps were run again, or nil and what is wrong.
local function converge(dir)
  local before, done = effects(dir), recorded(dir) or {}
  for name in pairs(done) do
    if before[name] ~= 1 then return nil, ("%s is recorded as done and was run %s times"):format(name, before[name]) end
  end
  local has_run = recorded(dir) ~= nil
  local ended = run(dir, has_run and { "resume" } or { "workflows/reference.lua" })
  if ended.code ~= 0 and not (has_run and ended.stderr:find("no run is left unfinished", 1, true)) then
    return nil, ("the resumed run ended with %s: %s"):format(ended.code or ended.signal, ended.stderr)
  end
  local after, count, again = effects(dir), 0, 0
  for name, times in pairs(after) do
    count = count + 1
    if done[name] and times ~= 1 then return nil, name .. " was done and ran again" end
    if times > 2 then return nil, ("%s ran %d times"):format(name, times) end
    again = again + times - 1
  end
  if count ~= STEPS then return nil, ("%d of %d steps were run"):format(count, STEPS) end
  local _, document = recorded(dir)
  if document.status ~= "done" then return nil, "the run is " .. document.status end
  return again
end

local function forget(dir)
  fs.remove(dir .. "/.wsrun", { recursive = true, missing_ok = true })
  fs.remove(dir .. "/effects", { missing_ok = true })
end

--- The system calls of a whole run, by name, with how often the busiest thread makes each.
local function system_calls(t, dir)
  local file = dir .. "/strace"
  t:eq(run(dir, { "workflows/reference.lua" }, { "strace", "-f", "-qq", "-o", file }).code, 0)
  local by_thread, most, names = {}, {}, {}
  for thread, name in assert(fs.read(file)):gmatch("(%d+)%s+([%w_]+)%(") do
    local key = thread .. name
    by_thread[key] = (by_thread[key] or 0) + 1
    if not most[name] then names[#names + 1] = name end
    most[name] = math.max(most[name] or 0, by_thread[key])
  end
  table.sort(names)
  forget(dir)
  return names, most
end

local function inject(expression)
  return { "strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=" .. expression }
end

return function(test)
  local function need_strace(t)
    local made = process.run { "strace", "-f", "-qq", "-e", "inject=getppid:signal=KILL:when=1", "true" }
    if not made or made.code ~= 0 then t:skip "strace cannot trace here" end
  end

  test("the reference workflow, not disturbed", function(t)
    local dir = project(t)
    t:eq(run(dir, { "workflows/reference.lua" }).code, 0)
    local count = 0
    for _, times in pairs(effects(dir)) do
      count = count + 1
      t:eq(times, 1)
    end
    t:eq(count, STEPS)
  end)

  test("killed at a system call, and resumed", function(t)
    need_strace(t)
    local first = project(t)
    local names, most = system_calls(t, first)
    local places = {}
    for _, name in ipairs(names) do
      for n = 1, most[name] do places[#places + 1] = { name, n } end
    end
    local dirs = task.queue()
    dirs:push(first)
    for _ = 2, SIDE_BY_SIDE do dirs:push(project(t)) end
    local limit, functions, problems, killed, again = task.limit(SIDE_BY_SIDE), {}, {}, 0, 0
    for i = math.random(STRIDE), #places, STRIDE do
      functions[#functions + 1] = function()
        limit:run(function()
          local dir, name, n = dirs:pop(), table.unpack(places[i])
          forget(dir)
          local ended = run(dir, { "workflows/reference.lua" }, inject(("%s:signal=KILL:when=%d"):format(name, n)))
          if ended.signal == "KILL" or ended.code == 137 then killed = killed + 1 end
          local repeated, wrong = converge(dir)
          if wrong then problems[#problems + 1] = ("killed at %s number %d: %s"):format(name, n, wrong) end
          again = again + (repeated or 0)
          dirs:push(dir)
        end)
      end
    end
    t:ok(task.all(functions))
    t:eq(problems, {})
    t:ok(killed > #functions / 2, ("%d of %d were killed"):format(killed, #functions))
    print(("        %d places of %d, %d killed, %d steps in flight ran again"):format(#functions, #places, killed,
      again))
  end, { timeout = 1800 })

  test("killed after every record of the journal", function(t)
    local dir = project(t)
    for n = 1, 40 do
      forget(dir)
      local ended = assert(process.run({ WSRUN, "workflows/reference.lua" }, { cwd = dir,
        env = { WSRUN_TEST_CRASH_AFTER = tostring(n) } }))
      local again, wrong = converge(dir)
      t:ok(again, ("after record %d: %s"):format(n, wrong))
      if ended.code == 0 then
        t:ok(n > STEPS, n)
        return
      end
      t:eq(ended.signal, "KILL")
    end
    error "the run never came to its end"
  end, { timeout = 120 })

  test("wsrun test --crash-each-step says the same, and finds a step that runs twice", function(t)
    local dir = project(t)
    local ended = run(dir, { "test", "--crash-each-step", "--every", "6", "--before", "rm -f effects",
      "workflows/reference.lua" })
    t:eq(ended.code, 0, ended.stderr)
    t:has(ended.stderr, "killed after record 7: ")
    t:has(ended.stderr, "records: it came to its end")
    t:eq(run(dir, { "test", "--crash-each-step" }).code, 64)
    local failing = run(dir, { "test", "--crash-each-step", "--before", "false", "workflows/reference.lua" })
    t:eq(failing.code, 1)
    assert(fs.write(dir .. "/workflows/again.lua", [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        w:step("one", { inputs = { math.random() } }, function() return 1 end)
        w:step("two", function() return 2 end)
      end }]]))
    local found = run(dir, { "test", "--crash-each-step", "workflows/again.lua" })
    t:eq(found.code, 1)
    t:has(found.stderr, "step one was done and ran again")
  end, { timeout = 120 })

  for _, fault in ipairs { { "fdatasync", "EIO" }, { "fdatasync", "ENOSPC" }, { "pwrite64", "ENOSPC" },
    { "pwrite64", "EIO" } } do
    test(("a journal whose %s fails with %s ends the run"):format(fault[1], fault[2]), function(t)
      need_strace(t)
      local dir = project(t)
      local reached = 0
      for n = 1, 400, fault[1] == "pwrite64" and 5 or 1 do
        forget(dir)
        local ended = run(dir, { "workflows/reference.lua" },
          inject(("%s:error=%s:when=%d+"):format(fault[1], fault[2], n)))
        local counts, done = effects(dir), recorded(dir) or {}
        for name in pairs(done) do t:eq(counts[name], 1, "recorded as done") end
        if ended.code == 0 then break end
        reached = reached + 1
        t:has(ended.stderr, "journal")
        t:eq(ended.code, 74, ended.stderr)
        -- what was reported as done is in the journal
        for name in ended.stderr:gmatch("✔ (%S+)") do
          t:ok(done[name:match("[^/]+$")], ("%s %d: %s was reported done, not recorded"):format(fault[1], n, name))
        end
        local again, wrong = converge(dir)
        t:ok(again, wrong)
      end
      t:ok(reached >= 5, reached)
    end, { timeout = 300 })
  end
end
