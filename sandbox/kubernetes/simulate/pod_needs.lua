--- What a Pod needs besides its images: it waits for a ConfigMap, Secret or claim that does not exist, as on a real
--- node.
local values = require "sandbox.kubernetes.values"

local M = {}

--- What a Pod needs and its namespace lacks; nothing when all is there.
---@param sim kubernetes.Simulation
---@param pod table
---@return string? reason  its containers wait with
---@return string? event_reason
---@return string? message
function M.missing(sim, pod)
  local namespace, spec = pod.metadata.namespace, pod.spec
  local function absent(id, ref, key)
    if not ref or ref.optional then return false end
    local found = sim:get(id, namespace, ref.name or ref.secretName)
    if not found then return true end
    return key ~= nil and values.get(found, "data", key) == nil
  end
  for _, v in ipairs(spec.volumes or {}) do
    if v.secret and absent("/secrets", v.secret) then
      return "ContainerCreating", "FailedMount", ('MountVolume.SetUp failed for volume "%s" : secret "%s" not found')
        :format(v.name, v.secret.secretName)
    elseif v.configMap and absent("/configmaps", v.configMap) then
      return "ContainerCreating", "FailedMount", ('MountVolume.SetUp failed for volume "%s" : configmap "%s" not found')
        :format(v.name, v.configMap.name)
    elseif v.persistentVolumeClaim and not sim:get("/persistentvolumeclaims", namespace,
      v.persistentVolumeClaim.claimName) then
      return "ContainerCreating", "FailedScheduling",
        ('persistentvolumeclaim "%s" not found'):format(v.persistentVolumeClaim.claimName)
    end
  end
  for _, c in ipairs(spec.containers) do
    for _, e in ipairs(c.env or {}) do
      local from = e.valueFrom or {}
      for field, id in pairs { secretKeyRef = "/secrets", configMapKeyRef = "/configmaps" } do
        local ref = from[field]
        if ref and absent(id, ref, ref.key) then
          return "CreateContainerConfigError", "Failed", ('%s "%s" not found'):format(id == "/secrets" and "secret"
            or "configmap", ref.name)
        end
      end
    end
    for _, e in ipairs(c.envFrom or {}) do
      if absent("/secrets", e.secretRef) then
        return "CreateContainerConfigError", "Failed", ('secret "%s" not found'):format(e.secretRef.name)
      elseif absent("/configmaps", e.configMapRef) then
        return "CreateContainerConfigError", "Failed", ('configmap "%s" not found'):format(e.configMapRef.name)
      end
    end
  end
end

return M
