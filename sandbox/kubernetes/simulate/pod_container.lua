--- One container's way: its image comes, it starts, becomes ready, ends, is started again.
---
--- `step` does at most one change and says when to look again. How long a state has lasted is kept in `memory`, beside
--- the object; what else has to be known stands in the status, so that a cluster goes on after a restart. A node's real
--- back-offs of 10 s to 5 min are shortened as much as everything else in the cluster (`pace`).
local image = require "sandbox.kubernetes.simulate.pod_image"
local status_of = require "sandbox.kubernetes.simulate.pod_status"
local values = require "sandbox.kubernetes.values"

local M = {}

local REAL_PACE = 4 -- seconds that a container takes to start on a real node
local BACK_OFF, LONGEST = 10, 300 -- seconds on a real node

--- The real back-off after so many failures.
local function back_off(failures)
  return math.min(LONGEST, BACK_OFF * 2 ^ math.min(failures - 1, 10)) // 1 | 0
end

local function scaled(sim, seconds) return seconds * sim.pace / REAL_PACE end

local function event(sim, pod, kind, reason, message, ...)
  sim:event(pod, kind, reason, message:format(...), "kubelet")
end

--- What a container ends with when it does.
local function exit_code(c)
  local words = {}
  for _, list in ipairs { c.command or {}, c.args or {} } do
    for _, word in ipairs(list) do words[#words + 1] = word end
  end
  local last = words[#words] or ""
  local code = last:match "exit%s+(%d+)%s*;?%s*$"
  if code then return math.tointeger(tonumber(code)) end
  return (last == "false" or last == "/bin/false") and 1 or 0
end

local function tell_image(sim, pod, c, found)
  if found.reason == "ErrImageNeverPull" then
    event(sim, pod, "Warning", found.reason, "%s", found.problem)
  elseif not found.present then
    event(sim, pod, "Normal", "Pulling", 'Pulling image "%s"', c.image)
  end
  if found.reason == "ErrImagePull" then
    event(sim, pod, "Warning", "Failed", 'Failed to pull image "%s": %s', c.image, found.problem)
  end
  if found.reason then
    event(sim, pod, "Warning", "Failed", "Error: %s", found.reason)
  elseif found.present then
    event(sim, pod, "Normal", "Pulled", 'Container image "%s" already present on machine', c.image)
  else
    local taken = math.floor(sim.pace * 1000 / 4)
    event(sim, pod, "Normal", "Pulled", 'Successfully pulled image "%s" in %dms (%dms including waiting). Image size: '
      .. "%d bytes.", c.image, taken, taken, found.size or 0)
  end
end

--- Brings the image and starts the container, as far as that goes.
local function start(sim, pod, c, status, memory, first)
  local found = image.fetch(sim, pod.spec.nodeName, c)
  tell_image(sim, pod, c, found)
  if found.reason then
    memory.failures = (memory.failures or 0) + 1
    return status_of.waiting(c, found.reason, found.problem, status)
  end
  local refusal = image.refusal(found, pod, c)
  if refusal then
    event(sim, pod, "Warning", "Failed", "Error: %s", refusal)
    return status_of.waiting(c, "CreateContainerError", refusal, status)
  end
  memory.failures = nil
  event(sim, pod, "Normal", "Created", "Created container: %s", c.name)
  event(sim, pod, "Normal", "Started", "Started container %s", c.name)
  local running = status_of.running(c, found.id, sim.api:now(), status)
  running.ready = first == true and c.restartPolicy == "Always" -- a sidecar, which nobody waits for
  return running
end

--- States in which a container waits: how long, and what comes then.
local WAITS = {}

function WAITS.ErrImagePull(sim, pod, c, status)
  return sim.pace / 4, function()
    event(sim, pod, "Normal", "BackOff", 'Back-off pulling image "%s"', c.image)
    event(sim, pod, "Warning", "Failed", "Error: ImagePullBackOff")
    return status_of.waiting(c, "ImagePullBackOff", ('Back-off pulling image "%s": ErrImagePull: %s'):format(c.image,
      status.state.waiting.message or ""), status)
  end
end

function WAITS.ImagePullBackOff(sim, _, _, _, memory)
  memory.failures = memory.failures or 1
  return scaled(sim, back_off(memory.failures)), start
end

function WAITS.ErrImageNeverPull(sim) return scaled(sim, BACK_OFF), start end
WAITS.CreateContainerError = WAITS.ErrImageNeverPull

function WAITS.CrashLoopBackOff(sim, _, _, status) return scaled(sim, back_off(status.restartCount)), start end

local function first_start(sim) return sim.pace / 2, start end

--- A container that has ended: started again at once the first time, later after a back-off.
local function after_end(sim, pod, c, status)
  if pod.spec.restartPolicy ~= "Always" then return nil end
  return sim.pace / 4, function(_, _, _, _, memory, first)
    local before = values.copy(status)
    before.lastState = before.state
    if status.restartCount == 0 then return start(sim, pod, c, before, memory, first) end
    local seconds = back_off(status.restartCount)
    event(sim, pod, "Warning", "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)", c.name,
      pod.metadata.name, pod.metadata.namespace, pod.metadata.uid)
    return status_of.waiting(c, "CrashLoopBackOff", ("back-off %s restarting failed container=%s pod=%s_%s(%s)"):format(
      seconds < 60 and seconds .. "s" or ("%dm%ds"):format(seconds // 60, seconds % 60), c.name, pod.metadata.name,
      pod.metadata.namespace, pod.metadata.uid), before)
  end
end

--- A container that runs: what its image's label says, else it becomes ready, and ends where it should.
local function while_running(sim, pod, c, status, memory, first)
  local behaviour = image.behaviour(sim.api, status.imageID)
  if behaviour == "crash" then
    return sim.pace / 2, function()
      return status_of.ended(status, sim.api:now(), 1, ("the image's label says %s=crash"):format(image.LABEL))
    end
  elseif first and c.restartPolicy ~= "Always" then
    return 0, function() return status_of.ended(status, sim.api:now(), exit_code(c)) end
  elseif behaviour == "unready" then
    return scaled(sim, memory.probed and BACK_OFF or REAL_PACE / 2), function()
      memory.probed = true
      event(sim, pod, "Warning", "Unhealthy", "Readiness probe failed: the image's label says %s=unready", image.LABEL)
      return status
    end
  elseif not status.ready then
    return sim.pace / 2, function()
      local ready = values.copy(status)
      ready.ready = true
      return ready
    end
  elseif not first and pod.spec.restartPolicy ~= "Always" then
    return sim.pace / 2, function() return status_of.ended(status, sim.api:now(), exit_code(c)) end
  end
end

--- Does what is due.
---@param sim kubernetes.Simulation
---@param pod table
---@param c table  the container
---@param status table  of the container
---@param memory table  of the container: `state` and `at`, since when it lasts
---@param first boolean  it is an init container
---@return table? changed  the new status
---@return number? seconds  until the next look
function M.step(sim, pod, c, status, memory, first)
  local state = status.state
  local seconds, change
  if state.waiting then
    seconds, change = (WAITS[state.waiting.reason] or first_start)(sim, pod, c, status, memory)
  elseif state.running then
    seconds, change = while_running(sim, pod, c, status, memory, first)
  else
    seconds, change = after_end(sim, pod, c, status)
  end
  local name = (state.waiting and state.waiting.reason or state.running and "running" or "ended")
    .. (status.ready and " ready " or " ") .. status.restartCount
  if memory.state ~= name then memory.state, memory.at = name, sim:clock() end
  if not seconds then return nil end
  local left = seconds - (sim:clock() - memory.at)
  if left > 0.0005 then return nil, left end
  memory.at = sim:clock()
  return change(sim, pod, c, status, memory, first), 0
end

return M
