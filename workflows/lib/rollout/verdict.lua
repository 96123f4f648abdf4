-- When a rollout has failed: what its workloads and pods say, with the patience that each reason deserves.
local objects = require "lib.rollout.objects"
local secret = require "ws.secret"

local annotation, is_observed, steady = objects.annotation, objects.is_observed, objects.steady
local REVISION = objects.REVISION

local M = {}

-- What a registry says that does not get better by waiting.
local HOPELESS = { "not found", "manifest unknown", "does not exist", "unauthorized", "denied", "no match for" }
local UNSCHEDULABLE = 120 -- seconds: an autoscaler takes about a minute to add a node
local REFUSED = 10        -- seconds for which the cluster may refuse to create pods (quota, admission)

--- What a container waits for, for people: a kubelet says the image twice.
local function waits_for(why)
  local message = tostring(why.message or ""):gsub('^Back%-off pulling image "[^"]*": ', "")
  return tostring(why.reason or "not ready") .. (message ~= "" and ": " .. message or "")
end

local function failure(message, detail)
  return { message = message, detail = detail }
end

local function is_hopeless(message)
  for _, words in ipairs(HOPELESS) do
    if message:lower():find(words, 1, true) then return true end
  end
  return false
end

local function judge_container(self, pod, status)
  local key = pod.metadata.name .. "/" .. status.name
  local where, count = ("pod %s, container %s"):format(pod.metadata.name, status.name), self:ends(pod, status)
  if count > self.tolerate_restarts and not status.ready then
    local last = (status.state or {}).terminated or (status.lastState or {}).terminated or {}
    local how = last.reason == "OOMKilled" and "out of memory" or last.exitCode and "exit code " .. last.exitCode
      or last.reason or "no reason given"
    return failure(("%s: ended %d times (%s), tolerated are %d"):format(where, count, how, self.tolerate_restarts),
      last.message)
  end
  local wait = self.waiting[key]
  if not wait then return nil end
  local why = (status.state or {}).waiting or {}
  local message = tostring(why.message or "")
  local grace = is_hopeless(message) and steady(why.reason) == "ErrImagePull" and 0 or objects.GRACE[why.reason] or 0
  if self.now() - wait.at >= grace then
    return failure(("%s: %s"):format(where, waits_for(why)))
  end
end

local function judge_pod(self, pod)
  local wait = self.waiting[pod.metadata.name]
  if wait and self.now() - wait.at >= UNSCHEDULABLE then
    local text = "no reason given"
    for _, condition in ipairs(pod.status.conditions) do
      if condition.type == "PodScheduled" then text = condition.message or text end
    end
    return failure(("pod %s: has had no node for %d s: %s"):format(pod.metadata.name, UNSCHEDULABLE, text))
  end
  for _, status in ipairs(objects.statuses(pod)) do
    local found = judge_container(self, pod, status)
    if found then return found end
  end
end

--- "deployment test-app" of "Deployment/test-app".
local function shown(key)
  local kind, name = key:match("^([^/]+)/(.+)$")
  return kind:lower() .. " " .. name
end

local function judge_workload(self, key, workload)
  if not self.applied or not is_observed(workload) then return nil end
  for _, condition in ipairs((workload.status or {}).conditions or {}) do
    if condition.type == "Progressing" and condition.status == "False"
      and condition.reason == "ProgressDeadlineExceeded" then
      return failure(("%s: %s"):format(shown(key), condition.message or condition.reason))
    end
    if condition.type == "ReplicaFailure" then
      objects.remember(self.waiting, key, condition.status == "True" and "ReplicaFailure" or nil, self.now())
      local wait = self.waiting[key]
      if wait and self.now() - wait.at >= REFUSED then
        return failure(("%s: its pods are refused: %s"):format(shown(key), condition.message or condition.reason))
      end
    end
  end
end

local function sorted(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- Why waiting makes no sense any more, or nil while it does.
---@param self Rollout
---@return { message: string, detail: string? }?
function M.of(self)
  for _, key in ipairs(sorted(self.workloads)) do
    local found = judge_workload(self, key, self.workloads[key])
    if found then return found end
  end
  for _, name in ipairs(sorted(self.pods)) do
    local pod = self.pods[name]
    local found = self:counts(pod) and judge_pod(self, pod)
    if found then return found end
  end
end

--- How many pods of a deployment's newest set are ready.
local function ready_of_newest(self, deployment)
  for _, set in pairs(self.sets) do
    local parent = objects.controller(set)
    local is_own = parent ~= nil and parent.uid == deployment.metadata.uid
    if is_own and annotation(set, REVISION) == annotation(deployment, REVISION) then
      return (set.status or {}).readyReplicas or 0
    end
  end
  return 0
end

local function numbers(self, kind, workload)
  local status, spec = workload.status or {}, workload.spec or {}
  if kind == "DaemonSet" then
    return math.min(status.updatedNumberScheduled or 0, status.numberAvailable or 0), status.desiredNumberScheduled or 0
  end
  local wanted = spec.replicas or 1
  if not is_observed(workload) then return 0, wanted end
  if kind == "Deployment" then return math.min(ready_of_newest(self, workload), wanted), wanted end
  local old = (status.replicas or 0) - (status.updatedReplicas or 0)
  return math.max(0, math.min(status.updatedReplicas or 0, (status.readyReplicas or 0) - old)), wanted
end

--- What the pods that are not ready say, for people.
---@param self Rollout
---@return string? text  nil: they say nothing
function M.reasons(self)
  local lines = {}
  for _, name in ipairs(sorted(self.pods)) do
    local pod, said = self.pods[name], false
    for _, status in ipairs(self:counts(pod) and objects.statuses(pod) or {}) do
      local why = not status.ready and ((status.state or {}).waiting or (status.state or {}).terminated)
      if why and why.reason ~= "Completed" then
        said = true
        lines[#lines + 1] = ("pod %s, container %s: %s"):format(name, status.name, waits_for(why))
      end
    end
    for _, condition in ipairs(not said and self:counts(pod) and (pod.status or {}).conditions or {}) do
      if condition.status == "False" and (condition.type == "Ready" or condition.type == "PodScheduled") then
        lines[#lines + 1] = ("pod %s: %s: %s"):format(name, condition.type, condition.message or condition.reason
          or "no reason given")
        break
      end
    end
  end
  return #lines > 0 and secret.redact(table.concat(lines, "\n")) or nil
end

--- How many pods of the newest template are ready, of how many.
---@param self Rollout
---@return integer ready
---@return integer wanted
---@return string text  "test-app 1/2"
function M.ready(self)
  local ready, wanted, parts = 0, 0, {}
  for _, key in ipairs(sorted(self.workloads)) do
    local kind, name = key:match("^([^/]+)/(.+)$")
    local r, n = numbers(self, kind, self.workloads[key])
    ready, wanted = ready + r, wanted + n
    parts[#parts + 1] = ("%s %d/%d"):format(name, r, n)
  end
  return ready, wanted, table.concat(parts, ", ")
end

return M
