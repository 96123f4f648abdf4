-- ci.lua against docker-registry, which has no referrers API, and fake-gcs-server.
local environment = require "ws.environment"
local gcp = require "ws.gcp"
local gcs = require "ws.gcs"
local json = require "ws.json"
local process = require "ws.process"
local registry = require "ws.registry"
local scratch = require "scratch"
local servers = require "servers"
local task = require "ws.task"

return function(test)
  test("published, again, five at once; other tools see it", function(t)
    local s = scratch.new(t)
    s:replace("app/src/main.go", 'var version = "development"', 'const version = "of the image"')
    s:git { "commit", "-qam", "no version in the program" }
    local storage = servers.start(t, "gcs").STORAGE_EMULATOR_HOST
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    for name, value in pairs { WSRUN_CI_REGISTRY = host .. "/team", WSRUN_CI_CHARTS_BUCKET = "charts",
      WSRUN_CI_ARCHIVE_BUCKET = "results", WSRUN_CI_BUILDER = "none", STORAGE_EMULATOR_HOST = storage,
      GOOGLE_OAUTH_ACCESS_TOKEN = "any" } do s.env[name] = value end
    environment.set { STORAGE_EMULATOR_HOST = storage, GOOGLE_STORAGE_CUSTOM_ENDPOINT = false }
    t:ok(gcp.credentials { token = "any" })
    t:defer(function()
      environment.set { STORAGE_EMULATOR_HOST = false }
      gcp.credentials(nil)
    end)
    for _, bucket in ipairs { "charts", "results" } do t:ok(gcs.create_bucket(bucket, { project = "p" })) end

    local _, out = s:expect(t, 0, { "workflows/ci.lua", "1.0.0", "--no-tests", "--oci" })
    local digest = out:match("sha256:%x+")
    t:eq(assert(registry.resolve(host .. "/team/app:1.0.0")).digest, digest)
    t:eq(#assert(registry.referrers(("%s/team/app@%s"):format(host, digest))), 2)
    t:has(s:expect(t, 0, { "workflows/ci.lua", "1.0.0", "--no-tests", "--oci" }), "nothing changed")
    local a = assert(json.decode((assert(gcs.get "gs://results/app/1.0.0/artifacts.json"))))
    t:eq({ a.image.digest, a.chart.url }, { digest, "gs://charts/app-chart/1.0.0/app-chart-1.0.0.tgz" })

    local functions = {}
    for i = 1, 5 do
      functions[i] = function() return (s:expect(t, 0, { "workflows/ci.lua", "1.0." .. i, "--no-tests" })) end
    end
    t:eq(#assert(task.all(functions)), 5)
    local index = (assert(gcs.get "gs://charts/index.yaml"))
    for i = 0, 5 do t:has(index, ("app-chart/1.0.%d/app-chart-1.0.%d.tgz"):format(i, i)) end
    t:eq(#assert(registry.tags(host .. "/team/app")), 6 + 1 + 1) -- versions, inputs, the list of referrers

    local dir = t:tmpdir()
    assert(process.check({ "helm", "pull", ("oci://%s/team/charts/app-chart"):format(host), "--version", "1.0.0",
      "--plain-http", "--destination", dir }, { env = { HELM_CONFIG_HOME = dir, HELM_CACHE_HOME = dir } }))
    t:eq("sha256:" .. assert(require "ws.crypto".sha256_file(dir .. "/app-chart-1.0.0.tgz")), a.chart.digest)
    if not process.which "skopeo" then t:skip("skopeo is not installed: it was not asked") end
    local seen = assert(json.decode(assert(process.check { "skopeo", "inspect", "--tls-verify=false",
      ("docker://%s/team/app:1.0.0"):format(host) }).stdout))
    t:eq({ seen.Digest, seen.Labels["wsrun.inputs"], seen.Architecture }, { digest, a.inputs, "amd64" })
  end, { timeout = 300 })
end
