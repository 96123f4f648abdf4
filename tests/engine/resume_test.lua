-- What a resumed run takes over, what it does again and why; what the journal keeps and what it never keeps.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local sqlite = require "ws.sqlite"

local WSRUN = os.getenv "WSRUN"

local HEAD = [[
local ws = require "ws"
local function did(name)
  local may, file = pcall(io.open, "did", "a") -- not while a resume is only explained: nothing may be written then
  if may then file:write(name, "\n"):close() end
end
local function has(name) return io.open(name) ~= nil end
return ws.workflow { summary = "t", options = { { "value", type = "string", doc = "v" } }, run = function(w, args)
]]

return function(test)
  --- A project with one workflow, and functions that run and look.
  local function project(t, body)
    local p = { dir = t:tmpdir() }
    assert(fs.mkdir(p.dir .. "/workflows"))
    assert(fs.mkdir(p.dir .. "/manifests"))
    function p.script(text) assert(fs.write(p.dir .. "/workflows/w.lua", HEAD .. text .. "\nend }\n")) end
    function p.wsrun(...)
      return t:ok(process.run({ WSRUN, ... }, { cwd = p.dir, env = { CI = "true", USER = "somebody" } }))
    end
    --- Runs and expects an exit code; returns what was done, as "a b c", and stderr.
    function p.expect(code, ...)
      fs.remove(p.dir .. "/did", { missing_ok = true })
      local r = p.wsrun(...)
      t:eq(r.code, code, table.concat({ ... }, " ") .. "\n" .. r.stdout .. r.stderr)
      return (fs.read(p.dir .. "/did") or ""):gsub("\n", " "):gsub(" $", ""), r.stderr, r.stdout
    end
    function p.touch(name) assert(fs.write(p.dir .. "/" .. name, "")) end
    if body then p.script(body) end
    return p
  end

  test("finished steps return what they returned, with every type", function(t)
    local p = project(t, [[
      local a, b, c = w:step("values", function()
        did "values"
        return { list = { 1, 2.5, "x", {} }, empty = {}, bytes = "\255\0", big = math.maxinteger, nan = 0 / 0,
          inf = -math.huge, [10] = "ten", [true] = "yes" }, nil, "third"
      end)
      assert(a.list[2] == 2.5 and a.bytes == "\255\0" and a.big == math.maxinteger and a.nan ~= a.nan)
      assert(a.inf == -math.huge and a[10] == "ten" and a[true] == "yes" and #a.list == 4 and next(a.empty) == nil)
      assert(math.type(a.list[1]) == "integer" and b == nil and c == "third")
      local null = w:step("null", function() did "null" return require "ws.json".null end)
      assert(null == require "ws.json".null)
      w:step("nothing", function() did "nothing" end)
      w:step("last", function() did "last" assert(has "ok", "not yet") end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "values null nothing last")
    p.touch "ok"
    t:eq(p.expect(0, "resume"), "last")
    local err = select(2, p.expect(64, "resume"))
    t:has(err, "no run is left unfinished")
  end)

  test("inputs that changed, results that changed, new steps; an edited script resumes", function(t)
    local p = project(t, [[
      w:step("first", { inputs = { args.value or "one" } }, function() did "first" return args.value or "one" end)
      w:step("second", { needs = { "first" } }, function() did "second" return 2 end)
      w:step("third", { inputs = { 3 } }, function() did "third" end)
      w:step("gone", function() did "gone" end)
      w:step("last", function() did "last" error "no" end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "first second third gone last")
    p.script [[
      w:step("third", { inputs = { 3 } }, function() did "third" end)
      w:step("before", function() did "before" end)
      w:step("first", { inputs = { "two" } }, function() did "first" return "two" end)
      w:step("second", { needs = { "first" } }, function() did "second" return 2 end)
      w:step("last", function() did "last" end)
    ]]
    local _, _, plan = p.expect(0, "resume", "--plan", "--json")
    local why = {}
    for _, step in ipairs(json.decode(plan).steps) do why[step.step] = step.action .. ": " .. step.why end
    t:eq(why, { third = "reused: done", before = "new: new", first = "run_again: changed: its inputs are others",
      second = "run_again: changed: its inputs are others", last = "run_again: failed: workflows/w.lua:12: no",
      gone = "orphaned: the script did not come to it" })
    t:eq(p.expect(0, "resume"), "before first second last")
  end)

  test("a step around others runs again, and those that were done inside it do not", function(t)
    local p = project(t, [[
      w:step("group", function()
        did "group"
        w:step("one", function() did "one" end)
        w:together {
          function() w:step("two", function() did "two" end) end,
          function() w:step("three", function() assert(has "ok", "no") did "three" end) end,
        }
      end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "group one two")
    p.touch "ok"
    local did, stderr = p.expect(0, "resume")
    t:eq(did, "group three")
    t:has(stderr, "group/one")
  end)

  test("always, --from, and an unknown step", function(t)
    local p = project(t, [[
      w:step("connect", { always = true }, function() did "connect" return print end)
      w:step("a", function() did "a" end)
      w:step("b", function() did "b" end)
      w:step("c", function() did "c" end)
    ]])
    t:eq(p.expect(0, "workflows/w.lua"), "connect a b c")
    local id = json.decode(select(3, p.expect(0, "runs", "--json"))).runs[1].run
    t:has(select(2, p.expect(64, "resume", id)), "came to a good end")
    t:eq(p.expect(0, "resume", id, "--from", "b"), "connect b c")
    t:has(select(2, p.expect(64, "resume", id, "--from", "bb")), "did you mean 'b'?")
    t:has(select(2, p.expect(64, "resume", "nope")), "no run 'nope'")
  end)

  test("secrets are not stored; `read` gives them again", function(t)
    local p = project(t, [[
      local made = w:step("password", { read = function() did "read" return { p = ws.secret "hunter2-hunter2" } end },
        function() did "make" return { p = ws.secret "hunter2-hunter2" } end)
      assert(tostring(made.p) == "***")
      w:step("opaque", function() did "opaque" return function() end end)
      w:step("say", function() w:summary("it is hunter2-hunter2") w:changed("hunter2-hunter2 set") did "say" end)
      w:step("last", function() did "last" assert(has "ok", "failed with hunter2-hunter2") end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "make opaque say last")
    for _, file in ipairs(fs.glob(p.dir .. "/.wsrun/journal.db*")) do
      t:eq(assert(fs.read(file)):find("hunter2", 1, true), nil, file)
    end
    local _, _, plan = p.expect(0, "resume", "--plan")
    t:has(plan, "its result cannot be stored")
    p.touch "ok"
    t:eq(p.expect(0, "resume"), "read opaque last")
  end)

  test("a step that needs another begins after that one is recorded, and is taken over with it", function(t)
    local p = project(t, [[
      w:together {
        function() w:step("first", { always = true }, function() did "first" end) end,
        function() -- looks at the very moment when the other ends
          while not has "did" do require "ws.task".sleep(0) end
          w:step("second", { needs = { "first" } }, function() did "second" end)
        end,
      }
      w:step("last", function() assert(has "ok", "no") did "last" end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "first second")
    p.touch "ok"
    t:eq(p.expect(0, "resume"), "first last")
  end)

  test("undo: in reverse, after a failure only, and what was undone is done again", function(t)
    local p = project(t, [[
      w:step("one", { undo = function(result) did("undo " .. result) end }, function() did "one" return "first" end)
      w:defer("tidy", function() did "tidy" end)
      w:step("two", { undo = function() did "undo two" end }, function() did "two" end)
      w:step("last", function() did "last" assert(has "ok", "no") end)
    ]])
    t:eq(p.expect(1, "workflows/w.lua"), "one two last undo two tidy undo first")
    p.touch "ok"
    t:eq(p.expect(0, "resume"), "one two last")
    p.script [[
      w:step("bad", { undo = function() error "cannot" end }, function() end)
      w:step("last", function() error "no" end)
    ]]
    local _, stderr = p.expect(1, "workflows/w.lua")
    t:has(stderr, "undoing failed")
    t:has(stderr, "cannot")
  end)

  test("an approval parks the run; wsrun approve continues it, --yes needs none", function(t)
    local p = project(t, [[
      w:step("before", function() did "before" end)
      local yes = w:approve { text = "deploy " .. (args.value or "1") }
      did("approved by " .. yes.by)
    ]])
    local _, stderr = p.expect(75, "workflows/w.lua", "--value", "7")
    t:has(stderr, "waits for approval: deploy 7")
    local id = stderr:match("wsrun approve (%S+)")
    t:has(select(3, p.expect(0, "runs")), "parked")
    t:has(select(2, p.expect(75, "resume")), "waits for approval")
    t:has(select(2, p.expect(64, "approve")), "takes a run")
    local did
    did, stderr = p.expect(0, "approve", id)
    t:eq(did, "approved by somebody")
    t:has(stderr, "approved: deploy 7")
    t:has(select(2, p.expect(64, "approve", id)), "waits for no approval")
    t:eq(p.expect(0, "--yes", "workflows/w.lua"), "before approved by somebody")
  end)

  test("runs and show tell what there was", function(t)
    local p = project(t, [[
      w:step("one", function() w:summary "made one" return { answer = 42 } end)
      w:step("two", { needs = { "one" } }, function()
        local log <close> = assert(io.open(w:log_file(), "w"))
        log:write("said by two\n")
        error "broken"
      end)
    ]])
    t:eq(select(3, p.expect(0, "runs")), "no runs yet\n")
    t:has(select(2, p.expect(64, "resume")), "no runs yet")
    p.expect(1, "workflows/w.lua")
    local _, _, text = p.expect(0, "show")
    for _, part in ipairs { "failed (exit code 1)", "made one", "broken", "script  workflows/w.lua" } do
      t:has(text, part)
    end
    local id = text:match("^%S+")
    _, _, text = p.expect(0, "show", id, "one")
    t:has(text, '"answer": 42')
    _, _, text = p.expect(0, "show", id, "two")
    t:has(text, "needs   one")
    t:eq(select(3, p.expect(0, "show", id, "two", "--log")), "said by two\n")
    t:has(select(2, p.expect(64, "show", id, "tow")), "did you mean 'two'?")
    t:eq(json.decode(select(3, p.expect(0, "show", id:sub(1, -2), "--json"))).steps[2].status, "failed")
  end)

  test("a run that still runs is not resumed, one whose process is gone is called killed", function(t)
    local p = project(t, [[
      w:step("wait", function() did "wait" require "ws.task".sleep(has "ok" and 0 or 30) end)
    ]])
    local child <close> = t:ok(process.start({ WSRUN, "workflows/w.lua" }, { cwd = p.dir }))
    for _ = 1, 500 do
      if fs.exists(p.dir .. "/did") then break end
      require "ws.task".sleep(0.01)
    end
    t:has(select(2, p.expect(75, "resume")), "still runs: process")
    child:kill "KILL"
    child:wait()
    t:has(select(3, p.expect(0, "runs")), "killed")
    p.touch "ok"
    t:eq(p.expect(0, "resume"), "wait")
  end)

  test("Ctrl-C leaves a run that resumes; what was done stays done", function(t)
    local p = project(t, [[
      w:step("one", function() did "one" end)
      w:step("sleep", function() did "sleep" require "ws.task".sleep(has "ok" and 0 or 30) end)
      w:step("end", function() did "end" end)
    ]])
    local child <close> = t:ok(process.start({ WSRUN, "workflows/w.lua" }, { cwd = p.dir }))
    for _ = 1, 500 do
      if (fs.read(p.dir .. "/did") or ""):find("sleep") then break end
      require "ws.task".sleep(0.01)
    end
    child:kill "INT"
    local result = t:ok(child:wait())
    t:eq(result.code, 130)
    local command = result.stderr:match("Next   wsrun (resume %S+)")
    p.touch "ok"
    t:eq(p.expect(0, "resume", command:match("%S+$")), "sleep end")
  end)

  test("two that resume at once: one does", function(t)
    local p = project(t, [[ w:step("s", function() did "s" assert(has "ok", "no") require "ws.task".sleep(0.3) end) ]])
    p.expect(1, "workflows/w.lua")
    p.touch "ok"
    fs.remove(p.dir .. "/did")
    local codes = {}
    t:ok(require "ws.task".all {
      function() codes[1] = p.wsrun("resume").code end, function() codes[2] = p.wsrun("resume").code end,
    })
    table.sort(codes)
    t:eq(codes[1], 0)
    t:ok(codes[2] == 75 or codes[2] == 64, codes[2])
    t:eq(fs.read(p.dir .. "/did"), "s\n")
  end)

  test("a journal of a later wsrun, or one that is none, is said to be so", function(t)
    local p = project(t, [[ w:step("s", function() did "s" end) ]])
    p.expect(0, "workflows/w.lua")
    local db <close> = t:ok(sqlite.open(p.dir .. "/.wsrun/journal.db"))
    t:ok(db:write({ "PRAGMA user_version = 99" }))
    db:close()
    t:has(select(2, p.expect(1, "workflows/w.lua")), "written by a later wsrun")
    assert(fs.remove(p.dir .. "/.wsrun", { recursive = true }))
    assert(fs.mkdir(p.dir .. "/.wsrun"))
    assert(fs.write(p.dir .. "/.wsrun/journal.db", ("no database "):rep(100)))
    t:has(select(2, p.expect(65, "workflows/w.lua")), "file is not a database")
  end)

  test("misuse is told at its line", function(t)
    local p = project(t)
    for body, said in pairs {
      ['w:step("a", { always = 1 }, function() end)'] = "always must be a boolean",
      ['w:step("a", { other = 1 }, function() end)'] = "unknown option 'other'",
      ['w:approve { txt = "x" }'] = "w:approve takes a table with text",
      ['w:defer("a/b", function() end)'] = "without '/'",
    } do
      p.script(body)
      local _, stderr = p.expect(1, "workflows/w.lua")
      t:has(stderr, said)
      t:has(stderr, "w.lua:8")
    end
  end)
end
