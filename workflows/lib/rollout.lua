-- How a release's objects come up: what is ready, what goes wrong, and when waiting for it makes no sense any more.
--
-- A rollout is told what the cluster says (`see`) and asked for its verdict; lib/supervise.lua does both. It looks at
-- the objects of one revision's manifest only, and of their pods only at those of the newest template: what the version
-- before has left broken is not this one's fault.
local objects = require "lib.rollout.objects"
local secret = require "ws.secret"
local verdict = require "lib.rollout.verdict"

local annotation, is_observed, steady = objects.annotation, objects.is_observed, objects.steady
local REVISION = objects.REVISION

local M = {}

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
---@param manifest table[]  its objects
---@param hooks { name: string, kind: string }[]
function Rollout:belongs(manifest, hooks)
  self.members = {}
  for _, object in ipairs(manifest) do
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

--- The workload of the revision that a pod belongs to, and whether the pod is of its newest template; nil when it is
--- somebody else's.
function Rollout:workload_of(pod)
  local owner = objects.controller(pod)
  if not owner then return nil end
  if owner.kind == "ReplicaSet" then
    local set = self.sets[owner.uid]
    local parent = set and objects.controller(set)
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
    return workload, is_observed(workload)
      and labels["controller-revision-hash"] == workload.status.updateRevision
  end
  local generation = annotation(workload, objects.GENERATION)
  return workload, is_observed(workload)
    and (not generation or (labels["pod-template-generation"] or generation) == generation)
end

--- Whether a pod counts: of this revision's newest template, and not on its way out.
function Rollout:counts(pod)
  if pod.metadata.deletionTimestamp then return false end
  local workload, newest = self:workload_of(pod)
  return workload ~= nil and newest and (self.applied or workload == pod)
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

function Rollout:look_at(pod)
  local name, now = pod.metadata.name, self.now()
  local gone = pod.metadata.deletionTimestamp ~= nil
  local unschedulable
  for _, condition in ipairs((pod.status or {}).conditions or {}) do
    if condition.type == "PodScheduled" and condition.status == "False" then
      unschedulable = condition.reason == "Unschedulable" or nil
    end
  end
  objects.remember(self.waiting, name, not gone and unschedulable and "Unschedulable" or nil, now)
  for _, status in ipairs(objects.statuses(pod)) do
    local key = name .. "/" .. status.name
    local why = (status.state or {}).waiting
    local reason = not gone and why and objects.GRACE[why.reason] and steady(why.reason) or nil
    objects.remember(self.waiting, key, reason, now)
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
    local parent = objects.controller(set)
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

--- Why waiting makes no sense any more, or nil while it does.
---@return { message: string, detail: string? }?
function Rollout:verdict()
  return verdict.of(self)
end

--- What the pods that are not ready say, for people.
---@return string? text  nil: they say nothing
function Rollout:reasons()
  return verdict.reasons(self)
end

--- How many pods of the newest template are ready, of how many.
---@return integer ready
---@return integer wanted
---@return string text  "test-app 1/2"
function Rollout:ready()
  return verdict.ready(self)
end

return M
