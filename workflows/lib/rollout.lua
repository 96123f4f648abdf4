-- How a release's objects come up: what is ready, what goes wrong, and when waiting for it makes no sense any more.
--
-- A rollout is told what the cluster says (`see`) and asked for its verdict; lib/supervise.lua does both. It looks at
-- the objects of one revision's manifest only, and of their pods only at those of the newest template: what the version
-- before has left broken is not this one's fault.
local secret = require "ws.secret"

local M = {}

-- Seconds for which a container may wait for this reason before the rollout has failed; a registry or a secret that is
-- a moment late is normal.
local GRACE = {
  ErrImagePull = 8, ImagePullBackOff = 8, RegistryUnavailable = 30, CreateContainerConfigError = 15,
  CreateContainerError = 15, RunContainerError = 15, InvalidImageName = 0, ErrImageNeverPull = 0,
  ImageInspectError = 8,
}
-- What a registry says that does not get better by waiting.
local HOPELESS = { "not found", "manifest unknown", "does not exist", "unauthorized", "denied", "no match for" }
local UNSCHEDULABLE = 120 -- seconds: an autoscaler takes about a minute to add a node
local REFUSED = 10        -- seconds for which the cluster may refuse to create pods (quota, admission)
local REVISION = "deployment.kubernetes.io/revision"
local GENERATION = "deprecated.daemonset.template.generation"

local WORKLOADS = { Deployment = true, StatefulSet = true, DaemonSet = true }

---@class Rollout
---@field release string
---@field tolerate_restarts integer
---@field applied boolean  helm waits: everything is in the cluster as this revision wants it
---@field on_note fun(text: string)
---@field on_crash fun(pod: table, container: string, count: integer)
local Rollout = {}
Rollout.__index = Rollout

--- Makes a rollout.
---@param opts { release: string, tolerate_restarts: integer, now: fun(): number, since: number, on_note: fun(text:
---  string), on_crash: fun(pod: table, container: string, count: integer) }  now: seconds; since: in RFC 3339 seconds,
---  when it began: earlier events are not its own
---@return Rollout
function M.new(opts)
  return setmetatable({
    release = opts.release, tolerate_restarts = opts.tolerate_restarts, now = opts.now, since = opts.since,
    on_note = opts.on_note, on_crash = opts.on_crash, applied = false,
    workloads = {}, sets = {}, pods = {}, waiting = {}, crashes = {}, before = {}, said = {}, early = {}, hooks = {},
  }, Rollout)
end

--- Says which objects belong to the revision.
---@param objects table[]  of its manifest
---@param hooks { name: string, kind: string }[]
function Rollout:belongs(objects, hooks)
  self.members = {}
  for _, object in ipairs(objects) do
    if type(object) == "table" and object.kind and object.metadata then
      self.members[object.kind .. "/" .. tostring(object.metadata.name)] = true
    end
  end
  for _, hook in ipairs(hooks) do self.hooks[hook.kind .. "/" .. hook.name] = true end
end

