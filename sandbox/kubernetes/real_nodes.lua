--- The nodes of a real control plane that has none: Pods are bound and reported as they are in the simulation, services
--- and ingresses get addresses, claims get volumes. The Pods' life is that of simulate/pod.lua; here its reads and
--- writes become requests.
local bootstrap = require "sandbox.kubernetes.bootstrap"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local http = require "ws.http"
local k8s = require "ws.k8s"
local log = require "ws.log"
local pods = require "sandbox.kubernetes.simulate.pod"
local task = require "ws.task"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

---@class kubernetes.RealNodes
local Nodes = {}
Nodes.__index = Nodes

local MERGE = "application/merge-patch+json"

local function path_of(object, plural, part)
  local meta = object.metadata
  local prefix = object.apiVersion == nil and "/api/v1" or object.apiVersion == "v1" and "/api/v1" or "/apis/"
    .. object.apiVersion
  return ("%s/namespaces/%s/%s/%s%s"):format(prefix, http.url_encode(meta.namespace), plural,
    http.url_encode(meta.name),
    part and "/" .. part or "")
end

--- Sends a request; what has gone meanwhile is no error.
function Nodes:send(method, path, body, content_type)
  local answer, err = self.client:request { method = method, path = path, body = body,
    content_type = content_type or "application/json" }
  if not answer and err.kind ~= "not_found" and err.kind ~= "conflict" and err.kind ~= "exists" then
    log.debug(("kubernetes: nodes: %s"):format(tostring(err)))
  end
  return answer, err
end

-- What simulate/pod.lua asks of a simulation.

function Nodes:clock() return time.monotonic() end

function Nodes:number(name)
  self.counters[name] = (self.counters[name] or 0) + 1
  return self.counters[name]
end

function Nodes:get(id, namespace, name)
  if id == "/pods" then return self.pods[namespace .. "/" .. name] end
  if id == "/nodes" then
    for _, node in ipairs(self.list) do
      if node.metadata.name == name then return node end
    end
    return nil
  end
  return (self:send("GET", ("/api/v1/namespaces/%s%s/%s"):format(namespace, id, http.url_encode(name))))
end

function Nodes:edit(_, pod, change)
  local new = values.copy(pod)
  change(new)
  local key = pod.metadata.namespace .. "/" .. pod.metadata.name
  if new.metadata.deletionTimestamp and new.metadata.deletionGracePeriodSeconds == 0 then
    self:send("DELETE", path_of(pod, "pods"), { kind = "DeleteOptions", apiVersion = "v1", gracePeriodSeconds = 0,
      preconditions = { uid = pod.metadata.uid } })
    return pod
  end
  if new.spec.nodeName and not pod.spec.nodeName then
    self:send("POST", path_of(pod, "pods", "binding"), { apiVersion = "v1", kind = "Binding",
      metadata = { name = pod.metadata.name }, target = { apiVersion = "v1", kind = "Node",
        name = new.spec.nodeName } })
  end
  local stored = self:send("PATCH", path_of(pod, "pods", "status"), { status = new.status }, MERGE)
  if stored and self.pods[key] then self.pods[key] = values.copy(stored) end
  return stored or pod
end

--- The same event again raises the count of the first.
function Nodes:event(object, kind, reason, message, component)
  local meta, now = object.metadata, time.rfc3339(math.floor(time.now()))
  local path = ("/api/v1/namespaces/%s/events"):format(meta.namespace)
  local key = table.concat({ meta.uid, reason, message, component }, "\0")
  local known = self.events[key]
  if known and self:send("PATCH", ("%s/%s"):format(path, http.url_encode(known.name)),
    { count = known.count + 1, lastTimestamp = now }, MERGE) then
    known.count = known.count + 1
    return
  end
  local name = ("%s.%s"):format(meta.name, crypto.random_hex(8))
  self.events[key] = { name = name, count = 1 }
  self:send("POST", path, { apiVersion = "v1", kind = "Event",
    metadata = { name = name, namespace = meta.namespace },
    involvedObject = { apiVersion = object.apiVersion or "v1", kind = object.kind or "Pod", name = meta.name,
      namespace = meta.namespace, uid = meta.uid }, type = kind, reason = reason, message = message, count = 1,
    firstTimestamp = now, lastTimestamp = now, source = { component = component } })
end

--- One task for each Pod: it looks again when the Pod changes or when the last look said so.
function Nodes:follow_pod(key)
  if self.workers[key] then
    self.workers[key]:push(true)
    return
  end
  local wake = task.queue()
  self.workers[key] = wake
  local namespace, name = key:match "^(.-)/(.+)$"
  self:spawn(function()
    local _ <close> = setmetatable({}, { __close = function() self.workers[key] = nil end })
    while self.pods[key] and not self.stopped do
      local again = pods.reconcile(self, namespace, name)
      local pod = self.pods[key]
      local phase = pod and values.get(pod, "status", "phase")
      if not again and (phase == "Succeeded" or phase == "Failed") then again = 60 end
      wake:pop(again or 60)
    end
  end)
