--- The status of a Pod and of its containers, as a kubelet writes it.
local crypto = require "ws.crypto"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The status of a container that waits.
---@param c table  of the Pod's specification
---@param reason string
---@param message? string
---@param before? table  its status until now: restarts and the last end are kept
---@return table
function M.waiting(c, reason, message, before)
  return values.object {
    name = c.name, image = c.image, imageID = before and before.imageID or "", ready = false, started = false,
    containerID = before and before.containerID, restartCount = before and before.restartCount or 0,
    lastState = before and before.lastState or values.object(),
    state = { waiting = values.object { reason = reason, message = message } },
  }
end

--- The status of a container that has just started.
---@param c table
---@param id string  of its image
---@param now string
---@param before? table
---@return table
function M.running(c, id, now, before)
  local again = before and (before.lastState or {}).terminated
  return values.object {
    name = c.name, image = c.image, imageID = id, containerID = "containerd://" .. crypto.random_hex(32),
    ready = false, started = true, restartCount = (before and before.restartCount or 0) + (again and 1 or 0),
    lastState = before and before.lastState or values.object(), state = { running = { startedAt = now } },
  }
end

--- The status of a container that ended.
---@param before table
---@param now string
---@param code integer
---@param message? string  its last words
---@return table
function M.ended(before, now, code, message)
  local status = values.copy(before)
  status.ready, status.started = false, false
  status.state = { terminated = values.object {
    exitCode = code, reason = code == 0 and "Completed" or "Error", message = message, finishedAt = now,
    containerID = status.containerID, startedAt = values.get(before, "state", "running", "startedAt") or now,
  } }
  return status
end

--- The statuses of a Pod that has just come to its node.
---@param pod table  changed
function M.begin(pod)
  local status, first = pod.status, values.is_empty(pod.spec.initContainers)
  if not first then
    status.initContainerStatuses = values.array()
    for i, c in ipairs(pod.spec.initContainers) do
      status.initContainerStatuses[i] = M.waiting(c, "PodInitializing")
    end
  end
  status.containerStatuses = values.array()
  for i, c in ipairs(pod.spec.containers) do
    status.containerStatuses[i] = M.waiting(c, first and "ContainerCreating" or "PodInitializing")
  end
end

--- Whether an init container's work is done: it ended well, or runs beside the others.
---@param c table
---@param status? table
---@return boolean
function M.is_initialized(c, status)
  if c.restartPolicy == "Always" then return values.get(status, "state", "running") ~= nil end
  return values.get(status, "state", "terminated", "exitCode") == 0
end

--- What the main containers' statuses amount to: how many have ended, whether one badly, whether one has yet to start,
--- and the names of those that are not ready.
local function tally(pod)
  local n = { over = 0, failed = false, to_start = false, unready = {} }
  for i, c in ipairs(pod.spec.containers) do
    local s = pod.status.containerStatuses[i]
    if not s.ready then n.unready[#n.unready + 1] = c.name end
    if s.state.waiting and not values.get(s, "lastState", "terminated") then n.to_start = true end
    if s.state.terminated then
      n.over, n.failed = n.over + 1, n.failed or s.state.terminated.exitCode ~= 0
    end
  end
  return n
end

--- The names of the init containers that have not done their work, and whether one has failed for good.
local function tally_first(pod)
  local open, failed = {}, false
  for i, c in ipairs(pod.spec.initContainers or {}) do
    local s = values.get(pod, "status", "initContainerStatuses", i)
    if not M.is_initialized(c, s) then open[#open + 1] = c.name end
    failed = failed or (values.get(s, "state", "terminated", "exitCode") or 0) ~= 0
  end
  return open, failed and pod.spec.restartPolicy ~= "Always"
end

--- Phase and conditions that follow from the containers' statuses.
---@param sim kubernetes.Simulation
---@param pod table  changed
function M.settle(sim, pod)
  local status, now = pod.status, sim.api:now()
  local n = tally(pod)
  local open, failed = tally_first(pod)
  local over = n.over == #pod.spec.containers and pod.spec.restartPolicy ~= "Always"
  local reason, message
  if failed or over and n.failed then
    status.phase, reason = "Failed", "PodFailed"
  elseif over then
    status.phase, reason = "Succeeded", "PodCompleted"
  else
    status.phase = n.to_start and "Pending" or "Running"
    if #n.unready > 0 then
      reason = "ContainersNotReady"
      message = ("containers with unready status: [%s]"):format(table.concat(n.unready, " "))
    end
  end
  local function set(kind, value, why, text) simulate.set_condition(status, kind, value, why, text, now) end
  set("PodReadyToStartContainers", true)
  if #open > 0 then
    set("Initialized", false, "ContainersNotInitialized",
      ("containers with incomplete status: [%s]"):format(table.concat(open, " ")))
  else
    set("Initialized", true, reason == "PodCompleted" and reason or nil)
  end
  set("Ready", reason == nil, reason, message)
  set("ContainersReady", reason == nil, reason, message)
  set("PodScheduled", true)
end

return M
