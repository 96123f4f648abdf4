--- Where a Pod goes: at once to a node that its selector fits.
local simulate = require "sandbox.kubernetes.simulate"
local status = require "sandbox.kubernetes.simulate.pod_status"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The one node that a DaemonSet's controller wants, by the affinity it writes.
local function named_node(pod)
  local terms = values.get(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms")
  for _, term in ipairs(terms or {}) do
    for _, field in ipairs(term.matchFields or {}) do
      if field.key == "metadata.name" and field.operator == "In" then return field.values[1] end
    end
  end
end

local function node_for(sim, pod)
  local nodes = sim.store:list "/nodes"
  if #nodes == 0 then return nil end
  local wanted = values.get(pod, "spec", "nodeSelector") or {}
  local fit, only = {}, named_node(pod)
  for _, node in ipairs(nodes) do
    local ok = only and only == node.metadata.name or not (only or values.get(node, "spec", "unschedulable"))
    for k, v in pairs(wanted) do ok = ok and values.get(node, "metadata", "labels", k) == v end
    if ok then fit[#fit + 1] = node end
  end
  if #fit == 0 then return nil end
  return fit[sim:number "node" % #fit + 1]
end

local function qos_of(spec)
  local some, all = false, true
  for _, c in ipairs(spec.containers) do
    local limits, requests = values.get(c, "resources", "limits") or {}, values.get(c, "resources", "requests") or {}
    if next(limits) or next(requests) then some = true end
    if not (limits.cpu and limits.memory and requests.cpu == limits.cpu
      and requests.memory == limits.memory) then all = false end
  end
  return not some and "BestEffort" or all and "Guaranteed" or "Burstable"
end

--- Binds a Pod to a node.
---@param sim kubernetes.Simulation
---@param pod table
---@return number seconds  until the next look
function M.bind(sim, pod)
  local bound = values.get(pod, "spec", "nodeName")
  local node = bound and sim:get("/nodes", nil, bound) or node_for(sim, pod)
  if not node then
    sim:edit("/pods", pod, function(p)
      simulate.set_condition(values.sub(p, "status"), "PodScheduled", false, "Unschedulable",
        "0 nodes are available that match the Pod's node selector", sim.api:now())
    end)
    sim:event(pod, "Warning", "FailedScheduling", "0 nodes are available that match the Pod's node selector",
      "default-scheduler")
    return 5
  end
  local name = node.metadata.name
  sim:event(pod, "Normal", "Scheduled", ("Successfully assigned %s/%s to %s"):format(pod.metadata.namespace,
    pod.metadata.name, name), "default-scheduler")
  sim:edit("/pods", pod, function(p)
    p.spec.nodeName = name
    local s = values.sub(p, "status")
    s.phase, s.qosClass = "Pending", qos_of(p.spec)
    s.startTime = sim.api:now()
    for _, a in ipairs(values.get(node, "status", "addresses") or {}) do
      if a.type == "InternalIP" then s.hostIP, s.hostIPs = a.address, values.array { { ip = a.address } } end
    end
    status.begin(p)
    status.settle(sim, p)
  end)
  return sim.pace / 2
end

return M
