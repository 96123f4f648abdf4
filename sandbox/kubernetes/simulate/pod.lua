--- Pods: scheduled at once, started after a moment, ready after another one; run to their end when a Job owns them.
---
--- Each container goes its own way (pod_container.lua), init containers one after the other before the rest. A Pod that
--- needs a ConfigMap, Secret or claim that does not exist waits for it, as on a real node. A container that should end
--- (restartPolicy other than Always) ends well, unless its command is `false` or its last words are `exit N`; the Pod
--- ends with it, whatever the policy says of restarts.
local container = require "sandbox.kubernetes.simulate.pod_container"
local needs = require "sandbox.kubernetes.simulate.pod_needs"
local schedule = require "sandbox.kubernetes.simulate.pod_schedule"
local simulate = require "sandbox.kubernetes.simulate"
local status_of = require "sandbox.kubernetes.simulate.pod_status"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

M.on["/pods"] = simulate.itself

--- Whether a Pod is ready.
---@param pod table
---@return boolean
function M.is_ready(pod)
  for _, c in ipairs(values.get(pod, "status", "conditions") or {}) do
    if c.type == "Ready" then return c.status == "True" end
  end
  return false
end

--- What is known of a Pod beside its object: since when its containers are as they are.
local function memory_of(sim, pod)
  sim.pod_states = sim.pod_states or {}
  local memory = sim.pod_states[pod.metadata.uid]
  if not memory then
    memory = { containers = {} }
    sim.pod_states[pod.metadata.uid] = memory
  end
  return memory
end

local function container_memory(memory, name)
  memory.containers[name] = memory.containers[name] or {}
  return memory.containers[name]
end

--- Nothing of the Pod has run yet.
local function is_new(pod)
  for _, list in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, s in ipairs(pod.status[list] or {}) do
      if not s.state.waiting or values.get(s, "lastState", "terminated") then return false end
    end
  end
  return true
end

--- All containers wait for what the namespace lacks.
local function hold(sim, pod, reason, event_reason, message)
  sim:event(pod, "Warning", event_reason, message, "kubelet")
  sim:edit("/pods", pod, function(p)
    for i, c in ipairs(p.spec.containers) do
      p.status.containerStatuses[i] = status_of.waiting(c, reason, reason ~= "ContainerCreating" and message or nil)
    end
  end)
  return 1
end

--- The Pod gets its address when its first container is about to start.
local function give_address(sim, pod)
  if pod.status.podIP then return end
  local n = sim:number "pod"
  pod.status.podIP = ("%s.%d.%d"):format(sim.api.pod_network, n // 250 % 250, n % 250 + 2)
  pod.status.podIPs = values.array { { ip = pod.status.podIP } }
end

--- A container whose image was changed is started anew.
local function with_new_image(sim, pod, c, status)
  if status.image == c.image then return nil end
  sim:event(pod, "Normal", "Killing", ("Container %s definition changed, will be restarted"):format(c.name), "kubelet")
  return status_of.waiting(c, "ContainerCreating")
end

--- One step of each container whose turn it is.
---@return table<string, table> changed  lists of statuses by the field's name; empty when nothing changed
---@return number? seconds  until the next look
local function advance(sim, pod)
  local memory, changed, soonest = memory_of(sim, pod), {}, nil
  local function step(field, i, c, first)
    local status = pod.status[field][i]
    local new, seconds = with_new_image(sim, pod, c, status), 0
    if not new then new, seconds = container.step(sim, pod, c, status, container_memory(memory, c.name), first) end
    if new and new ~= status then
      changed[field] = changed[field] or {}
      changed[field][i] = new
    end
    if seconds then soonest = math.min(soonest or seconds, seconds) end
    return new or status
  end
  for i, c in ipairs(pod.spec.initContainers or {}) do
    local status = pod.status.initContainerStatuses[i]
    if not status_of.is_initialized(c, status) then status = step("initContainerStatuses", i, c, true) end
    if not status_of.is_initialized(c, status) then return changed, soonest end
  end
  for i, c in ipairs(pod.spec.containers) do step("containerStatuses", i, c, false) end
  return changed, soonest
end

local function run(sim, pod)
  if not pod.status.containerStatuses or pod.spec.initContainers and not pod.status.initContainerStatuses then
    pod = sim:edit("/pods", pod, status_of.begin)
  end
  if is_new(pod) then
    local reason, event_reason, message = needs.missing(sim, pod)
    if reason then return hold(sim, pod, reason, event_reason, message) end
  end
  local changed, seconds = advance(sim, pod)
  if next(changed) then
    sim:edit("/pods", pod, function(p)
      give_address(sim, p)
      for field, list in pairs(changed) do
        for i, status in pairs(list) do p.status[field][i] = status end
      end
      status_of.settle(sim, p)
    end)
  end
  return seconds
end

local function terminate(sim, pod)
  local memory = memory_of(sim, pod)
  memory.ending = memory.ending or sim:clock()
  local grace = math.min(sim.pace / 2, pod.metadata.deletionGracePeriodSeconds or 0)
  local left = grace - (sim:clock() - memory.ending)
  if left > 0.0005 then return left end
  sim.pod_states[pod.metadata.uid] = nil
  sim:event(pod, "Normal", "Killing", "Stopping container " .. pod.spec.containers[1].name, "kubelet")
  sim:edit("/pods", pod, function(p) p.metadata.deletionGracePeriodSeconds = 0 end)
end

function M.reconcile(sim, namespace, name)
  local pod = sim:get("/pods", namespace, name)
  if not pod then return nil end
  local phase = values.get(pod, "status", "phase")
  if pod.metadata.deletionTimestamp then return terminate(sim, pod) end
  if phase == "Succeeded" or phase == "Failed" then return nil end
  if not values.get(pod, "status", "startTime") then return schedule.bind(sim, pod) end
  return run(sim, pod)
end

return M
