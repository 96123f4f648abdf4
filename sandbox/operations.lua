--- Long-running operations: what the asynchronous APIs answer.
---
--- The change itself is made at once; the operation says "running" until its time has come. Nothing is scheduled: the
--- state follows from the clock, so operations survive a restart. A poll that comes shortly before the end waits for
--- it, so clients with long poll intervals lose no time on short operations.
local time = require "ws.time"
local task = require "ws.task"
local values = require "sandbox.values"

local M = {}

local KEEP = 3600 -- seconds that a finished operation can still be asked for
local PATIENCE = 1 -- seconds that a poll waits at most for the end

---@class sandbox.Operations
local Operations = {}
Operations.__index = Operations

--- Makes the operations of a sandbox.
---@param store sandbox.Store
---@param duration number[]  shortest and longest time in seconds
---@return sandbox.Operations
function M.new(store, duration)
  return setmetatable({ records = store:collection "operations", duration = duration }, Operations)
end

local function prune(self)
  local now = time.now()
  for _, key in ipairs({ table.unpack(self.records:keys()) }) do
    local record = self.records:get(key)
    if record and record.done_at + KEEP < now then self.records:delete(key) end
  end
end

--- Starts an operation.
---@param key string  its path, e.g. "compute/projects/p/global/operations/operation-1"
---@param fields table  kept in the record: `name`, `type`, `target`, `response`, `error`, `factor` (times the duration)
---@return table record
function Operations:start(key, fields)
  self.started = (self.started or 0) + 1
  if self.started % 500 == 0 then prune(self) end
  local low, high = self.duration[1], self.duration[2]
  local record = values.copy(fields)
  record.id = values.id()
  record.started_at = time.now()
  record.done_at = record.started_at + (low + (high - low) * math.random()) * (fields.factor or 1)
  return self.records:put(key, record)
end

--- The record of an operation, nil when there is none. With `wait`, an operation that ends soon is waited for.
---@async
---@param key string
---@param wait? boolean
---@return table? record
---@return boolean? done
function Operations:get(key, wait)
  local record = self.records:get(key)
  if not record then return nil end
  local left = record.done_at - time.now()
  if wait and left > 0 and left <= PATIENCE then
    task.sleep(left)
    left = 0
  end
  return record, left <= 0
end

--- Whether the time of an operation has come.
---@param record table
---@return boolean
function M.done(record)
  return time.now() >= record.done_at
end

--- The operations whose key begins with `prefix`, with their keys.
---@param prefix string
---@return table[] records
---@return string[] keys
function Operations:list(prefix)
  return self.records:list(prefix)
end

--- Starts an operation of the form of most newer APIs and gives its resource.
---@param service string  name of the service
---@param parent string  e.g. "projects/p/locations/l"
---@param fields table  as for `start`; `metadata_type`: type URL of its metadata
---@return table
function Operations:begin(service, parent, fields)
  local name = ("%s/operations/operation-%s"):format(parent, values.id())
  fields.name = name
  return M.longrunning(self:start(service .. "/" .. name, fields))
end

--- Adds the route for asking after such an operation.
---@param service sandbox.Service
---@param base string  pattern of the parent with prefix and version
function Operations:routes(service, base)
  local function need(c)
    local name = c.path:match("(projects/.*)$")
    name = name:gsub("^projects/[^/]+", "projects/" .. c.params.project)
    local record = self:get(service.name .. "/" .. name, true)
    return record or require "sandbox.reply".not_found(name), name
  end
  service:on("GET", base .. "/operations/{operation}", function(c) return M.longrunning((need(c))) end)
  service:on("GET", base .. "/operations", function(c)
    local prefix = ("%s/projects/%s/"):format(service.name, c.params.project)
    return { operations = values.map(self:list(prefix), M.longrunning) }
  end)
end

--- Forgets an operation.
---@param key string
function Operations:delete(key)
  self.records:delete(key)
end

--- The form of most newer APIs (google.longrunning.Operation).
---@param record table
---@return table
function M.longrunning(record)
  local done = M.done(record)
  return {
    name = record.name,
    metadata = { ["@type"] = record.metadata_type, createTime = time.rfc3339(record.started_at), target = record.target,
      verb = record.type, endTime = done and time.rfc3339(record.done_at) or nil },
    done = done,
    response = done and not record.error and (record.response or {}) or nil,
    error = done and record.error or nil,
  }
end

return M
