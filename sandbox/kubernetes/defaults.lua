--- What the API fills in when a request leaves it out. Runs after every write, so that what a server-side apply took
--- away comes back as a default. Names are "group/plural".
local values = require "sandbox.kubernetes.values"

local M = {}

--- Sets members that are absent.
local function fill(t, members)
  for k, v in pairs(members) do
    if t[k] == nil then t[k] = type(v) == "table" and values.copy(v) or v end
  end
end

local function each(list, fn)
  for _, item in ipairs(list or {}) do
    if type(item) == "table" then fn(item) end
  end
end

local function probe(p)
  if not p then return end
  fill(p, { timeoutSeconds = 1, periodSeconds = 10, successThreshold = 1, failureThreshold = 3 })
  if p.httpGet then fill(p.httpGet, { path = "/", scheme = "HTTP" }) end
  if p.grpc then fill(p.grpc, { service = "" }) end
end

local function pull_policy(image)
  if type(image) ~= "string" then return "IfNotPresent" end
  local tag = image:match ":([^/:@]+)$"
  if image:find("@", 1, true) or (tag and tag ~= "latest") then return "IfNotPresent" end
  return "Always"
end

local function container(c)
  fill(c, {
    imagePullPolicy = pull_policy(c.image), resources = values.object(),
    terminationMessagePath = "/dev/termination-log", terminationMessagePolicy = "File",
  })
  each(c.ports, function(p) fill(p, { protocol = "TCP" }) end)
  probe(c.livenessProbe)
  probe(c.readinessProbe)
  probe(c.startupProbe)
  for _, hook in ipairs { "postStart", "preStop" } do
    local http = values.get(c, "lifecycle", hook, "httpGet")
    if http then fill(http, { path = "/", scheme = "HTTP" }) end
  end
  each(c.env, function(e)
    local ref = values.get(e, "valueFrom", "fieldRef")
    if ref then fill(ref, { apiVersion = "v1" }) end
  end)
end

local VOLUME_MODES = { "secret", "configMap", "downwardAPI", "projected" }

local function volume(v)
  for _, source in ipairs(VOLUME_MODES) do
    if v[source] then fill(v[source], { defaultMode = 420 }) end
  end
  each(values.get(v, "projected", "sources"), function(s)
    if s.serviceAccountToken then fill(s.serviceAccountToken, { expirationSeconds = 3600 }) end
  end)
  if v.hostPath then fill(v.hostPath, { type = "" }) end
  if not next(v, next(v)) and v.name then v.emptyDir = values.object() end
end

--- The defaults of a Pod's spec.
---@param spec table
function M.pod_spec(spec)
  fill(spec, {
    restartPolicy = "Always", dnsPolicy = "ClusterFirst", schedulerName = "default-scheduler",
    terminationGracePeriodSeconds = 30, securityContext = values.object(),
  })
  each(spec.containers, container)
  each(spec.initContainers, container)
  each(spec.volumes, volume)
  if spec.serviceAccountName and not spec.serviceAccount then spec.serviceAccount = spec.serviceAccountName end
  if spec.serviceAccount and not spec.serviceAccountName then spec.serviceAccountName = spec.serviceAccount end
end

local function template(spec)
  if type(spec.template) ~= "table" then return end
  values.sub(spec, "template", "metadata")
  M.pod_spec(values.sub(spec, "template", "spec"))
end

local function claim(pvc)
  local spec = values.sub(pvc, "spec")
  fill(spec, { volumeMode = "Filesystem" })
end

local KIND = {}

KIND["/pods"] = function(o)
  local spec = values.sub(o, "spec")
  M.pod_spec(spec)
  for _, list in ipairs { spec.containers or {}, spec.initContainers or {} } do
    each(list, function(c) -- a limit without a request is also the request
      for name, amount in pairs(values.get(c, "resources", "limits") or {}) do
        fill(values.sub(c.resources, "requests"), { [name] = amount })
      end
    end)
  end
  fill(spec, { enableServiceLinks = true, serviceAccountName = "default", preemptionPolicy = "PreemptLowerPriority",
    priority = 0 })
  fill(spec, { serviceAccount = spec.serviceAccountName })
end

KIND["/podtemplates"] = function(o) template(o) end

