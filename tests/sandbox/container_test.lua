local json = require "ws.json"
local fs = require "ws.fs"
local support = dofile "tests/sandbox/support.lua"

local ROOT = "/container/v1/projects/test-project/locations/europe-west1"

local function cluster(changes)
  local body = { name = "c", initialNodeCount = 1, network = "projects/test-project/global/networks/net",
    subnetwork = "projects/test-project/regions/europe-west1/subnetworks/subnet", initialClusterVersion = "1.33",
    ipAllocationPolicy = { clusterSecondaryRangeName = "pods", servicesSecondaryRangeName = "services" },
    privateClusterConfig = { enablePrivateNodes = true, masterIpv4CidrBlock = "172.16.0.0/28" },
    controlPlaneEndpointsConfig = { ipEndpointsConfig = { authorizedNetworksConfig = { enabled = true,
      cidrBlocks = { { cidrBlock = "203.0.113.0/24" } } } } } }
  for key, value in pairs(changes or {}) do body[key] = value end
  return { cluster = body }
end

return function(test)
  test("a cluster with what clients cannot do without", function(t)
    local cloud = support.cloud(t)
    local client, compute = support.network(t, cloud)
    t:eq(client("GET", ROOT .. "/serverConfig").defaultClusterVersion:match("^1%.33%.") ~= nil, true)
    local operation = client("POST", ROOT .. "/clusters", cluster())
    t:eq(client("GET", ROOT .. "/operations/" .. operation.name).status, "DONE")
    local c = client("GET", ROOT .. "/clusters/c")
    t:eq({ c.status, c.endpoint, c.location, c.currentMasterVersion:match("^1%.33") },
      { "RUNNING", "127.0.0.1:4443", "europe-west1", "1.33" })
    t:eq(c.masterAuth.clusterCaCertificate, "UEVN")
    t:eq(json.encode(c.legacyAbac), "{}")
    t:eq({ c.networkConfig.network, c.network, c.clusterIpv4Cidr, c.servicesIpv4Cidr },
      { "projects/test-project/global/networks/net", "net", "10.4.0.0/14", "10.1.0.0/20" })
    t:eq(c.defaultMaxPodsConstraint.maxPodsPerNode, "110")
    t:eq(c.ipAllocationPolicy.clusterSecondaryRangeName, "pods")
    t:eq(c.masterAuthorizedNetworksConfig.cidrBlocks[1].cidrBlock, "203.0.113.0/24")
    t:eq(#c.locations, 3)
    t:eq(c.nodePools[1].name, "default-pool")
    t:eq(client("GET", "/container/v1/projects/test-project/locations/-/clusters").clusters[1].name, "c")

    -- Machines, groups and firewall rules of GKE stand in the project; the links match.
    local zone = compute .. "/zones/europe-west1-b"
    local managers = client("GET", zone .. "/instanceGroupManagers").items
    t:eq(managers[1].selfLink, c.nodePools[1].instanceGroupUrls[1])
    t:eq(#client("GET", zone .. "/instances").items, 1)
    t:eq(#client("GET", compute .. "/global/firewalls").items, 3)
    client("DELETE", compute .. "/regions/europe-west1/subnetworks/subnet", nil, 400)

    local config = t:ok(json.decode(t:ok(fs.read(cloud.dir .. "/kubeconfig"))))
    t:eq(config["current-context"], "gke_test-project_europe-west1_c")

    client("DELETE", ROOT .. "/clusters/c")
    t:eq(cloud.kubernetes_log, { "start c", "destroy c" })
    for _, left in ipairs { "/instances", "/disks", "/instanceGroups", "/instanceGroupManagers" } do
      t:eq(client("GET", zone .. left).items, nil, left)
    end
    t:eq(client("GET", compute .. "/global/firewalls").items, nil)
    client("DELETE", compute .. "/regions/europe-west1/subnetworks/subnet")
  end)

  test("node pools", function(t)
    local client = support.network(t, (support.cloud(t)))
    client("POST", ROOT .. "/clusters", cluster())
    client("DELETE", ROOT .. "/clusters/c/nodePools/default-pool")
    local pools = ROOT .. "/clusters/c/nodePools"
    client("GET", pools .. "/np", nil, 404)
    client("POST", pools, { nodePool = { name = "np", initialNodeCount = 2, config = { machineType = "e2-standard-2" },
      autoscaling = { enabled = true, totalMinNodeCount = 1 }, locations = { "europe-west1-c" } } })
    client("POST", pools, { nodePool = { name = "np" } }, 409)
    client("POST", pools, { nodePool = { name = "x", config = { machineType = "e2-tiny" } } }, 400)
    client("POST", pools, { nodePool = { name = "x", locations = { "us-central1-a" } } }, 400)
    local pool = client("GET", pools .. "/np")
    t:eq({ pool.status, pool.config.machineType, #pool.instanceGroupUrls, pool.autoscaling.totalMinNodeCount },
      { "RUNNING", "e2-standard-2", 1, 1 })
    client("PUT", ROOT .. "/clusters/c", { update = { desiredNodePoolId = "np",
      desiredNodePoolAutoscaling = { enabled = true, totalMaxNodeCount = 9 } } })
    client("PUT", pools .. "/np", { labels = { labels = { a = "b" } }, taints = { taints = { { key = "k" } } } })
    pool = client("GET", pools .. "/np")
    t:eq({ pool.autoscaling.totalMaxNodeCount, pool.config.labels, pool.config.taints[1].key }, { 9, { a = "b" }, "k" })
    client("DELETE", pools .. "/np")
    t:eq(client("GET", ROOT .. "/clusters/c").nodePools, {})
  end)

  test("changes of a cluster", function(t)
    local client = support.network(t, (support.cloud(t)))
    client("POST", ROOT .. "/clusters", cluster())
    local at = ROOT .. "/clusters/c"
    client("PUT", at, { update = { desiredControlPlaneEndpointsConfig = { ipEndpointsConfig = {
      authorizedNetworksConfig = { enabled = true, cidrBlocks = { { cidrBlock = "192.0.2.0/24" } } } } } } })
    local c = client("GET", at)
    t:eq(c.masterAuthorizedNetworksConfig.cidrBlocks, { { cidrBlock = "192.0.2.0/24" } })
    t:eq(c.controlPlaneEndpointsConfig.ipEndpointsConfig.enablePublicEndpoint, true)
    client("PUT", at, { update = { desiredMasterVersion = "1.34" } })
    client("PUT", at, { update = { desiredMasterVersion = "1.9" } }, 400)
    t:has(client("GET", at).currentMasterVersion, "1.34.")
    client("POST", at .. ":setResourceLabels", { resourceLabels = { a = "b" }, labelFingerprint = c.labelFingerprint })
    client("POST", at .. ":setResourceLabels", { resourceLabels = {}, labelFingerprint = c.labelFingerprint }, 412)
    t:eq(client("GET", at).resourceLabels, { a = "b" })
    client("POST", at .. ":setMaintenancePolicy", { maintenancePolicy = { window = { dailyMaintenanceWindow = {} } } })
  end)

  test("volumes and load balancers have their disks and rules in the project", function(t)
    local cloud = support.cloud(t)
    local client, compute = support.network(t, cloud)
    local listener
    local store = { list = function() return {} end, listen = function(_, fn)
      listener = fn
      return function() listener = nil end
    end }
    cloud.kubernetes = { new = function()
      return { store = store, stop = function() end, destroy = function() end,
        start = function() return { endpoint = "https://127.0.0.1:1", ca_cert = "PEM" } end }
    end }
    client("POST", ROOT .. "/clusters", cluster())
    local function change(kind, id, object) listener { type = kind, id = id, object = object } end
    local volume = { metadata = { name = "pvc-1" }, spec = { capacity = { storage = "1500Mi" },
      csi = { driver = "pd.csi.storage.gke.io" } } }
    local service = { metadata = { uid = "12-34", name = "s", namespace = "n" },
      spec = { type = "LoadBalancer", ports = { { port = 80 }, { port = 443 } } },
      status = { loadBalancer = { ingress = { { ip = "203.0.113.1" } } } } }
    local disk, rule = compute .. "/zones/europe-west1-b/disks/pvc-1",
      compute .. "/regions/europe-west1/forwardingRules/a1234"
    for _ = 1, 2 do change("ADDED", "/persistentvolumes", volume) end
    change("ADDED", "/services", service)
    t:eq(client("GET", disk).sizeGb, "2")
    t:eq(client("GET", disk).labels["goog-k8s-cluster-name"], "c")
    t:eq({ client("GET", rule).IPAddress, client("GET", rule).portRange }, { "203.0.113.1", "80-443" })
    client("GET", compute .. "/global/firewalls/k8s-fw-a1234")
    change("DELETED", "/persistentvolumes", volume)
    service.spec.type = "ClusterIP"
    change("MODIFIED", "/services", service)
    client("GET", disk, nil, 404)
    client("GET", rule, nil, 404)
    change("ADDED", "/persistentvolumes", volume)
    client("DELETE", ROOT .. "/clusters/c")
    t:eq(listener, nil)
    client("GET", disk) -- left behind
  end)

  test("what cannot be made is refused, and leaves nothing", function(t)
    local cloud = support.cloud(t)
    local client = support.network(t, cloud)
    client("POST", ROOT .. "/clusters", cluster { network = "absent" }, 404)
    client("POST", ROOT .. "/clusters", cluster { name = "-" }, 400)
    client("POST", ROOT .. "/clusters", cluster { initialClusterVersion = "1.9" }, 400)
    client("POST", ROOT .. "/clusters", cluster { ipAllocationPolicy = { clusterSecondaryRangeName = "absent" } }, 400)
    client("POST", ROOT .. "/clusters", cluster { locations = { "us-central1-a" } }, 400)
    client("POST", "/container/v1/projects/test-project/locations/mars/clusters", cluster(), 400)
    client("POST", ROOT .. "/clusters", cluster { nodeConfig = { serviceAccount =
      "absent@test-project.iam.gserviceaccount.com" } }, 400)
    cloud.kubernetes = { new = function() return { start = function() return nil, "no port" end } end }
    t:has(client("POST", ROOT .. "/clusters", cluster(), 400).error.message, "no port")
    t:eq(#client("GET", ROOT .. "/clusters").clusters, 0)
    client("GET", ROOT .. "/clusters/c", nil, 404)
  end)
end
