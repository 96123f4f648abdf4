--- The cluster's controllers: each watches kinds and brings the objects of one kind to where they want to be.
---
--- A controller is a table: `name`; `on`, which object's key each kind's change wakes; `reconcile(sim, namespace,
--- name)`,
--- which looks at the present state only, may be called at any time, and returns the seconds after which it wants to
--- look
--- again. Nothing in a reconcile waits, so no change falls in the middle of one.
local errors = require "sandbox.kubernetes.errors"
local heap = require "sandbox.kubernetes.simulate.heap"
local log = require "ws.log"
local objects = require "sandbox.kubernetes.objects"
local task = require "ws.task"
local time = require "ws.time"
local values = require "sandbox.kubernetes.values"
local versions = require "sandbox.kubernetes.versions"

local CONTROLLERS = { "namespace", "garbage", "pod", "replicaset", "deployment", "statefulset", "daemonset", "job",
  "cronjob",
  "service", "ingress", "volume", "autoscaler", "budget", "certificate", "account", "event" }

local M = {}

---@class kubernetes.Simulation
---@field api kubernetes.Api
---@field store kubernetes.Store
---@field pace number  seconds that a container takes to start
local Simulation = {}
Simulation.__index = Simulation

--- The simulation of a cluster; nothing happens before `start` or `settle`.
---@param api kubernetes.Api
---@param pace number  seconds that a container takes to start
---@return kubernetes.Simulation
function M.new(api, pace)
  local self = setmetatable({
    api = api, store = api.store, pace = pace, work = heap.new(), queued = {}, offset = 0, wake = task.queue(),
    controllers = {}, by_kind = {}, counters = { pod = api.store.revision },
  }, Simulation)
  for _, name in ipairs(CONTROLLERS) do
    local controller = require("sandbox.kubernetes.simulate." .. name)
    controller.name = name
    self.controllers[name] = controller
    for id, key_of in pairs(controller.on) do
      self.by_kind[id] = self.by_kind[id] or {}
      table.insert(self.by_kind[id], { controller = controller, key_of = key_of })
    end
  end
  api.store:listen(function(change) self:react(change) end)
  -- Objects that were there before: each controller looks at all of its own.
  for id, bucket in pairs(api.store.buckets) do
    if bucket then
      for _, object in ipairs(api.store:list(id)) do
        self:react { type = "ADDED", id = id, object = object, revision = 0 }
      end
    end
  end
  return self
end

--- The simulation's clock in seconds; it runs ahead of the real one after `settle`.
function Simulation:clock()
  return time.monotonic() + self.offset
end

function Simulation:react(change)
  for _, map in ipairs { self.by_kind[change.id] or {}, self.by_kind["*"] or {} } do
    for _, entry in ipairs(map) do
      local namespace, name, delay = entry.key_of(self, change)
      if name then self:enqueue(entry.controller, namespace, name, delay or 0) end
    end
  end
end

--- Wakes a controller for an object after a delay; an earlier wake-up that is queued already stands.
---@param controller table
---@param namespace? string
---@param name string
---@param delay number  seconds
function Simulation:enqueue(controller, namespace, name, delay)
  local key = controller.name .. "\0" .. (namespace or "") .. "\0" .. name
  local due = self:clock() + delay
  local queued = self.queued[key]
  if queued and queued.due <= due then return end
  if queued then queued.dropped = true end
  local item = { due = due, key = key, controller = controller, namespace = namespace, name = name }
  self.queued[key] = item
  self.work:push(item)
  if self.sleeping_until and due < self.sleeping_until then
    self.sleeping_until = nil
    self.wake:push(true)
  end
end

--- Takes the next piece of work that is due; nil when there is none.
function Simulation:take()
  while true do
    local item = self.work:peek()
    if not item then return nil end
    if item.dropped then
      self.work:pop()
    elseif item.due > self:clock() then
      return nil, item.due
    else
      self.queued[item.key] = nil
      return self.work:pop()
    end
  end
end

function Simulation:process(item)
  local ok, again = xpcall(item.controller.reconcile, function(err)
    if errors.is(err) then return tostring(err) end
    return debug.traceback(tostring(err), 2)
  end, self, item.namespace, item.name)
  if not ok then
    log.warn(("kubernetes: controller %s, %s/%s: %s"):format(item.controller.name, item.namespace or "", item.name,
      again))
    item.failures = (item.failures or 0) + 1
    again = 5
  end
  if again then self:enqueue(item.controller, item.namespace, item.name, again) end
end

--- Starts the controllers.
function Simulation:start()
  self.stopped = false
  self.task = task.spawn(function()
    while not self.stopped do
      local item, due = self:take()
      if item then
        self:process(item)
        self.turn = (self.turn or 0) + 1
        if self.turn % 20 == 0 then task.sleep(0) end -- others get their turn
      else
        local wait = due and math.max(0.001, due - self:clock()) or 3600
        self.sleeping_until = due or math.huge
        self.wake:pop(wait)
        self.sleeping_until = nil
      end
    end
  end)
end

--- Stops the controllers and waits for the one that is running.
function Simulation:stop()
  if not self.task then return end
  self.stopped = true
  self.wake:push(true)
  self.task:join()
  self.task = nil
end

