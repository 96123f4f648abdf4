--- What the containers of simulated Pods have written.
local errors = require "sandbox.kubernetes.errors"
local request = require "sandbox.kubernetes.request"
local respond = require "sandbox.kubernetes.respond"
local task = require "ws.task"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"

local M = {}

local function find_container(pod, name)
  for _, field in ipairs { "containers", "initContainers" } do
    for i, c in ipairs(pod.spec[field] or {}) do
      if c.name == name then
        return c, values.get(pod, "status", field == "containers" and "containerStatuses" or "initContainerStatuses", i)
      end
    end
  end
end

local function names(pod)
  local out = {}
  for i, c in ipairs(pod.spec.containers) do out[i] = c.name end
  return table.concat(out, " ")
end

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
  local waiting = values.get(status, "state", "waiting")
  if waiting or not status then
    local reason = waiting and waiting.reason or "ContainerCreating"
    if reason == "ImagePullBackOff" then
      errors.bad_request("container %q in pod %q is waiting to start: trying and failing to pull image", name,
        pod.metadata.name)
    end
    errors.bad_request("container %q in pod %q is waiting to start: %s", name, pod.metadata.name, reason)
  end
  return container, status
end

--- The lines of a container: { unix time, text }.
local function lines_of(container, status)
  local terminated = values.get(status, "state", "terminated")
  local at = time.parse_rfc3339(values.get(status, "state", "running", "startedAt")
    or (terminated and terminated.startedAt) or "")
    or time.now()
  local lines = { { at, ("starting %s (image %s)"):format(container.name, container.image) } }
  for _, p in ipairs(container.ports or {}) do
    lines[#lines + 1] = { at, ("listening on :%d%s"):format(p.containerPort, p.name and " (" .. p.name .. ")" or "") }
  end
  if terminated then
    lines[#lines + 1] = { time.parse_rfc3339(terminated.finishedAt) or at,
      terminated.exitCode == 0 and "finished" or ("failed with exit code %d"):format(terminated.exitCode) }
  else
    lines[#lines + 1] = { at, "ready" }
  end
  return lines, terminated ~= nil
end

--- GET pods/NAME/log.
---@param api kubernetes.Api
---@param req table
---@param pod table
---@return table res
function M.answer(api, req, pod)
  local container, status = pick(req, pod)
  if request.is_true(req.query.previous) then
    errors.bad_request("previous terminated container %q in pod %q not found", container.name, pod.metadata.name)
  end
  local lines, over = lines_of(container, status)
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
    -- A container that runs says nothing more; the stream ends with it.
    local uid = pod.metadata.uid
    local changes = task.queue()
    local unlisten = api.store:listen(function(change)
      if change.object.metadata.uid == uid then changes:push(change) end
    end)
    api.watchers[changes] = true
    local _ <close> = setmetatable({}, { __close = function()
      unlisten()
      api.watchers[changes] = nil
    end })
    while not over do
      local change = changes:pop(1800)
      if not change or change == "stop" or change.type == "DELETED" then return end
      local phase = values.get(change.object, "status", "phase")
      over = phase == "Succeeded" or phase == "Failed"
      if over then write("finished\n") end
    end
  end }
end

return M
