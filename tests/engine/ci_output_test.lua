-- What a run shows in a CI: groups, marks, the summary page, JUnit; and that nobody else's words become commands.
local fs = require "ws.fs"
local process = require "ws.process"
local task = require "ws.task"

local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")

--- No CI, UTF-8, no colours; tests add to it.
local function environment(dir, more)
  local env = { WSRUN_STATE_DIR = dir .. "/state", LC_ALL = "C.UTF-8", TERM = "dumb" }
  for _, name in ipairs { "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "GITLAB_CI", "JENKINS_URL",
    "BUILD_ID", "PROJECT_ID", "BUILDER_OUTPUT", "CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE" } do
    env[name] = false
  end
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

local function project(t, script, name)
  local dir = fs.realpath(t:tmpdir())
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.write(dir .. "/workflows/" .. (name or "s.lua"), script))
  return dir
end

--- Runs workflows/s.lua there; times and the run's name are made the same in what it says.
local function run(dir, env, ...)
  local r = assert(process.run({ wsrun, "workflows/s.lua", ... }, { cwd = dir, timeout = 30,
    env = environment(dir, env) }))
  r.stderr = r.stderr:gsub("%d+%.%ds", "0.0s"):gsub("%d%d%d%d%d%d%d%d%-%d+%-%x%x%x%x", "RUN")
    :gsub(":%d%d%d%d%d%d%d%d%d%d:", ":TIME:"):gsub(dir:gsub("%p", "%%%0"), "DIR")
  return r
end

local github = { GITHUB_ACTIONS = "true" }

-- Two steps that go well, one of them with a log; one that fails and one that is left out.
local SCRIPT = [[
local ws = require "ws"
local function log(w, text)
  local file = assert(io.open(w:log_file(), "w"))
  file:write(text)
  file:close()
end
return ws.workflow { summary = "t", run = function(w)
  w:step("build", function()
    w:progress("creating a")
    w:progress("creating a (10s)")
    log(w, "compiled\n")
    w:changed("1 added")
  end)
  w:step("quick", function() w:progress("looking") w:summary("nothing to do") end)
  w:step("tests", function()
    log(w, "FAIL: TestX\n")
    w:annotate { level = "warning", text = "slow" }
    ws.fail("1 of 2 failed", { hint = "look at TestX" })
  end)
  w:step("push", function() end)
end }
]]

local function lines_between(text, from, to)
  local a = assert(text:find(from, 1, true), text)
  local b = to and assert(text:find(to, a, true), text) or #text + 1
  return text:sub(a, b - 1)
end

