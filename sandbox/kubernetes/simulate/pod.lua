--- Pods: scheduled at once, started after a moment, ready after another one; run to their end when a Job owns them.
---
--- A container whose image has `broken` in its name never starts (ImagePullBackOff). A Pod that needs a ConfigMap,
--- Secret or
--- claim that does not exist waits for it, as on a real node. A container that should end (restartPolicy other than
--- Always)
--- ends well, unless its command is `false` or its last words are `exit N`.
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"
local crypto = require "ws.crypto"

local M = { on = {} }

M.on["/pods"] = simulate.itself

--- The one node that a DaemonSet's controller wants, by the affinity it writes.
local function named_node(pod)
  local terms = values.get(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms")
  for _, term in ipairs(terms or {}) do
    for _, field in ipairs(term.matchFields or {}) do
      if field.key == "metadata.name" and field.operator == "In" then return field.values[1] end
    end
  end
end

local function node_for(sim, pod)
  local nodes = sim.store:list "/nodes"
  if #nodes == 0 then return nil end
  local wanted = values.get(pod, "spec", "nodeSelector") or {}
  local fit, only = {}, named_node(pod)
  for _, node in ipairs(nodes) do
    local ok = only and only == node.metadata.name or not (only or values.get(node, "spec", "unschedulable"))
    for k, v in pairs(wanted) do ok = ok and values.get(node, "metadata", "labels", k) == v end
    if ok then fit[#fit + 1] = node end
  end
  if #fit == 0 then return nil end
  return fit[sim:number "node" % #fit + 1]
end

local function image_id(image)
  return image .. "@sha256:" .. crypto.sha256(image)
end

local function is_broken(image)
  return type(image) == "string" and image:find("broken", 1, true) ~= nil
end

--- Names of what a Pod needs and the namespace lacks: a text for its event, and the reason its containers wait with.
local function missing(sim, pod)
  local namespace, spec = pod.metadata.namespace, pod.spec
  local function absent(id, ref, key)
    if not ref or ref.optional then return false end
    local found = sim:get(id, namespace, ref.name or ref.secretName)
    if not found then return true end
    return key ~= nil and values.get(found, "data", key) == nil
  end
  for _, v in ipairs(spec.volumes or {}) do
    if v.secret and absent("/secrets", v.secret) then
      return "ContainerCreating", "FailedMount", ('MountVolume.SetUp failed for volume "%s" : secret "%s" not found')
        :format(v.name, v.secret.secretName)
    elseif v.configMap and absent("/configmaps", v.configMap) then
      return "ContainerCreating", "FailedMount", ('MountVolume.SetUp failed for volume "%s" : configmap "%s" not found')
        :format(v.name, v.configMap.name)
    elseif v.persistentVolumeClaim and not sim:get("/persistentvolumeclaims", namespace,
      v.persistentVolumeClaim.claimName) then
      return "ContainerCreating", "FailedScheduling",
        ('persistentvolumeclaim "%s" not found'):format(v.persistentVolumeClaim.claimName)
    end
  end
  for _, c in ipairs(spec.containers) do
    for _, e in ipairs(c.env or {}) do
      local from = e.valueFrom or {}
      for field, id in pairs { secretKeyRef = "/secrets", configMapKeyRef = "/configmaps" } do
        local ref = from[field]
        if ref and absent(id, ref, ref.key) then
          return "CreateContainerConfigError", "Failed", ('%s "%s" not found'):format(id == "/secrets" and "secret"
            or "configmap", ref.name)
        end
      end
    end
    for _, e in ipairs(c.envFrom or {}) do
      if absent("/secrets", e.secretRef) then
        return "CreateContainerConfigError", "Failed", ('secret "%s" not found'):format(e.secretRef.name)
      elseif absent("/configmaps", e.configMapRef) then
        return "CreateContainerConfigError", "Failed", ('configmap "%s" not found'):format(e.configMapRef.name)
      end
    end
  end
end

local function waiting(c, reason, message)
  return values.object {
    name = c.name, image = c.image, imageID = "", ready = false, started = false, restartCount = 0,
      lastState = values.object(),
    state = { waiting = values.object { reason = reason, message = message } },
  }
end

local function running(c, now, ready)
  return values.object {
    name = c.name, image = c.image, imageID = image_id(c.image), containerID = "containerd://" .. crypto.random_hex(32),
    ready = ready, started = true, restartCount = 0, lastState = values.object(),
      state = { running = { startedAt = now } },
  }
end

local function ended(c, before, now, code)
  local status = values.copy(before) or running(c, now, false)
  status.ready, status.started = false, false
  status.state = { terminated = values.object {
    exitCode = code, reason = code == 0 and "Completed" or "Error", finishedAt = now, containerID = status.containerID,
    startedAt = values.get(before, "state", "running", "startedAt") or now,
  } }
  return status
end

local function set_ready(sim, status, ready, reason, message)
  local now = sim.api:now()
  simulate.set_condition(status, "PodReadyToStartContainers", true, nil, nil, now)
  simulate.set_condition(status, "Initialized", true, reason == "PodCompleted" and reason or nil, nil, now)
  simulate.set_condition(status, "Ready", ready, reason, message, now)
  simulate.set_condition(status, "ContainersReady", ready, reason, message, now)
  simulate.set_condition(status, "PodScheduled", true, nil, nil, now)
end

local function qos_of(spec)
  local some, all = false, true
  for _, c in ipairs(spec.containers) do
    local limits, requests = values.get(c, "resources", "limits") or {}, values.get(c, "resources", "requests") or {}
    if next(limits) or next(requests) then some = true end
    if not (limits.cpu and limits.memory and requests.cpu == limits.cpu
      and requests.memory == limits.memory) then all = false end
  end
  return not some and "BestEffort" or all and "Guaranteed" or "Burstable"
end

local function schedule(sim, pod)
  local bound = values.get(pod, "spec", "nodeName")
  local node = bound and sim:get("/nodes", nil, bound) or node_for(sim, pod)
  if not node then
    sim:edit("/pods", pod, function(p)
      simulate.set_condition(values.sub(p, "status"), "PodScheduled", false, "Unschedulable",
        "0 nodes are available that match the Pod's node selector", sim.api:now())
    end)
    sim:event(pod, "Warning", "FailedScheduling", "0 nodes are available that match the Pod's node selector",
      "default-scheduler")
    return 5
  end
  local name = node.metadata.name
  sim:event(pod, "Normal", "Scheduled", ("Successfully assigned %s/%s to %s"):format(pod.metadata.namespace,
    pod.metadata.name, name),
    "default-scheduler")
  sim:edit("/pods", pod, function(p)
    p.spec.nodeName = name
    local status = values.sub(p, "status")
    status.phase, status.qosClass = "Pending", qos_of(p.spec)
    status.startTime = sim.api:now()
    for _, a in ipairs(values.get(node, "status", "addresses") or {}) do
      if a.type == "InternalIP" then
        status.hostIP, status.hostIPs = a.address, values.array { { ip = a.address } }
      end
    end
    set_ready(sim, status, false, "ContainersNotReady", "containers with unready status")
    status.containerStatuses = values.array()
    for i, c in ipairs(p.spec.containers) do status.containerStatuses[i] = waiting(c, "ContainerCreating") end
  end)
  return sim.pace / 2
end

local function hold(sim, pod, reason, event_reason, message)
  sim:event(pod, "Warning", event_reason, message, "kubelet")
  sim:edit("/pods", pod, function(p)
    for i, c in ipairs(p.spec.containers) do
      p.status.containerStatuses[i] = waiting(c, reason, reason ~= "ContainerCreating" and message or nil)
    end
  end)
  return 1
end

local function refuse_image(sim, pod)
  local image
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(pod.spec[list] or {}) do image = image or (is_broken(c.image) and c.image) end
  end
  local message = ('Back-off pulling image "%s": ErrImagePull: failed to pull and unpack image "%s": not '
    .. 'found'):format(image, image)
  sim:event(pod, "Normal", "Pulling", ('Pulling image "%s"'):format(image), "kubelet")
  sim:event(pod, "Warning", "Failed", ('Failed to pull image "%s": not found'):format(image), "kubelet")
  sim:event(pod, "Warning", "BackOff", ('Back-off pulling image "%s"'):format(image), "kubelet")
  sim:edit("/pods", pod, function(p)
    for i, c in ipairs(p.spec.containers) do
      p.status.containerStatuses[i] = is_broken(c.image) and waiting(c, "ImagePullBackOff", message)
        or waiting(c, "PodInitializing")
    end
  end)
end

local function has_broken(pod)
  for _, list in ipairs { "initContainers", "containers" } do
    for _, c in ipairs(pod.spec[list] or {}) do
      if is_broken(c.image) then return true end
    end
  end
  return false
end

local function start(sim, pod)
  local reason, event_reason, message = missing(sim, pod)
  if reason then return hold(sim, pod, reason, event_reason, message) end
  if has_broken(pod) then
    refuse_image(sim, pod)
    return nil
  end
  local now = sim.api:now()
  for _, c in ipairs(pod.spec.containers) do
    sim:event(pod, "Normal", "Pulled", ('Container image "%s" already present on machine'):format(c.image), "kubelet")
    sim:event(pod, "Normal", "Created", "Created container: " .. c.name, "kubelet")
    sim:event(pod, "Normal", "Started", "Started container " .. c.name, "kubelet")
  end
  sim:edit("/pods", pod, function(p)
    local status = p.status
    status.phase = "Running"
    local n = sim:number "pod"
    status.podIP = ("%s.%d.%d"):format(sim.api.pod_network, n // 250 % 250, n % 250 + 2)
    status.podIPs = values.array { { ip = status.podIP } }
    for i, c in ipairs(p.spec.initContainers or {}) do
      status.initContainerStatuses = status.initContainerStatuses or values.array()
      if c.restartPolicy == "Always" then
        status.initContainerStatuses[i] = running(c, now, true)
      else
        status.initContainerStatuses[i] = ended(c, nil, now, 0)
        status.initContainerStatuses[i].ready = true
      end
    end
    for i, c in ipairs(p.spec.containers) do status.containerStatuses[i] = running(c, now, false) end
  end)
  return sim.pace / 2
end

local function exit_code(pod)
  for _, c in ipairs(pod.spec.containers) do
    local words = {}
    for _, list in ipairs { c.command or {}, c.args or {} } do
      for _, w in ipairs(list) do words[#words + 1] = w end
    end
    local last = words[#words] or ""
    local code = last:match "exit%s+(%d+)%s*;?%s*$"
    if code then return math.tointeger(tonumber(code)) end
    if last == "false" or last == "/bin/false" then return 1 end
  end
  return 0
end

local function become_ready(sim, pod)
  sim:edit("/pods", pod, function(p)
    for _, c in ipairs(p.status.containerStatuses) do c.ready = true end
    set_ready(sim, p.status, true)
  end)
  if pod.spec.restartPolicy ~= "Always" then return sim.pace / 2 end
end

local function finish(sim, pod)
  local code, now = exit_code(pod), sim.api:now()
  sim:edit("/pods", pod, function(p)
    p.status.phase = code == 0 and "Succeeded" or "Failed"
    for i, c in ipairs(p.spec.containers) do p.status.containerStatuses[i] = ended(c, p.status.containerStatuses[i],
      now, code) end
    set_ready(sim, p.status, false, code == 0 and "PodCompleted" or "PodFailed")
  end)
end

local function is_ready(pod)
  for _, c in ipairs(values.get(pod, "status", "conditions") or {}) do
    if c.type == "Ready" then return c.status == "True" end
  end
  return false
end
M.is_ready = is_ready

--- How long a state has to last before the next one; kept by uid, outside the object.
local function since(sim, pod, state)
  sim.pod_states = sim.pod_states or {}
  local entry = sim.pod_states[pod.metadata.uid]
  if not entry or entry.state ~= state then
    entry = { state = state, at = sim:clock() }
    sim.pod_states[pod.metadata.uid] = entry
  end
  return sim:clock() - entry.at
end

local function image_changed(pod)
  for i, c in ipairs(pod.spec.containers) do
    local status = values.get(pod, "status", "containerStatuses", i)
    if status and status.image ~= c.image then return true end
  end
  return false
end

--- A step that happens once its state has lasted for a time.
local function after(sim, pod, state, seconds, step)
  local left = seconds - since(sim, pod, state)
  if left > 0.0005 then return left end
  return step(sim, pod)
end

function M.reconcile(sim, namespace, name)
  local pod = sim:get("/pods", namespace, name)
  if not pod then return nil end
  local phase = values.get(pod, "status", "phase")
  if pod.metadata.deletionTimestamp then
    return after(sim, pod, "Terminating", math.min(sim.pace / 2, pod.metadata.deletionGracePeriodSeconds or 0),
      function()
      sim.pod_states[pod.metadata.uid] = nil
      sim:event(pod, "Normal", "Killing", "Stopping container " .. pod.spec.containers[1].name, "kubelet")
      sim:edit("/pods", pod, function(p) p.metadata.deletionGracePeriodSeconds = 0 end)
    end)
  end
  if phase == "Succeeded" or phase == "Failed" then return nil end
  if not values.get(pod, "status", "startTime") then return schedule(sim, pod) end
  if phase == "Pending" then
    local reason = values.get(pod, "status", "containerStatuses", 1, "state", "waiting", "reason")
    if reason == "ImagePullBackOff" and has_broken(pod) then return nil end
    return after(sim, pod, "Pending", sim.pace / 2, start)
  end
  if image_changed(pod) then
    -- A container whose image was changed is started anew.
    sim:edit("/pods", pod, function(p)
      p.status.phase = "Pending"
      for i, c in ipairs(p.spec.containers) do p.status.containerStatuses[i] = waiting(c, "ContainerCreating") end
      set_ready(sim, p.status, false, "ContainersNotReady", "containers with unready status")
    end)
    return sim.pace / 2
  end
  if not is_ready(pod) then return after(sim, pod, "Running", sim.pace / 2, become_ready) end
  if pod.spec.restartPolicy ~= "Always" then return after(sim, pod, "Ready", sim.pace / 2, finish) end
end

return M