--- Does everything that will happen within the next seconds, at once, by moving the clock: for tests without a server.
---@param seconds? number  default 60
function Simulation:settle(seconds)
  local horizon = self:clock() + (seconds or 60)
  for _ = 1, 100000 do
    local item, due = self:take()
    if item then
      self:process(item)
    elseif due and due <= horizon then
      self.offset = self.offset + math.max(0, due - self:clock())
    else
      return
    end
  end
  error("the simulation does not come to rest", 2)
end

-- Keys for `on`.

--- The changed object itself wakes its controller.
function M.itself(_, change)
  return change.object.metadata.namespace, change.object.metadata.name
end

--- The owner of a kind wakes: its namespace and name.
---@param kind string
---@return function
function M.owner(kind)
  return function(_, change)
    for _, owner in ipairs(change.object.metadata.ownerReferences or {}) do
      if owner.controller and owner.kind == kind then return change.object.metadata.namespace, owner.name end
    end
  end
end

--- The object that a key names, nil when it is gone.
---@param id string
---@param namespace? string
---@param name string
---@return table?
function Simulation:get(id, namespace, name)
  return self.store:get(id, namespace, name)
end

--- Changes an object through a copy; nothing is stored when nothing differs.
---@param id string
---@param object table
---@param change fun(object: table)
---@return table stored
function Simulation:edit(id, object, change)
  return objects.edit(self.api, id, object, change)
end

--- Creates an object as a controller does.
---@param id string
---@param namespace? string
---@param object table
---@return table stored
function Simulation:create(id, namespace, object)
  local resource = self.api.resources.by_id[id]
  object.apiVersion = require "sandbox.kubernetes.resources".join(resource.group, versions.stored(resource))
  return objects.create(self.api, { resource = resource, version = versions.stored(resource), namespace = namespace },
    object)
end

--- Deletes an object as a controller does.
---@param id string
---@param object table
---@param options? table
function Simulation:delete(id, object, options)
  local resource = self.api.resources.by_id[id]
  objects.delete(self.api, { resource = resource, version = versions.stored(resource),
    namespace = object.metadata.namespace },
    object, options or { propagationPolicy = "Background" })
end

--- The objects of a resource that a controller object owns.
---@param owner table
---@param id string
---@return table[]
function Simulation:owned(owner, id)
  local out = {}
  for _, entry in ipairs(self.store:owned(owner.metadata.uid)) do
    if entry.id == id then out[#out + 1] = entry.object end
  end
  return out
end

--- An ownerReferences list that names one controller.
---@param owner table
---@return table
function M.owned_by(owner)
  return values.array { {
    apiVersion = owner.apiVersion, kind = owner.kind, name = owner.metadata.name, uid = owner.metadata.uid,
    controller = true, blockOwnerDeletion = true,
  } }
end

--- A number that is not given twice. Pods' begin at the store's revision, so that their addresses stay distinct after a
--- restart.
---@param name string
---@return integer
function Simulation:number(name)
  self.counters[name] = (self.counters[name] or 0) + 1
  return self.counters[name]
end

--- Sets a condition; its transition time changes only with its status.
---@param status table
---@param kind string
---@param value boolean
---@param reason string
---@param message? string
---@param now string
---@param with_update_time? boolean
function M.set_condition(status, kind, value, reason, message, now, with_update_time)
  status.conditions = status.conditions or values.array()
  local text = value and "True" or "False"
  local found
  for _, c in ipairs(status.conditions) do
    if c.type == kind then found = c end
  end
  if not found then
    found = values.object { type = kind, lastTransitionTime = now }
    table.insert(status.conditions, found)
    if with_update_time then found.lastUpdateTime = now end
  end
  if found.status ~= nil and found.status ~= text then found.lastTransitionTime = now end
  if with_update_time and (found.status ~= text or found.reason ~= reason or found.message ~= message) then
    found.lastUpdateTime = now
  end
  found.status, found.reason, found.message = text, reason, message
end

--- Records an event about an object; the same one again raises its count.
---@param object table
---@param kind "Normal"|"Warning"
---@param reason string
---@param message string
---@param component string
function Simulation:event(object, kind, reason, message, component)
  local meta = object.metadata
  local namespace = meta.namespace or "default"
  local space = self:get("/namespaces", nil, namespace)
  if not space or space.metadata.deletionTimestamp then return end
  self.events = self.events or {}
  local key = table.concat({ meta.uid, reason, message, component }, "\0")
  local now = self.api:now()
  local known = self.events[key] and self:get("/events", namespace, self.events[key])
  if known then
    self:edit("/events", known, function(e) e.count, e.lastTimestamp = (e.count or 1) + 1, now end)
    return
  end
  local name = ("%s.%s"):format(meta.name, require "ws.crypto".random_hex(8))
  self.events[key] = name
  self:create("/events", namespace, values.object {
    metadata = values.object { name = name },
    involvedObject = values.object { apiVersion = object.apiVersion, kind = object.kind, name = meta.name,
      namespace = meta.namespace,
      uid = meta.uid, resourceVersion = meta.resourceVersion },
    type = kind, reason = reason, message = message, count = 1, firstTimestamp = now, lastTimestamp = now,
    source = values.object { component = component }, reportingComponent = component, reportingInstance = "",
  })
end

return M
