--- StatefulSets: Pods with numbers and claims, created in order, updated from the highest number down.
local pod = require "sandbox.kubernetes.simulate.pod"
local replicas = require "sandbox.kubernetes.simulate.replicas"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {
  ["apps/statefulsets"] = simulate.itself,
  ["/pods"] = simulate.owner "StatefulSet",
} }

local ID = "apps/statefulsets"
local REVISION = "controller-revision-hash"

local function create_claims(sim, set, pod_name)
  local names = {}
  for _, template in ipairs(set.spec.volumeClaimTemplates or {}) do
    local name = ("%s-%s"):format(template.metadata.name, pod_name)
    names[template.metadata.name] = name
    if not sim:get("/persistentvolumeclaims", set.metadata.namespace, name) then
      local claim = values.copy(template)
      claim.metadata = values.object { name = name, labels = values.copy(values.get(set, "spec", "selector",
        "matchLabels")),
        annotations = values.copy(template.metadata.annotations) }
      claim.status = nil
      sim:create("/persistentvolumeclaims", set.metadata.namespace, claim)
    end
  end
  return names
end

local function create_pod(sim, set, index, hash)
  local name = ("%s-%d"):format(set.metadata.name, index)
  local claims = create_claims(sim, set, name)
  local made = replicas.pod(set, set.spec.template, name, {
    [REVISION] = set.metadata.name .. "-" .. hash, ["statefulset.kubernetes.io/pod-name"] = name,
    ["apps.kubernetes.io/pod-index"] = tostring(index),
  })
  made.spec.hostname, made.spec.subdomain = name, set.spec.serviceName ~= "" and set.spec.serviceName or nil
  for volume, claim in pairs(claims) do
    made.spec.volumes = made.spec.volumes or values.array()
    table.insert(made.spec.volumes, { name = volume, persistentVolumeClaim = { claimName = claim } })
  end
  return replicas.create_pod(sim, set, made, "statefulset-controller")
end

local function by_index(sim, set)
  local pods, count = {}, 0
  for _, p in ipairs(sim:owned(set, "/pods")) do
    local index = math.tointeger(tonumber(p.metadata.name:match "%-(%d+)$"))
    if index then
      pods[index] = p
      count = math.max(count, index + 1)
    end
  end
  return pods, count
end

local function is_current(p, set, hash)
  return p.metadata.labels[REVISION] == set.metadata.name .. "-" .. hash
end

--- Makes the next missing Pod.
---@return boolean complete  all wanted ones are there (and, in order, ready)
---@return boolean? refused  the API did not take one
local function grow(sim, set, pods, first, last, hash)
  local ordered = set.spec.podManagementPolicy ~= "Parallel"
  for i = first, last do
    local p = pods[i]
    if p and p.metadata.deletionTimestamp then return false end
    if not p then
      if not create_pod(sim, set, i, hash) then return false, true end
      if ordered then return false end
    elseif ordered and not pod.is_ready(p) and is_current(p, set, hash) then
      return false
    end
  end
  return true
end

local function update(sim, set, pods, first, last, hash)
  if set.spec.updateStrategy.type ~= "RollingUpdate" then return end
  local partition = values.get(set, "spec", "updateStrategy", "rollingUpdate", "partition") or 0
  for i = last, math.max(first, first + partition), -1 do
    local p = pods[i]
    if p and not p.metadata.deletionTimestamp and not is_current(p, set, hash) then
      sim:delete("/pods", p)
      return
    elseif p and not pod.is_ready(p) then
      return
    end
  end
end

function M.reconcile(sim, namespace, name)
  local set = sim:get(ID, namespace, name)
  if not set or set.metadata.deletionTimestamp then return nil end
  local _, hash = replicas.revision(sim, set)
  local pods, count = by_index(sim, set)
  local first = values.get(set, "spec", "ordinals", "start") or 0
  local last = first + set.spec.replicas - 1
  local complete, refused = grow(sim, set, pods, first, last, hash)
  for i = count - 1, 0, -1 do
    local p = pods[i]
    if p and (i > last or i < first) and not p.metadata.deletionTimestamp then
      sim:delete("/pods", p)
      break -- one at a time, from the highest
    end
  end
  -- A Pod of the old revision that is not ready is replaced too: waiting for it would never end.
  if complete then update(sim, set, pods, first, last, hash) end
  pods = by_index(sim, set)
  local ready, current, total = 0, 0, 0
  for _, p in pairs(pods) do
    total = total + 1
    if pod.is_ready(p) and not p.metadata.deletionTimestamp then ready = ready + 1 end
    if is_current(p, set, hash) then current = current + 1 end
  end
  local full_hash = set.metadata.name .. "-" .. hash
  sim:edit(ID, set, function(o)
    local before = o.status or {}
    local done = current == set.spec.replicas and ready == set.spec.replicas
    local revision = done and full_hash or before.currentRevision or full_hash
    o.status = values.object {
      observedGeneration = o.metadata.generation, replicas = total, readyReplicas = ready, availableReplicas = ready,
      updatedReplicas = current, currentReplicas = revision == full_hash and current or total - current,
      currentRevision = revision, updateRevision = full_hash, collisionCount = 0,
    }
  end)
  if refused then return replicas.RETRY end
end

return M