return function(test)
  test("GitHub: what went well is folded, what failed is open and marked", function(t)
    local dir = project(t, SCRIPT)
    local r = run(dir, github)
    t:eq(r.code, 1, r.stderr)
    t:eq(r.stdout, "")
    t:eq(lines_between(r.stderr, "… build", "✖ s  tests failed"), table.concat({
      "… build",
      "::group::✔ build  0.0s  1 added",
      "     +0.0s  creating a",
      "  compiled",
      "::endgroup::",
      "… quick",
      "✔ quick  0.0s  nothing to do",
      "… tests",
      "::warning::slow",
      "✖ tests  0.0s  1 of 2 failed",
      "  FAIL: TestX",
      "",
    }, "\n"))
    t:eq(r.stderr:match("[^\n]+\n$"), "::error file=workflows/s.lua,line=15,title=tests failed::1 of 2 failed\n")
  end)

  test("GitLab: sections with the step's own times, open for a failure; marks are plain lines", function(t)
    local r = run(project(t, SCRIPT), { GITLAB_CI = "true" })
    t:eq(lines_between(r.stderr, "… build", "✖ s  tests failed"), table.concat({
      "… build",
      "\27[0Ksection_start:TIME:wsrun_build[collapsed=true]\r\27[0K✔ build  0.0s  1 added",
      "     +0.0s  creating a",
      "  compiled",
      "\27[0Ksection_end:TIME:wsrun_build\r\27[0K",
      "… quick",
      "✔ quick  0.0s  nothing to do",
      "… tests",
      "warning: slow",
      "\27[0Ksection_start:TIME:wsrun_tests\r\27[0K✖ tests  0.0s  1 of 2 failed",
      "  FAIL: TestX",
      "\27[0Ksection_end:TIME:wsrun_tests\r\27[0K",
      "",
    }, "\n"))
  end)

  test("Jenkins and Cloud Build: plain lines, and the log of what failed; elsewhere no logs", function(t)
    local expected = table.concat({ "… build", "✔ build  0.0s  1 added", "… quick", "✔ quick  0.0s  nothing to do",
      "… tests", "warning: slow", "✖ tests  0.0s  1 of 2 failed", "" }, "\n")
    local dir = project(t, SCRIPT)
    for _, env in ipairs { { JENKINS_URL = "http://127.0.0.1/", BUILD_ID = "7" }, { BUILDER_OUTPUT = "/b" },
      { BUILD_ID = "1", PROJECT_ID = "p" } } do
      t:eq(lines_between(run(dir, env).stderr, "… build", "✖ s  tests failed"), expected .. "  FAIL: TestX\n")
    end
    t:eq(lines_between(run(dir, { BUILD_ID = "7" }).stderr, "… build", "✖ s  tests failed"), expected)
  end)

  test("the groups of parallel steps do not mix", function(t)
    local dir = project(t, [[
      local ws, task = require "ws", require "ws.task"
      return ws.workflow { summary = "t", run = function(w)
        local branches = {}
        for i = 1, 8 do
          branches[i] = function()
            w:step("s" .. i, function()
              for n = 1, 5 do w:progress(("part%d of s%d"):format(n, i)) task.sleep(0.002) end
            end)
          end
        end
        w:together(branches)
      end }]])
    for name, env in pairs { github = github, gitlab = { GITLAB_CI = "true" } } do
      local open, groups = nil, 0
      for line in run(dir, env).stderr:gmatch("[^\n]+") do
        local begun = line:match("^::group::✔ (s%d)") or line:match("section_start:TIME:wsrun_(s%d)")
        if begun then
          t:eq(open, nil, name)
          open, groups = begun, groups + 1
        elseif line == "::endgroup::" or line:find("section_end", 1, true) then
          open = nil
        elseif open then
          t:eq(line:match("part%d of (s%d)$"), open, name)
        end
      end
      t:eq(groups, 8, name)
    end
  end)

  test("a manifest's error is marked at its line and column, before anything has begun", function(t)
    local dir = fs.realpath(t:tmpdir())
    for _, folder in ipairs { "workflows", "manifests" } do
      assert(fs.copy(folder, dir .. "/" .. folder, { recursive = true }))
    end
    local file = dir .. "/manifests/dev-seb.yaml"
    local text = assert(fs.read(file))
    local line = select(2, text:sub(1, (text:find("\nregion:"))):gsub("\n", "")) + 1
    assert(fs.write(file, (text:gsub("\nregion:[^\n]*", "\nregion: 7", 1))))
    assert(fs.write(dir .. "/workflows/s.lua", [[
      return require "ws".workflow { summary = "t", args = { { "p", type = "manifest", doc = "" } },
        run = function() end }]]))
    local r = run(dir, { GITHUB_ACTIONS = "true", GITHUB_WORKSPACE = fs.dirname(dir) }, "dev-seb")
    t:eq(r.code, 65, r.stderr)
    t:has(r.stderr, ("\n::error file=%s/manifests/dev-seb.yaml,line=%d,col=9::region: found"):format(
      fs.basename(dir), line))
  end)

  test("an error that carries places is marked at each, and a step that marked its own not again", function(t)
    local dir = project(t, [[
      local ws, errors = require "ws", require "ws.error"
      return ws.workflow { summary = "t", run = function(w)
        pcall(w.step, w, "layer", function()
          error(errors.new { kind = "failed", message = "two wrong", places = {
            { file = "workflows/s.lua", line = 2, col = 5, text = "a, b" }, { text = "nowhere" } } }, 0)
        end)
        w.failed_step = nil
        w:step("tests", function()
          w:annotate { file = "workflows/s.lua", line = 1, text = "TestX" }
          ws.fail("1 failed")
        end)
      end }]])
    local r = run(dir, github)
    local marks = {}
    for line in r.stderr:gmatch("::error[^\n]+") do marks[#marks + 1] = line end
    t:eq(marks, {
      "::error file=workflows/s.lua,line=1::TestX",
      "::error file=workflows/s.lua,line=2,col=5,title=layer failed::a, b",
      "::error title=layer failed::nowhere",
    })
  end)

  test("text is escaped in marks: %, line ends, and : and , in properties", function(t)
    local mark = require "ws.ci.github".annotation
    t:eq(mark { text = "100%\r\n::x, y", file = "a:b,c%.go", line = 3 },
      "::error file=a%3Ab%2Cc%25.go,line=3::100%25%0D%0A::x, y\n")
    t:eq(mark { level = "warning", text = "w" }, "::warning::w\n")
  end)

  test("what others say is no command: GitHub", function(t)
    local harmless = require "ws.ci.github".harmless
    for _, evil in ipairs { "::set-output name=a::b", "a\n::add-path::/x", "a\r::error::x", " \t::stop-commands::t",
      "\194\160::add-mask::x", "\226\128\131::warning::x", "\0::group::", "a ##[add-path]/x", ":::error::x",
      "a\r\n  ::debug::x", "\n\n::a::" } do
      local text = harmless(evil)
      t:ok(not text:find("##[", 1, true), text)
      for line in (text .. "\n"):gmatch("([^\r\n]*)[\r\n]") do t:ok(not line:find("^[^%w%p]*::"), line) end
    end
    t:eq(harmless("a::b\nstd::string: ok\n"), "a::b\nstd::string: ok\n")

    local evil = "::error::x\n::set-output name=a::b\n##[add-path]/tmp\n"
    local dir = project(t, ([[
      local ws, log = require "ws", require "ws.log"
      local evil = %q
      return ws.workflow { summary = "t", run = function(w)
        local file = assert(io.open(w:log_file(), "w")) file:close()
        log.info(evil)
        w:note(evil)
        w:step("one", function()
          local f = assert(io.open(w:log_file(), "w")) f:write(evil) f:close()
          w:progress(evil)
          w:summary(evil)
        end)
        ws.fail(evil, { hint = evil })
      end }]]):format(evil))
    local r = run(dir, github)
    t:eq(r.code, 1)
    for line in r.stderr:gmatch("[^\r\n]+") do
      local command = line:match("^[^%w%p]*::([%w-]+)")
      t:ok(not command or command == "group" or command == "endgroup" or command == "error", line)
      t:ok(command == "error" or not line:find("##[", 1, true), line)
    end
    t:eq(select(2, r.stderr:gsub("\n::error", "")), 1, r.stderr)
    r = run(dir, github, "--json")
    t:ok(not r.stdout:find("##[", 1, true), r.stdout)
    for line in r.stdout:gmatch("[^\n]+") do assert(require "ws.json".decode(line)) end
  end)

  test("what others say is no section: GitLab", function(t)
    local harmless = require "ws.ci.gitlab".harmless
    t:eq(harmless("\27[0Ksection_start:1:a\r\27[0Kx section_end:2:b"),
      "\27[0Ksection start:1:a\r\27[0Kx section end:2:b")
    local r = run(project(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        w:step("one", function() w:progress("a") w:progress("x\27[0Ksection_end:1:wsrun_one\r\27[0K") end)
      end }]]), { GITLAB_CI = "true" })
    t:eq(select(2, r.stderr:gsub("section_end:", "")), 1, r.stderr)
  end)

  test("a secret is masked where text is escaped as well", function(t)
    local dir = project(t, [[
      local ws, value = require "ws", "hunter2 & 100% <x>|y"
      local secret = ws.secret(value)
      return ws.workflow { summary = "t", run = function(w)
        w:step("one", function()
          w:annotate { file = "workflows/s.lua", line = 1, text = "it is " .. value }
          ws.fail("no " .. value)
        end)
      end }]])
    local summary, junit = dir .. "/summary", dir .. "/junit.xml"
    local r = run(dir, { GITHUB_ACTIONS = "true", GITHUB_STEP_SUMMARY = summary }, "--junit", junit)
    for _, text in ipairs { r.stderr, assert(fs.read(summary)), assert(fs.read(junit)) } do
      t:ok(not text:find("hunter2", 1, true), text)
      t:has(text, "no ")
    end
  end)

  test("GitHub's summary page: a table of steps, appended, with the failure as text", function(t)
    local dir = project(t, SCRIPT)
    local summary = dir .. "/summary"
    assert(fs.write(summary, "before\n"))
    run(dir, { GITHUB_ACTIONS = "true", GITHUB_STEP_SUMMARY = summary })
    local text = assert(fs.read(summary)):gsub("%d+%.%ds", "0.0s")
    t:has(text, "before\n### ✖ s: failed, 0.0s\n\n| step | time | |\n| --- | ---: | --- |\n"
      .. "| ✔ build | 0.0s | 1 added |\n| ✔ quick | 0.0s | nothing to do |\n"
      .. "| ✖ tests | 0.0s | 1 of 2 failed |\n\n<pre>\n✖ s  tests failed")
    assert(fs.write(dir .. "/workflows/s.lua", [[
      return require "ws".workflow { summary = "t", run = function(w)
        w:step("a|b", function() w:changed("x | <b>\n`c`") end)
      end }]]))
    run(dir, { GITHUB_ACTIONS = "true", GITHUB_STEP_SUMMARY = summary })
    t:has(assert(fs.read(summary)):gsub("%d+%.%ds", "0.0s"),
      "### ✔ s: 1 change, 0.0s\n\n| step | time | |\n| --- | ---: | --- |\n"
      .. "| ✔ a\\|b | 0.0s | x \\| \\<b\\> \\`c\\` |\n")
    local r = run(dir, { GITHUB_ACTIONS = "true", GITHUB_STEP_SUMMARY = dir .. "/no/such/folder" })
    t:eq(r.code, 0, r.stderr)
    t:has(r.stderr, "the summary page was not written")
  end)

  test("--junit: a case for each step, also of a failed run", function(t)
    local dir = project(t, SCRIPT)
    local r = run(dir, nil, "--junit", "reports/junit.xml")
    t:eq(r.code, 1)
    local text = assert(fs.read(dir .. "/reports/junit.xml")):gsub('time="[%d.]+"', 'time="0"')
    t:has(text, '<testsuites tests="3" failures="1" errors="0" skipped="0" time="0">')
    t:has(text, '<testcase classname="s" name="build" file="workflows/s.lua" time="0"><system-out>1 added</system-out>')
    t:has(text, '<testcase classname="s" name="tests" file="workflows/s.lua" time="0"><failure type="failed" '
      .. 'message="1 of 2 failed">1 of 2 failed\nHint: look at TestX\n\nFAIL: TestX</failure></testcase>')
    t:eq(fs.list(dir .. "/reports"), { "junit.xml" })
  end)

  test("--junit: skipped steps, steps that failed inside, failures outside of steps", function(t)
    local dir = project(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        w:together {
          function() w:step("outer", function() w:step("inner", function() error("boom") end) end) end,
          function() w:step("after", { needs = { "outer" } }, function() end) end,
        }
      end }]])
    run(dir, nil, "--junit", "j.xml")
    local text = assert(fs.read(dir .. "/j.xml"))
    t:has(text, 'tests="3" failures="1" errors="0" skipped="2"')
    t:ok(text:find('name="outer"[^>]*><skipped message="a step inside it failed"/>'), text)
    t:ok(text:find('name="after"[^>]*><skipped message="not started: it needs outer"/>'), text)
    assert(fs.write(dir .. "/workflows/s.lua", [[
      return require "ws".workflow { summary = "t", run = function() error("early", 0) end }]]))
    run(dir, { WSRUN_JUNIT = "j.xml" })
    text = assert(fs.read(dir .. "/j.xml"))
    t:has(text, 'tests="1" failures="0" errors="1" skipped="0"')
    t:ok(text:find('name="run" time="[%d.]+"><error type="internal" message="early">'), text)
  end)

  test("--junit: the report of an earlier run is gone before anything begins, and a bad place is said then", function(t)
    local dir = project(t, 'return require "ws".workflow { summary = "t", args = { { "n", type = "integer" } },\n'
      .. 'run = function() print("ran") end }')
    assert(fs.write(dir .. "/j.xml", "old"))
    t:eq(run(dir, nil, "x", "--junit", "j.xml").code, 64)
    t:ok(not fs.exists(dir .. "/j.xml"))
    local r = run(dir, nil, "1", "--junit", "workflows")
    t:eq({ r.code, r.stdout }, { 64, "" }, r.stderr)
    t:has(r.stderr, "--junit: workflows is a folder")
    r = run(dir, nil, "1", "--junit", "workflows/s.lua/j.xml")
    t:eq({ r.code, r.stdout }, { 1, "" }, r.stderr)
    t:has(r.stderr, "--junit: ")
  end)

  test("--junit: a report that cannot be written fails the run", function(t)
    local dir = project(t, [[
      return require "ws".workflow { summary = "t", run = function()
        assert(require "ws.fs".remove("reports", { recursive = true }))
        assert(require "ws.fs".write("reports", ""))
      end }]])
    local r = run(dir, nil, "--junit", "reports/j.xml", "--json")
    t:eq(r.code, 1, r.stderr)
    t:has(r.stderr, "the JUnit report was not written")
    t:has(r.stdout, '"type":"run_end"')
    t:has(r.stdout, '"exit":1')
  end)

  test("--junit: written also when the run is interrupted", function(t)
    local dir = project(t, [[
      local ws, task = require "ws", require "ws.task"
      return ws.workflow { summary = "t", run = function(w)
        w:step("long", function() print("ready") io.stdout:flush() task.sleep(60) end)
        w:step("next", function() end)
      end }]])
    local ready = task.queue()
    local child = assert(process.start({ wsrun, "workflows/s.lua", "--junit", "j.xml" }, { cwd = dir, timeout = 30,
      env = environment(dir, github), on_stdout = function() ready:push(true) end }))
    t:ok(ready:pop(10))
    assert(child:kill("TERM"))
    local r = assert(child:wait(15))
    t:eq(r.code, 143, r.stderr)
    t:ok(not r.stderr:find("::error", 1, true), r.stderr)
    local text = assert(fs.read(dir .. "/j.xml"))
    t:ok(text:find('name="long"[^>]*><failure type="%a+"'), text)
  end)

  test("JUnit is XML whatever the text", function(t)
    local errors, junit = require "ws.error", require "ws.junit"
    local nasty = "a\0b\27[31mred\27[0m \1\11 <&>\"' ]]> \255\254 \237\160\128 é \239\191\191 \244\143\191\191 end"
    local run_like = { title = nasty, id = "r", tally = function() return { seconds = 1.5 } end, steps = {
      { path = nasty, status = "done", seconds = 1, summary = nasty, line = nasty .. ":3" },
      { path = "b", status = "failed", err = errors.new { kind = "failed", message = nasty, hint = nasty } },
      { path = "c", status = "skipped", err = errors.new { kind = "cancelled", message = nasty } },
      { path = "d", status = "running" }, { path = "e", status = "waiting" },
    } }
    local text = junit.text(run_like, nil)
    t:ok(utf8.len(text), "valid UTF-8")
    t:ok(not text:find("[\0-\8\11\12\14-\31]"), text)
    t:ok(not text:find("\239\191\191", 1, true))
    t:has(text, "a�bred �� &lt;&amp;&gt;")
    t:has(text, "é � \244\143\191\191 end")
    t:has(text, 'tests="5" failures="1" errors="1" skipped="2"')
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/j.xml", text))
    local parser = "import sys, xml.etree.ElementTree as e; print(len(e.parse(sys.argv[1]).findall('.//testcase')))"
    local r = assert(process.run({ "python3", "-c", parser, dir .. "/j.xml" }, { timeout = 30 }))
    t:eq(r.stdout, "5\n", r.stderr)
  end)

  test("colours in a CI only when they are forced", function(t)
    local dir = project(t, SCRIPT)
    local function colored(env)
      return run(dir, env).stderr:find("\27[3", 1, true) ~= nil
    end
    t:ok(not colored { GITHUB_ACTIONS = "true", CI = "true", TERM = "xterm" })
    t:ok(colored { GITHUB_ACTIONS = "true", FORCE_COLOR = "1" })
    t:ok(colored { CI = "true", CLICOLOR_FORCE = "1" })
    t:ok(not colored { GITHUB_ACTIONS = "true", FORCE_COLOR = "0" })
    t:ok(not colored { GITHUB_ACTIONS = "true", FORCE_COLOR = "1", NO_COLOR = "1" })
  end)

  test("--quiet still marks errors; annotate is checked, and an event of its own", function(t)
    local dir = project(t, [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        for _, wrong in ipairs { {}, { text = 1 }, { text = "a", lines = 1 }, { text = "a", line = "1" },
          { text = "a", level = "notice" } } do
          local ok, err = pcall(w.annotate, w, wrong)
          print(ok, err)
        end
        w:annotate { level = "warning", text = "w" }
        w:annotate { file = "workflows/s.lua", line = 2, text = "e" }
      end }]])
    local r = run(dir, nil, "--quiet")
    t:eq(r.stderr, "error: workflows/s.lua:2: e\n")
    t:eq(r.stdout, table.concat({ "false\tw:annotate takes a table with text",
      "false\tw:annotate takes a table with text",
      "false\tw:annotate: unknown option 'lines'", "false\tw:annotate: line must be a number, not string",
      "false\tw:annotate: level is error or warning, not 'notice'", "" }, "\n"))
    r = run(dir, nil, "--json")
    t:has(r.stdout, '"type":"annotation"')
    t:has(r.stdout, '"file":"workflows/s.lua"')
  end)

  test("progress that only counts is told once", function(t)
    local details = require "ws.display.details"
    local step = { started = require "ws.engine".native.monotonic() }
    for _, text in ipairs { "1 tests", "2 tests", "12 tests", "creating a[0]", "creating a[1]", "creating a[1] (10s)",
      "creating a[1] (20s)", "pod app-1 1/2 ready", "pod app-1 2/2 ready", "pod app-2 1/2 ready" } do
      step.progress = { text = text }
      details.note(step)
    end
    local texts = {}
    for i, line in ipairs(details.lines(step)) do texts[i] = line:match("s  (.+)$") end
    t:eq(texts, { "1 tests", "creating a[0]", "creating a[1]", "pod app-1 1/2 ready", "pod app-2 1/2 ready" })
  end)

  test("a long log is cut to its end, and says where all of it is", function(t)
    local details = require "ws.display.details"
    local path = t:tmpdir() .. "/log"
    local all = {}
    for i = 1, 5000 do all[i] = ("\27[1mline %d\27[0m"):format(i) end
    assert(fs.write(path, table.concat(all, "\r\n")))
    local lines = details.log { logs = { path, path .. ".missing" } }
    t:eq(lines[1], ("... (all of it: %s)"):format(path))
    t:eq({ #lines, lines[2], lines[#lines] }, { 201, "line 4801", "line 5000" })
  end)
end
