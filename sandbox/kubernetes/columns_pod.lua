--- What kubectl shows of a Pod in one line.
local age = require "sandbox.kubernetes.age"
local values = require "sandbox.kubernetes.values"

local M = {}

local get = values.get

--- What the first init container that has not done its work says of the Pod; nil when all have.
local function initializing(o)
  local list = get(o, "spec", "initContainers") or {}
  for i, c in ipairs(list) do
    local status = get(o, "status", "initContainerStatuses", i)
    local ended, waiting = get(status, "state", "terminated"), get(status, "state", "waiting", "reason")
    local done = ended and ended.exitCode == 0 or c.restartPolicy == "Always" and get(status, "state", "running")
    if not done then
      local word = ended and ended.reason or waiting ~= "PodInitializing" and waiting
      return "Init:" .. (word or ("%d/%d"):format(i - 1, #list))
    end
  end
end

--- The one word for the state of a Pod.
---@param o table
---@return string
function M.status(o)
  local reason = get(o, "status", "reason") or get(o, "status", "phase") or "Unknown"
  if reason == "Pending" or reason == "Failed" then reason = initializing(o) or reason end
  for _, c in ipairs(get(o, "status", "containerStatuses") or {}) do
    local waiting = get(c, "state", "waiting", "reason")
    if waiting ~= "PodInitializing" then reason = waiting or get(c, "state", "terminated", "reason") or reason end
  end
  if o.metadata.deletionTimestamp then reason = "Terminating" end
  return reason
end

--- How many of its containers are ready, as in "1/2".
---@param o table
---@return string
function M.ready(o)
  local ready, total = 0, #(get(o, "spec", "containers") or {})
  for _, c in ipairs(get(o, "status", "containerStatuses") or {}) do ready = ready + (c.ready and 1 or 0) end
  return ("%d/%d"):format(ready, total)
end

--- How often its containers were started again, and how long ago for the last time.
---@param o table
---@return string
function M.restarts(o)
  local n, last = 0, nil
  for _, field in ipairs { "initContainerStatuses", "containerStatuses" } do
    for _, c in ipairs(get(o, "status", field) or {}) do
      n = n + (c.restartCount or 0)
      local ended_at = get(c, "lastState", "terminated", "finishedAt")
      if ended_at and (not last or ended_at > last) then last = ended_at end
    end
  end
  return n > 0 and last and ("%d (%s ago)"):format(n, age(last)) or tostring(n)
end

return M
