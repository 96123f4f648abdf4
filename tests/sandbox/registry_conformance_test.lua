-- The conformance suite of the OCI distribution specification (tools/go/oci-conformance) against the sandbox's
-- registry: every API and every kind of content, those of the specification's next version included.
local fs = require "ws.fs"
local process = require "ws.process"
local support = dofile "tests/sandbox/support.lua"

return function(test)
  test("the distribution specification's conformance suite", function(t)
    local suite = support.tool(t, "oci-conformance")
    local host = support.serve(t, support.cloud(t)):match("^http://(.+)$")
    local dir = t:tmpdir()
    local result = t:ok(process.run({ suite }, { cwd = dir, timeout = 240, env = {
      OCI_REGISTRY = host, OCI_TLS = "disabled", OCI_VERSION = "dev", OCI_RESULTS_DIR = dir .. "/results",
    } }))
    local counts = {}
    for name, count in result.stdout:gmatch("\n  (%a+)%.+:%s+(%d+)") do counts[name] = math.tointeger(count) end
    t:eq({ result.code, counts.FAIL, counts.Error, counts.Skip }, { 0, 0, 0, 0 }, result.stdout:sub(-8000))
    t:ok(counts.Pass > 900, "fewer tests ran than the suite has")
    local verdicts = t:ok(fs.read(dir .. "/results/results.yaml"))
    t:eq(verdicts:find("Referrers: Pass", 1, true) ~= nil, true, verdicts)
  end, { timeout = 300 })
end
