-- What a rollout reads of Kubernetes' objects.
local M = {}

-- Seconds for which a container may wait for this reason before the rollout has failed; a registry or a secret that is
-- a moment late is normal.
M.GRACE = {
  ErrImagePull = 8, ImagePullBackOff = 8, RegistryUnavailable = 30, CreateContainerConfigError = 15,
  CreateContainerError = 15, RunContainerError = 15, InvalidImageName = 0, ErrImageNeverPull = 0,
  ImageInspectError = 8,
}
M.REVISION = "deployment.kubernetes.io/revision"
M.GENERATION = "deprecated.daemonset.template.generation"

--- The owner that controls an object.
---@param object table
---@return table? owner
function M.controller(object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.controller then return owner end
  end
end

--- An annotation of an object.
---@param object table
---@param name string
---@return string?
function M.annotation(object, name)
  return (object.metadata.annotations or {})[name]
end

--- Whether what controllers say of a workload is about its newest template.
---@param workload table
---@return boolean
function M.is_observed(workload)
  return ((workload.status or {}).observedGeneration or 0) >= (workload.metadata.generation or 1)
end

--- The statuses of a pod's containers, those for its start first.
---@param pod table
---@return table[]
function M.statuses(pod)
  local list = {}
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, status in ipairs((pod.status or {})[field] or {}) do list[#list + 1] = status end
  end
  return list
end

--- The two reasons between which a container that cannot pull its image goes to and fro are one.
---@param reason string
---@return string
function M.steady(reason)
  return reason == "ImagePullBackOff" and "ErrImagePull" or reason
end

--- Keeps since when a reason holds; nil forgets it.
---@param list table<string, { reason: string, at: number }>
---@param key string
---@param reason? string
---@param now number
function M.remember(list, key, reason, now)
  local entry = list[key]
  if not reason then
    list[key] = nil
  elseif not entry or entry.reason ~= reason then
    list[key] = { reason = reason, at = now }
  end
end

return M
