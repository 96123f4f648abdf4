--- The objects of one cluster, their versions, and who wants to hear of changes.
---
--- Invariants: a stored object is never changed in place; each change raises `revision` by one and is the change's
--- resourceVersion; listeners and watchers hear changes in that order, after the change is in the journal.
local values = require "sandbox.kubernetes.values"

local HISTORY = 4096 -- changes a watch may go back

local M = {}

---@class kubernetes.Change
---@field revision integer
---@field type "ADDED"|"MODIFIED"|"DELETED"
---@field id string  the resource's
---@field object table  as it is now; of a deleted one its last state with the deletion's resourceVersion
---@field old? table

---@class kubernetes.Store
---@field revision integer
local Store = {}
Store.__index = Store

--- An empty store, or what the journal holds.
---@param journal? kubernetes.Journal  without one the objects live in memory only
---@return kubernetes.Store
function M.new(journal)
  local self = setmetatable({
    revision = 1, buckets = {}, by_uid = {}, dependants = {}, history = {}, first = 1, last = 0,
    listeners = {}, journal = journal, oldest = 1,
  }, Store)
  if journal then
    journal:load(function(id, object, revision)
      self.revision = math.max(self.revision, revision)
      if object then self:place(id, object) end
    end)
    -- Changes before the restart cannot be replayed to a watch.
    self.oldest = self.revision
  end
  return self
end

function Store:bucket(id)
  local bucket = self.buckets[id]
  if not bucket then
    bucket = { spaces = {}, sorted = nil }
    self.buckets[id] = bucket
  end
  return bucket
end

function Store:index(id, object, present)
  local meta = object.metadata
  self.by_uid[meta.uid] = present and { id = id, namespace = meta.namespace, name = meta.name } or nil
  for _, owner in ipairs(meta.ownerReferences or {}) do
    local set = self.dependants[owner.uid]
    if not set and present then
      set = {}
      self.dependants[owner.uid] = set
    end
    if set then
      set[meta.uid] = present or nil
      if not next(set) then self.dependants[owner.uid] = nil end
    end
  end
end

function Store:place(id, object)
  local bucket = self:bucket(id)
  local namespace = object.metadata.namespace or ""
  local space = bucket.spaces[namespace]
  if not space then
    space = {}
    bucket.spaces[namespace] = space
  end
  local old = space[object.metadata.name]
  if old then self:index(id, old, false) else bucket.sorted = nil end
  space[object.metadata.name] = object
  self:index(id, object, true)
  return old
end

function Store:record(change)
  self.last = self.last + 1
  self.history[self.last] = change
  if self.last - self.first >= HISTORY then
    self.oldest = self.history[self.first].revision
    self.history[self.first] = nil
    self.first = self.first + 1
  end
  for listener in pairs(self.listeners) do listener(change) end
end

--- The object, or nil.
---@param id string
---@param namespace? string  nil or "" for cluster-wide resources
---@param name string
---@return table?
function Store:get(id, namespace, name)
  local bucket = self.buckets[id]
  local space = bucket and bucket.spaces[namespace or ""]
  return space and space[name]
end

--- Where the object with a uid lies, and the object; nil when there is none.
---@param uid string
---@return string? id
---@return table? object
function Store:find(uid)
  local at = self.by_uid[uid]
  if not at then return nil end
  return at.id, self:get(at.id, at.namespace, at.name)
end

--- The objects that name the uid as an owner.
---@param uid string
---@return { id: string, object: table }[]
function Store:owned(uid)
  local out = {}
  for dependant in pairs(self.dependants[uid] or {}) do
    local id, object = self:find(dependant)
    out[#out + 1] = { id = id, object = object }
  end
  table.sort(out, function(a, b)
    if a.id ~= b.id then return a.id < b.id end
    return a.object.metadata.name < b.object.metadata.name
  end)
  return out
end

--- The objects of a resource ordered by namespace and name. The list belongs to the caller.
---@param id string
---@param namespace? string  nil for all namespaces
---@return table[]
function Store:list(id, namespace)
  local bucket = self.buckets[id]
  if not bucket then return {} end
  if namespace then
    local space, out = bucket.spaces[namespace] or {}, {}
    for _, name in ipairs(values.keys(space)) do out[#out + 1] = space[name] end
    return out
  end
  if not bucket.sorted then
    local sorted = {}
    for _, space_name in ipairs(values.keys(bucket.spaces)) do
      for _, name in ipairs(values.keys(bucket.spaces[space_name])) do sorted[#sorted + 1] = { space_name, name } end
    end
    bucket.sorted = sorted
  end
  local out = {}
  for i, at in ipairs(bucket.sorted) do out[i] = bucket.spaces[at[1]][at[2]] end
  return out
end

--- Stores an object as its next version. The store owns the table from now on.
---@param id string
---@param object table  with metadata.name, .uid and, where the resource has one, .namespace
---@return table object  with its resourceVersion
function Store:put(id, object)
  self.revision = self.revision + 1
  object.metadata.resourceVersion = tostring(self.revision)
  local old = self:place(id, object)
  if self.journal then self.journal:write(self.revision, id, object, true) end
  self:record { revision = self.revision, type = old and "MODIFIED" or "ADDED", id = id, object = object, old = old }
  return object
end

--- Removes an object.
---@param id string
---@param object table  the stored one
---@return table object  its last state
function Store:remove(id, object)
  local namespace, name = object.metadata.namespace or "", object.metadata.name
  local bucket = self:bucket(id)
  self:index(id, object, false)
  bucket.spaces[namespace][name] = nil
  if not next(bucket.spaces[namespace]) then bucket.spaces[namespace] = nil end
  bucket.sorted = nil
  self.revision = self.revision + 1
  local last = values.copy(object)
  last.metadata.resourceVersion = tostring(self.revision)
  if self.journal then self.journal:write(self.revision, id, object, false) end
  self:record { revision = self.revision, type = "DELETED", id = id, object = last, old = object }
  return last
end

--- Calls `listener(change)` on each later change. It must not wait.
---@param listener function
---@return function unlisten
function Store:listen(listener)
  self.listeners[listener] = true
  return function() self.listeners[listener] = nil end
end

--- The changes of a resource after a revision; nil when they are no longer known.
---@param id string
---@param revision integer
---@return kubernetes.Change[]?
function Store:since(id, revision)
  if revision < self.oldest then return nil end
  local out = {}
  for i = self.last, self.first, -1 do
    local change = self.history[i]
    if change.revision <= revision then break end
    if change.id == id then table.insert(out, 1, change) end
  end
  return out
end

--- How many objects there are.
---@return integer
function Store:count()
  local n = 0
  for _ in pairs(self.by_uid) do n = n + 1 end
  return n
end

return M
