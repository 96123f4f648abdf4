--- Services: the endpoints behind them, and the address of a load balancer.
local pod = require "sandbox.kubernetes.simulate.pod"
local selectors = require "sandbox.kubernetes.selectors"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = { ["/services"] = simulate.itself } }

--- A Pod wakes the Services that select it.
M.on["/pods"] = function(sim, change)
  local namespace = change.object.metadata.namespace
  for _, service in ipairs(sim.store:list("/services", namespace)) do
    local selector = values.get(service, "spec", "selector")
    if selector and selectors.matches(selector, change.object.metadata.labels) then
      sim:enqueue(M, namespace, service.metadata.name, 0)
    end
  end
end

local function pod_port(p, port)
  local target = port.targetPort or port.port
  if type(target) == "number" then return target end
  for _, c in ipairs(p.spec.containers) do
    for _, cp in ipairs(c.ports or {}) do
      if cp.name == target then return cp.containerPort end
    end
  end
end

local function backends(sim, service)
  local ready, waiting = {}, {}
  for _, p in ipairs(sim.store:list("/pods", service.metadata.namespace)) do
    if values.get(p, "status", "podIP") and selectors.matches(service.spec.selector, p.metadata.labels)
      and p.status.phase == "Running" and not p.metadata.deletionTimestamp then
      local list = pod.is_ready(p) and ready or waiting
      list[#list + 1] = p
    end
  end
  return ready, waiting
end

local function address(p)
  return values.object { ip = p.status.podIP, nodeName = p.spec.nodeName, targetRef = { kind = "Pod",
    name = p.metadata.name,
    namespace = p.metadata.namespace, uid = p.metadata.uid } }
end

local function addresses(pods)
  local out = values.array()
  for i, p in ipairs(pods) do out[i] = address(p) end
  return #out > 0 and out or nil
end

local function ports_of(service, pods)
  local out = values.array()
  for _, port in ipairs(service.spec.ports or {}) do
    local number = pods[1] and pod_port(pods[1], port)
    if number then
      out[#out + 1] = values.object { name = port.name, port = number, protocol = port.protocol,
        appProtocol = port.appProtocol }
    end
  end
  return out
end

local function write_endpoints(sim, service, ready, waiting)
  local subsets
  local ports = ports_of(service, #ready > 0 and ready or waiting)
  if #ready + #waiting > 0 then
    subsets = values.array { values.object { addresses = addresses(ready), notReadyAddresses = addresses(waiting),
      ports = ports } }
  end
  local meta = service.metadata
  local old = sim:get("/endpoints", meta.namespace, meta.name)
  if old then
    sim:edit("/endpoints", old, function(o) o.subsets = subsets end)
  else
    sim:create("/endpoints", meta.namespace, values.object {
      metadata = values.object { name = meta.name, labels = values.copy(meta.labels) }, subsets = subsets })
  end
end

local function write_slice(sim, service, ready, waiting)
  local endpoints = values.array()
  for _, group in ipairs { { ready, true }, { waiting, false } } do
    for _, p in ipairs(group[1]) do
      local a = address(p)
      endpoints[#endpoints + 1] = values.object { addresses = values.array { a.ip }, nodeName = a.nodeName,
        targetRef = a.targetRef,
        conditions = { ready = group[2], serving = group[2], terminating = false } }
    end
  end
  local ports = ports_of(service, #ready > 0 and ready or waiting)
  for _, p in ipairs(ports) do p.name = p.name or "" end
  local id, meta = "discovery.k8s.io/endpointslices", service.metadata
  local old = sim:owned(service, id)[1]
  if old then
    sim:edit(id, old, function(o) o.endpoints, o.ports = endpoints, ports end)
    return
  end
  local labels = values.copy(meta.labels) or values.object()
  labels["kubernetes.io/service-name"] = meta.name
  labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
  sim:create(id, meta.namespace, values.object {
    metadata = values.object { generateName = meta.name .. "-", labels = labels,
      ownerReferences = simulate.owned_by(service) },
    addressType = "IPv4", endpoints = endpoints, ports = ports,
  })
end

function M.reconcile(sim, namespace, name)
  local service = sim:get("/services", namespace, name)
  if not service then
    local left = sim:get("/endpoints", namespace, name)
    if left then sim:delete("/endpoints", left) end
    return nil
  end
  if service.metadata.deletionTimestamp or service.spec.type == "ExternalName" then return nil end
  if service.spec.selector then
    local ready, waiting = backends(sim, service)
    write_endpoints(sim, service, ready, waiting)
    write_slice(sim, service, ready, waiting)
  end
  if service.spec.type == "LoadBalancer" and values.is_empty(values.get(service, "status", "loadBalancer",
    "ingress")) then
    sim.balancers = sim.balancers or {}
    local since = sim.balancers[service.metadata.uid]
    if not since then
      sim.balancers[service.metadata.uid] = sim:clock()
      sim:event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer", "service-controller")
      return sim.pace
    elseif sim:clock() - since < sim.pace - 0.0005 then
      return sim.pace - (sim:clock() - since)
    end
    sim:event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer", "service-controller")
    sim:edit("/services", service, function(o)
      o.status = { loadBalancer = { ingress = values.array { { ip = o.spec.loadBalancerIP
        or sim.api:external_address(), ipMode = "VIP" } } } }
    end)
  elseif service.spec.type ~= "LoadBalancer" and values.get(service, "status", "loadBalancer", "ingress") then
    sim:edit("/services", service, function(o) o.status = { loadBalancer = values.object() } end)
  end
end

return M
