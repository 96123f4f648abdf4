--- What a new cluster contains.
local values = require "sandbox.kubernetes.values"

local M = {}

local RBAC = "rbac.authorization.k8s.io"
local VERBS = { "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch" }

local function rule(groups, resources, verbs)
  return { apiGroups = values.array(groups), resources = values.array(resources), verbs = values.array(verbs) }
end

local function role(name, aggregated, rules)
  return { id = RBAC .. "/clusterroles", object = { metadata = { name = name,
    labels = { ["kubernetes.io/bootstrapping"] = "rbac-defaults" } }, rules = values.array(rules),
      aggregationRule = aggregated } }
end

--- A node of a cluster.
---@param api { name: string, region: string, version: string, pod_network: string, now: function }
---@param i integer
---@return table node
function M.node(api, i)
  local name = ("gke-%s-pool-%d"):format(api.name, i)
  local now = api:now()
  local conditions = values.array()
  for _, c in ipairs {
    { "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available" },
    { "DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure" },
    { "PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available" },
    { "Ready", "True", "KubeletReady", "kubelet is posting ready status" },
  } do
    conditions[#conditions + 1] = { type = c[1], status = c[2], reason = c[3], message = c[4], lastHeartbeatTime = now,
      lastTransitionTime = now }
  end
  local capacity = { cpu = "4", memory = "16384Mi", pods = "110", ["ephemeral-storage"] = "100Gi" }
  return {
    metadata = { name = name, labels = {
      ["kubernetes.io/hostname"] = name, ["kubernetes.io/os"] = "linux", ["kubernetes.io/arch"] = "amd64",
      ["cloud.google.com/gke-nodepool"] = "pool", ["topology.kubernetes.io/region"] = api.region,
      ["topology.kubernetes.io/zone"] = api.region .. "-" .. ("bcd"):sub((i - 1) % 3 + 1, (i - 1) % 3 + 1),
      ["node.kubernetes.io/instance-type"] = "e2-standard-4",
    } },
    spec = { podCIDR = ("%s.%d.0/24"):format(api.pod_network, i), providerID = "gce://sandbox/" .. api.region .. "/"
      .. name },
    status = {
      capacity = capacity, allocatable = values.copy(capacity), conditions = conditions,
      addresses = values.array { { type = "InternalIP", address = "10.0.0." .. 10 + i },
        { type = "Hostname", address = name } },
      nodeInfo = { kubeletVersion = api.version, kubeProxyVersion = api.version, osImage = "Container-Optimized OS",
        kernelVersion = "6.6.0", containerRuntimeVersion = "containerd://2.0.0", operatingSystem = "linux",
          architecture = "amd64",
        machineID = "", systemUUID = "", bootID = "" },
    },
  }
end

--- The storage classes of a cluster.
---@return { id: string, object: table }[]
function M.storage_classes()
  local list = {}
  for _, class in ipairs { { "standard-rwo", true, "pd-balanced" }, { "premium-rwo", false, "pd-ssd" },
    { "standard", false, "pd-standard" } } do
    list[#list + 1] = { id = "storage.k8s.io/storageclasses", object = {
      metadata = { name = class[1],
        annotations = class[2] and { ["storageclass.kubernetes.io/is-default-class"] = "true" } or nil },
      provisioner = "pd.csi.storage.gke.io", allowVolumeExpansion = true, parameters = { type = class[3] },
      volumeBindingMode = "WaitForFirstConsumer",
    } }
  end
  return list
end

local function objects(api)
  local list = {}
  local function add(id, object, namespace)
    list[#list + 1] = { id = id, object = object, namespace = namespace }
  end
  for _, name in ipairs { "default", "kube-system", "kube-public", "kube-node-lease" } do
    add("/namespaces", { metadata = { name = name } })
  end
  for i = 1, api.node_count do
    local node = M.node(api, i)
    add("/nodes", node)
    add("coordination.k8s.io/leases", { metadata = { name = node.metadata.name },
      spec = { holderIdentity = node.metadata.name, leaseDurationSeconds = 40 } }, "kube-node-lease")
  end
  for _, entry in ipairs(M.storage_classes()) do list[#list + 1] = entry end
  for name, value in pairs { ["system-cluster-critical"] = 2000000000, ["system-node-critical"] = 2000001000 } do
    add("scheduling.k8s.io/priorityclasses", { metadata = { name = name }, value = value })
  end
  local all = rule({ "*" }, { "*" }, { "*" })
  local common = { "configmaps", "secrets", "services", "pods", "persistentvolumeclaims", "serviceaccounts" }
  local workloads = { "deployments", "replicasets", "statefulsets", "daemonsets" }
  list[#list + 1] = role("cluster-admin", nil, { all, { nonResourceURLs = values.array { "*" },
    verbs = values.array { "*" } } })
  list[#list + 1] = role("admin", nil, { rule({ "" }, common, VERBS), rule({ "apps" }, workloads, VERBS),
    rule({ RBAC }, { "roles", "rolebindings" }, VERBS) })
  list[#list + 1] = role("edit", nil, { rule({ "" }, common, VERBS), rule({ "apps" }, workloads, VERBS) })
  list[#list + 1] = role("view", nil, { rule({ "" }, common, { "get", "list", "watch" }),
    rule({ "apps" }, workloads, { "get", "list", "watch" }) })
  add(RBAC .. "/clusterrolebindings", { metadata = { name = "cluster-admin" },
    roleRef = { apiGroup = RBAC, kind = "ClusterRole", name = "cluster-admin" },
    subjects = values.array { { apiGroup = RBAC, kind = "Group", name = "system:masters" } } })
  add("/services", { metadata = { name = "kubernetes", labels = { component = "apiserver", provider = "kubernetes" } },
    spec = { clusterIP = api.service_network .. ".0.1", type = "ClusterIP",
      ports = values.array { { name = "https", port = 443, protocol = "TCP", targetPort = 443 } } } }, "default")
  return list
end

--- Fills an empty store.
---@param api kubernetes.Api
function M.fill(api)
  for _, entry in ipairs(objects(api)) do
    entry.object.metadata.namespace = entry.namespace
    api.simulation:create(entry.id, entry.namespace, values.copy(entry.object))
  end
end

return M
