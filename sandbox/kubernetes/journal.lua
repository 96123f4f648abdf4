--- The store on disk: one JSON line a change, appended at once, so that a killed process loses nothing it answered.
---
--- `objects.jsonl` in the state folder. The last line of an object wins; a torn last line (the process died inside the
--- write) is dropped. The file is rewritten with the living objects only when most of it is history.
local encode = require "sandbox.kubernetes.encode"
local json = require "ws.json"
local fs = require "ws.fs"

local M = {}

---@class kubernetes.Journal
local Journal = {}
Journal.__index = Journal

--- The journal in a folder, which is made when it is missing.
---@param dir string
---@return kubernetes.Journal
function M.open(dir)
  assert(fs.mkdir(dir, { parents = true }))
  return setmetatable({ path = dir .. "/objects.jsonl", lines = 0, live = {} }, Journal)
end

local function key_of(id, object)
  return id .. "\0" .. (object.metadata.namespace or "") .. "\0" .. object.metadata.name
end

local function line_of(entry)
  return ('{"revision":%d,"id":%s,"present":%s,"object":%s}\n'):format(entry.revision, json.encode(entry.id),
    tostring(entry.present), encode.object(entry.object))
end

--- Reads what is there and calls `each(id, object or nil, revision)` for the living objects, then for the last
--- revision.
---@param each function
function Journal:load(each)
  local last_revision = 0
  local file = io.open(self.path, "rb")
  if file then
    for line in file:lines() do
      local entry = json.decode(line)
      if not entry then break end
      last_revision = entry.revision
      self.live[key_of(entry.id, entry.object)] = entry.present and entry or nil
    end
    file:close()
  end
  for _, entry in pairs(self.live) do each(entry.id, entry.object, entry.revision) end
  each(nil, nil, last_revision)
  self:rewrite(last_revision)
end

--- Replaces the file by one with the living objects.
function Journal:rewrite(revision)
  self:close()
  local lines = { line_of { revision = revision, id = "", present = false, object = { metadata = { name = "" } } } }
  for _, entry in pairs(self.live) do lines[#lines + 1] = line_of(entry) end
  assert(fs.write(self.path, table.concat(lines), { mode = tonumber("600", 8) }))
  self.lines, self.revision = #lines, revision
  self.file = assert(io.open(self.path, "ab"))
end

--- Appends a change.
---@param revision integer
---@param id string
---@param object table
---@param present boolean  false: it was removed
function Journal:write(revision, id, object, present)
  local key = key_of(id, object)
  local entry = { revision = revision, id = id, present = present, object = object }
  if not present then entry.object = { metadata = { name = object.metadata.name,
    namespace = object.metadata.namespace } } end
  self.live[key] = present and entry or nil
  self.live_count = (self.live_count or 0) + 1
  assert(self.file:write(line_of(entry)))
  assert(self.file:flush())
  self.lines = self.lines + 1
  if self.live_count > 2000 then
    self.live_count = 0
    local living = 0
    for _ in pairs(self.live) do living = living + 1 end
    if self.lines > 2 * living + 1000 then self:rewrite(revision) end
  end
end

--- Closes the file.
function Journal:close()
  if self.file then self.file:close() end
  self.file = nil
end

return M
