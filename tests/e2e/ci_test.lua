-- ci.lua against the sandbox, with the real go, helm and git: what it publishes, what a second run does, many at once.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local scratch = require "scratch"
local task = require "ws.task"
local yaml = require "ws.yaml"

local REPOSITORY = "eu.gcr.io/livingpackets-sandbox/app"
local CHARTS = "charts-wescale-sandbox"

--- A scratch project whose sandbox runs. Images are made without a daemon: what is installed here has no part in it.
local function started(t)
  local s = scratch.new(t)
  s.env.WSRUN_CI_BUILDER = "none"
  s:expect(t, 0, { "sandbox", "up" })
  s.endpoint = s:sandbox(t).endpoint
  return s
end

--- The environment with other values.
local function with(env, values)
  local all = {}
  for _, from in ipairs { env, values } do
    for name, value in pairs(from) do all[name] = value end
  end
  return all
end

--- What is committed, in another folder.
local function clone(s)
  s:git({ "clone", "-q", s.dir, s.base .. "/clone" }, s.base)
  return s.base .. "/clone"
end

local function ci(...) return { "--sandbox", "workflows/ci.lua", ... } end

--- Runs Lua in the sandbox's environment and returns what it printed as JSON.
local function lua(t, s, code)
  local out = s:in_sandbox(t, { s.wsrun, "-e", [[
    local gcs, json, registry = require "ws.gcs", require "ws.json", require "ws.registry"
    local function get(url) return (assert(gcs.get(url))) end
    print(json.encode((function() ]] .. code .. " end)()))" })
  return assert(json.decode(out))
end

local function artifacts(t, s, version)
  return lua(t, s, ('return json.decode(get "gs://%s/app/%s/artifacts.json")'):format(CHARTS, version))
end

--- The versions in the bucket's index, in its order.
local function listed(t, s)
  local text = lua(t, s, ('return get "gs://%s/index.yaml"'):format(CHARTS))
  local versions = {}
  for i, entry in ipairs(assert(yaml.decode(text)).entries["app-chart"]) do versions[i] = entry.version end
  return versions
end

--- Pulls a version's chart as anybody does, from the bucket as a Helm repository; returns its values.
local function pull(t, s, version)
  local dir = t:tmpdir()
  local r = assert(process.run({ "helm", "pull", "app-chart", "--repo", ("%s/%s"):format(s.endpoint, CHARTS),
    "--version", version, "--untar", "--destination", dir }, { env = { HELM_CACHE_HOME = dir .. "/cache",
    HELM_CONFIG_HOME = dir .. "/config", HELM_DATA_HOME = dir .. "/data" } }))
  t:eq(r.code, 0, r.stderr)
  return assert(yaml.decode(assert(fs.read(dir .. "/app-chart/values.yaml"))))
end

--- Makes the program one whose bytes do not have the version, so that versions share one image.
local function without_version(s)
  s:replace("app/src/main.go", 'var version = "development"', 'const version = "of the image"')
end

return function(test)
  test("a version is published, and a second run of the same commit does nothing and says why", function(t)
    local s = started(t)
    local said, out = s:expect(t, 0, ci("v1.4.2", "--oci"))
    local digest, chart = out:match("^" .. REPOSITORY:gsub("%p", "%%%0") .. "@(sha256:%x+)\n(gs://%S+)\n$")
    t:ok(digest, out)
    t:eq(chart, ("gs://%s/app-chart/1.4.2/app-chart-1.4.2.tgz"):format(CHARTS))
    t:has(said, "18 passed")
    t:has(said, "on this side: no --platform was named")
    t:has(said, "without a daemon: as asked")

    local a = artifacts(t, s, "1.4.2")
    t:eq({ a.schema_version, a.app, a.version, a.commit, a.dirty }, { 1, "app", "1.4.2",
      (s:git { "rev-parse", "HEAD" }:gsub("\n", "")), nil })
    t:eq({ a.image.repository, a.image.tag, a.image.digest, a.image.platform }, { REPOSITORY, "1.4.2", digest,
      "linux/amd64" })
    t:eq({ a.tests.passed, a.tests.failed, a.chart.name, a.chart.url }, { 18, 0, "app-chart", chart })
    local seen = lua(t, s, ([[
      local image = "%s@%s"
      local config = assert(registry.config(image))
      local types = {}
      for i, one in ipairs(assert(registry.referrers(image))) do types[i] = one.artifactType end
      table.sort(types)
      return { tag = assert(registry.resolve "%s:1.4.2").digest, config = config.config, types = types,
        oci = assert(registry.tags "eu.gcr.io/livingpackets-sandbox/charts/app-chart"),
        chart = require "ws.crypto".sha256(get "%s"), sbom = json.decode(get "gs://%s/app/1.4.2/sbom.spdx.json"),
        provenance = json.decode(get "gs://%s/app/1.4.2/provenance.json"), junit = get(%q),
        lint = get "gs://%s/app/1.4.2/helm-lint.txt" }]]):format(REPOSITORY, digest, REPOSITORY, chart, CHARTS, CHARTS,
      a.tests.file, CHARTS))
    t:eq(seen.tag, digest)
    t:eq(seen.config.Entrypoint, { "/app" })
    t:eq({ seen.config.User, seen.config.Labels["wsrun.inputs"] }, { "65532:65532", a.inputs })
    t:eq(seen.types, { "application/spdx+json", "application/vnd.in-toto+json" })
    t:eq(seen.oci, { "1.4.2" })
    t:eq("sha256:" .. seen.chart, a.chart.digest)
    t:eq(seen.sbom.spdxVersion, "SPDX-2.3")
    t:eq(seen.provenance.subject[1].digest.sha256, digest:match("%x+$"))
    t:eq(seen.provenance.predicate.buildDefinition.resolvedDependencies[1].digest.gitCommit, a.commit)
    t:has(seen.junit, 'tests="18" failures="0"')
    t:has(seen.lint, "[INFO]")

    local values = pull(t, s, "1.4.2")
    t:eq(values.image, { repository = REPOSITORY, tag = "1.4.2", digest = digest, pullPolicy = "IfNotPresent",
      pullSecrets = {} })

    local again, same = s:expect(t, 0, ci("1.4.2", "--oci"))
    t:eq(same, out)
    t:has(again, "nothing changed")
    t:has(again, "not built: " .. REPOSITORY .. " has an image of the same inputs")
    t:has(again, "not pushed")
    t:has(again, "not uploaded: the same bytes are there")
    t:has(again, "kept since it was published from commit " .. a.commit:sub(1, 12))
    t:eq(artifacts(t, s, "1.4.2"), a)
  end, { timeout = 300 })

  test("the same inputs give the same image in another folder, and a new commit only tags it", function(t)
    local s = started(t)
    without_version(s)
    s:git { "commit", "-qam", "no version in the program" }
    local _, first = s:expect(t, 0, ci("1.0.0", "--no-tests"))
    local r = s:wsrun_command({ "workflows/ci.lua", "1.0.0", "--no-tests", "--registry", "eu.gcr.io/elsewhere",
      "--charts-bucket", "tf-livingpackets-sandbox" }, { cwd = clone(s), env = with(s.env, {
      WSRUN_REGISTRY_ENDPOINT = s.endpoint, STORAGE_EMULATOR_HOST = s.endpoint, GOOGLE_OAUTH_ACCESS_TOKEN = "x" }) })
    t:eq(r.code, 0, r.stderr)
    t:eq(r.stdout:match("sha256:%x+"), first:match("sha256:%x+"))

    s:git { "commit", "-q", "--allow-empty", "-m", "nothing of the program" }
    local said, second = s:expect(t, 0, ci("1.0.1", "--no-tests"))
    t:has(said, "not built")
    t:has(said, "only tagged: " .. REPOSITORY .. ":1.0.1")
    t:eq(second:match("sha256:%x+"), first:match("sha256:%x+"))
    local one, two = artifacts(t, s, "1.0.0"), artifacts(t, s, "1.0.1")
    t:eq(one.provenance, two.provenance)
    t:ok(one.commit ~= two.commit)
  end, { timeout = 300 })

  test("without a version git's tags tell; files that are in no commit are told and recorded", function(t)
    local s = started(t)
    without_version(s)
    s:git { "commit", "-qam", "no version in the program" }
    s:git { "tag", "v2.0.0" }
    local _, out = s:expect(t, 0, ci "--no-tests")
    t:has(out, "app-chart-2.0.0.tgz")
    assert(fs.write(s.dir .. "/charts/app-chart/templates/more.yaml",
      "kind: ConfigMap\napiVersion: v1\nmetadata: { name: more }\n"))
    local said
    said, out = s:expect(t, 0, ci "--no-tests")
    local version = out:match("app%-chart%-(2%.0%.1%-dev%.0%.g%x+%.dirty)%.tgz")
    t:ok(version, out)
    t:has(said, "a file of the build is in no commit: charts/app-chart/templates/more.yaml")
    t:eq(artifacts(t, s, version).dirty, true)
    _, out = s:expect(t, 0, ci("--no-tests", "--json"))
    local events = {}
    for line in out:gmatch("[^\n]+") do events[#events + 1] = assert(json.decode(line)) end
    t:eq({ events[#events].type, events[#events - 1].type }, { "run_end", "result" })
    t:eq(events[#events - 1].artifacts.version, version)
  end, { timeout = 300 })

  test("the installation is rehearsed in the platform's cluster when it is there", function(t)
    local s = started(t)
    without_version(s)
    local run = ci("1.0.0", "--no-tests", "--platform", "dev-seb")
    t:has(s:expect(t, 65, ci("1.0.0", "--no-tests", "--platform", "dev-sebb")), "did you mean dev-seb?")
    local said = s:expect(t, 0, run)
    t:has(said, "the cluster of dev-seb was not asked: cluster lp-cluster-dev-seb of project livingpackets-sandbox "
      .. "does not exist")
    t:has(said, "on this side: the cluster does not answer")
    lua(t, s, [[
      local gcp = require "ws.gcp"
      local project = "projects/livingpackets-sandbox/"
      local region = project .. "regions/europe-west1/"
      local function make(api, path, body)
        assert(gcp.wait(assert(gcp.request { api = api, method = "POST", path = path, body = body })))
      end
      make("compute", project .. "global/networks", { name = "net", autoCreateSubnetworks = false })
      make("compute", region .. "subnetworks", { name = "subnet", ipCidrRange = "10.0.0.0/20",
        network = project .. "global/networks/net", secondaryIpRanges = { { rangeName = "pods",
        ipCidrRange = "10.4.0.0/14" }, { rangeName = "services", ipCidrRange = "10.1.0.0/20" } } })
      make("container", project .. "locations/europe-west1/clusters", { cluster = { name = "lp-cluster-dev-seb",
        initialNodeCount = 1, network = project .. "global/networks/net", subnetwork = region .. "subnetworks/subnet",
        ipAllocationPolicy = { clusterSecondaryRangeName = "pods", servicesSecondaryRangeName = "services" } } })
      return true]])
    t:has(s:expect(t, 0, run), "in the cluster of dev-seb")
    assert(fs.write(s.dir .. "/charts/app-chart/templates/odd.yaml",
      "kind: Oddity\napiVersion: nowhere.example/v1\nmetadata: { name: odd }\n"))
    said = s:expect(t, 1, run)
    t:has(said, "dry-run failed")
    t:has(said, "Oddity")
  end, { timeout = 300 })

  test("on a base image, which is named in SBOM and provenance", function(t)
    local s = started(t)
    local base = REPOSITORY .. ":1.4.1" -- the sandbox's own
    s:replace("app/src/Dockerfile", "FROM scratch", "FROM " .. base)
    local _, out = s:expect(t, 0, ci("1.4.2", "--no-tests"))
    local seen = lua(t, s, ([[
      return { base = assert(registry.resolve "%s").digest, manifest = assert(registry.manifest "%s"),
        sbom = json.decode(get "gs://%s/app/1.4.2/sbom.spdx.json"),
        provenance = json.decode(get "gs://%s/app/1.4.2/provenance.json") }]]):format(base, out:match("[^\n]+"), CHARTS,
      CHARTS))
    t:eq(#seen.manifest.layers, 2)
    t:eq(seen.provenance.predicate.buildDefinition.resolvedDependencies[2], { name = "base image",
      uri = "oci://" .. base, digest = { sha256 = seen.base:match("%x+$") } })
    local last = seen.sbom.packages[#seen.sbom.packages]
    t:eq({ last.name, last.checksums[1].checksumValue }, { base, seen.base:match("%x+$") })
    s:replace("app/src/Dockerfile", "FROM " .. base, "FROM " .. REPOSITORY .. ":0.0.1")
    t:has(s:expect(t, 1, ci("1.4.3", "--no-tests")), REPOSITORY .. ":0.0.1 is not in the registry")
  end, { timeout = 200 })

  test("by buildah, where it works", function(t)
    local s = started(t)
    if assert(process.run { "sh", "-c", 'c=$(buildah from scratch) && buildah rm "$c"' }).code ~= 0 then
      t:skip("buildah does not work here")
    end
    assert(fs.write(s.dir .. "/app/src/Dockerfile", "FROM scratch\nARG VERSION\nCOPY go.mod /go.mod\nUSER 1\n"))
    local said, out = s:expect(t, 0, ci("1.4.2", "--no-tests", "--builder", "buildah"))
    t:has(said, "buildah: as asked")
    local a = artifacts(t, s, "1.4.2")
    t:eq({ a.image.builder, a.image.digest }, { "buildah", out:match("sha256:%x+") })
    t:has(s:expect(t, 0, ci("1.4.2", "--no-tests", "--builder", "buildah")), "nothing changed")
    t:eq(lua(t, s, ('return assert(registry.config "%s:1.4.2").config.Labels["wsrun.inputs"]'):format(REPOSITORY)),
      a.inputs)
  end, { timeout = 200 })

  test("twenty at once publish twenty versions, each can be pulled", function(t)
    local s = started(t)
    without_version(s)
    s:expect(t, 0, ci("1.0.0", "--no-tests"))
    local functions, expected = {}, { "1.0.0" }
    for i = 1, 20 do
      local version = ("1.0.%d"):format(i)
      table.insert(expected, 1, version)
      functions[i] = function() return (s:expect(t, 0, ci(version, "--no-tests"))) end
    end
    local said = assert(task.all(functions))
    for i = 1, 20 do t:has(said[i], "only tagged") end
    t:eq(listed(t, s), expected)
    functions = {}
    for i = 1, 20 do
      local version = ("1.0.%d"):format(i)
      functions[i] = function() return pull(t, s, version).image.tag == version end
    end
    local pulled = assert(task.all(functions, { jobs = 4 }))
    for i = 1, 20 do t:eq(pulled[i], true) end
  end, { timeout = 400 })

  test("two that publish different bytes as one version: one is refused, and nothing of it shows", function(t)
    local s = started(t)
    without_version(s)
    s:git { "commit", "-qam", "no version in the program" }
    s:expect(t, 0, ci("1.0.0", "--no-tests"))
    local other = clone(s)
    s:replace("app/src/main.go", '"of the image"', '"of the other image"')
    local results = assert(task.all {
      function() return s:wsrun_command(ci("1.1.0", "--no-tests")) end,
      function()
        return s:wsrun_command(ci("1.1.0", "--no-tests"), { cwd = other,
          env = with(s.env, { WSRUN_STATE_DIR = s.dir .. "/.wsrun" }) })
      end,
    })
    local winner = results[1].code == 0 and 1 or 2
    local loser = results[3 - winner]
    t:eq({ results[winner].code, loser.code }, { 0, 1 }, results[1].stderr .. results[2].stderr)
    t:has(loser.stderr, "a published version never changes")
    t:eq(loser.stdout, "")
    local digest = results[winner].stdout:match("sha256:%x+")
    t:eq(listed(t, s), { "1.1.0", "1.0.0" })
    t:eq(artifacts(t, s, "1.1.0").image.digest, digest)
    t:eq(lua(t, s, ('return assert(registry.resolve "%s:1.1.0").digest'):format(REPOSITORY)), digest)
    t:eq(pull(t, s, "1.1.0").image.digest, digest)
  end, { timeout = 300 })
end
