--- The contents of a container registry: files named by their digest, shared by all repositories, and the uploads that
--- become them. A repository sees only what was pushed or mounted into it.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local time = require "ws.time"

local M = {}

---@class sandbox.Blobs
local Blobs = {}
Blobs.__index = Blobs

--- Opens the folder of blobs.
---@param cloud sandbox.Cloud
---@return sandbox.Blobs
function M.open(cloud)
  local dir = cloud.dir .. "/registry"
  assert(fs.mkdir(dir .. "/uploads", { parents = true }))
  return setmetatable({ dir = dir, members = cloud.store:collection "registry.blobs",
    uploads = cloud.store:collection "registry.uploads" }, Blobs)
end

--- The path of a blob's file.
---@param digest string  "sha256:..."
---@return string
function Blobs:path(digest)
  return self.dir .. "/" .. digest:gsub(":", "-")
end

--- The record of a blob in a repository, nil when it has none.
---@param name string
---@param digest string
---@return { size: integer }?
function Blobs:get(name, digest)
  return self.members:get(name .. "@" .. digest)
end

--- A repository that has the blob, nil when none has.
---@param digest string
---@return string?
function Blobs:home(digest)
  for _, key in ipairs(self.members:keys()) do
    if key:sub(-#digest - 1) == "@" .. digest then return key:sub(1, -#digest - 2) end
  end
end

--- Makes a blob that another repository has visible in this one.
---@param name string
---@param digest string
---@param from string
---@return boolean done
function Blobs:mount(name, digest, from)
  local record = self:get(from, digest)
  if record then self.members:put(name .. "@" .. digest, record) end
  return record ~= nil
end

--- Takes a blob out of a repository; the file goes with the last repository.
---@param name string
---@param digest string
---@return boolean was_there
function Blobs:remove(name, digest)
  local removed = self.members:delete(name .. "@" .. digest)
  if removed and not self:home(digest) then os.remove(self:path(digest)) end
  return removed
end

--- Stores bytes as a blob.
---@param name string
---@param bytes string
---@return string digest
function Blobs:put(name, bytes)
  local digest = "sha256:" .. crypto.sha256(bytes)
  assert(fs.write(self:path(digest), bytes, { durable = false }))
  self.members:put(name .. "@" .. digest, { size = #bytes })
  return digest
end

--- Begins an upload.
---@param name string
---@return string id
function Blobs:begin(name)
  local id = crypto.uuid()
  self.uploads:put(id, { name = name, started = time.now() })
  return id
end

--- Whether there is an upload of that id for the repository.
---@param name string
---@param id string
---@return boolean
function Blobs:is_upload(name, id)
  local upload = self.uploads:get(id)
  return upload ~= nil and upload.name == name
end

local function upload_path(self, id) return self.dir .. "/uploads/" .. id end

--- Bytes that an upload has.
---@param id string
---@return integer
function Blobs:received(id)
  local stat = fs.stat(upload_path(self, id))
  return stat and stat.size or 0
end

--- Appends to an upload until `read` gives nil.
---@async
---@param id string
---@param read fun(): string?, ws.Error?
---@return true? ok
---@return ws.Error? err  the client left; what has arrived stays
function Blobs:append(id, read)
  local file = assert(io.open(upload_path(self, id), "ab"))
  local _ <close> = setmetatable({}, { __close = function() file:close() end })
  while true do
    local chunk, err = read()
    if err then return nil, err end
    if not chunk then return true end
    assert(file:write(chunk))
  end
end

--- Ends an upload: its bytes become the blob when they have the digest.
---@async
---@param name string
---@param id string
---@param digest string
---@return boolean done  false: the bytes have another digest; the upload is gone
function Blobs:finish(name, id, digest)
  local path = upload_path(self, id)
  local size = self:received(id)
  if size == 0 then assert(fs.write(path, "", { durable = false })) end
  local found = "sha256:" .. assert(crypto.sha256_file(path))
  self.uploads:delete(id)
  if found ~= digest then
    os.remove(path)
    return false
  end
  assert(os.rename(path, self:path(digest)))
  self.members:put(name .. "@" .. digest, { size = size })
  return true
end

--- Gives up an upload.
---@param id string
function Blobs:cancel(id)
  self.uploads:delete(id)
  os.remove(upload_path(self, id))
end

return M
