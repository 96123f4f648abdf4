--- PersistentVolumeClaims get a volume after a moment; volumes go with their claim when their policy is Delete.
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local CLAIMS, VOLUMES = "/persistentvolumeclaims", "/persistentvolumes"

M.on[CLAIMS] = function(sim, change)
  local namespace, name = simulate.itself(sim, change)
  return namespace, name, change.type == "ADDED" and sim.pace / 2 or 0
end

--- A new or changed volume wakes the claims that wait for one.
M.on[VOLUMES] = function(sim, change)
  local ref = values.get(change.object, "spec", "claimRef")
  if ref then return ref.namespace, ref.name end
  if change.type == "DELETED" then return nil end
  for _, claim in ipairs(sim.store:list(CLAIMS)) do
    if values.get(claim, "status", "phase") == "Pending" then
      sim:enqueue(M, claim.metadata.namespace, claim.metadata.name, sim.pace / 2)
    end
  end
  if values.get(change.object, "status", "phase") == "Pending" then
    sim:edit(VOLUMES, sim:get(VOLUMES, nil, change.object.metadata.name), function(o) o.status.phase = "Available" end)
  end
end

local function release(sim, namespace, name)
  for _, volume in ipairs(sim.store:list(VOLUMES)) do
    local ref = values.get(volume, "spec", "claimRef")
    if ref and ref.namespace == namespace and ref.name == name then
      if volume.spec.persistentVolumeReclaimPolicy == "Delete" then
        sim:delete(VOLUMES, volume)
      else
        sim:edit(VOLUMES, volume, function(o) o.status.phase = "Released" end)
      end
    end
  end
end

--- A volume that exists and fits a claim.
local function existing(sim, claim)
  for _, volume in ipairs(sim.store:list(VOLUMES)) do
    local spec = volume.spec
    if (spec.storageClassName or "") == (claim.spec.storageClassName or "") and not spec.claimRef
      and (not claim.spec.volumeName or claim.spec.volumeName == volume.metadata.name) then
      return volume
    end
  end
end

local function provision(sim, claim)
  local class = sim:get("storage.k8s.io/storageclasses", nil, claim.spec.storageClassName or "")
  if not class then
    sim:event(claim, "Warning", "ProvisioningFailed", ('storageclass.storage.k8s.io "%s" not found')
      :format(claim.spec.storageClassName or ""), "persistentvolume-controller")
    return nil
  end
  local name = "pvc-" .. claim.metadata.uid
  return sim:get(VOLUMES, nil, name) or sim:create(VOLUMES, nil, values.object {
    metadata = values.object { name = name, annotations = { ["pv.kubernetes.io/provisioned-by"] = class.provisioner } },
    spec = values.object {
      capacity = { storage = claim.spec.resources.requests.storage }, accessModes = values.copy(claim.spec.accessModes),
      persistentVolumeReclaimPolicy = class.reclaimPolicy, storageClassName = class.metadata.name,
        volumeMode = claim.spec.volumeMode,
      csi = { driver = class.provisioner, volumeHandle = name },
    },
  })
end

function M.reconcile(sim, namespace, name)
  local claim = sim:get(CLAIMS, namespace, name)
  if not claim then return release(sim, namespace, name) end
  if claim.metadata.deletionTimestamp or values.get(claim, "status", "phase") == "Bound" then return nil end
  local volume = existing(sim, claim) or provision(sim, claim)
  if not volume then return nil end
  volume = sim:get(VOLUMES, nil, volume.metadata.name)
  sim:edit(VOLUMES, volume, function(o)
    o.spec.claimRef = { apiVersion = "v1", kind = "PersistentVolumeClaim", namespace = namespace, name = name,
      uid = claim.metadata.uid,
      resourceVersion = claim.metadata.resourceVersion }
    values.sub(o, "status").phase = "Bound"
  end)
  sim:event(claim, "Normal", "ProvisioningSucceeded", "Successfully provisioned volume " .. volume.metadata.name,
    "persistentvolume-controller")
  sim:edit(CLAIMS, claim, function(o)
    o.spec.volumeName = volume.metadata.name
    o.status = { phase = "Bound", accessModes = values.copy(o.spec.accessModes),
      capacity = values.copy(volume.spec.capacity) }
  end)
end

return M
