-- Runs a change of a release (a helm that waits) and watches the cluster meanwhile, over REST: ready counts, warnings
-- and logs as they come, and an early end when waiting makes no sense. Helm is then stopped by SIGINT, at which it
-- records its revision as failed: nothing pending is left.
local errors = require "ws.error"
local helm = require "ws.helm"
local rollout = require "lib.rollout"
local secret = require "ws.secret"
local task = require "ws.task"
local time = require "ws.time"
local yaml = require "ws.yaml"

local M = {}

local LOOK = 1          -- seconds between looks when nothing is heard
local ECHO = 0.5        -- seconds that events and logs of what failed get to come in
local RECORD_PAUSE = 0.2 -- seconds between looks for the record of the new revision
local LOG_LINES = 15    -- of a container that ended, shown at once
local MOST_LOGS = 4     -- containers whose log is shown; the evidence has all
local MARGIN = 30       -- seconds that helm gets beyond the deadline: ours is to come first

local KINDS = {
  Pod = "v1", Event = "v1", ReplicaSet = "apps/v1", Deployment = "apps/v1", StatefulSet = "apps/v1",
  DaemonSet = "apps/v1",
}

---@class Supervision
---@field rollout Rollout
local Supervision = {}
Supervision.__index = Supervision

--- Follows one kind in the namespace for as long as the change lasts. The watch survives outages; what this account may
--- not read is said and left.
local function follow(self, kind)
  local said = false
  while true do
    local _, err = self.api:watch({ api_version = KINDS[kind], kind = kind, namespace = self.namespace,
      timeout = self.deadline + MARGIN }, function(what, object)
      self.rollout:see(kind, what, object)
      self.heard:push(true)
    end)
    if not said and err then
      said = true
      self.w:note(("%ss cannot be watched: %s"):format(kind:lower(), secret.redact(err.message)))
    end
    if err and (err.kind == "denied" or err.kind == "unauthenticated") then return end
    task.sleep(LOOK)
  end
end

--- The new revision's record, as soon as helm has written it: what it says is in the cluster is what is watched.
local function await_record(self)
  while true do
    local found, err = helm.revision { api = self.api, release = self.release, namespace = self.namespace,
      revision = self.revision }
    if found then return found end
    if err.kind ~= "not_found" and not err.retryable then return nil, err end
    task.sleep(RECORD_PAUSE)
  end
end

--- Everything is in the cluster as the revision wants it: from what the workloads are now, not from what a watch has
--- brought so far, their pods are judged.
local function applied(self)
  while not self.rollout.members do task.sleep(RECORD_PAUSE) end
  for _, kind in ipairs(self.rollout:kinds()) do
    repeat
      local found = self.api:list { api_version = KINDS[kind], kind = kind, namespace = self.namespace }
      if not found then task.sleep(LOOK) end
      for _, object in ipairs(found and found.items or {}) do self.rollout:see(kind, "MODIFIED", object) end
    until found
  end
  self.rollout.applied = true
  self.heard:push(true)
end

local function watch(self)
  local found, err = await_record(self)
  if not found then
    self.w:note(("what comes up cannot be watched: %s"):format(secret.redact(err.message)))
    return
  end
  local objects = yaml.decode_all(found.manifest or "", { filename = "manifest of " .. self.release }) or {}
  self.rollout:belongs(objects, found.hooks)
  local kinds = self.rollout:kinds()
  if #kinds > 0 or #found.hooks > 0 then table.move({ "Pod", "Event" }, 1, 2, #kinds + 1, kinds) end
  for _, kind in ipairs(kinds) do
    self:spawn(follow, self, kind)
    if kind == "Deployment" then self:spawn(follow, self, "ReplicaSet") end
  end
end

