--- DaemonSets: one Pod on each node that fits.
local pod = require "sandbox.kubernetes.simulate.pod"
local replicas = require "sandbox.kubernetes.simulate.replicas"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {
  ["apps/daemonsets"] = simulate.itself,
  ["/pods"] = simulate.owner "DaemonSet",
} }

local ID = "apps/daemonsets"
local REVISION = "controller-revision-hash"

local function nodes_for(sim, set)
  local out = {}
  for _, node in ipairs(sim.store:list "/nodes") do
    local fits = true
    for k, v in pairs(values.get(set, "spec", "template", "spec", "nodeSelector") or {}) do
      fits = fits and values.get(node, "metadata", "labels", k) == v
    end
    if fits then out[node.metadata.name] = true end
  end
  return out
end

local function create_pod(sim, set, node, hash)
  local made = replicas.pod(set, set.spec.template, replicas.pod_name(set), { [REVISION] = hash })
  made.spec.nodeName = node
  return replicas.create_pod(sim, set, made, "daemonset-controller")
end

function M.reconcile(sim, namespace, name)
  local set = sim:get(ID, namespace, name)
  if not set or set.metadata.deletionTimestamp then return nil end
  local _, hash = replicas.revision(sim, set)
  local nodes, taken, updating = nodes_for(sim, set), {}, false
  local alive, gone = replicas.pods(sim, set)
  for _, p in ipairs(gone) do
    if p.metadata.deletionTimestamp then taken[p.spec.nodeName] = true else sim:delete("/pods", p) end
  end
  for _, p in ipairs(alive) do
    local node = p.spec.nodeName
    if not nodes[node] or taken[node] then sim:delete("/pods", p) else taken[node] = true end
    updating = updating or (p.metadata.labels[REVISION] == hash and not pod.is_ready(p))
  end
  local old
  for _, p in ipairs(alive) do
    if p.metadata.labels[REVISION] ~= hash and (not old or not pod.is_ready(p)) then old = p end
  end
  if old and #gone == 0 and set.spec.updateStrategy.type == "RollingUpdate"
    and not updating then sim:delete("/pods", old) end
  local refused = false
  for _, node in ipairs(values.keys(nodes)) do
    if not taken[node] and not refused then refused = not create_pod(sim, set, node, hash) end
  end
  alive = replicas.pods(sim, set)
  local wanted, updated = 0, 0
  for _ in pairs(nodes) do wanted = wanted + 1 end
  for _, p in ipairs(alive) do updated = updated + (p.metadata.labels[REVISION] == hash and 1 or 0) end
  local ready = replicas.count_ready(alive)
  sim:edit(ID, set, function(o)
    o.status = values.object {
      observedGeneration = o.metadata.generation, desiredNumberScheduled = wanted, currentNumberScheduled = #alive,
      updatedNumberScheduled = updated, numberReady = ready, numberAvailable = ready > 0 and ready or nil,
        numberMisscheduled = 0,
      numberUnavailable = wanted > ready and wanted - ready or nil,
    }
  end)
  if refused then return replicas.RETRY end
end

return M