KIND["/replicationcontrollers"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { replicas = 1 })
  template(spec)
end

KIND["apps/deployments"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { replicas = 1, revisionHistoryLimit = 10, progressDeadlineSeconds = 600, strategy = values.object() })
  fill(spec.strategy, { type = "RollingUpdate" })
  if spec.strategy.type == "RollingUpdate" then
    fill(values.sub(spec.strategy, "rollingUpdate"), { maxUnavailable = "25%", maxSurge = "25%" })
  end
  template(spec)
end

KIND["apps/replicasets"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { replicas = 1 })
  template(spec)
end

KIND["apps/statefulsets"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, {
    replicas = 1, revisionHistoryLimit = 10, podManagementPolicy = "OrderedReady", updateStrategy = values.object(),
    persistentVolumeClaimRetentionPolicy = values.object(), serviceName = "",
  })
  fill(spec.persistentVolumeClaimRetentionPolicy, { whenDeleted = "Retain", whenScaled = "Retain" })
  fill(spec.updateStrategy, { type = "RollingUpdate" })
  if spec.updateStrategy.type == "RollingUpdate" then
    fill(values.sub(spec.updateStrategy, "rollingUpdate"), { partition = 0 })
  end
  each(spec.volumeClaimTemplates, function(c)
    fill(c, { apiVersion = "v1", kind = "PersistentVolumeClaim", status = { phase = "Pending" } })
    claim(c)
  end)
  template(spec)
end

KIND["apps/daemonsets"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { revisionHistoryLimit = 10, updateStrategy = values.object() })
  fill(spec.updateStrategy, { type = "RollingUpdate" })
  if spec.updateStrategy.type == "RollingUpdate" then
    fill(values.sub(spec.updateStrategy, "rollingUpdate"), { maxUnavailable = 1, maxSurge = 0 })
  end
  template(spec)
end

local function job_spec(spec)
  fill(spec, { backoffLimit = 6, completionMode = "NonIndexed", suspend = false, parallelism = 1,
    podReplacementPolicy = "TerminatingOrFailed" })
  if spec.completions == nil and spec.parallelism == 1 then spec.completions = 1 end
  template(spec)
end

KIND["batch/jobs"] = function(o)
  local spec = values.sub(o, "spec")
  job_spec(spec)
  local uid = o.metadata.uid
  if uid and not spec.manualSelector then
    fill(spec, { selector = { matchLabels = { ["batch.kubernetes.io/controller-uid"] = uid } }, manualSelector = nil })
    fill(values.sub(spec, "template", "metadata", "labels"), {
      ["batch.kubernetes.io/controller-uid"] = uid, ["controller-uid"] = uid,
      ["batch.kubernetes.io/job-name"] = o.metadata.name, ["job-name"] = o.metadata.name,
    })
  end
end

KIND["batch/cronjobs"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { concurrencyPolicy = "Allow", suspend = false, successfulJobsHistoryLimit = 3,
    failedJobsHistoryLimit = 1 })
  values.sub(spec, "jobTemplate", "metadata")
  template(values.sub(spec, "jobTemplate", "spec"))
end

KIND["/services"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { type = "ClusterIP", sessionAffinity = "None" })
  if spec.sessionAffinity == "ClientIP" then
    fill(values.sub(spec, "sessionAffinityConfig", "clientIP"), { timeoutSeconds = 10800 })
  end
  each(spec.ports, function(p)
    if p.targetPort == 0 or p.targetPort == "" then p.targetPort = nil end
    fill(p, { protocol = "TCP", targetPort = p.port })
  end)
  if spec.type == "ExternalName" then return end
  fill(spec, { internalTrafficPolicy = "Cluster" })
  if spec.type ~= "ClusterIP" then fill(spec, { externalTrafficPolicy = "Cluster" }) end
  if spec.type == "LoadBalancer" then fill(spec, { allocateLoadBalancerNodePorts = true }) end
end

KIND["/secrets"] = function(o)
  fill(o, { type = "Opaque" })
  if o.stringData then
    local crypto = require "ws.crypto"
    for k, v in pairs(o.stringData) do values.sub(o, "data")[k] = crypto.base64_encode(v) end
    o.stringData = nil
  end
