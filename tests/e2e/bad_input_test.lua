-- What a person can get wrong before anything runs: each gets one clear error and the right exit code.
local fs = require "ws.fs"
local scratch = require "scratch"

return function(test)
  test("an unknown platform or workflow names what exists and what was meant", function(t)
    local s = scratch.new(t)
    local said = s:expect(t, 65, { "run", "create_platform", "dev-sebb" })
    t:has(said, "dev-sebb")
    t:has(said, "prod-eu")
    t:has(said, "did you mean dev-seb?")
    said = s:expect(t, 64, { "run", "create_platfrom", "dev-seb" })
    t:has(said, "did you mean 'create_platform'")
    t:has(s:expect(t, 64, { "run", "create_platform" }), "PLATFORM is missing")
    t:has(s:expect(t, 64, { "run", "create_platform", "dev-seb", "--skip-ap" }), "did you mean --skip-apps")
    t:has(s:expect(t, 64, { "sandbx" }), "did you mean 'sandbox'")
    t:has(s:expect(t, 65, { "workflows/none.lua" }), "No such file")
  end)

  test("a manifest's problems are all reported, each with its place", function(t)
    local s = scratch.new(t)
    s:replace("manifests/dev-seb.yaml", "region: europe-west1", "regoin: europe-west1")
    s:replace("manifests/dev-seb.yaml", "min: 1", "min: one")
    s:replace("manifests/dev-seb.yaml", "range-ip-svc: 10.33.0.0/20", "range-ip-svc: 10.32.0.0/20")
    s:replace("manifests/dev-seb.yaml", "  - name: parcels\n    namespace: parcels",
      "  - name: test-app\n    namespace: parcels")
    local before = assert(fs.read(s.dir .. "/manifests/dev-seb.yaml"))
    local said = s:expect(t, 65, { "run", "create_platform", "dev-seb" })
    for _, part in ipairs { "regoin", "region", "min", "overlap", "test-app" } do t:has(said, part) end
    local places = 0
    for _ in said:gmatch("manifests/dev%-seb%.yaml:%d+:%d+") do places = places + 1 end
    t:ok(places >= 4, said)
    t:eq(fs.read(s.dir .. "/manifests/dev-seb.yaml"), before)
    t:eq(fs.exists(s.dir .. "/.wsrun/sandbox"), false, "nothing was started")
  end)

  test("a manifest that is no YAML, empty, missing or unreadable", function(t)
    local s = scratch.new(t)
    local path = s.dir .. "/manifests/dev-seb.yaml"
    assert(fs.write(path, "name: dev-seb\n  region: [\n"))
    t:ok(s:expect(t, 65, { "run", "create_platform", "dev-seb" }):find("manifests/dev%-seb%.yaml:%d+:%d+"))
    assert(fs.write(path, ""))
    t:has(s:expect(t, 65, { "run", "create_platform", "dev-seb" }), "manifests/dev-seb.yaml")
    assert(fs.remove(path))
    assert(fs.mkdir(path))
    t:has(s:expect(t, 65, { "run", "create_platform", "manifests/dev-seb.yaml" }), "manifests/dev-seb.yaml")
    t:has(s:expect(t, 65, { "run", "create_platform", "manifests/none.yaml" }), "manifests/none.yaml")
  end)

  test("a script with a syntax error, or that returns garbage", function(t)
    local s = scratch.new(t)
    local path = s.dir .. "/workflows/mine.lua"
    assert(fs.write(path, "local x = = 1\n"))
    t:has(s:expect(t, 65, { "workflows/mine.lua" }), "workflows/mine.lua:1:")
    for _, garbage in ipairs { "5", "{}", '"text"', "print" } do
      assert(fs.write(path, "return " .. garbage .. "\n"))
      t:has(s:expect(t, 65, { "workflows/mine.lua" }), "ws.workflow{...}")
    end
    assert(fs.write(path, 'return require "ws".workflow { sumary = "x", run = print }\n'))
    local said = s:expect(t, 65, { "workflows/mine.lua" })
    t:has(said, "workflows/mine.lua: ")
    t:has(said, "unknown field 'sumary'")
    assert(fs.write(path, 'print("just a script")\n'))
    local _, out = s:expect(t, 0, { "workflows/mine.lua" })
    t:eq(out, "just a script\n")
    assert(fs.write(path, 'error("on purpose")\n'))
    said = s:expect(t, 1, { "workflows/mine.lua" })
    t:has(said, "workflows/mine.lua:1: on purpose")
  end)

  test("tools that are missing or too old are named with what to do", function(t)
    local s = scratch.new(t)
    local bin = s.base .. "/bin"
    assert(fs.mkdir(bin))
    for _, tool in ipairs { "git", "kubectl" } do
      assert(fs.symlink(assert(require "ws.process".which(tool)), bin .. "/" .. tool))
    end
    local env = {}
    for key, value in pairs(s.env) do env[key] = value end
    env.PATH, env.WSRUN_CACHE = bin, s.base .. "/no-cache"
    local said = s:expect(t, 1, { "--sandbox", "workflows/create_platform.lua", "dev-seb" }, { env = env })
    t:has(said, "neither terraform nor tofu is on PATH")
    t:has(said, "check failed")
    assert(fs.write(bin .. "/terraform", '#!/bin/sh\necho \'{"terraform_version":"1.2.9"}\'\n', { mode = 493 }))
    said = s:expect(t, 1, { "--sandbox", "workflows/create_platform.lua", "dev-seb" }, { env = env })
    t:has(said, "1.2.9 is too old")
  end, { timeout = 120 })
end
