--- Ingresses get an address after a moment.
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local ID = "networking.k8s.io/ingresses"

M.on[ID] = function(sim, change)
  if change.type == "DELETED" then return nil end
  local namespace, name = simulate.itself(sim, change)
  return namespace, name, sim.pace
end

function M.reconcile(sim, namespace, name)
  local ingress = sim:get(ID, namespace, name)
  if not ingress or not values.is_empty(values.get(ingress, "status", "loadBalancer", "ingress")) then return nil end
  local stored = sim:edit(ID, ingress, function(o)
    o.status = { loadBalancer = { ingress = values.array { { ip = sim.api:external_address() } } } }
  end)
  sim:event(stored, "Normal", "Sync", "Scheduled for sync", "loadbalancer-controller")
end

return M
