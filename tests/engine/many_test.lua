-- One workflow for several platforms: which are chosen, and that each is a run of its own.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local WSRUN = os.getenv "WSRUN"

local SCRIPT = [[
local ws = require "ws"
return ws.workflow {
  summary = "t", args = { { "platform", type = "manifest", doc = "p" }, { "word", optional = true, doc = "w" } },
  options = { { "fail", type = "string", value = "NAME", doc = "f" } },
  run = function(w, args)
    local name = args.platform.name
    w:step("first", function()
      require "ws.task".sleep(0.02)
      w:note("hello from " .. name .. (args.word and " " .. args.word or ""))
      if args.fail == name then error("broken on purpose", 0) end
    end)
    w:step("second", function() w:changed("done in " .. name) end)
  end,
}
]]

local function copy_manifest(text, name, kind)
  return (text:gsub("name: dev%-seb", "name: " .. name, 1):gsub("\ntype: dev\n", "\ntype: " .. kind .. "\n", 1))
end

return function(test)
  local function project(t)
    local dir = t:tmpdir()
    assert(fs.mkdir(dir .. "/manifests"))
    assert(fs.mkdir(dir .. "/workflows"))
    assert(fs.symlink(fs.absolute("workflows/lib"), dir .. "/workflows/lib"))
    assert(fs.write(dir .. "/workflows/w.lua", SCRIPT))
    local text = assert(fs.read("manifests/dev-seb.yaml"))
    for name, kind in pairs { ["dev-one"] = "dev", ["dev-two"] = "dev", ["prod-one"] = "prod" } do
      assert(fs.write(dir .. "/manifests/" .. name .. ".yaml", copy_manifest(text, name, kind)))
    end
    local function run(code, ...)
      local r = t:ok(process.run({ WSRUN, ... }, { cwd = dir, env = { GIT_CONFIG_GLOBAL = "/dev/null" } }))
      t:eq(r.code, code, r.stdout .. r.stderr)
      return r.stderr, r.stdout
    end
    local function git(...)
      t:ok(process.check({ "git", "-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", ... }))
    end
    return run, dir, git
  end

  --- The platforms that the last lines name, in order.
  local function chosen(stderr)
    local names = {}
    for name in stderr:gmatch("\n  (%S+) +%l+ ") do names[#names + 1] = name end
    return names
  end

  test("by pattern, by list, by what the manifest says", function(t)
    local run = project(t)
    t:eq(chosen((run(0, "run", "w", "dev-*"))), { "dev-one", "dev-two" })
    t:eq(chosen((run(0, "run", "w", "dev-one,prod-*"))), { "dev-one", "prod-one" })
    t:eq(chosen((run(0, "run", "w", "-l", "type=prod"))), { "prod-one" })
    local small = { "-l", "type!=prod", "-l", "infrastructure.gke.max=3" }
    t:eq(chosen((run(0, "run", "w", "*", table.unpack(small)))), { "dev-one", "dev-two" })
    local stderr = run(0, "run", "w", "dev-???", "a word")
    t:has(stderr, "dev-two | · first: hello from dev-two a word")
    t:has(stderr, "2 of 2 platforms done")
    local one = run(0, "run", "w", "dev-one")
    t:eq(one:find("|", 1, true), nil, "one platform is a run as ever")
  end)

  test("what is asked for wrongly", function(t)
    local run, dir = project(t)
    t:has((run(64, "run", "w", "test-*")), "no platform is selected by 'test-*'")
    t:has((run(64, "run", "w", "-l", "type")), "-l takes KEY=VALUE")
    t:has((run(64, "run", "w", "--changed", "main")), "no git repository")
    assert(fs.write(dir .. "/workflows/x.lua", 'return require "ws".workflow { summary = "t", run = function() end }'))
    t:has((run(64, "run", "x", "-l", "type=dev")), "workflows that take a platform")
    assert(fs.write(dir .. "/manifests/bad.yaml", "name: bad\n"))
    t:has((run(1, "run", "w", "*")), "bad")
  end)

  test("by what changed since a revision", function(t)
    local run, dir, git = project(t)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    t:has((run(0, "run", "w", "--changed", "main")), "no platform is concerned")
    local path = dir .. "/manifests/dev-two.yaml"
    assert(fs.write(path, (assert(fs.read(path)):gsub("max: 3", "max: 4", 1))))
    t:eq(chosen((run(0, "run", "w", "--changed", "main"))), { "dev-two" })
    t:eq(chosen((run(0, "run", "w", "--changed", "main", "-l", "type=prod"))), {})
    assert(fs.mkdir(dir .. "/layers"))
    assert(fs.write(dir .. "/layers/new.tf", ""))
    t:eq(#chosen((run(0, "run", "w", "--changed", "HEAD"))), 3)
    t:has((run(64, "run", "w", "--changed", "nothing")), "--changed nothing")
  end)

  test("one that fails stops no other; each is a run of its own and is resumed by itself", function(t)
    local run, dir = project(t)
    local stderr = run(1, "run", "w", "*", "--fail", "dev-two", "--junit", "j/r.xml")
    t:has(stderr, "dev-two  | ✖ first")
    t:has(stderr, "prod-one | ✔ second")
    t:has(stderr, "2 of 3 platforms done")
    local _, text = run(0, "runs", "--json")
    local by_title = {}
    for _, r in ipairs(json.decode(text).runs) do by_title[r.title] = r end
    t:eq({ by_title["dev-one  w"].status, by_title["dev-two  w"].status }, { "done", "failed" })
    local failed = by_title["dev-two  w"].run
    t:has(stderr, "dev-two  |   Next   wsrun resume " .. failed)
    t:has((run(1, "resume", failed)), "broken on purpose")
    t:eq(fs.list(dir .. "/j"), { "r-dev-one.xml", "r-dev-two.xml", "r-prod-one.xml" })
  end)

  test("the platforms share the places of --jobs, and nothing grows with their number but what they are", function(t)
    local run, dir = project(t)
    local text = assert(fs.read("manifests/dev-seb.yaml"))
    for i = 1, 50 do
      local name = ("many-%02d"):format(i)
      assert(fs.write(("%s/manifests/%s.yaml"):format(dir, name), copy_manifest(text, name, "dev")))
    end
    local stderr = run(0, "run", "w", "many-*", "--jobs", "8")
    t:has(stderr, "50 of 50 platforms done")
  end)
end
