--- ReplicaSets: as many Pods as wanted, ready ones kept longest.
local pod = require "sandbox.kubernetes.simulate.pod"
local replicas = require "sandbox.kubernetes.simulate.replicas"
local simulate = require "sandbox.kubernetes.simulate"

local M = { on = {
  ["apps/replicasets"] = simulate.itself,
  ["/pods"] = simulate.owner "ReplicaSet",
} }

local ID = "apps/replicasets"

function M.reconcile(sim, namespace, name)
  local rs = sim:get(ID, namespace, name)
  if not rs or rs.metadata.deletionTimestamp then return nil end
  local alive, gone = replicas.pods(sim, rs)
  for _, p in ipairs(gone) do
    if not p.metadata.deletionTimestamp then sim:delete("/pods", p) end
  end
  local wanted = rs.spec.replicas
  local refused = false
  for _ = #alive + 1, wanted do
    local made = replicas.create_pod(sim, rs, replicas.pod(rs, rs.spec.template, replicas.pod_name(rs)),
      "replicaset-controller")
    refused = not made
    if refused then break end
  end
  if #alive > wanted then
    table.sort(alive, function(a, b)
      local ready_a, ready_b = pod.is_ready(a), pod.is_ready(b)
      if ready_a ~= ready_b then return not ready_a end
      return tonumber(a.metadata.resourceVersion) > tonumber(b.metadata.resourceVersion)
    end)
    for i = 1, #alive - wanted do
      sim:event(rs, "Normal", "SuccessfulDelete", "Deleted pod: " .. alive[i].metadata.name, "replicaset-controller")
      sim:delete("/pods", alive[i])
    end
  end
  alive = replicas.pods(sim, rs)
  local ready = replicas.count_ready(alive)
  sim:edit(ID, rs, function(o)
    local before = o.status or {}
    o.status = { replicas = #alive, fullyLabeledReplicas = #alive, readyReplicas = ready, availableReplicas = ready,
      observedGeneration = o.metadata.generation }
    if refused then
      o.status.conditions = before.conditions
      simulate.set_condition(o.status, "ReplicaFailure", true, "FailedCreate", "pods are refused, see the events",
        sim.api:now())
    end
  end)
  if refused then return replicas.RETRY end
end

return M
