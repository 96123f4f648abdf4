-- The main job: create, create again, change, destroy; against the sandbox with the real terraform, helm and kubectl.
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local scratch = require "scratch"

local create = { "--sandbox", "workflows/create_platform.lua", "dev-seb" }
local destroy = { "--sandbox", "workflows/destroy_platform.lua", "dev-seb", "--confirm=dev-seb" }

--- What the sandbox holds of a platform, as "kind name".
local function resources(t, s, name)
  local answer = assert(http.get(s:sandbox(t).endpoint .. "/_sandbox/resources?platform=" .. name))
  t:eq(answer.status, 200)
  local list = {}
  for _, resource in ipairs(assert(json.decode(answer.body)).resources) do
    list[#list + 1] = ("%s %s"):format(resource.kind, resource.name)
  end
  table.sort(list)
  return list
end

return function(test)
  test("create, create again, change, destroy", function(t)
    local s = scratch.new(t)
    local manifest = s.dir .. "/manifests/dev-seb.yaml"

    local said = s:expect(t, 0, create)
    for _, step in ipairs { "base", "bastion", "kubernetes", "data", "cluster", "dependencies/certmanager",
      "applications/test-app", "static-files" } do
      t:has(said, step)
    end
    t:eq(s:git({ "rev-list", "--count", "main" }, s.remote), "2\n")
    t:eq(s:git({ "show", "--format=", "--numstat", "main" }, s.remote), "1\t0\tmanifests/dev-seb.yaml\n")
    t:eq(s:git { "status", "--porcelain" }, "")

    local deployments = s:in_sandbox(t, { "kubectl", "get", "deploy", "-A" })
    for _, name in ipairs { "cert-manager", "ingress-nginx", "test-app", "parcels" } do t:has(deployments, name) end
    local releases = s:in_sandbox(t, { "helm", "list", "-A" })
    for _, name in ipairs { "cert-manager", "ingress-nginx", "kube-prometheus-stack", "test-app" } do
      t:has(releases, name)
    end
    local states = s:in_sandbox(t, { s.wsrun, "-e", [[
      for _, o in ipairs(assert(require("ws.gcs").list("gs://tf-livingpackets-sandbox/"))) do print(o.name) end ]] })
    for _, layer in ipairs { "base", "bastion", "kubernetes", "data" } do
      t:has(states, ("terraform/%s/dev-seb.tfstate"):format(layer))
    end

    local before = assert(fs.read(manifest))
    said = s:expect(t, 0, create)
    t:has(said, "nothing changed")
    t:eq(assert(fs.read(manifest)), before)
    t:eq(s:git({ "rev-list", "--count", "main" }, s.remote), "2\n")

    s:replace("manifests/dev-seb.yaml", "replicaCount: 1", "replicaCount: 2")
    said = s:expect(t, 0, create)
    t:has(said, "1 change")
    t:has(s:in_sandbox(t, { "kubectl", "get", "deploy", "-n", "test-app", "-o",
      "jsonpath={.items[0].spec.replicas}" }), "2")

    said = s:expect(t, 64, { "--sandbox", "workflows/destroy_platform.lua", "dev-seb" })
    t:has(said, "--confirm=dev-seb")
    t:ok(#resources(t, s, "dev-seb") > 20)
    s:expect(t, 0, destroy)
    t:eq(resources(t, s, "dev-seb"), {})
    t:eq(assert(fs.read(manifest)):find("instance-num:", 1, true), before:find("instance-num:", 1, true))
    s:expect(t, 0, destroy)
  end, { timeout = 400 })

  test("two platforms at once, in two processes", function(t)
    local task = require "ws.task"
    local s = scratch.new(t)
    local text = assert(fs.read(s.dir .. "/manifests/dev-seb.yaml"))
    assert(fs.write(s.dir .. "/manifests/dev-two.yaml", (text:gsub("name: dev%-seb\n", "name: dev-two\n", 1))))
    s:git { "add", "-A" }
    s:git { "commit", "-qm", "another platform" }
    s:git { "push", "-q" }
    s:expect(t, 0, { "sandbox", "up" })
    local results = assert(task.all {
      function() return (s:expect(t, 0, create)) end,
      function() return (s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-two" })) end,
    })
    t:eq(#results, 2)
    for _, name in ipairs { "dev-seb", "dev-two" } do
      t:has(s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", name }), "nothing changed")
      t:ok(#resources(t, s, name) > 20)
    end
    s:expect(t, 0, destroy)
    t:eq(resources(t, s, "dev-seb"), {})
    t:has(s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-two" }), "nothing changed")
  end, { timeout = 500 })
end
