local support = dofile "tests/sandbox/support.lua"
local links = require "sandbox.compute.links"

local PREFIX = "https://www.googleapis.com/compute/v1/projects/test-project"

return function(test)
  test("a network and what stands in it", function(t)
    local cloud = support.cloud(t)
    local client, base = support.network(t, cloud)
    local net = client("GET", base .. "/global/networks/net")
    t:eq(net.selfLink, PREFIX .. "/global/networks/net")
    t:eq(type(net.id), "string")
    t:eq(net.subnetworks, { PREFIX .. "/regions/europe-west1/subnetworks/subnet" })
    local subnet = client("GET", base .. "/regions/europe-west1/subnetworks/subnet")
    t:eq(subnet.gatewayAddress, "10.0.0.1")
    t:eq(subnet.region, PREFIX .. "/regions/europe-west1")
    client("POST", base .. "/global/networks", { name = "net" }, 409)
    client("POST", base .. "/global/networks", { name = "Net" }, 400)
    -- A network in use stays, and says who uses it.
    local refused = client("DELETE", base .. "/global/networks/net", nil, 400)
    t:eq(refused.error.errors[1].reason, "resourceInUseByAnotherResource")
    t:has(refused.error.message, "regions/europe-west1/subnetworks/subnet")
    client("DELETE", base .. "/regions/europe-west1/subnetworks/subnet")
    client("DELETE", base .. "/global/networks/net")
    client("GET", base .. "/global/networks/net", nil, 404)
    client("DELETE", base .. "/global/networks/net", nil, 404)
  end)

  test("ranges of subnetworks do not overlap", function(t)
    local client, base = support.network(t, support.cloud(t))
    local function subnet(range, secondary)
      return { name = "other", ipCidrRange = range, network = "global/networks/net", secondaryIpRanges = secondary }
    end
    local at = base .. "/regions/europe-west1/subnetworks"
    t:has(client("POST", at, subnet "10.5.0.0/24", 400).error.message, "conflicts")
    client("POST", at, subnet "10.300.0.0/24", 400)
    client("POST", at, subnet("10.8.0.0/24", { { rangeName = "a", ipCidrRange = "10.8.0.0/28" } }), 400)
    client("POST", at, subnet "10.8.0.0/24")
  end)

  test("every spelling of a link is understood", function(t)
    local cloud = support.cloud(t)
    local number = cloud:project("test-project").projectNumber
    local wanted = PREFIX .. "/global/networks/n"
    for _, spelling in ipairs { wanted, "projects/test-project/global/networks/n", "global/networks/n",
      "http://127.0.0.1:1/compute/v1/projects/test-project/global/networks/n",
      "http://127.0.0.1:1/compute/v1/" .. wanted, "projects/" .. number .. "/global/networks/n" } do
      t:eq(links.canonical(cloud, "test-project", spelling), wanted, spelling)
    end
    for _, other in ipairs { "n", "projects/test-project/topics/t", "https://example.com/projects/p/global/x" } do
      t:eq(links.canonical(cloud, "test-project", other), other)
    end
  end)

  test("a link to nothing is refused", function(t)
    local client, base = support.network(t, support.cloud(t))
    t:has(client("POST", base .. "/global/firewalls", { name = "fw", network = "global/networks/absent" }, 404)
      .error.message, "global/networks/absent")
  end)

  test("fingerprints", function(t)
    local client, base = support.network(t, support.cloud(t))
    local at = base .. "/regions/europe-west1/subnetworks/subnet"
    local old = client("GET", at).fingerprint
    client("PATCH", at, { fingerprint = old, privateIpGoogleAccess = true })
    client("PATCH", at, { fingerprint = old, privateIpGoogleAccess = false }, 412)
    t:eq(client("GET", at).privateIpGoogleAccess, true)
    local address = base .. "/global/addresses"
    client("POST", address, { name = "ip" })
    local labels = client("GET", address .. "/ip").labelFingerprint
    client("POST", address .. "/ip/setLabels", { labels = { a = "b" }, labelFingerprint = labels })
    t:eq(client("GET", address .. "/ip").labels, { a = "b" })
    client("POST", address .. "/ip/setLabels", { labels = {}, labelFingerprint = labels }, 412)
  end)

  test("a router's NAT is a part of the router", function(t)
    local client, base = support.network(t, support.cloud(t))
    local at = base .. "/regions/europe-west1/routers"
    client("POST", at, { name = "r", network = "global/networks/net" })
    client("PATCH", at .. "/r", { nats = { { name = "nat", natIpAllocateOption = "AUTO_ONLY" } } })
    t:eq(client("GET", at .. "/r").nats[1].name, "nat")
    client("PATCH", at .. "/r", { nats = require "ws.json".array {} })
    t:eq(client("GET", at .. "/r").nats, nil)
  end)

  test("a load balancer", function(t)
    local client, base = support.network(t, support.cloud(t))
    local g = base .. "/global"
    client("POST", g .. "/healthChecks", { name = "hc", type = "HTTP2", http2HealthCheck = { port = 443 } })
    client("POST", base .. "/zones/europe-west1-b/instanceGroups", { name = "ig", network = "global/networks/net" })
    client("POST", g .. "/backendServices", { name = "bs", healthChecks = { "global/healthChecks/hc" },
      backends = { { group = "zones/europe-west1-b/instanceGroups/ig" } } })
    local service = client("GET", g .. "/backendServices/bs")
    t:eq(service.backends[1], { group = PREFIX .. "/zones/europe-west1-b/instanceGroups/ig" })
    client("POST", g .. "/securityPolicies", { name = "sp" })
    t:eq(client("GET", g .. "/securityPolicies/sp").rules[1].priority, 2147483647)
    client("POST", g .. "/backendServices/bs/setSecurityPolicy", { securityPolicy = "global/securityPolicies/sp" })
    service = client("GET", g .. "/backendServices/bs")
    client("PUT", g .. "/backendServices/bs", { name = "bs", fingerprint = service.fingerprint, timeoutSec = 5 })
    service = client("GET", g .. "/backendServices/bs")
    t:eq({ service.timeoutSec, service.backends, service.securityPolicy },
      { 5, nil, PREFIX .. "/global/securityPolicies/sp" })
    client("POST", g .. "/urlMaps", { name = "um", defaultService = "global/backendServices/bs" })
    client("POST", g .. "/urlMaps", { name = "um2", defaultService = "global/backendServices/bs" })
    client("POST", g .. "/targetHttpProxies", { name = "proxy", urlMap = "global/urlMaps/um" })
    client("POST", base .. "/targetHttpProxies/proxy/setUrlMap", { urlMap = "global/urlMaps/um2" })
    t:eq(client("GET", g .. "/targetHttpProxies/proxy").urlMap, PREFIX .. "/global/urlMaps/um2")
    client("POST", g .. "/addresses", { name = "ip" })
    client("POST", g .. "/forwardingRules", { name = "fr", IPAddress = PREFIX .. "/global/addresses/ip",
      portRange = "443", target = "global/targetHttpProxies/proxy" })
    local rule, ip = client("GET", g .. "/forwardingRules/fr"), client("GET", g .. "/addresses/ip")
    t:eq({ rule.IPAddress, rule.portRange }, { ip.address, "443-443" })
    t:eq(ip.status, "IN_USE")
    for _, used in ipairs { "/addresses/ip", "/targetHttpProxies/proxy", "/backendServices/bs" } do
      client("DELETE", g .. used, nil, 400)
    end
    for _, free in ipairs { "/urlMaps/um", "/healthChecks/hc" } do client("DELETE", g .. free) end
  end)

  test("an instance and its disk", function(t)
    local cloud = support.cloud(t)
    local client, base = support.network(t, cloud)
    local zone = base .. "/zones/europe-west1-b"
    local function instance(changes)
      local body = { name = "vm", machineType = "zones/europe-west1-b/machineTypes/e2-small",
        disks = { { boot = true, autoDelete = true,
          initializeParams = { sourceImage = "projects/debian-cloud/global/images/family/debian-12" } } },
        networkInterfaces = { { subnetwork = "regions/europe-west1/subnetworks/subnet", accessConfigs = { {} } } },
        metadata = { items = { { key = "startup-script", value = "projects/p/global/networks/n" } } } }
      for key, value in pairs(changes or {}) do body[key] = value end
      return body
    end
    client("POST", zone .. "/instances", instance { machineType = "e2-tiny" }, 400)
    client("POST", base .. "/zones/europe-west9-z/instances", instance(), 404)
    local operation = client("POST", zone .. "/instances", instance())
    t:eq({ operation.kind, operation.zone, operation.operationType },
      { "compute#operation", PREFIX .. "/zones/europe-west1-b", "insert" })
    t:eq(client("GET", zone .. "/operations/" .. operation.name).status, "DONE")
    require "ws.task".sleep(0.25)
    local vm = client("GET", zone .. "/instances/vm")
    t:eq({ vm.status, vm.networkInterfaces[1].networkIP, vm.networkInterfaces[1].network },
      { "RUNNING", "10.0.0.2", PREFIX .. "/global/networks/net" })
    t:eq(vm.disks[1].source, PREFIX .. "/zones/europe-west1-b/disks/vm")
    t:eq(vm.metadata.items[1].value, "projects/p/global/networks/n")
    t:ok(vm.networkInterfaces[1].accessConfigs[1].natIP and vm.tags.fingerprint and vm.labelFingerprint)
    t:eq(vm._starts_at, nil)
    local disk = client("GET", zone .. "/disks/vm")
    t:eq({ disk.sizeGb, disk.users }, { "10", { PREFIX .. "/zones/europe-west1-b/instances/vm" } })
    client("DELETE", zone .. "/disks/vm", nil, 400)
    client("POST", zone .. "/instances/vm/setMetadata", { fingerprint = "old", items = {} }, 412)
    client("POST", zone .. "/instances/vm/setMetadata", { fingerprint = vm.metadata.fingerprint,
      items = { { key = "a", value = "b" } } })
    client("POST", zone .. "/instances/vm/setTags", { fingerprint = vm.tags.fingerprint, items = { "x" } })
    client("POST", zone .. "/instances/vm/setMachineType", { machineType = "e2-medium" }, 400)
    client("POST", zone .. "/instances/vm/stop", {})
    client("POST", zone .. "/instances/vm/setMachineType",
      { machineType = "zones/europe-west1-b/machineTypes/e2-medium" })
    t:eq(client("GET", zone .. "/instances/vm").machineType, PREFIX .. "/zones/europe-west1-b/machineTypes/e2-medium")
    t:eq(client("GET", base .. "/aggregated/instances").items["zones/europe-west1-b"].instances[1].name, "vm")
    client("POST", zone .. "/instances/vm/setDeletionProtection?deletionProtection=true", {})
    client("DELETE", zone .. "/instances/vm", nil, 400)
    client("POST", zone .. "/instances/vm/setDeletionProtection?deletionProtection=false", {})
    client("DELETE", zone .. "/instances/vm")
    client("GET", zone .. "/disks/vm", nil, 404)
  end)

  test("groups of instances", function(t)
    local client, base = support.network(t, support.cloud(t))
    local zone = base .. "/zones/europe-west1-b"
    client("POST", zone .. "/instanceGroupManagers", { name = "mig", targetSize = 1 })
    local manager = client("GET", zone .. "/instanceGroupManagers/mig")
    t:eq(manager.instanceGroup, PREFIX .. "/zones/europe-west1-b/instanceGroups/mig")
    local group = zone .. "/instanceGroups/mig"
    client("POST", group .. "/setNamedPorts", { namedPorts = { { name = "https", port = 30443 } } })
    t:eq(client("GET", group).namedPorts[1].port, 30443)
    client("DELETE", group, nil, 400)
    client("DELETE", zone .. "/instanceGroupManagers/mig")
    client("GET", group, nil, 404)
  end)

  test("operations take their time", function(t)
    local cloud = support.cloud(t, { operation_seconds = { 1.5, 1.5 } })
    local client = support.client(t, cloud)
    local operation = client("POST", "/compute/v1/projects/test-project/global/networks", { name = "slow" })
    t:eq(operation.status, "RUNNING")
    local at = "/compute/v1/projects/test-project/global/operations/" .. operation.name
    t:eq(client("GET", at).status, "RUNNING")
    require "ws.task".sleep(0.7)
    -- A poll shortly before the end waits for it.
    t:eq(client("GET", at).status, "DONE")
    client("GET", at .. "x", nil, 404)
  end)

  test("the catalogue", function(t)
    local client = support.client(t, (support.cloud(t)))
    local base = "/compute/v1/projects/test-project"
    t:eq(client("GET", base .. "/zones/europe-west1-b").region, PREFIX .. "/regions/europe-west1")
    local zones = client("GET", base .. "/zones?filter=" .. "region%3Deurope-west1").items
    t:eq(#zones, 3)
    t:eq(client("GET", base .. "/zones/europe-west1-b/machineTypes/e2-standard-2").memoryMb, 8192)
    client("GET", base .. "/zones/europe-west1-b/machineTypes/e9-huge", nil, 404)
    t:eq(client("GET", "/compute/v1/projects/debian-cloud/global/images/family/debian-12").diskSizeGb, "10")
    client("GET", "/compute/v1/projects/debian-cloud/global/images/family/debian-1", nil, 404)
    t:eq(client("GET", base).name, "test-project")
    client("GET", "/compute/v1/projects/nowhere/zones", nil, 404)
    client("POST", base .. "/global/images", { name = "mine", family = "f" })
    t:eq(client("GET", base .. "/global/images/family/f").name, "mine")
  end)
end
