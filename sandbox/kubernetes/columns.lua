--- What `kubectl get` shows of the built-in kinds besides the name.
local age = require "sandbox.kubernetes.age"
local pods = require "sandbox.kubernetes.columns_pod"
local selectors = require "sandbox.kubernetes.selectors"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local get = values.get

local AGE = { "Age", function(o) return age(o.metadata.creationTimestamp) end }

--- A column that shows what lies at a path, or another text.
local function at(title, default, ...)
  local path = { ... }
  return { title, function(o)
    local v = get(o, table.unpack(path))
    if v == nil then return default end
    return v
  end, type = type(default) == "number" and "integer" or nil }
end

local function wide(column)
  return { column[1], column[2], type = column.type, wide = true }
end

local function each_container(o, field)
  local out = {}
  for i, c in ipairs(get(o, "spec", "template", "spec", "containers") or {}) do out[i] = tostring(c[field]) end
  return table.concat(out, ",")
end

local CONTAINERS = wide { "Containers", function(o) return each_container(o, "name") end }
local IMAGES = wide { "Images", function(o) return each_container(o, "image") end }
local SELECTOR = wide { "Selector", function(o) return selectors.to_text(get(o, "spec", "selector")) end }

local function ratio(o, ...)
  return ("%d/%d"):format(get(o, "status", ...) or 0, get(o, "spec", "replicas") or 0)
end

local function external_address(o)
  local ingress = get(o, "status", "loadBalancer", "ingress") or {}
  local out = {}
  for i, a in ipairs(ingress) do out[i] = a.ip or a.hostname end
  if #out > 0 then return table.concat(out, ",") end
end

local function service_external(o)
  local spec = o.spec or {}
  if spec.type == "ExternalName" then return spec.externalName end
  if spec.externalIPs then return table.concat(spec.externalIPs, ",") end
  return external_address(o) or (spec.type == "LoadBalancer" and "<pending>" or "<none>")
end

local function service_ports(o)
  local out = {}
  for i, p in ipairs(get(o, "spec", "ports") or {}) do
    out[i] = p.nodePort and ("%d:%d/%s"):format(p.port, p.nodePort, p.protocol) or ("%d/%s"):format(p.port, p.protocol)
  end
  return #out > 0 and table.concat(out, ",") or "<none>"
end