end

KIND["/namespaces"] = function(o)
  values.sub(o, "metadata", "labels")["kubernetes.io/metadata.name"] = o.metadata.name
  fill(values.sub(o, "status"), { phase = "Active" })
end

KIND["/persistentvolumeclaims"] = function(o)
  claim(o)
  fill(o.spec, { storageClassName = "standard-rwo" })
  fill(values.sub(o, "status"), { phase = "Pending" })
end

KIND["/persistentvolumes"] = function(o)
  fill(values.sub(o, "spec"), { persistentVolumeReclaimPolicy = "Retain", volumeMode = "Filesystem" })
  fill(values.sub(o, "status"), { phase = "Pending" })
end

KIND["/endpoints"] = function(o)
  each(o.subsets, function(s)
    each(s.ports, function(p) fill(p, { protocol = "TCP" }) end)
  end)
end

KIND["discovery.k8s.io/endpointslices"] = function(o)
  each(o.ports, function(p) fill(p, { protocol = "TCP", name = "" }) end)
end

KIND["networking.k8s.io/networkpolicies"] = function(o)
  local spec = values.sub(o, "spec")
  if not spec.policyTypes then spec.policyTypes = values.array { "Ingress", spec.egress and "Egress" or nil } end
  for _, direction in ipairs { "ingress", "egress" } do
    each(spec[direction], function(rule)
      each(rule.ports, function(p) fill(p, { protocol = "TCP" }) end)
    end)
  end
end

local RBAC = "rbac.authorization.k8s.io"

local function binding(o)
  if type(o.roleRef) == "table" then fill(o.roleRef, { apiGroup = RBAC }) end
  each(o.subjects, function(s)
    if s.kind == "User" or s.kind == "Group" then fill(s, { apiGroup = RBAC }) end
    if s.kind == "ServiceAccount" and o.metadata.namespace then fill(s, { namespace = o.metadata.namespace }) end
  end)
end
KIND[RBAC .. "/rolebindings"] = binding
KIND[RBAC .. "/clusterrolebindings"] = binding

KIND["autoscaling/horizontalpodautoscalers"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { minReplicas = 1 })
  if values.is_empty(spec.metrics) then
    spec.metrics = values.array { { type = "Resource", resource = { name = "cpu",
      target = { type = "Utilization", averageUtilization = 80 } } } }
  end
end

KIND["storage.k8s.io/storageclasses"] = function(o)
  fill(o, { reclaimPolicy = "Delete", volumeBindingMode = "Immediate" })
end

KIND["scheduling.k8s.io/priorityclasses"] = function(o)
  fill(o, { preemptionPolicy = "PreemptLowerPriority" })
end

local function webhooks(o)
  each(o.webhooks, function(w)
    fill(w, { failurePolicy = "Fail", matchPolicy = "Equivalent", timeoutSeconds = 10,
      namespaceSelector = values.object(), objectSelector = values.object() })
    if values.get(w, "clientConfig", "service") then fill(w.clientConfig.service, { port = 443 }) end
    each(w.rules, function(r) fill(r, { scope = "*" }) end)
  end)
end
KIND["admissionregistration.k8s.io/validatingwebhookconfigurations"] = webhooks
KIND["admissionregistration.k8s.io/mutatingwebhookconfigurations"] = function(o)
  webhooks(o)
  each(o.webhooks, function(w) fill(w, { reinvocationPolicy = "Never" }) end)
end

KIND["apiextensions.k8s.io/customresourcedefinitions"] = function(o)
  local spec = values.sub(o, "spec")
  fill(spec, { conversion = { strategy = "None" } })
  if type(spec.names) == "table" and spec.names.kind then
    fill(spec.names, { singular = spec.names.kind:lower(), listKind = spec.names.kind .. "List" })
  end
end

KIND["apiregistration.k8s.io/apiservices"] = function(o)
  local service = values.get(o, "spec", "service")
  if service then fill(service, { port = 443 }) end
end

--- Fills the defaults of an object in place.
---@param object table
---@param resource kubernetes.Resource
function M.fill(object, resource)
  local fn = KIND[resource.id]
  if fn then fn(object) end
end

return M
