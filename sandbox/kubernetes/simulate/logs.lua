--- What the containers of simulated Pods have written.
local errors = require "sandbox.kubernetes.errors"
local image = require "sandbox.kubernetes.simulate.pod_image"
local request = require "sandbox.kubernetes.request"
local respond = require "sandbox.kubernetes.respond"
local task = require "ws.task"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local FIELDS = { containers = "containerStatuses", initContainers = "initContainerStatuses" }

--- A container of a Pod by its name, and its status.
local function find_container(pod, name)
  for field, statuses in pairs(FIELDS) do
    for i, c in ipairs(pod.spec[field] or {}) do
      if c.name == name then return c, values.get(pod, "status", statuses, i) end
    end
  end
end

local function names(pod)
  local out = {}
  for i, c in ipairs(pod.spec.containers) do out[i] = c.name end
  return table.concat(out, " ")
end

local function refuse_waiting(pod, name, reason)
  local why = { ImagePullBackOff = "trying and failing to pull image", ErrImagePull = "image can't be pulled" }
  errors.bad_request("container %q in pod %q is waiting to start: %s", name, pod.metadata.name, why[reason] or reason)
end

--- The container that is meant, and what it writes or wrote: its state, or its last one.
local function pick(req, pod)
  local name = req.query.container
  if not name or name == "" then
    if #pod.spec.containers > 1 then
      errors.bad_request("a container name must be specified for pod %s, choose one of: [%s]", pod.metadata.name,
        names(pod))
    end
    name = pod.spec.containers[1].name
  end
  local container, status = find_container(pod, name)
  if not container then errors.bad_request("container %s is not valid for pod %s", name, pod.metadata.name) end
  local last = values.get(status, "lastState", "terminated")
  if request.is_true(req.query.previous) then
    if last then return container, status, { terminated = last } end
    errors.bad_request("previous terminated container %q in pod %q not found", name, pod.metadata.name)
  end
  local waiting = values.get(status, "state", "waiting")
  if status and not waiting then return container, status, status.state end
  -- Between two starts the log of the last one is given.
  if last then return container, status, { terminated = last } end
  return refuse_waiting(pod, name, waiting and waiting.reason or "ContainerCreating")
end

--- The lines of a container: { unix time, text }; and which is the first of its end.
local function lines_of(api, container, status, state)
  local ended = state.terminated
  local at = time.parse_rfc3339((state.running or ended).startedAt or "") or time.now()
  local lines = {}
  local function say(when, text, ...) lines[#lines + 1] = { when, text:format(...) } end
  say(at, "starting %s (image %s)", container.name, container.image)
  for _, p in ipairs(container.ports or {}) do
    say(at, "listening on :%d%s", p.containerPort, p.name and " (" .. p.name .. ")" or "")
  end
  local last = #lines + 1
  if ended then
    local over = time.parse_rfc3339(ended.finishedAt) or at
    if ended.message then say(over, "fatal: %s", ended.message) end
    if ended.exitCode == 0 then say(over, "finished") else say(over, "failed with exit code %d", ended.exitCode) end
  elseif status.ready then
    say(at, "ready")
  elseif image.behaviour(api, status.imageID) == "unready" then
    say(at, "not ready: the image's label says %s=unready", image.LABEL)
  end
  return lines, last
end

--- Writes what a container says from now on, until it ends, its Pod goes or the client leaves.
local function follow(api, pod, container, status, count, write)
  local uid, changes = pod.metadata.uid, task.queue()
  local unlisten = api.store:listen(function(change)
    if change.object.metadata.uid == uid then changes:push(change) end
  end)
  api.watchers[changes] = true
  local _ <close> = setmetatable({}, { __close = function()
    unlisten()
    api.watchers[changes] = nil
  end })
  while true do
    local change = changes:pop(1800)
    if not change or change == "stop" or change.type == "DELETED" then return end
    local _, now = find_container(change.object, container.name)
    local same = now and now.containerID == status.containerID
    local state = same and (now.state.waiting and { terminated = values.get(now, "lastState", "terminated") }
      or now.state)
    if not state or not (state.running or state.terminated) then return end
    local lines, last = lines_of(api, container, now, state)
    for i = state.terminated and last or count + 1, #lines do
      if not write(lines[i][2] .. "\n") then return end
    end
    count = math.max(count, #lines)
    if state.terminated then return end
  end
end

--- GET pods/NAME/log.
---@param api table  a `kubernetes.Api`
---@param req table
---@param pod table
---@return table res
function M.answer(api, req, pod)
  local container, status, state = pick(req, pod)
  local lines = lines_of(api, container, status, state)
  local since = tonumber(req.query.sinceSeconds or "")
  local tail = math.tointeger(tonumber(req.query.tailLines or ""))
  local out = {}
  for i, line in ipairs(lines) do
    if (not since or line[1] >= time.now() - since) and (not tail or i > #lines - tail) then
      local stamp = request.is_true(req.query.timestamps) and time.rfc3339(line[1]) .. " " or ""
      out[#out + 1] = stamp .. line[2] .. "\n"
    end
  end
  local text = table.concat(out)
  if not request.is_true(req.query.follow) then return respond.text(200, text) end
  return { status = 200, headers = { ["Content-Type"] = "text/plain" }, stream = function(write)
    if text ~= "" and not write(text) then return end
    if state.running then follow(api, pod, container, status, #lines, write) end
  end }
end

return M
