--- What the controllers of replicated Pods share.
local crypto = require "ws.crypto"
local errors = require "sandbox.kubernetes.errors"
local objects = require "sandbox.kubernetes.objects"
local pod = require "sandbox.kubernetes.simulate.pod"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = {}

--- The short hash of a Pod template.
---@param template table
---@return string
function M.hash(template)
  local digest, out = crypto.sha256(values.canonical(template)), {}
  local alphabet = "bcdfghjklmnpqrstvwxz2456789"
  for i = 1, 10 do
    local n = tonumber(digest:sub(2 * i - 1, 2 * i), 16) % #alphabet + 1
    out[i] = alphabet:sub(n, n)
  end
  return table.concat(out)
end

--- The Pod that an owner's template makes.
---@param owner table
---@param template table
---@param name string
---@param labels? table<string, string>  besides the template's
---@return table
function M.pod(owner, template, name, labels)
  local meta = values.object {
    name = name, labels = values.copy(values.get(template, "metadata", "labels")) or values.object(),
    annotations = values.copy(values.get(template, "metadata", "annotations")),
    ownerReferences = simulate.owned_by(owner),
  }
  for k, v in pairs(labels or {}) do meta.labels[k] = v end
  return values.object { kind = "Pod", metadata = meta, spec = values.copy(template.spec) }
end

--- Creates a Pod of an owner. A Pod that the API refuses is an event of the owner, and is tried again later.
---@param sim kubernetes.Simulation
---@param owner table
---@param pod_object table
---@param component string  the controller's name in events
---@return table? created
function M.create_pod(sim, owner, pod_object, component)
  local ok, made = pcall(sim.create, sim, "/pods", owner.metadata.namespace, pod_object)
  if ok then
    sim:event(owner, "Normal", "SuccessfulCreate", "Created pod: " .. made.metadata.name, component)
    return made
  end
  if not errors.is(made) then error(made, 0) end
  -- Without the random part of the name, so that it is one event however often it is tried.
  local message = made.body.message:gsub(pod_object.metadata.name:gsub("%p", "%%%0"), owner.metadata.name .. "-", 1)
  sim:event(owner, "Warning", "FailedCreate", "Error creating: " .. message, component)
  return nil
end

--- Seconds after which a refused Pod is tried again.
M.RETRY = 2

--- A free name for a Pod of an owner.
function M.pod_name(owner)
  return ("%s-%s"):format(owner.metadata.name:sub(1, 57), objects.suffix(5))
end

--- The Pods an owner has, split: alive ones (not ended, not going) and the others.
---@param sim kubernetes.Simulation
---@param owner table
---@return table[] alive
---@return table[] gone
function M.pods(sim, owner)
  local alive, gone = {}, {}
  for _, p in ipairs(sim:owned(owner, "/pods")) do
    local phase = values.get(p, "status", "phase")
    if p.metadata.deletionTimestamp or phase == "Succeeded" or phase == "Failed" then
      gone[#gone + 1] = p
    else
      alive[#alive + 1] = p
    end
  end
  return alive, gone
end

--- How many of the Pods are ready.
---@param pods table[]
---@return integer
function M.count_ready(pods)
  local n = 0
  for _, p in ipairs(pods) do n = n + (pod.is_ready(p) and 1 or 0) end
  return n
end

--- The number that an int-or-percent means of a total.
---@param value integer|string|nil
---@param total integer
---@param up boolean  round up
---@return integer
function M.scaled(value, total, up)
  if type(value) == "number" then return value end
  local percent = tonumber((tostring(value or "0"):match "^(%d+)%%$"))
  if not percent then return math.tointeger(tonumber(value)) or 0 end
  local exact = total * percent / 100
  return up and math.ceil(exact) or math.floor(exact)
end

--- The ControllerRevision of an owner's template, made when it is missing; older ones beyond the limit go.
---@param sim kubernetes.Simulation
---@param owner table
---@return table revision
---@return string hash
function M.revision(sim, owner)
  local template = owner.spec.template
  local hash = M.hash(template)
  local list = sim:owned(owner, "apps/controllerrevisions")
  table.sort(list, function(a, b) return a.revision < b.revision end)
  local latest, found = list[#list], nil
  for _, r in ipairs(list) do
    if values.get(r, "metadata", "labels", "controller-revision-hash") == hash then found = r end
  end
  if found then
    if found ~= latest then
      found = sim:edit("apps/controllerrevisions", found, function(r) r.revision = latest.revision + 1 end)
    end
    return found, hash
  end
  local data = values.copy(template)
  data["$patch"] = "replace"
  local labels = values.copy(values.get(template, "metadata", "labels")) or values.object()
  labels["controller-revision-hash"] = hash
  found = sim:create("apps/controllerrevisions", owner.metadata.namespace, values.object {
    kind = "ControllerRevision",
    metadata = values.object { name = owner.metadata.name .. "-" .. hash, labels = labels,
      ownerReferences = simulate.owned_by(owner) },
    data = { spec = { template = data } }, revision = latest and latest.revision + 1 or 1,
  })
  local limit = (owner.spec.revisionHistoryLimit or 10) + 1
  for i = 1, #list + 1 - limit do sim:delete("apps/controllerrevisions", list[i]) end
  return found, hash
end

return M