end

function Nodes:on_pod(kind, pod)
  local key = pod.metadata.namespace .. "/" .. pod.metadata.name
  if kind == "DELETED" then self.pods[key] = nil else self.pods[key] = values.copy(pod) end
  self:follow_pod(key)
end

function Nodes:address()
  return "203.0.113." .. (self:number "address" - 1) % 254 + 1
end

--- Gives an address to a Service of type LoadBalancer or an Ingress that has none.
function Nodes:on_balanced(plural)
  return function(kind, object)
    if kind == "DELETED" or not values.is_empty(values.get(object, "status", "loadBalancer", "ingress")) then return end
    if plural == "services" and values.get(object, "spec", "type") ~= "LoadBalancer" then return end
    task.sleep(self.pace)
    self:send("PATCH", path_of(object, plural, "status"),
      { status = { loadBalancer = { ingress = { { ip = self:address() } } } } }, MERGE)
  end
end

--- Makes a volume for a claim that has none; the volume controller binds them.
function Nodes:on_claim(kind, claim)
  local spec = claim.spec
  if kind == "DELETED" or values.get(claim, "status", "phase") ~= "Pending" or spec.volumeName then return end
  local name = "pvc-" .. claim.metadata.uid
  self:send("POST", "/api/v1/persistentvolumes", { apiVersion = "v1", kind = "PersistentVolume",
    metadata = { name = name },
    spec = { capacity = { storage = spec.resources.requests.storage }, accessModes = spec.accessModes,
      persistentVolumeReclaimPolicy = "Retain", storageClassName = spec.storageClassName, volumeMode = spec.volumeMode,
      claimRef = { apiVersion = "v1", kind = "PersistentVolumeClaim", namespace = claim.metadata.namespace,
        name = claim.metadata.name, uid = claim.metadata.uid },
      csi = { driver = "pd.csi.storage.gke.io", volumeHandle = name } } })
end

function Nodes:spawn(fn)
  local t
  t = task.spawn(function()
    local ok, err = pcall(fn)
    self.tasks[t] = nil
    if not ok and not (errors.is(err) and err.kind == "cancelled") then
      log.warn("kubernetes: nodes: " .. tostring(err))
    end
  end)
  self.tasks[t] = true
end

function Nodes:watch(api_version, kind, on_event)
  self:spawn(function()
    while not self.stopped do
      local _, err = self.client:watch({ api_version = api_version, kind = kind }, function(event, object)
        on_event(event, object)
        return self.stopped
      end)
      if self.stopped then return end
      if err then task.sleep(1) end
    end
  end)
end

function Nodes:register()
  for i = 1, self.node_count do
    local node = bootstrap.node(self, i)
    node.apiVersion, node.kind = "v1", "Node"
    self.list[i] = node
    self:send("POST", "/api/v1/nodes", node)
  end
  for _, entry in ipairs(bootstrap.storage_classes()) do
    entry.object.apiVersion, entry.object.kind = "storage.k8s.io/v1", "StorageClass"
    entry.object.volumeBindingMode = "Immediate"
    self:send("POST", "/apis/storage.k8s.io/v1/storageclasses", entry.object)
  end
end

--- Registers the nodes and begins to run Pods.
---@async
---@param opts { endpoint: string, ca: string, token: string, name: string, region: string, node_count: integer,
---  pace: number, pod_network: string, images?: function }
---@return kubernetes.RealNodes
function M.start(opts)
  local self = setmetatable({ pace = opts.pace, node_count = opts.node_count, name = opts.name, region = opts.region,
    pod_network = opts.pod_network, version = "v1.34.2", pods = {}, workers = {}, tasks = {}, counters = {}, list = {},
    pod_states = {}, events = {} }, Nodes)
  self.client = assert(k8s.client { server = opts.endpoint, ca_data = opts.ca, token = opts.token })
  self.api = { now = function(_, offset) return time.rfc3339(math.floor(time.now() + (offset or 0))) end,
    pod_network = opts.pod_network, images = opts.images }
  self.store = { list = function() return self.list end }
  self:register()
  self:watch("v1", "Pod", function(...) self:on_pod(...) end)
  self:watch("v1", "Service", self:on_balanced "services")
  self:watch("networking.k8s.io/v1", "Ingress", self:on_balanced "ingresses")
  self:watch("v1", "PersistentVolumeClaim", function(...) self:on_claim(...) end)
  return self
end

--- The time as objects write it, for the nodes' own objects.
function Nodes:now() return time.rfc3339(math.floor(time.now())) end

--- Stops reporting; Pods stay as they were reported last.
---@async
function Nodes:stop()
  self.stopped = true
  local running = {}
  for t in pairs(self.tasks) do running[#running + 1] = t end
  for _, t in ipairs(running) do t:cancel() end
  for _, t in ipairs(running) do t:join(10) end
end

return M