--- The kinds of workloads that the revision has.
---@return string[]
function Rollout:kinds()
  local seen, list = {}, {}
  for member in pairs(self.members or {}) do
    local kind = member:match("^[^/]+")
    if WORKLOADS[kind] and not seen[kind] then
      seen[kind] = true
      list[#list + 1] = kind
    end
  end
  table.sort(list)
  return list
end

local function controller(object)
  for _, owner in ipairs(object.metadata.ownerReferences or {}) do
    if owner.controller then return owner end
  end
end

local function annotation(object, name)
  return (object.metadata.annotations or {})[name]
end

--- Whether what controllers say of a workload is about its newest template.
local function is_observed(workload)
  return ((workload.status or {}).observedGeneration or 0) >= (workload.metadata.generation or 1)
end

--- The workload of the revision that a pod belongs to, and whether the pod is of its newest template; nil when it is
--- somebody else's.
function Rollout:workload_of(pod)
  local owner = controller(pod)
  if not owner then return nil end
  if owner.kind == "ReplicaSet" then
    local set = self.sets[owner.uid]
    local parent = set and controller(set)
    local workload = parent and parent.kind == "Deployment" and self.workloads["Deployment/" .. parent.name]
    if not workload then return nil end
    return workload, is_observed(workload) and annotation(set, REVISION) == annotation(workload, REVISION)
  end
  if owner.kind == "Job" then
    if self.hooks["Job/" .. owner.name] then return pod, true end
    return nil
  end
  local workload = self.workloads[owner.kind .. "/" .. owner.name]
  if not workload then return nil end
  local labels = pod.metadata.labels or {}
  if owner.kind == "StatefulSet" then
    return workload, is_observed(workload) and labels["controller-revision-hash"] == workload.status.updateRevision
  end
  local generation = annotation(workload, GENERATION)
  return workload, is_observed(workload)
    and (not generation or (labels["pod-template-generation"] or generation) == generation)
end

--- Whether a pod counts: of this revision's newest template, and not on its way out.
function Rollout:counts(pod)
  if pod.metadata.deletionTimestamp then return false end
  local workload, newest = self:workload_of(pod)
  return workload ~= nil and newest and (self.applied or workload == pod)
end

local function statuses(pod)
  local list = {}
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, status in ipairs((pod.status or {})[field] or {}) do list[#list + 1] = status end
  end
  return list
end

--- How often a container has ended, since the rollout began, in a way that it should not.
function Rollout:ends(pod, status)
  local state, count = status.state or {}, status.restartCount or 0
  local key = pod.metadata.name .. "/" .. status.name
  if not self.before[key] then -- a pod that is older than the rollout may have been restarted for months
    local created = require "ws.time".parse_rfc3339(pod.metadata.creationTimestamp or "")
    self.before[key] = created and created < self.since and count or 0
  end
  local failed = state.terminated and state.terminated.exitCode ~= 0
  local backing_off = state.waiting and state.waiting.reason == "CrashLoopBackOff"
  return count - self.before[key] + ((failed or backing_off) and 1 or 0)
end

local function remember(list, key, reason, now)
  local entry = list[key]
  if not reason then
    list[key] = nil
  elseif not entry or entry.reason ~= reason then
    list[key] = { reason = reason, at = now }
  end
end

--- The two reasons between which a container that cannot pull its image goes to and fro are one.
local function steady(reason)
  return reason == "ImagePullBackOff" and "ErrImagePull" or reason
end

function Rollout:look_at(pod)
  local name, now = pod.metadata.name, self.now()
  local gone = pod.metadata.deletionTimestamp ~= nil
  local unschedulable
  for _, condition in ipairs((pod.status or {}).conditions or {}) do
    if condition.type == "PodScheduled" and condition.status == "False" then
      unschedulable = condition.reason == "Unschedulable" or nil
    end
  end
  remember(self.waiting, name, not gone and unschedulable and "Unschedulable" or nil, now)
  for _, status in ipairs(statuses(pod)) do
    local key = name .. "/" .. status.name
    local why = (status.state or {}).waiting
    remember(self.waiting, key, not gone and why and GRACE[why.reason] and steady(why.reason) or nil, now)
    local count = self:ends(pod, status)
    if count > (self.crashes[key] or 0) and self:counts(pod) then
      self.crashes[key] = count
      self.on_crash(pod, status.name, count)
    end
  end
end

local function seconds_of(event)
  local text = event.lastTimestamp or event.eventTime or event.firstTimestamp or event.metadata.creationTimestamp
  return type(text) == "string" and require "ws.time".parse_rfc3339(text) or nil
end

--- Says a warning once; what normal events say is the progress.
function Rollout:tell(event)
  local object = event.involvedObject or {}
  local text = ("%s %s: %s: %s"):format((object.kind or "object"):lower(), tostring(object.name),
    tostring(event.reason), (tostring(event.message or ""):gsub("%s+", " ")))
  text = secret.redact(text)
  if self.said[text] then return end
  self.said[text] = true
  self.on_note(text)
end

--- Whether an event is about an object of the release; nil while that is not known yet.
function Rollout:concerns(event)
  local object = event.involvedObject or {}
  if object.kind == "Pod" then
    local pod = self.pods[object.name]
    if not pod then return nil end
    return (self:workload_of(pod)) ~= nil
  elseif object.kind == "ReplicaSet" then
    local set = self.sets[object.uid]
    if not set then return nil end
    local parent = controller(set)
    return parent ~= nil and self.members ~= nil and self.members["Deployment/" .. parent.name] == true
  end
  if not self.members then return nil end
  local key = tostring(object.kind) .. "/" .. tostring(object.name)
  return self.members[key] == true or self.hooks[key] == true
end

local MOST_EARLY = 200 -- events kept until their object is known

function Rollout:see_event(event)
  if event.type ~= "Warning" or (seconds_of(event) or self.since) < self.since then return end
  local concerned = self:concerns(event)
  if concerned then
    self:tell(event)
  elseif concerned == nil and #self.early < MOST_EARLY then
    self.early[#self.early + 1] = event
  end
end

--- Events whose object has become known.
function Rollout:settle_events()
  local rest = {}
  for _, event in ipairs(self.early) do
    local concerned = self:concerns(event)
    if concerned then self:tell(event) elseif concerned == nil then rest[#rest + 1] = event end
  end
  self.early = rest
end

--- Takes note of an object as a watch gives it.
---@param kind string  of the watch
---@param what "ADDED"|"MODIFIED"|"DELETED"
---@param object table
function Rollout:see(kind, what, object)
  local name = object.metadata.name
  if kind == "Event" then return what ~= "DELETED" and self:see_event(object) or nil end
  local present = what ~= "DELETED" and object or nil
  if kind == "Pod" then
    self.pods[name] = present
    if present then
      self:look_at(object)
    else
      for key in pairs(self.waiting) do
        if key == name or key:sub(1, #name + 1) == name .. "/" then self.waiting[key] = nil end
      end
    end
  elseif kind == "ReplicaSet" then
    self.sets[object.metadata.uid] = present
    for _, pod in pairs(self.pods) do self:look_at(pod) end -- pods may have come before their set
  elseif self.members and self.members[kind .. "/" .. name] then
    local known = self.workloads[kind .. "/" .. name]
    if present and known and known.metadata.uid == object.metadata.uid
      and (object.metadata.generation or 0) < (known.metadata.generation or 0) then
      return -- a watch that is behind a list
    end
    self.workloads[kind .. "/" .. name] = present
    for _, pod in pairs(self.pods) do self:look_at(pod) end
  end
  if #self.early > 0 then self:settle_events() end
end

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

function Rollout:judge_container(pod, status)
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
  local grace = is_hopeless(message) and steady(why.reason) == "ErrImagePull" and 0 or GRACE[why.reason] or 0
  if self.now() - wait.at >= grace then
    return failure(("%s: %s"):format(where, waits_for(why)))
  end
end

function Rollout:judge_pod(pod)
  local wait = self.waiting[pod.metadata.name]
  if wait and self.now() - wait.at >= UNSCHEDULABLE then
    local text = "no reason given"
    for _, condition in ipairs(pod.status.conditions) do
      if condition.type == "PodScheduled" then text = condition.message or text end
    end
    return failure(("pod %s: has had no node for %d s: %s"):format(pod.metadata.name, UNSCHEDULABLE, text))
  end
  for _, status in ipairs(statuses(pod)) do
    local found = self:judge_container(pod, status)
    if found then return found end
  end
end

--- "deployment test-app" of "Deployment/test-app".
local function shown(key)
  local kind, name = key:match("^([^/]+)/(.+)$")
  return kind:lower() .. " " .. name
end

function Rollout:judge_workload(key, workload)
  if not self.applied or not is_observed(workload) then return nil end
  for _, condition in ipairs((workload.status or {}).conditions or {}) do
    if condition.type == "Progressing" and condition.status == "False"
      and condition.reason == "ProgressDeadlineExceeded" then
      return failure(("%s: %s"):format(shown(key), condition.message or condition.reason))
    end
    if condition.type == "ReplicaFailure" then
      remember(self.waiting, key, condition.status == "True" and "ReplicaFailure" or nil, self.now())
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
---@return { message: string, detail: string? }?
function Rollout:verdict()
  for _, key in ipairs(sorted(self.workloads)) do
    local found = self:judge_workload(key, self.workloads[key])
    if found then return found end
  end
  for _, name in ipairs(sorted(self.pods)) do
    local pod = self.pods[name]
    local found = self:counts(pod) and self:judge_pod(pod)
    if found then return found end
  end
end

--- How many pods of a deployment's newest set are ready.
local function ready_of_newest(self, deployment)
  for _, set in pairs(self.sets) do
    local parent = controller(set)
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
---@return string? text  nil: they say nothing
function Rollout:reasons()
  local lines = {}
  for _, name in ipairs(sorted(self.pods)) do
    local pod, said = self.pods[name], false
    for _, status in ipairs(self:counts(pod) and statuses(pod) or {}) do
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
---@return integer ready
---@return integer wanted
---@return string text  "test-app 1/2"
function Rollout:ready()
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
