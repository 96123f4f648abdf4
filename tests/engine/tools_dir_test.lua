local fs = require "ws.fs"
local process = require "ws.process"

local wsrun = os.getenv("WSRUN") or "build/wsrun"

--- A project with a workflow that runs a tool which only its cache folder has.
local function new_project(t)
  local dir = t:tmpdir()
  assert(fs.mkdir(dir .. "/workflows"))
  assert(fs.mkdir(dir .. "/manifests"))
  assert(fs.mkdir(dir .. "/.cache/tools/bin", { parents = true }))
  assert(fs.write(dir .. "/.cache/tools/bin/only-here", "#!/bin/sh\necho from the cache\n", { mode = 493 }))
  assert(fs.write(dir .. "/workflows/try.lua",
    'print(assert(require "ws.process".run({ "only-here" })).stdout)'))
  return dir
end

return function(test)
  test("the project's tools are found although PATH lacks them", function(t)
    local dir = new_project(t)
    local env = { WSRUN_CACHE = false }
    local result = assert(process.run({ fs.realpath(wsrun), "workflows/try.lua" }, { cwd = dir, env = env }))
    t:eq(result.code, 0, result.stderr)
    t:has(result.stdout, "from the cache")
  end)

  test("WSRUN_CACHE says where they are", function(t)
    local dir = new_project(t)
    local env = { WSRUN_CACHE = dir .. "/elsewhere" }
    local result = assert(process.run({ fs.realpath(wsrun), "workflows/try.lua" }, { cwd = dir, env = env }))
    t:ok(result.code ~= 0)
    t:has(result.stderr, "only-here")
    assert(fs.rename(dir .. "/.cache", dir .. "/elsewhere"))
    result = assert(process.run({ fs.realpath(wsrun), "workflows/try.lua" }, { cwd = dir, env = env }))
    t:eq(result.code, 0, result.stderr)
  end)
end
