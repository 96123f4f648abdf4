-- ci/keep.lua against the sandbox's Cloud Storage.
local fs = require "ws.fs"
local process = require "ws.process"
local support = require "support"

local wsrun = fs.realpath(os.getenv("WSRUN") or "build/wsrun")
local script = fs.realpath("ci/keep.lua")

return function(test)
  test("keeps the files of folders under their names; a folder that is missing is none", function(t)
    local cloud = support.cloud(t)
    local url = support.serve(t, cloud)
    local client = support.client(t, cloud)
    client("POST", "/storage/v1/b?project=" .. support.PROJECT, { name = "kept" })
    local dir = t:tmpdir()
    assert(fs.mkdir(dir .. "/runs/one", { parents = true }))
    assert(fs.write(dir .. "/runs/one/a b.log", "log"))
    assert(fs.write(dir .. "/runs/two.xml", "<x/>"))
    local function keep(...)
      return assert(process.run({ wsrun, script, ... }, { cwd = dir, timeout = 60, env = {
        GOOGLE_STORAGE_CUSTOM_ENDPOINT = url .. "/storage/v1/", STORAGE_EMULATOR_HOST = url,
        GOOGLE_OAUTH_ACCESS_TOKEN = "test" } }))
    end
    local r = keep("gs://kept/builds/7/", "runs", "none")
    t:eq({ r.code, r.stdout }, { 0, "2 files kept in gs://kept/builds/7/\n" }, r.stderr)
    local names = {}
    for i, item in ipairs(client("GET", "/storage/v1/b/kept/o").items) do names[i] = item.name end
    t:eq(names, { "builds/7/runs/one/a b.log", "builds/7/runs/two.xml" })
    r = keep("gs://nowhere/x", "runs")
    t:eq(r.code, 1)
    t:has(r.stderr, "nowhere")
    for _, wrong in ipairs { {}, { "kept/x", "runs" }, { "gs://kept", "runs" }, { "gs://kept/x" } } do
      r = keep(table.unpack(wrong))
      t:eq(r.code, 1)
      t:has(r.stderr, "usage: wsrun ci/keep.lua")
    end
  end)
end