local function ingress_hosts(o)
  local out = {}
  for _, r in ipairs(get(o, "spec", "rules") or {}) do out[#out + 1] = r.host end
  return #out > 0 and table.concat(out, ",") or "*"
end

local function size(t)
  local n = 0
  for _ in pairs(t or {}) do n = n + 1 end
  return n
end

local function last_seen(o)
  return age(o.lastTimestamp or o.eventTime or o.metadata.creationTimestamp)
end

local function ready_addresses(o)
  local out = {}
  for _, subset in ipairs(o.subsets or {}) do
    for _, a in ipairs(subset.addresses or {}) do
      for _, p in ipairs(subset.ports or { {} }) do out[#out + 1] = p.port and a.ip .. ":" .. p.port or a.ip end
    end
  end
  return #out > 0 and table.concat(out, ",") or "<none>"
end

local function modes(list)
  local short = { ReadWriteOnce = "RWO", ReadOnlyMany = "ROX", ReadWriteMany = "RWX", ReadWriteOncePod = "RWOP" }
  local out = {}
  for i, m in ipairs(list or {}) do out[i] = short[m] or m end
  return table.concat(out, ",")
end

local function node_roles(o)
  local out = {}
  for k in pairs(o.metadata.labels or {}) do out[#out + 1] = k:match "^node%-role%.kubernetes%.io/(.+)$" end
  table.sort(out)
  return #out > 0 and table.concat(out, ",") or "<none>"
end

local function node_status(o)
  for _, c in ipairs(get(o, "status", "conditions") or {}) do
    if c.type == "Ready" then
      local text = c.status == "True" and "Ready" or "NotReady"
      return get(o, "spec", "unschedulable") and text .. ",SchedulingDisabled" or text
    end
  end
  return "Unknown"
end

local function node_address(kind)
  return function(o)
    for _, a in ipairs(get(o, "status", "addresses") or {}) do
      if a.type == kind then return a.address end
    end
    return "<none>"
  end
end

local function job_status(o)
  for _, c in ipairs(get(o, "status", "conditions") or {}) do
    if c.status == "True" and (c.type == "Complete" or c.type == "Failed") then return c.type end
  end
  return get(o, "spec", "suspend") and "Suspended" or "Running"
end

local function job_duration(o)
  local start, ended = get(o, "status", "startTime"), get(o, "status", "completionTime")
  if not start then return "" end
  return age(start, ended and time.parse_rfc3339(ended) or nil)
end

local function role_ref(o)
  return ("%s/%s"):format(get(o, "roleRef", "kind") or "", get(o, "roleRef", "name") or "")
end

local function hpa_targets(o)
  local out = {}
  for _, m in ipairs(get(o, "spec", "metrics") or {}) do
    local goal, current = get(m, "resource", "target", "averageUtilization"), nil
    for _, c in ipairs(get(o, "status", "currentMetrics") or {}) do
      current = current or get(c, "resource", "current", "averageUtilization")
    end
    out[#out + 1] = ("%s: %s/%s"):format(get(m, "resource", "name") or m.type, current and current .. "%"
      or "<unknown>",
      goal and goal .. "%" or "<auto>")
  end
  return table.concat(out, ", ")
end

local COLUMNS = {
  ["/configmaps"] = { { "Data", function(o) return size(o.data) + size(o.binaryData) end, type = "integer" }, AGE },
  ["/secrets"] = { at("Type", "Opaque", "type"), { "Data", function(o) return size(o.data) end, type = "integer" },
    AGE },
  ["/namespaces"] = { at("Status", "Active", "status", "phase"), AGE },
  ["/nodes"] = {
    { "Status", node_status }, { "Roles", node_roles }, AGE, at("Version", "", "status", "nodeInfo", "kubeletVersion"),
    wide { "Internal-IP", node_address "InternalIP" }, wide { "External-IP", node_address "ExternalIP" },
    wide(at("OS-Image", "<unknown>", "status", "nodeInfo", "osImage")),
    wide(at("Kernel-Version", "<unknown>", "status", "nodeInfo", "kernelVersion")),
    wide(at("Container-Runtime", "<unknown>", "status", "nodeInfo", "containerRuntimeVersion")),
  },
  ["/pods"] = {
    { "Ready", pods.ready }, { "Status", pods.status }, { "Restarts", pods.restarts }, AGE,
    wide(at("IP", "<none>", "status", "podIP")), wide(at("Node", "<none>", "spec", "nodeName")),
    wide(at("Nominated Node", "<none>", "status", "nominatedNodeName")), wide { "Readiness Gates",
      function() return "<none>" end },
  },
  ["/services"] = {
    at("Type", "ClusterIP", "spec", "type"), at("Cluster-IP", "<none>", "spec", "clusterIP"),
      { "External-IP", service_external },
    { "Port(s)", service_ports }, AGE,
    wide { "Selector", function(o)
      local text = selectors.to_text { matchLabels = get(o, "spec", "selector") }
      return text ~= "" and text or "<none>"
    end },
  },
  ["/endpoints"] = { { "Endpoints", ready_addresses }, AGE },
  ["/events"] = {
    { "Last Seen", last_seen }, at("Type", "", "type"), at("Reason", "", "reason"),
    { "Object", function(o)
      local ref = o.involvedObject or o.regarding or {}
      return ("%s/%s"):format((ref.kind or ""):lower(), ref.name or "")
    end },
    { "Message", function(o) return o.message or o.note or "" end },
    wide { "Source", function(o) return get(o, "source", "component") or o.reportingComponent or "" end },
    wide { "Count", function(o) return tostring(o.count or 1) end },
  },
  ["/serviceaccounts"] = { { "Secrets", function(o) return #(o.secrets or {}) end, type = "integer" }, AGE },
  ["/persistentvolumeclaims"] = {
    at("Status", "Pending", "status", "phase"), at("Volume", "", "spec", "volumeName"),
      at("Capacity", "", "status", "capacity", "storage"),
    { "Access Modes", function(o) return modes(get(o, "status", "accessModes")) end },
    at("StorageClass", "", "spec", "storageClassName"), at("VolumeAttributesClass", "<unset>", "spec",
      "volumeAttributesClassName"), AGE,
    wide(at("VolumeMode", "Filesystem", "spec", "volumeMode")),
  },
  ["/persistentvolumes"] = {
    at("Capacity", "", "spec", "capacity", "storage"), { "Access Modes", function(o) return modes(get(o, "spec",
      "accessModes")) end },
    at("Reclaim Policy", "", "spec", "persistentVolumeReclaimPolicy"), at("Status", "", "status", "phase"),
    { "Claim", function(o)
      local ref = get(o, "spec", "claimRef")
      return ref and ref.namespace .. "/" .. ref.name or ""
    end },
    at("StorageClass", "", "spec", "storageClassName"), at("VolumeAttributesClass", "<unset>", "spec",
      "volumeAttributesClassName"),
    at("Reason", "", "status", "reason"), AGE,
  },
  ["apps/deployments"] = {
    { "Ready", function(o) return ratio(o, "readyReplicas") end }, at("Up-to-date", 0, "status", "updatedReplicas"),
    at("Available", 0, "status", "availableReplicas"), AGE, CONTAINERS, IMAGES, SELECTOR,
  },
  ["apps/replicasets"] = {
    at("Desired", 0, "spec", "replicas"), at("Current", 0, "status", "replicas"),
      at("Ready", 0, "status", "readyReplicas"), AGE,
    CONTAINERS, IMAGES, SELECTOR,
  },
  ["apps/statefulsets"] = { { "Ready", function(o) return ratio(o, "readyReplicas") end }, AGE, CONTAINERS, IMAGES },
  ["apps/daemonsets"] = {
    at("Desired", 0, "status", "desiredNumberScheduled"), at("Current", 0, "status", "currentNumberScheduled"),
    at("Ready", 0, "status", "numberReady"), at("Up-to-date", 0, "status", "updatedNumberScheduled"),
    at("Available", 0, "status", "numberAvailable"),
    { "Node Selector", function(o)
      local text = selectors.to_text { matchLabels = get(o, "spec", "template", "spec", "nodeSelector") }
      return text ~= "" and text or "<none>"
    end }, AGE, CONTAINERS, IMAGES, SELECTOR,
  },
  ["apps/controllerrevisions"] = {
    { "Controller", function(o)
      local owner = get(o, "metadata", "ownerReferences", 1)
      return owner and ("%s.apps/%s"):format(owner.kind:lower(), owner.name) or "<none>"
    end }, at("Revision", 0, "revision"), AGE,
  },
  ["batch/jobs"] = {
    { "Status", job_status },
    { "Completions", function(o) return ("%d/%d"):format(get(o, "status", "succeeded") or 0,
      get(o, "spec", "completions") or 1) end },
    { "Duration", job_duration }, AGE, CONTAINERS, IMAGES, SELECTOR,
  },
  ["batch/cronjobs"] = {
    at("Schedule", "", "spec", "schedule"), at("Timezone", "<none>", "spec", "timeZone"),
    { "Suspend", function(o) return get(o, "spec", "suspend") and "True" or "False" end },
    { "Active", function(o) return #(get(o, "status", "active") or {}) end, type = "integer" },
    { "Last Schedule", function(o)
      local last = get(o, "status", "lastScheduleTime")
      return last and age(last) or "<none>"
    end }, AGE,
  },
  ["autoscaling/horizontalpodautoscalers"] = {
    { "Reference", function(o)
      return ("%s/%s"):format(get(o, "spec", "scaleTargetRef", "kind") or "", get(o, "spec", "scaleTargetRef", "name")
        or "")
    end }, { "Targets", hpa_targets }, { "MinPods", function(o) return tostring(get(o, "spec", "minReplicas")
      or 1) end },
    at("MaxPods", 0, "spec", "maxReplicas"), at("Replicas", 0, "status", "currentReplicas"), AGE,
  },
  ["networking.k8s.io/ingresses"] = {
    at("Class", "<none>", "spec", "ingressClassName"), { "Hosts", ingress_hosts },
    { "Address", function(o) return external_address(o) or "" end },
    { "Ports", function(o) return get(o, "spec", "tls") and "80, 443" or "80" end }, AGE,
  },
  ["networking.k8s.io/ingressclasses"] = { at("Controller", "", "spec", "controller"),
    at("Parameters", "<none>", "spec", "parameters", "name"), AGE },
  ["networking.k8s.io/networkpolicies"] = {
    { "Pod-Selector", function(o)
      local text = selectors.to_text(get(o, "spec", "podSelector"))
      return text ~= "" and text or "<none>"
    end }, AGE,
  },
  ["policy/poddisruptionbudgets"] = {
    { "Min Available", function(o) return tostring(get(o, "spec", "minAvailable") or "N/A") end },
    { "Max Unavailable", function(o) return tostring(get(o, "spec", "maxUnavailable") or "N/A") end },
    at("Allowed Disruptions", 0, "status", "disruptionsAllowed"), AGE,
  },
  ["rbac.authorization.k8s.io/roles"] = { { "Created At", function(o) return o.metadata.creationTimestamp end } },
  ["rbac.authorization.k8s.io/clusterroles"] = { { "Created At",
    function(o) return o.metadata.creationTimestamp end } },
  ["rbac.authorization.k8s.io/rolebindings"] = { { "Role", role_ref }, AGE },
  ["rbac.authorization.k8s.io/clusterrolebindings"] = { { "Role", role_ref }, AGE },
  ["storage.k8s.io/storageclasses"] = {
    at("Provisioner", "", "provisioner"), at("ReclaimPolicy", "", "reclaimPolicy"),
      at("VolumeBindingMode", "", "volumeBindingMode"),
    { "AllowVolumeExpansion", function(o) return tostring(o.allowVolumeExpansion or false) end }, AGE,
  },
  ["coordination.k8s.io/leases"] = { at("Holder", "", "spec", "holderIdentity"), AGE },
  ["discovery.k8s.io/endpointslices"] = {
    at("AddressType", "", "addressType"),
    { "Ports", function(o)
      local out = {}
      for i, p in ipairs(o.ports or {}) do out[i] = tostring(p.port) end
      return #out > 0 and table.concat(out, ",") or "<unset>"
    end },
    { "Endpoints", function(o)
      local out = {}
      for _, e in ipairs(o.endpoints or {}) do
        for _, a in ipairs(e.addresses or {}) do out[#out + 1] = a end
      end
      return #out > 0 and table.concat(out, ",") or "<unset>"
    end }, AGE,
  },
  ["apiextensions.k8s.io/customresourcedefinitions"] = { { "Created At",
    function(o) return o.metadata.creationTimestamp end } },
  ["scheduling.k8s.io/priorityclasses"] = {
    at("Value", 0, "value"), { "Global-Default", function(o) return tostring(o.globalDefault or false) end }, AGE,
    at("PreemptionPolicy", "", "preemptionPolicy"),
  },
}

--- The columns of a built-in resource after its name: { title, function(object), type=, wide= }; nil when only the
--- age is
--- shown.
---@param id string  "group/plural"
---@return table[]?
function M.of(id)
  return COLUMNS[id]
end

return M
