-- wsrun apply on small workflows: exactly what was planned, refused when something moved, resumed when it was killed.
local fs = require "ws.fs"
local process = require "ws.process"

local WSRUN = os.getenv "WSRUN"

-- One step that rests on the file "input" and takes a file along, one that nothing is known of beforehand.
local WORKFLOW = [[
local ws = require "ws"
local fs = require "ws.fs"
local function did(text) assert(fs.write("did", (fs.read("did") or "") .. text .. "\n")) end
return ws.workflow { summary = "t", options = { { "value", type = "string", doc = "v" } }, run = function(w, args)
  w:step("first", { plan = function(step)
    assert(w.plan:pin(step, { kind = "file", path = "input" }))
    assert(fs.write(w.dir .. "/first.plan", "planned with " .. assert(fs.read "input")))
    w.plan:keep(step, { file = w.dir .. "/first.plan", number = 7 })
    return { { what = "x", action = "add", name = "first" } }
  end }, function()
    local saved = w:saved_plan()
    did("first" .. (saved and (": %s, %d%s"):format(assert(fs.read(saved.file)), saved.number,
      saved.begun and ", begun" or "") or ""))
    if fs.exists "die" then
      fs.remove "die"
      require "ws.signal.native".raise "KILL"
    end
  end)
  w:step("second", { plan = function(step)
    assert(w.plan:pin(step, { kind = "files", path = "folder" }))
    return { deferred = "later" }
  end }, function() did("second" .. (w:saved_plan() and " saved" or "") .. (args.value or "")) end)
end }
]]

return function(test)
  local function project(t)
    local p = { dir = assert(fs.realpath(t:tmpdir())) }
    for _, folder in ipairs { "workflows", "manifests", "folder" } do assert(fs.mkdir(p.dir .. "/" .. folder)) end
    function p.write(name, text) assert(fs.write(p.dir .. "/" .. name, text)) end
    function p.run(...)
      return t:ok(process.run({ WSRUN, ... }, { cwd = p.dir, env = { CI = "true", GIT_CONFIG_GLOBAL = "/dev/null" } }))
    end
    function p.expect(code, ...)
      fs.remove(p.dir .. "/did", { missing_ok = true })
      local r = p.run(...)
      t:eq(r.code, code, table.concat({ ... }, " ") .. "\n" .. r.stdout .. r.stderr)
      return fs.read(p.dir .. "/did") or "", r.stderr
    end
    p.write("workflows/w.lua", WORKFLOW)
    p.write("input", "one")
    p.write("folder/a", "a")
    return p
  end

  test("apply does what was planned, with what was kept, once and again", function(t)
    local p = project(t)
    local did, err = p.expect(0, "plan", "workflows/w.lua", "--value=v", "--save", "x.plan")
    t:eq(did, "")
    t:has(err, "saved; wsrun apply x.plan does it")
    t:eq(assert(fs.stat(p.dir .. "/x.plan")).mode & 511, 384, "0600")
    t:eq(p.expect(0, "apply", "x.plan"), "first: planned with one, 7\nsecondv\n")
    local runs = p.run("runs").stdout
    t:has(runs, "done")
    t:eq(#assert(fs.glob(".wsrun/runs/*/plan", { dir = p.dir })), 0, "its files end with the run")
    t:eq(#assert(fs.glob(".wsrun/runs/*/plan.json", { dir = p.dir })), 1, "what it says does not")
    local page = p.run("report", "-o", "-")
    t:eq(page.code, 0, page.stderr)
    t:has(page.stdout, "What was planned")
    t:eq(p.expect(0, "apply", "x.plan"), "first: planned with one, 7\nsecondv\n", "nothing has moved")
    t:eq(p.expect(0, "workflows/w.lua"), "first\nsecond\n")
  end)

  test("refused, with what moved, before anything is done", function(t)
    local p = project(t)
    p.expect(0, "plan", "workflows/w.lua", "--save", "x.plan")
    for _, change in ipairs { { "input", "two", "one" }, { "folder/b", "new", false },
      { "workflows/w.lua", WORKFLOW .. "\n", WORKFLOW } } do
      p.write(change[1], change[2])
      local did, err = p.expect(1, "apply", "x.plan")
      t:eq(did, "")
      t:has(err, "the plan does not hold any more: " .. (change[1]:match("^folder") or change[1]))
      t:has(err, "plan again")
      if change[3] then p.write(change[1], change[3]) else assert(fs.remove(p.dir .. "/" .. change[1])) end
    end
    assert(fs.remove(p.dir .. "/input"))
    t:has(select(2, p.expect(1, "apply", "x.plan")), "absent now")
    t:eq(fs.exists(p.dir .. "/.wsrun/journal.db"), false, "a refused plan is no run")
    p.write("input", "one")
    t:eq(p.expect(0, "apply", "x.plan"), "first: planned with one, 7\nsecond\n")
  end)

  test("the commit is part of it", function(t)
    local p = project(t)
    local function git(...)
      local r = t:ok(process.run({ "git", "-c", "user.name=t", "-c", "user.email=t@t.invalid", ... }, { cwd = p.dir }))
      t:eq(r.code, 0, r.stderr)
    end
    git("init", "-q")
    git("add", "workflows", "input")
    git("commit", "-q", "-m", "one")
    p.expect(0, "plan", "workflows/w.lua", "--save", "x.plan")
    git("commit", "-q", "--allow-empty", "-m", "two")
    t:has(select(2, p.expect(1, "apply", "x.plan")), "the commit of .: ")
  end)

  test("what moves between the look and the step is refused as well", function(t)
    local p = project(t)
    p.write("workflows/w.lua", (WORKFLOW:gsub('did%("first"', 'fs.write("folder/late", "x") %0', 1)))
    p.expect(0, "plan", "workflows/w.lua", "--save", "x.plan")
    local did, err = p.expect(1, "apply", "x.plan")
    t:eq(did, "first: planned with one, 7\n")
    t:has(err, "second failed")
    t:has(err, "folder")
  end)

  test("killed in the middle it is resumed as planned; a step that was begun is told so", function(t)
    local p = project(t)
    p.expect(0, "plan", "workflows/w.lua", "--save", "x.plan")
    p.write("die", "")
    t:eq(p.run("apply", "x.plan").signal, "KILL")
    assert(fs.remove(p.dir .. "/x.plan"))
    p.write("input", "two") -- as the step itself may have done
    t:eq(p.expect(0, "resume"), "first: planned with one, 7, begun\nsecond\n")
  end)
end
