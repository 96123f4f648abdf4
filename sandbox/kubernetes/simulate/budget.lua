--- PodDisruptionBudgets: what the Pods they select would allow.
local replicas = require "sandbox.kubernetes.simulate.replicas"
local selectors = require "sandbox.kubernetes.selectors"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local ID = "policy/poddisruptionbudgets"

M.on[ID] = simulate.itself

M.on["/pods"] = function(sim, change)
  local meta = change.object.metadata
  for _, budget in ipairs(sim.store:list(ID, meta.namespace)) do
    if selectors.of_object(values.get(budget, "spec", "selector"))(meta.labels) then
      sim:enqueue(M, meta.namespace, budget.metadata.name, 0)
    end
  end
end

function M.reconcile(sim, namespace, name)
  local budget = sim:get(ID, namespace, name)
  if not budget then return nil end
  local matches, pods = selectors.of_object(values.get(budget, "spec", "selector")), {}
  for _, p in ipairs(sim.store:list("/pods", namespace)) do
    if matches(p.metadata.labels) and not p.metadata.deletionTimestamp then pods[#pods + 1] = p end
  end
  local healthy, expected = replicas.count_ready(pods), #pods
  local wanted
  if budget.spec.minAvailable ~= nil then
    wanted = replicas.scaled(budget.spec.minAvailable, expected, true)
  else
    wanted = math.max(0, expected - replicas.scaled(budget.spec.maxUnavailable, expected, true))
  end
  local allowed = math.max(0, healthy - wanted)
  sim:edit(ID, budget, function(o)
    local status = values.object { conditions = values.get(o, "status", "conditions"),
      observedGeneration = o.metadata.generation,
      currentHealthy = healthy, desiredHealthy = wanted, expectedPods = expected, disruptionsAllowed = allowed }
    simulate.set_condition(status, "DisruptionAllowed", allowed > 0, allowed > 0 and "SufficientPods"
      or "InsufficientPods", "", sim.api:now())
    o.status = status
  end)
end

return M
