--- Deployments: a ReplicaSet for each template, and the way from the old ones to the new one.
---
--- The old Pods stay until the new ones are ready, within maxSurge and maxUnavailable. The status written is always
--- that
--- of the generation looked at.
local replicas = require "sandbox.kubernetes.simulate.replicas"
local simulate = require "sandbox.kubernetes.simulate"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = { on = {
  ["apps/deployments"] = simulate.itself,
  ["apps/replicasets"] = simulate.owner "Deployment",
} }

--- A Pod that is gone wakes the Deployment of its ReplicaSet: recreating waits for the last one.
M.on["/pods"] = function(sim, change)
  if change.type ~= "DELETED" then return nil end
  for _, owner in ipairs(change.object.metadata.ownerReferences or {}) do
    local _, set = sim.store:find(owner.uid)
    if set and set.kind == "ReplicaSet" then
      return simulate.owner "Deployment"(sim, { object = set })
    end
  end
end

local ID, SETS = "apps/deployments", "apps/replicasets"
local HASH = "pod-template-hash"
local PREFIX = "deployment.kubernetes.io/"

local function revision_of(o)
  return math.tointeger(tonumber(values.get(o, "metadata", "annotations", PREFIX .. "revision") or "0")) or 0
end

--- Whether a ReplicaSet runs a template.
local function runs(set, template)
  local own = values.copy(set.spec.template)
  local labels = values.get(own, "metadata", "labels")
  if labels then labels[HASH] = nil end
  local other = values.copy(template)
  values.sub(own, "metadata", "labels")
  values.sub(other, "metadata", "labels")
  return values.equal(own, other)
end

