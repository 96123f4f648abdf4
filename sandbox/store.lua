--- Durable collections: named maps from text to JSON values, all in memory and all in one journal file.
---
--- Every change appends one line to the journal before the call returns, and the line goes to the kernel at once. So
--- what a client was told survives the end of the process by any signal; it does not survive the loss of power. A line
--- that was cut off is the end of the journal. When most lines are out of date the journal is rewritten beside itself
--- and renamed into place.
local json = require "ws.json"
local fs = require "ws.fs"

local M = {}

local COMPACT_FROM = 4000 -- lines; below it a journal is never rewritten

---@class sandbox.Store
local Store = {}
Store.__index = Store

---@class sandbox.Collection
local Collection = {}
Collection.__index = Collection

local function new_collection(store, name)
  return setmetatable({ store = store, name = name, values = {}, sorted = nil, count = 0 }, Collection)
end

local function io_error(message)
  return require "ws.error".new { kind = "io", op = "sandbox.store", message = tostring(message) }
end

local function apply(self, line)
  local change = json.decode(line)
  if type(change) ~= "table" or not change.c or not change.k then return false end
  local collection = self:collection(change.c)
  local value = change.v
  if value == json.null then value = nil end
  collection:assign(change.k, value)
  return true
end

--- Reads the journal; returns the length of its valid part in bytes, and its lines.
local function replay(self, path)
  local file = io.open(path, "rb")
  if not file then return 0, 0 end
  local valid, lines = 0, 0
  for line in function() return file:read "L" end do
    if line:sub(-1) ~= "\n" or not apply(self, line) then break end
    valid, lines = valid + #line, lines + 1
  end
  local size = file:seek("end")
  file:close()
  return valid, lines, size > valid
end

--- Opens the store in a folder, which is made when it does not exist.
---@param dir string
---@return sandbox.Store? store
---@return ws.Error? err
function M.open(dir)
  local ok, err = fs.mkdir(dir)
  if not ok then return nil, err end
  local self = setmetatable({ dir = dir, path = dir .. "/journal.ndjson", collections = {}, lines = 0 }, Store)
  local _, lines, torn = replay(self, self.path)
  self.lines = lines
  local opened, problem = self:reopen()
  if opened and torn then opened, problem = self:compact() end
  if not opened then return nil, problem end
  return self
end

--- Opens the journal for appending, in place of the file that is open.
---@return true? ok
---@return ws.Error? err
function Store:reopen()
  if self.file then self.file:close() end
  local file, message = io.open(self.path, "ab")
  if not file then return nil, io_error(message) end
  file:setvbuf("full", 1 << 20)
  self.file = file
  return true
end

--- The collection of that name; it exists from the first use on.
---@param name string
---@return sandbox.Collection
function Store:collection(name)
  local collection = self.collections[name]
  if not collection then
    collection = new_collection(self, name)
    self.collections[name] = collection
  end
  return collection
end

--- Rewrites the journal without what is out of date.
---@return true? ok
---@return ws.Error? err
function Store:compact()
  local temporary = self.path .. ".new"
  local file, message = io.open(temporary, "wb")
  if not file then return nil, io_error(message) end
  local lines = 0
  for name, collection in pairs(self.collections) do
    for key, value in pairs(collection.values) do
      file:write(json.encode { c = name, k = key, v = value }, "\n")
      lines = lines + 1
    end
  end
  local written, problem = file:close()
  if not written then return nil, io_error(problem) end
  local renamed, why = os.rename(temporary, self.path)
  if not renamed then return nil, io_error(why) end
  self.lines = lines
  if self.file then return self:reopen() end
  return true
end

--- Writes one change to the journal; nil removes. Raises an error of kind `io`.
---@param name string  of the collection
---@param key string
---@param value any
function Store:append(name, key, value)
  if self.closed then error("the store is closed", 3) end
  local ok, message = self.file:write(json.encode { c = name, k = key, v = value == nil and json.null or value }, "\n")
  if ok then ok, message = self.file:flush() end
  if not ok then
    error(io_error(self.path .. ": " .. tostring(message)))
  end
  self.lines = self.lines + 1
end

--- Rewrites the journal when most of it is out of date; only between changes, when the maps say the same as the lines.
function Store:tidy()
  if self.lines >= COMPACT_FROM and self.lines > 4 * self:size() then assert(self:compact()) end
end

--- Number of values in all collections.
---@return integer
function Store:size()
  local total = 0
  for _, collection in pairs(self.collections) do total = total + collection.count end
  return total
end

--- Closes the journal. Further changes raise.
function Store:close()
  if self.closed then return end
  self.closed = true
  self.file:close()
end

--- The value of a key. It is the stored table itself: who wants to change it uses `update`.
---@param key string
---@return any?
function Collection:get(key)
  return self.values[key]
end

--- Changes the map in memory only; for what is in the journal already.
---@param key string
---@param value any  nil removes
function Collection:assign(key, value)
  local existed = self.values[key] ~= nil
  if existed ~= (value ~= nil) then
    self.sorted = nil
    self.count = self.count + (existed and -1 or 1)
  end
  self.values[key] = value
end

--- Sets or replaces a value. Raises an error of kind `io` when it cannot be written; then nothing is changed.
---@param key string
---@param value any
---@return any value
function Collection:put(key, value)
  if value == nil then error("use delete to remove a value", 2) end
  self.store:append(self.name, key, value)
  self:assign(key, value)
  self.store:tidy()
  return value
end

--- Removes a value; says whether there was one. Raises as `put`.
---@param key string
---@return boolean
function Collection:delete(key)
  if self.values[key] == nil then return false end
  self.store:append(self.name, key, nil)
  self:assign(key, nil)
  self.store:tidy()
  return true
end

--- Changes a copy of the value and stores it, unless `fn` raises. Raises when the key is absent.
---@param key string
---@param fn fun(value: table)
---@return table value  as stored
function Collection:update(key, fn)
  local value = self.values[key]
  if value == nil then error(("%s has no %q"):format(self.name, key), 2) end
  local changed = require "sandbox.values".copy(value)
  fn(changed)
  return self:put(key, changed)
end

--- All keys, sorted by bytes. The list is shared: not to be changed.
---@return string[]
function Collection:keys()
  if not self.sorted then
    local keys = {}
    for key in pairs(self.values) do keys[#keys + 1] = key end
    table.sort(keys)
    self.sorted = keys
  end
  return self.sorted
end

--- The values whose key begins with `prefix`, sorted by key.
---@param prefix? string
---@return any[] values
---@return string[] keys
function Collection:list(prefix)
  local values, keys = {}, {}
  for _, key in ipairs(self:keys()) do
    if not prefix or key:sub(1, #prefix) == prefix then
      values[#values + 1], keys[#keys + 1] = self.values[key], key
    end
  end
  return values, keys
end

--- Removes every value.
function Collection:clear()
  for _, key in ipairs(self:keys()) do self:delete(key) end
end

return M
