--- The garbage collector: objects whose owners are gone go too; owners deleted in the foreground wait for theirs;
--- custom
--- objects go with their definition.
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"

--- Keys are uids: of an owner that went or waits, and of a dependant that names an owner.
M.on["*"] = function(sim, change)
  local meta = change.object.metadata
  if change.type == "DELETED" then
    if change.id == DEFINITIONS then
      for _, object in ipairs(sim.store:list(change.object.spec.group .. "/" .. change.object.spec.names.plural)) do
        sim.store:remove(change.object.spec.group .. "/" .. change.object.spec.names.plural, object)
      end
    end
    for _, owner in ipairs(meta.ownerReferences or {}) do
      local _, held = sim.store:find(owner.uid)
      if held and held.metadata.deletionTimestamp then sim:enqueue(M, nil, owner.uid, 0) end
    end
    if sim.store.dependants[meta.uid] then return nil, meta.uid end
  elseif change.type == "ADDED" and meta.ownerReferences then
    return nil, meta.uid
  elseif meta.deletionTimestamp and meta.finalizers then
    return nil, meta.uid
  end
end

local function has_owner(sim, object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    local _, found = sim.store:find(owner.uid)
    if found then return true end
  end
  return false
end

local function finish_foreground(sim, id, object)
  local waits = false
  for _, dependant in ipairs(sim.store:owned(object.metadata.uid)) do
    if not dependant.object.metadata.deletionTimestamp then
      sim:delete(dependant.id, dependant.object, { propagationPolicy = "Foreground" })
    end
  end
  for _, dependant in ipairs(sim.store:owned(object.metadata.uid)) do
    for _, owner in ipairs(dependant.object.metadata.ownerReferences) do
      if owner.uid == object.metadata.uid and owner.blockOwnerDeletion then waits = true end
    end
  end
  if waits then return end
  sim:edit(id, object, function(o)
    local kept = values.array()
    for _, f in ipairs(o.metadata.finalizers) do
      if f ~= "foregroundDeletion" then kept[#kept + 1] = f end
    end
    o.metadata.finalizers = #kept > 0 and kept or nil
  end)
end

function M.reconcile(sim, _, uid)
  local id, object = sim.store:find(uid)
  if not object then
    for _, dependant in ipairs(sim.store:owned(uid)) do
      if not has_owner(sim, dependant.object) and not dependant.object.metadata.deletionTimestamp then
        sim:delete(dependant.id, dependant.object)
      end
    end
    return
  end
  if object.metadata.deletionTimestamp then
    for _, f in ipairs(object.metadata.finalizers or {}) do
      if f == "foregroundDeletion" then return finish_foreground(sim, id, object) end
    end
  elseif object.metadata.ownerReferences and not has_owner(sim, object) then
    sim:delete(id, object)
  end
end

return M
