--- Namespaces: what a new one contains, and emptying one that is to go.
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = { ["/namespaces"] = simulate.itself } }

--- A change inside a namespace that is being emptied wakes it.
M.on["*"] = function(sim, change)
  local namespace = change.type == "DELETED" and change.object.metadata.namespace
  local held = namespace and sim:get("/namespaces", nil, namespace)
  if held and held.metadata.deletionTimestamp then return nil, namespace end
end

local function furnish(sim, namespace)
  local name = namespace.metadata.name
  if not sim:get("/serviceaccounts", name, "default") then
    sim:create("/serviceaccounts", name, values.object { metadata = values.object { name = "default" } })
  end
  if not sim:get("/configmaps", name, "kube-root-ca.crt") then
    sim:create("/configmaps", name, values.object { metadata = values.object { name = "kube-root-ca.crt" },
      data = { ["ca.crt"] = sim.api.ca.cert } })
  end
end

local function empty(sim, namespace)
  local name, left = namespace.metadata.name, 0
  for _, id in ipairs(values.keys(sim.store.buckets)) do
    if sim.store.buckets[id].spaces[name] then
      for _, object in ipairs(sim.store:list(id, name)) do
        if not object.metadata.deletionTimestamp or (object.metadata.deletionGracePeriodSeconds or 0) > 1 then
          sim:delete(id, object, { propagationPolicy = "Background", gracePeriodSeconds = 0 })
        end
        if sim:get(id, name, object.metadata.name) then left = left + 1 end
      end
    end
  end
  return left
end

function M.reconcile(sim, _, name)
  local namespace = sim:get("/namespaces", nil, name)
  if not namespace then return nil end
  if not namespace.metadata.deletionTimestamp then return furnish(sim, namespace) end
  if empty(sim, namespace) > 0 then return 1 end
  sim:edit("/namespaces", namespace, function(o)
    local kept = values.array()
    for _, f in ipairs(values.get(o, "spec", "finalizers") or {}) do
      if f ~= "kubernetes" then kept[#kept + 1] = f end
    end
    values.sub(o, "spec").finalizers = #kept > 0 and kept or nil
  end)
end

return M
