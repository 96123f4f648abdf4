--- What the objects in a cluster make in its project, as GKE's controllers do: a disk for each volume, a forwarding
--- rule and a firewall rule for each service with a load balancer.
---
--- They go with the volume or service. When the cluster is deleted first they are left behind, as in the real service:
--- who deletes clusters has to know.
local links = require "sandbox.compute.links"
local log = require "ws.log"

local M = {}

local DRIVER = "pd.csi.storage.gke.io"
local UNITS = { [""] = 1, k = 1e3, M = 1e6, G = 1e9, T = 1e12, Ki = 1 << 10, Mi = 1 << 20, Gi = 1 << 30, Ti = 1 << 40 }

--- Size of a disk in GB for a Kubernetes quantity such as "10Gi".
---@param quantity string
---@return string
function M.gigabytes(quantity)
  local number, unit = tostring(quantity):match("^([%d.]+)(%a*)$")
  local bytes = (tonumber(number) or 0) * (UNITS[unit] or 1)
  return ("%d"):format(math.max(1, math.ceil(bytes / (1 << 30))))
end

local function labels_of(cluster)
  return { ["goog-k8s-cluster-name"] = cluster.name, ["goog-k8s-cluster-location"] = cluster.location }
end

--- Makes a resource unless it exists; a failure is logged, for nobody waits for it.
local function ensure(compute, scope, collection, body)
  local key = ("%s/%s/%s"):format(scope, collection, body.name)
  if compute:find(key) then return end
  local ok, err = pcall(compute.create, compute, scope, collection, body)
  if not ok then
    log.warn(("%s is not made: %s"):format(key, tostring(type(err) == "table" and err.body and err.body.error.message
      or err)))
  end
end

local function drop(compute, scope, collection, name)
  compute:of(collection):delete(("%s/%s/%s"):format(scope, collection, name))
end

local function volume_changed(compute, project, cluster, kind, volume)
  local csi = volume.spec.csi
  if not csi or csi.driver ~= DRIVER then return end
  local scope, name = ("projects/%s/zones/%s"):format(project, cluster.locations[1]), volume.metadata.name
  if kind == "DELETED" then
    drop(compute, scope, "disks", name)
  else
    local labels = labels_of(cluster)
    labels["goog-gke-volume"] = ""
    ensure(compute, scope, "disks", { name = name, labels = labels, sizeGb = M.gigabytes(volume.spec.capacity.storage),
      type = ("%s%s/diskTypes/pd-balanced"):format(links.PREFIX, scope),
      description = "Disk created by GCE-PD CSI Driver" })
  end
end

local function service_changed(compute, project, cluster, region, kind, service)
  local name = "a" .. service.metadata.uid:gsub("%-", ""):sub(1, 31)
  local area, global = ("projects/%s/regions/%s"):format(project, region), ("projects/%s/global"):format(project)
  local ingress = ((service.status or {}).loadBalancer or {}).ingress
  if kind == "DELETED" or service.spec.type ~= "LoadBalancer" then
    drop(compute, area, "forwardingRules", name)
    drop(compute, global, "firewalls", "k8s-fw-" .. name)
  elseif ingress and ingress[1] then
    local ports = {}
    for i, port in ipairs(service.spec.ports or {}) do ports[i] = tostring(port.port) end
    local description = ('{"kubernetes.io/service-name":"%s/%s"}'):format(service.metadata.namespace,
      service.metadata.name)
    ensure(compute, area, "forwardingRules", { name = name, IPAddress = ingress[1].ip, IPProtocol = "TCP",
      portRange = ports[1] and ("%s-%s"):format(ports[1], ports[#ports]), labels = labels_of(cluster),
      loadBalancingScheme = "EXTERNAL", description = description })
    ensure(compute, global, "firewalls", { name = "k8s-fw-" .. name, network = cluster.networkConfig.network,
      sourceRanges = { "0.0.0.0/0" }, allowed = { { IPProtocol = "tcp", ports = ports } }, description = description })
  end
end

--- Follows the objects of a cluster from now on, after catching up with what is there.
---@param cloud sandbox.Cloud
---@param project string
---@param cluster table
---@param region string
---@param api table  of sandbox.kubernetes
---@return fun()? stop
function M.follow(cloud, project, cluster, region, api)
  if not api.store then return nil end
  local function changed(kind, id, object)
    if id == "/persistentvolumes" then
      volume_changed(cloud.compute, project, cluster, kind, object)
    elseif id == "/services" then
      service_changed(cloud.compute, project, cluster, region, kind, object)
    end
  end
  for _, id in ipairs { "/persistentvolumes", "/services" } do
    for _, object in ipairs(api.store:list(id)) do changed("ADDED", id, object) end
  end
  return api.store:listen(function(change) changed(change.type, change.id, change.object) end)
end

return M
