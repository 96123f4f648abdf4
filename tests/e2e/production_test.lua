-- The production manifest: high availability, certificate, monitoring, protection; against the sandbox.
local http = require "ws.http"
local json = require "ws.json"
local scratch = require "scratch"

local create = { "--sandbox", "workflows/create_platform.lua", "prod-eu" }
local destroy = { "--sandbox", "workflows/destroy_platform.lua", "prod-eu", "--confirm=prod-eu" }

--- What the sandbox holds of the platform.
local function resources(t, s)
  local answer = assert(http.get(s:sandbox(t).endpoint .. "/_sandbox/resources?platform=prod-eu"))
  t:eq(answer.status, 200)
  return assert(json.decode(answer.body)).resources
end

--- An answer of one of the sandbox's APIs.
local function ask(t, s, path)
  local answer = assert(http.get(s:sandbox(t).endpoint .. path, { headers = { authorization = "Bearer test" } }))
  t:eq(answer.status, 200, path)
  return assert(json.decode(answer.body))
end

return function(test)
  test("create, create again, refuse to destroy, lift the protection, destroy", function(t)
    local s = scratch.new(t)
    local said = s:expect(t, 0, create)
    t:has(said, "monitoring")
    t:has(said, "dependencies/consul")

    local servers = ask(t, s, "/sql/v1beta4/projects/livingpackets-prod/instances").items
    t:eq(#servers, 2, "the server and its replica")
    table.sort(servers, function(a, b) return #a.name < #b.name end)
    t:eq(servers[1].settings.availabilityType, "REGIONAL")
    t:eq(servers[1].settings.backupConfiguration.pointInTimeRecoveryEnabled, true)
    t:eq(servers[1].settings.deletionProtectionEnabled, true)
    t:eq(servers[2].instanceType, "READ_REPLICA_INSTANCE")
    local cluster = ask(t, s,
      "/container/v1/projects/livingpackets-prod/locations/europe-west1/clusters/lp-cluster-prod-eu")
    t:eq(#cluster.masterAuthorizedNetworksConfig.cidrBlocks, 6)
    t:eq(cluster.privateClusterConfig.enablePrivateNodes, true)
    t:eq(#ask(t, s, "/compute/v1/projects/livingpackets-prod/global/sslCertificates").items, 1)
    t:ok(#ask(t, s, "/monitoring/v3/projects/livingpackets-prod/alertPolicies").alertPolicies >= 6)

    t:has(s:expect(t, 0, create), "nothing changed")

    local before = #resources(t, s)
    t:ok(before > 40)
    t:has(s:expect(t, 1, destroy), "protected from deletion")
    t:eq(#resources(t, s), before)

    s:replace("manifests/prod-eu.yaml", "disk-size: 100\n    # The disk", "disk-size: 50\n    # The disk")
    s:replace("manifests/prod-eu.yaml", "    disk-limit: 500\n", "")
    said = s:expect(t, 1, create)
    t:has(said, "a disk cannot shrink")
    t:has(said, "manifests/prod-eu.yaml:")
    s:replace("manifests/prod-eu.yaml", "disk-size: 50\n    # The disk", "disk-size: 100\n    # The disk")

    for _ = 1, 2 do s:replace("manifests/prod-eu.yaml", "deletion-protection: true", "deletion-protection: false") end
    t:has(s:expect(t, 0, create), "2 changes")
    s:expect(t, 0, destroy)
    t:eq(resources(t, s), {})
  end, { timeout = 400 })
end
