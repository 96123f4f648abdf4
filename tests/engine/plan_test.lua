-- wsrun plan and apply on small workflows: what is called, what is refused, what is said, exit codes.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local WSRUN = os.getenv "WSRUN"

local HEAD = [[
local ws = require "ws"
local fs = require "ws.fs"
local process = require "ws.process"
local function did(name) assert(fs.write("did." .. name, "")) end
local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  if ok or err.kind ~= "denied" then error("not refused: " .. tostring(err), 2) end
end
return ws.workflow { summary = "t", options = { { "value", type = "string", doc = "v" } }, run = function(w, args)
]]

return function(test)
  --- A project with one workflow, and functions that run and look.
  local function project(t, body)
    local p = { dir = assert(fs.realpath(t:tmpdir())) }
    for _, folder in ipairs { "workflows", "manifests", "made" } do assert(fs.mkdir(p.dir .. "/" .. folder)) end
    assert(fs.write(p.dir .. "/workflows/w.lua", HEAD .. body .. "\nend }\n"))
    --- Runs and expects an exit code; returns stdout, stderr and the names of what was done.
    function p.expect(code, ...)
      local r = t:ok(process.run({ WSRUN, ... }, { cwd = p.dir, env = { CI = "true", LC_ALL = "C.UTF-8" } }))
      t:eq(r.code, code, table.concat({ ... }, " ") .. "\n" .. r.stdout .. r.stderr)
      return r.stdout, r.stderr, p.done()
    end
    function p.done()
      local names = {}
      for _, name in ipairs(assert(fs.glob("did.*", { dir = p.dir }))) do
        names[#names + 1] = name:match("did%.(.*)")
      end
      table.sort(names)
      return table.concat(names, " ")
    end
    function p.write(name, text) assert(fs.write(p.dir .. "/" .. name, text)) end
    return p
  end

  local MIXED = [[
    local lock <close> = w:step("lock", { plan = false }, function()
      did "lock"
      return setmetatable({ release = function() end }, { __close = function() end })
    end)
    w:step("check", { plan = "run" }, function() return 1 end)
    local base = w:step("base", { plan = function()
      return {
        { what = "terraform", action = "add", name = "net.main", attributes = { { name = "cidr", after = '"10/8"' } } },
        { what = "terraform", action = "change", name = "net.sub", attributes = {
          { name = "size", before = "1", after = "2" } } },
        { what = "bucket", action = "remove", name = "gs://b/old" },
        { what = "terraform", action = "replace", name = "vm.one", unknown = true, detail = "its disk" },
      }
    end }, function() did "base" return { id = 7 } end)
    w:together {
      function()
        w:step("late", { needs = { base }, plan = function()
          return { deferred = "its inputs come from base, which does not exist yet" }
        end }, function() did "late" end)
      end,
      function()
        w:step("apps", { plan = true }, function()
          w:step("one", { plan = function() return {}, "value" end }, function() did "one" end)
          w:step("two " .. base.id, function() did "two" end)
        end)
      end,
      function() w:step("plain", function() did "plain" end) end,
    }
    lock:release()
  ]]

  test("a plan calls plan functions only and reports by step; its exit code can say that there are changes", function(t)
    local p = project(t, MIXED)
    local out, err, done = p.expect(0, "plan", "workflows/w.lua")
    t:eq(done, "")
    for _, part in ipairs { "nothing was changed", "\nbase\n", "+ terraform  net.main", "~ terraform  net.sub",
      "      size: 1 → 2", "- bucket     gs://b/old", "± terraform  vm.one  its disk  (more is known when it is made)",
      "\nlate\n  ? deferred: its inputs come from base, which does not exist yet",
      "\napps\n  ? deferred: base.id is not known before it is made", "\nplain\n  > would run",
      "plan: 1 to add, 1 to change, 1 to remove, 1 to replace; 2 steps deferred; 1 step without a plan would run" } do
      t:has(out, part)
    end
    t:eq(out:find("cidr", 1, true), nil, "attributes of what is added are for --verbose")
    t:has(err, "base")
    t:eq(fs.exists(p.dir .. "/.wsrun/journal.db"), false, "a plan is no run")
    t:has(p.expect(0, "plan", "workflows/w.lua", "-v"), 'cidr: "10/8"')
    p.expect(2, "workflows/w.lua", "--plan", "--detailed-exitcode")
    t:eq(assert(fs.list(p.dir .. "/.wsrun/plans")), {}, "nothing of a plan is left")
    t:eq(select(3, p.expect(0, "workflows/w.lua")), "base late lock one plain two")
  end)

  test("as JSON", function(t)
    local p = project(t, MIXED)
    local doc = t:ok(json.decode((p.expect(0, "plan", "workflows/w.lua", "--json"))))
    t:eq({ doc.schema_version, doc.changes, doc.title }, { 1, true, "w" })
    t:eq(doc.totals, { add = 1, change = 1, remove = 1, replace = 1, deferred = 2, would_run = 1, failed = 0 })
    local by_step = {}
    for _, step in ipairs(doc.steps) do by_step[step.step] = step end
    t:eq(by_step.lock, nil)
    t:eq({ by_step.check.status, by_step.base.status, by_step.late.status, by_step["apps/one"].status,
      by_step.plain.status }, { "looked", "planned", "deferred", "planned", "would_run" })
    t:eq(by_step.base.changes[2], { what = "terraform", action = "change", name = "net.sub",
      attributes = { { name = "size", before = "1", after = "2" } } })
    t:has(by_step.base.where, "workflows/w.lua:")
  end)

  test("without changes the exit code is 0; results come from the plan function or from read", function(t)
    local p = project(t, [[
      local a = w:step("a", { plan = function() return {}, { n = 1 } end }, function() did "a" end)
      local b = w:step("b", { plan = function() end, read = function() return { n = 2 } end }, function() did "b" end)
      assert(a.n + b.n == 3)
      local c = w:step("c", { plan = function() return {} end }, function() did "c" end)
      assert(require "ws.unknown".what(c) == "c")
    ]])
    t:has(p.expect(0, "plan", "workflows/w.lua", "--detailed-exitcode"), "plan: no changes (3 steps without changes)")
  end)

  test("the workflow's own code needs what is not known: the plan says where it ends", function(t)
    local p = project(t, [[
      local function plan() return { { what = "x", action = "add", name = "y" } } end
      local a = w:step("a", { plan = plan }, function() end)
      local name = "n-" .. a.id
      w:step("b " .. name, function() end)
    ]])
    local out = p.expect(2, "plan", "workflows/w.lua", "--detailed-exitcode")
    t:has(out, "? the workflow goes on with what is not known yet: a.id is not known before it is made")
    local _, err = p.expect(1, "plan", "workflows/w.lua", "--save", "x.plan")
    t:has(err, "could not be followed to its end")
    t:eq(fs.exists(p.dir .. "/x.plan"), false)
  end)

  test("a plan that fails: the others are planned, exit code 1, the error is shown", function(t)
    local p = project(t, [[
      w:together {
        function()
          w:step("bad", { plan = function() ws.fail("no way in", { kind = "denied" }) end }, function() end)
        end,
        function()
          require "ws.task".sleep(0.05)
          local function plan() return { { what = "x", action = "add", name = "y" } } end
          w:step("good", { plan = plan }, function() end)
        end,
      }
    ]])
    local out, err = p.expect(1, "plan", "workflows/w.lua", "--detailed-exitcode")
    t:has(out, "! could not be planned: ")
    t:has(out, "+ x          y")
    t:has(out, "1 step could not be planned")
    t:has(err, "no way in")
    for text, part in pairs { ["{ { what = 'x', action = 'make', name = 'y' } }"] = "needs what, name and an action",
      ["{ { what = 'x', action = 'add', name = 'y', colour = 'red' } }"] = "colour = red is not understood",
      ["7"] = "returned a number, not a list of changes" } do
      p = project(t, ([[w:step("s", { plan = function() return %s end }, function() end)]]):format(text))
      t:has(select(2, p.expect(1, "plan", "workflows/w.lua")), part)
    end
    p = project(t, [[w:step("s", { plan = "maybe" }, function() end)]])
    t:has(select(2, p.expect(1, "plan", "workflows/w.lua")), 'plan must be a function, true, false or "run"')
  end)

  test("usage", function(t)
    local p = project(t, MIXED)
    t:has(select(2, p.expect(64, "plan")), "needs the name of a workflow")
    t:has(select(2, p.expect(64, "plan", "workflows/w.lua", "surplus")), "unexpected argument")
    t:has(select(2, p.expect(64, "apply")), "takes the file of one plan")
    t:has(select(2, p.expect(1, "apply", "nowhere.plan")), "nowhere.plan")
    p.write("no.plan", "no archive")
    t:has(select(2, p.expect(65, "apply", "no.plan")), "is not a plan of wsrun")
    t:has((p.expect(0, "help", "plan")), "--save FILE")
  end)

  test("Ctrl-C ends a plan, with what its children held", function(t)
    local p = project(t, [[
      w:step("long", { plan = function()
        assert(fs.write(w.dir .. "/x.tfplan", "secret"))
        process.run({ "sleep", "60" })
      end }, function() end)
    ]])
    local child = t:ok(process.start({ WSRUN, "plan", "workflows/w.lua" }, { cwd = p.dir, env = { CI = "true" },
      stderr = "pipe" }))
    for line in child:lines("stderr") do
      if line:find("long$") then
        require "ws.task".sleep(0.2)
        child:kill("INT")
      end
    end
    t:eq(child:wait().code, 130)
    t:eq(#assert(fs.glob(".wsrun/plans/*/*.tfplan", { dir = p.dir })), 0, "no plan of Terraform is left")
  end)

  test("a script that is no workflow is refused, and cannot change anything before that", function(t)
    local p = project(t, "")
    p.write("script.lua", [[print "looking"]])
    local out, err = p.expect(65, "./script.lua", "--plan")
    t:eq(out, "looking\n")
    t:has(err, "script.lua is a plain script: it cannot be planned")
    p.write("script.lua", [[require "ws.fs".write("made/x", "")]])
    t:has(select(2, p.expect(1, "plan", "./script.lua")), "write would change something, and this run may not")
    p.write("workflows/w.lua", [[require "ws.fs".write("made/x", "") return require "ws".workflow { summary = "t",
      run = function() end }]])
    t:has(select(2, p.expect(1, "plan", "workflows/w.lua")), "write would change something, and this run may not")
    t:eq(assert(fs.list(p.dir .. "/made")), {})
  end)

  test("outside plan functions nothing can be written or started, inside only below the private folders", function(t)
    local p = project(t, [[
      local http, archive = require "ws.http", require "ws.archive"
      local function post() return http.post("http://127.0.0.1:9/x", { body = "x" }) end
      local function everything_is_refused()
        refused(fs.write, "made/x", "") refused(fs.write, w.dir .. "/x", "") refused(fs.mkdir, "made/d")
        refused(fs.temp_dir) refused(process.run, { "true" }) refused(post)
        refused(archive.tar_create, { entries = { { name = "a", data = "" } }, file = "made/a" })
        refused(http.get, "http://127.0.0.1:9/x", { sink = { file = "made/got" } })
      end
      everything_is_refused()
      w:step("group", { plan = true }, function()
        everything_is_refused()
        require "ws.task".spawn(everything_is_refused):join()
      end)
      local function look()
        assert(fs.write(w.dir .. "/mine", "x"))
        assert(fs.write("made/../.wsrun/mine", "x"))
        local temp = assert(fs.temp_dir())
        assert(temp:sub(1, #w.dir) == w.dir, temp)
        assert(fs.write(temp .. "/x", "") and fs.rename(temp .. "/x", temp .. "/y") and fs.remove(temp .. "/y"))
        assert(process.run({ "true" }).code == 0)
        assert(archive.tar_create { entries = { { name = "a", data = "" } }, file = w.dir .. "/a" })
        refused(fs.write, "made/x", "") refused(fs.write, w.dir .. "/../../../made/x", "")
        refused(fs.write, ".wsrun/../made/x", "") refused(fs.write, ".wsrunx", "")
        refused(fs.mkdir, "made/d") refused(fs.remove, "workflows/w.lua") refused(fs.temp_dir, { dir = "made" })
        refused(fs.copy, "workflows/w.lua", "made/copy") refused(fs.rename, w.dir .. "/mine", "made/mine")
        refused(fs.rename, "workflows/w.lua", w.dir .. "/stolen") refused(fs.symlink, "x", "made/link")
        assert(fs.symlink(fs.cwd() .. "/made", w.dir .. "/out"))
        refused(fs.write, w.dir .. "/out/x", "")
        assert(fs.symlink(fs.cwd() .. "/made/new", w.dir .. "/dangling"))
        refused(fs.write, w.dir .. "/dangling", "")
        refused(post)
        refused(archive.tar_create, { entries = { { name = "a", data = "" } }, file = "made/a" })
        refused(http.get, "http://127.0.0.1:9/x", { sink = { file = "made/got" } })
        assert(http.get("http://127.0.0.1:9/x", { sink = { file = w.dir .. "/got" } }) == nil) -- nobody answers
        local sub = require "ws.task".spawn(fs.write, w.dir .. "/from-a-task", "")
        assert(sub:join())
      end
      w:step("run", { plan = "run" }, look)
      fs.remove(w.dir .. "/out") -- the step's grant ended with it
    ]])
    local out, err = p.expect(1, "plan", "workflows/w.lua")
    t:has(err, "remove would change something, and this run may not")
    t:eq(out:find("could not be planned", 1, true), nil, out .. err)
    t:eq(assert(fs.list(p.dir .. "/made")), {})
  end)

  test("every native that writes or starts programs is refused outside plan functions", function(t)
    local p = project(t, [[
      for _, name in ipairs { "fs", "http", "process", "archive", "sqlite", "git", "helm", "crypto", "server" } do
        require("ws." .. name)
      end
      local count, odd = 0, {}
      for full, effect in pairs(require "ws.engine".native.effects()) do
        local module, name = full:match("^(.*)%.([^.]+)$")
        local native = package.loaded[module]
        if (effect == "write" or effect == "exec") and type(native) == "table" and native[name] then
          count = count + 1
          local ok, err = pcall(native[name])
          if ok or require "ws.error".is(err) == false or err.kind ~= "denied" then odd[#odd + 1] = full end
        end
      end
      assert(count >= 12 and #odd == 0, count .. " " .. table.concat(odd, " "))
    ]])
    p.expect(0, "plan", "workflows/w.lua")
  end)
end