function Supervision:spawn(fn, ...)
  if self.closing then return end -- a task that is being ended may still come here
  self.tasks[#self.tasks + 1] = task.spawn(fn, ...)
end

--- Shows the last lines of a container that ended.
local function show_log(self, pod, container)
  if self.logs >= MOST_LOGS then return end
  self.logs = self.logs + 1
  self:spawn(function()
    local ref = { name = pod.metadata.name, namespace = self.namespace, container = container, tail = LOG_LINES,
      previous = true }
    local text = self.api:logs(ref)
    if not text or text == "" then
      ref.previous = nil
      text = self.api:logs(ref)
    end
    if text and text ~= "" then
      self.w:note(secret.redact(("log of %s/%s\n    %s"):format(pod.metadata.name, container,
        (text:gsub("%s+$", ""):gsub("\n", "\n    ")))))
    end
  end)
end

local function show_progress(self)
  local ready, wanted, text = self.rollout:ready()
  if wanted == 0 or text == self.shown then return end
  self.shown = text
  self.w:progress(text .. " ready", ready, wanted)
end

--- The error of a change that was given up.
local function given_up(self, verdict)
  local reasons = self.rollout:reasons()
  if reasons == verdict.message then reasons = nil end -- said already
  return errors.new { kind = "failed", message = verdict.message, detail = verdict.detail or reasons }
end

local function too_late(self)
  local _, wanted, text = self.rollout:ready()
  return errors.new { kind = "timeout", retryable = false, detail = self.rollout:reasons(),
    message = ("not ready within %d s%s"):format(self.deadline, wanted > 0 and ": " .. text .. " ready" or "") }
end

--- Waits for the change's end, or for a reason to end it.
local function await(self, change, started)
  while true do
    self.heard:pop(math.max(0.05, math.min(LOOK, started + self.deadline - time.monotonic())))
    while self.heard.first <= self.heard.last do self.heard:pop(0) end
    show_progress(self)
    if change:ended() then
      local ok, result, err = change:join()
      if not ok then return nil, result end
      if result == nil and err.kind == "timeout" and not err.detail then err.detail = self.rollout:reasons() end
      return result, err
    end
    local verdict = self.rollout:verdict()
    if verdict then
      task.sleep(ECHO)
      return nil, given_up(self, verdict)
    end
    if time.monotonic() - started >= self.deadline then return nil, too_late(self) end
  end
end

local function end_all(self)
  return setmetatable({}, { __close = function()
    self.closing = true
    task.shield(function()
      for _, t in ipairs(self.tasks) do t:cancel() end
      for _, t in ipairs(self.tasks) do t:join() end
    end)
  end })
end

--- Runs a change of a release under watch.
---@async
---@param p Platform
---@param opts { release: string, namespace: string, revision: integer, deadline: number,
---  tolerate_restarts: integer }  revision: the one that the change makes; deadline in seconds
---@param change fun(on_event: fun(event: table), timeout: number): any, ws.Error?  the helm; timeout: what to tell it
---@return any? result  of `change`
---@return ws.Error? err  what `change` gave; kind `failed`: given up early; `timeout`: not ready by the deadline
function M.run(p, opts, change)
  local self = setmetatable({ w = p.w, api = p.api, release = opts.release,
    namespace = opts.namespace, revision = opts.revision, deadline = opts.deadline, heard = task.queue(), tasks = {},
    logs = 0 }, Supervision)
  self.rollout = rollout.new { release = opts.release, tolerate_restarts = opts.tolerate_restarts,
    now = time.monotonic, since = math.floor(time.now()),
    on_note = function(text) self.w:note(text) end,
    on_crash = function(pod, container) show_log(self, pod, container) end }
  local started = time.monotonic()
  local changing = task.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() self.heard:push(true) end })
    return change(function(event)
      if event.applied then self:spawn(applied, self) end
      if event.text and not self.shown then self.w:progress(event.text) end
      self.heard:push(true)
    end, opts.deadline + MARGIN)
  end)
  self.tasks[1] = changing
  local _ <close> = end_all(self)
  self:spawn(watch, self)
  return await(self, changing, started)
end

return M