local function sets_of(sim, deployment)
  local new, old = nil, {}
  for _, set in ipairs(sim:owned(deployment, SETS)) do
    if not set.metadata.deletionTimestamp then
      if not new and runs(set, deployment.spec.template) then new = set else old[#old + 1] = set end
    end
  end
  table.sort(old, function(a, b) return revision_of(a) < revision_of(b) end)
  return new, old
end

--- Annotations that a ReplicaSet takes over from its Deployment.
local function set_annotations(deployment, revision)
  local out = values.object()
  for k, v in pairs(deployment.metadata.annotations or {}) do
    if k ~= "kubectl.kubernetes.io/last-applied-configuration" and k:sub(1, #PREFIX) ~= PREFIX then out[k] = v end
  end
  out[PREFIX .. "revision"] = tostring(revision)
  out[PREFIX .. "desired-replicas"] = tostring(deployment.spec.replicas)
  return out
end

local function create_set(sim, deployment, revision, count)
  local template = values.copy(deployment.spec.template)
  local hash = replicas.hash(template)
  values.sub(template, "metadata", "labels")[HASH] = hash
  local selector = values.copy(deployment.spec.selector)
  values.sub(selector, "matchLabels")[HASH] = hash
  local name = deployment.metadata.name .. "-" .. hash
  sim:event(deployment, "Normal", "ScalingReplicaSet", ("Scaled up replica set %s from 0 to %d"):format(name, count),
    "deployment-controller")
  return sim:create(SETS, deployment.metadata.namespace, values.object {
    kind = "ReplicaSet",
    metadata = values.object { name = name, labels = values.copy(template.metadata.labels),
      annotations = set_annotations(deployment, revision), ownerReferences = simulate.owned_by(deployment) },
    spec = { replicas = count, selector = selector, template = template,
      minReadySeconds = deployment.spec.minReadySeconds },
  })
end

local function scale(sim, deployment, set, count)
  if set.spec.replicas == count then return set end
  local up = count > set.spec.replicas
  sim:event(deployment, "Normal", "ScalingReplicaSet", ("Scaled %s replica set %s from %d to %d"):format(up and "up"
    or "down",
    set.metadata.name, set.spec.replicas, count), "deployment-controller")
  return sim:edit(SETS, set, function(s) s.spec.replicas = count end)
end

local function total(sets, ...)
  local n = 0
  for _, s in ipairs(sets) do n = n + (values.get(s, ...) or 0) end
  return n
end

--- The next step of a rolling update: grow the new set as far as the surge allows, shrink the old ones as far as the
--- minimum of available Pods allows, those that are not available first.
local function roll(sim, deployment, new, old)
  local wanted = deployment.spec.replicas
  local rolling = values.get(deployment, "spec", "strategy", "rollingUpdate") or {}
  local surge = replicas.scaled(rolling.maxSurge, wanted, true)
  local unavailable = replicas.scaled(rolling.maxUnavailable, wanted, false)
  if surge == 0 and unavailable == 0 then unavailable = 1 end
  local all = new.spec.replicas + total(old, "spec", "replicas")
  if new.spec.replicas > wanted then
    new = scale(sim, deployment, new, wanted)
  elseif new.spec.replicas < wanted then
    new = scale(sim, deployment, new, math.min(wanted, new.spec.replicas + math.max(0, wanted + surge - all)))
  end
  local old_total = total(old, "spec", "replicas")
  if old_total == 0 then return new end
  local new_unready = new.spec.replicas - (values.get(new, "status", "availableReplicas") or 0)
  local may_go = new.spec.replicas + old_total - (wanted - unavailable) - new_unready
  for _, set in ipairs(old) do -- unavailable Pods of old sets cost nothing
    local spare = set.spec.replicas - (values.get(set, "status", "availableReplicas") or 0)
    if may_go > 0 and spare > 0 then
      local n = math.min(spare, may_go)
      scale(sim, deployment, set, set.spec.replicas - n)
      may_go = may_go - n
    end
  end
  local available = total(old, "status", "availableReplicas") + (values.get(new, "status", "availableReplicas") or 0)
  local surplus = available - (wanted - unavailable)
  for _, set in ipairs(old) do
    local current = sim:get(SETS, set.metadata.namespace, set.metadata.name)
    if surplus > 0 and current.spec.replicas > 0 then
      local n = math.min(current.spec.replicas, surplus)
      scale(sim, deployment, current, current.spec.replicas - n)
      surplus = surplus - n
    end
  end
  return new
end

local function recreate(sim, deployment, new, old)
  local running = 0
  for _, set in ipairs(old) do
    scale(sim, deployment, set, 0)
    running = running + #sim:owned(set, "/pods")
  end
  if running == 0 then return scale(sim, deployment, new, deployment.spec.replicas) end
  return new
end

local function forget_old(sim, deployment, old)
  local idle = {}
  for _, set in ipairs(old) do
    if set.spec.replicas == 0 and (values.get(set, "status", "replicas") or 0) == 0 then idle[#idle + 1] = set end
  end
  for i = 1, #idle - (deployment.spec.revisionHistoryLimit or 10) do sim:delete(SETS, idle[i]) end
end

local function seconds_since(timestamp)
  local at = timestamp and time.parse_rfc3339(timestamp)
  return at and time.now() - at or 0
end

local function condition(status, kind)
  for _, c in ipairs(status.conditions or {}) do
    if c.type == kind then return c end
  end
end

local function write_status(sim, deployment, new, old)
  local sets = { new }
  for _, s in ipairs(old) do sets[#sets + 1] = s end
  local wanted, now = deployment.spec.replicas, sim.api:now()
  local rolling = values.get(deployment, "spec", "strategy", "rollingUpdate") or {}
  return sim:edit(ID, deployment, function(d)
    local before = d.status or values.object()
    local status = values.object { observedGeneration = d.metadata.generation, conditions = before.conditions }
    local function put(field, n) status[field] = n > 0 and n or nil end
    put("replicas", total(sets, "status", "replicas"))
    put("updatedReplicas", new and values.get(new, "status", "replicas") or 0)
    put("readyReplicas", total(sets, "status", "readyReplicas"))
    put("availableReplicas", total(sets, "status", "availableReplicas"))
    local available = status.availableReplicas or 0
    put("unavailableReplicas", math.max(0, math.max(wanted, total(sets, "spec", "replicas")) - available))
    local minimum = wanted - (d.spec.strategy.type == "Recreate" and wanted
      or replicas.scaled(rolling.maxUnavailable, wanted, false))
    local enough = available >= minimum and (available > 0 or wanted == 0 or minimum == 0)
    simulate.set_condition(status, "Available", enough, enough and "MinimumReplicasAvailable"
      or "MinimumReplicasUnavailable",
      enough and "Deployment has minimum availability." or "Deployment does not have minimum availability.", now, true)
    local set_name = new and new.metadata.name or ""
    local done = new and (status.updatedReplicas or 0) == wanted and (status.replicas or 0) == wanted
      and available >= wanted
    local progressed = (status.updatedReplicas or 0) > (before.updatedReplicas or 0)
      or (status.readyReplicas or 0) > (before.readyReplicas or 0)
      or (status.replicas or 0) < (before.replicas or 0) or before.observedGeneration ~= status.observedGeneration
    local last = condition(status, "Progressing")
    if done then
      simulate.set_condition(status, "Progressing", true, "NewReplicaSetAvailable",
        ('ReplicaSet "%s" has successfully progressed.'):format(set_name), now, true)
    elseif d.spec.paused then
      simulate.set_condition(status, "Progressing", true, "DeploymentPaused", "Deployment is paused", now, true)
    elseif progressed or not last then
      simulate.set_condition(status, "Progressing", true, "ReplicaSetUpdated",
        ('ReplicaSet "%s" is progressing.'):format(set_name), now, true)
      if last then last.lastUpdateTime = now end
    elseif seconds_since(last.lastUpdateTime) >= d.spec.progressDeadlineSeconds then
      simulate.set_condition(status, "Progressing", false, "ProgressDeadlineExceeded",
        ('ReplicaSet "%s" has timed out progressing.'):format(set_name), now, true)
    end
    d.status = status
    if new then values.sub(d.metadata, "annotations")[PREFIX .. "revision"] = tostring(revision_of(new)) end
  end)
end

function M.reconcile(sim, namespace, name)
  local deployment = sim:get(ID, namespace, name)
  if not deployment or deployment.metadata.deletionTimestamp then return nil end
  local new, old = sets_of(sim, deployment)
  local highest = 0
  for _, set in ipairs(old) do highest = math.max(highest, revision_of(set)) end
  if deployment.spec.paused then
    local target = new or old[#old]
    if target and #old <= 1 then scale(sim, deployment, target, deployment.spec.replicas) end
  else
    local strategy = deployment.spec.strategy.type
    if not new then
      local count = (strategy == "Recreate" and #old > 0 or total(old, "spec", "replicas") > 0) and 0
        or deployment.spec.replicas
      if strategy ~= "Recreate" and count == 0 and deployment.spec.replicas > 0 then
        local surge = replicas.scaled(values.get(deployment, "spec", "strategy", "rollingUpdate", "maxSurge"),
          deployment.spec.replicas, true)
        count = math.min(deployment.spec.replicas,
          math.max(0, deployment.spec.replicas + surge - total(old, "spec", "replicas")))
      end
      new = create_set(sim, deployment, highest + 1, count)
    elseif revision_of(new) <= highest then
      new = sim:edit(SETS, new, function(s)
        local annotations = values.sub(s.metadata, "annotations")
        local history = annotations[PREFIX .. "revision-history"]
        local was = tostring(revision_of(s))
        annotations[PREFIX .. "revision-history"] = history and history .. "," .. was or was
        for k, v in pairs(set_annotations(deployment, highest + 1)) do annotations[k] = v end
      end)
    end
    local step = strategy == "Recreate" and recreate or roll
    step(sim, deployment, new, old)
  end
  new, old = sets_of(sim, deployment)
  local stored = write_status(sim, deployment, new, old)
  forget_old(sim, deployment, old)
  local progressing = condition(stored.status, "Progressing")
  if progressing and progressing.reason == "ReplicaSetUpdated" then
    return math.max(1, stored.spec.progressDeadlineSeconds - seconds_since(progressing.lastUpdateTime))
  end
end

return M
