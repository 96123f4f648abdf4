--- What the API decides itself when an object is written: addresses, ports, fields that an update may leave out, and
--- the
--- first status of a kind.
local errors = require "sandbox.kubernetes.errors"
local values = require "sandbox.kubernetes.values"

local M = {}

local function used(api, field)
  local set = {}
  for _, s in ipairs(api.store:list "/services") do
    local v = values.get(s, "spec", field)
    if v then set[v] = true end
    for _, p in ipairs(values.get(s, "spec", "ports") or {}) do
      if p.nodePort then set[p.nodePort] = true end
    end
  end
  return set
end

local function free_address(api)
  local taken = used(api, "clusterIP")
  for n = 10, 65000 do
    local address = ("%s.%d.%d"):format(api.service_network, n // 250, n % 250 + 2)
    if not taken[address] then return address end
  end
  errors.raise("InternalError", "failed to allocate a serviceIP: range is full")
end

local function service(api, new, old)
  local spec = new.spec
  if spec.type == "ExternalName" then
    spec.clusterIP, spec.clusterIPs = nil, nil
    return
  end
  local before = old and old.spec or {}
  if not spec.clusterIP or spec.clusterIP == "" then spec.clusterIP = before.clusterIP or free_address(api) end
  spec.clusterIPs = values.array { spec.clusterIP }
  local dual = spec.clusterIP == "None" and values.is_empty(spec.selector)
  spec.ipFamilies = spec.ipFamilies or before.ipFamilies or values.array { "IPv4", dual and "IPv6" or nil }
  spec.ipFamilyPolicy = spec.ipFamilyPolicy or before.ipFamilyPolicy or (dual and "RequireDualStack" or "SingleStack")
  local taken
  for _, port in ipairs(spec.ports or {}) do
    if spec.type == "ClusterIP" then
      port.nodePort = nil
    elseif not port.nodePort or port.nodePort == 0 then
      port.nodePort = nil
      for _, p in ipairs(before.ports or {}) do
        if p.port == port.port and (p.protocol or "TCP") == (port.protocol or "TCP") then port.nodePort = p.nodePort end
      end
      if not port.nodePort then
        taken = taken or used(api, "nodePort")
        for n = 30000, 32767 do
          if not taken[n] then
            port.nodePort = n
            taken[n] = true
            break
          end
        end
      end
    end
  end
  new.status = new.status or values.object { loadBalancer = values.object() }
end

local CARRIED = {
  ["/pods"] = { "nodeName", "serviceAccountName", "serviceAccount", "hostname" },
  ["/persistentvolumeclaims"] = { "volumeName", "storageClassName", "volumeMode" },
  ["batch/jobs"] = { "selector" },
}

--- Takes over from the old object what an update left out because the server had set it.
local function carry(resource, new, old)
  for _, field in ipairs(CARRIED[resource.id] or {}) do
    if new.spec and new.spec[field] == nil then new.spec[field] = values.copy(values.get(old, "spec", field)) end
  end
  if resource.id == "batch/jobs" and not values.get(new, "spec", "manualSelector") then
    local labels = values.get(old, "spec", "template", "metadata", "labels") or {}
    for k, v in pairs(labels) do
      if k:find "controller%-uid$" or k:find "job%-name$" then
        local own = values.sub(new, "spec", "template", "metadata", "labels")
        if own[k] == nil then own[k] = v end
      end
    end
  elseif resource.id == "/namespaces" then
    values.sub(new, "spec").finalizers = values.copy(values.get(old, "spec", "finalizers"))
  elseif resource.id == "/secrets" and new.type == nil then
    new.type = old.type
  end
end

local FIRST_STATUS = {
  ["/pods"] = function() return { phase = "Pending", qosClass = "BestEffort" } end,
  ["/namespaces"] = function() return { phase = "Active" } end,
  ["/persistentvolumeclaims"] = function() return { phase = "Pending" } end,
  ["/persistentvolumes"] = function() return { phase = "Pending" } end,
  ["/services"] = function() return { loadBalancer = values.object() } end,
  ["networking.k8s.io/ingresses"] = function() return { loadBalancer = values.object() } end,
  ["apps/deployments"] = function() return values.object() end,
  ["apps/replicasets"] = function() return { replicas = 0 } end,
  ["apps/statefulsets"] = function() return { replicas = 0, availableReplicas = 0 } end,
  ["apps/daemonsets"] = function()
    return { currentNumberScheduled = 0, desiredNumberScheduled = 0, numberMisscheduled = 0, numberReady = 0 }
  end,
  ["autoscaling/horizontalpodautoscalers"] = function() return { desiredReplicas = 0 } end,
  ["policy/poddisruptionbudgets"] = function()
    return { currentHealthy = 0, desiredHealthy = 0, disruptionsAllowed = 0, expectedPods = 0 }
  end,
  ["batch/jobs"] = function() return values.object() end,
  ["batch/cronjobs"] = function() return values.object() end,
}

local function condition(kind, reason, message, now)
  return { type = kind, status = "True", reason = reason, message = message, lastTransitionTime = now }
end

--- A definition is established as soon as it is stored: discovery serves its kinds from the same moment.
local function established(new, now)
  local status = new.status or values.object()
  local stored, seen = values.copy(status.storedVersions) or values.array(), {}
  for _, v in ipairs(stored) do seen[v] = true end
  for _, v in ipairs(new.spec.versions or {}) do
    if v.storage and not seen[v.name] then stored[#stored + 1] = v.name end
  end
  new.status = values.object {
    acceptedNames = values.copy(new.spec.names), storedVersions = stored,
    conditions = status.conditions or values.array {
      condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
      condition("Established", "InitialNamesAccepted", "the initial names have been accepted", now),
    },
  }
end

local TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"

--- The number of a DaemonSet's template, which older clients look at.
local function template_generation(new, old)
  local annotations = values.sub(new, "metadata", "annotations")
  local before = old and tonumber(values.get(old, "metadata", "annotations", TEMPLATE_GENERATION) or "1") or 0
  local changed = not old or not values.equal(values.get(old, "spec", "template"), values.get(new, "spec", "template"))
  annotations[TEMPLATE_GENERATION] = ("%d"):format(before + (changed and 1 or 0))
end

--- A Pod needs its ServiceAccount. The default one comes with the namespace, a moment later.
local function check_account(api, resource, pod)
  local name = values.get(pod, "spec", "serviceAccountName")
  if not name or name == "default" or api.store:get("/serviceaccounts", pod.metadata.namespace, name) then return end
  errors.forbidden(resource, pod.metadata.name or "",
    ('error looking up service account %s/%s: serviceaccount "%s" not found')
    :format(pod.metadata.namespace, name, name))
end

--- Completes an object that is to be written, in place.
---@param api kubernetes.Api
---@param resource kubernetes.Resource
---@param new table
---@param old? table
function M.admit(api, resource, new, old)
  if old then
    carry(resource, new, old)
  elseif FIRST_STATUS[resource.id] then
    new.status = values.object(FIRST_STATUS[resource.id]())
  end
  if resource.id == "/pods" and not old then check_account(api, resource, new) end
  if resource.id == "apiextensions.k8s.io/customresourcedefinitions" and type(values.get(new, "spec",
    "names")) == "table" then
    established(new, api:now())
  elseif resource.id == "apps/daemonsets" then
    template_generation(new, old)
  end
end

--- Gives an object what the server allocates; nobody owns these fields unless he sent them.
---@param api kubernetes.Api
---@param resource kubernetes.Resource
---@param new table
---@param old? table
function M.allocate(api, resource, new, old)
  if resource.id == "/services" and new.spec then service(api, new, old) end
  if resource.id == "/namespaces" and not old then
    local spec = values.sub(new, "spec")
    spec.finalizers = spec.finalizers or values.array { "kubernetes" }
  end
end

return M
