--- The contents of a container registry: files named by their digest, shared by all repositories, and the uploads that
--- become them. A repository sees only what was pushed or mounted into it. Manifests lie among the same files
--- (sandbox.registry.manifests), so a file goes when no repository names it as either.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local names = require "sandbox.registry.names"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local UPLOAD_LIFETIME = 7 * 86400 -- seconds after which an upload that nobody ended is forgotten
local PIECE = 1 << 20 -- bytes hashed between two turns of other requests

---@class sandbox.Blobs
local Blobs = {}
Blobs.__index = Blobs

--- Opens the folder of blobs.
---@param cloud sandbox.Cloud
---@return sandbox.Blobs
function M.open(cloud)
  local dir = cloud.dir .. "/registry"
  assert(fs.mkdir(dir .. "/uploads", { parents = true }))
  return setmetatable({ dir = dir, members = cloud.store:collection "registry.blobs", writers = {},
    manifests = cloud.store:collection "registry.manifests", uploads = cloud.store:collection "registry.uploads" },
    Blobs)
end

--- The path of a content's file.
---@param digest string  "sha256:..."
---@return string
function Blobs:path(digest)
  return self.dir .. "/" .. digest:gsub(":", "-")
end

--- The digest of bytes.
---@param algorithm string
---@param bytes string
---@return string
function M.digest(algorithm, bytes)
  return algorithm .. ":" .. crypto[algorithm](bytes)
end

local function digest_of_file(algorithm, path)
  if algorithm == "sha256" then return "sha256:" .. assert(crypto.sha256_file(path)) end
  local hash, file = crypto.hash(algorithm), assert(io.open(path, "rb"))
  local _ <close> = setmetatable({}, { __close = function() file:close() end })
  for piece in function() return file:read(PIECE) end do
    hash:update(piece)
    task.sleep(0)
  end
  return algorithm .. ":" .. hash:digest()
end

--- The record of a blob in a repository, nil when it has none.
---@param name string
---@param digest string
---@return { size: integer }?
function Blobs:get(name, digest)
  return self.members:get(name .. "@" .. digest)
end

--- A repository among a collection's that has the content.
local function home_in(collection, digest)
  for _, key in ipairs(collection:keys()) do
    if key:sub(-#digest - 1) == "@" .. digest then return key:sub(1, -#digest - 2) end
  end
end

--- A repository that has the blob, nil when none has.
---@param digest string
---@return string?
function Blobs:home(digest) return home_in(self.members, digest) end

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
  if removed then self:release(digest) end
  return removed
end

--- Removes a content's file unless somebody names it.
---@param digest string
function Blobs:release(digest)
  if not (self:home(digest) or home_in(self.manifests, digest)) then os.remove(self:path(digest)) end
end

--- Begins an upload.
---@param name string
---@return string id
function Blobs:begin(name)
  for _, id in ipairs { table.unpack(self.uploads:keys()) } do
    if self.uploads:get(id).started < time.now() - UPLOAD_LIFETIME then self:cancel(id) end
  end
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

--- Appends to an upload until `read` gives nil. What another request appends meanwhile wins: a client that lost its
--- connection goes on in a new one while the old one may still be waited for here.
---@async
---@param id string
---@param read fun(): string?, ws.Error?
---@return integer? count  bytes
---@return ws.Error? err  the client left, or another request took over; what has arrived stays
function Blobs:append(id, read)
  local writer, count = {}, 0
  self.writers[id] = writer
  local file = assert(io.open(upload_path(self, id), "ab"))
  file:setvbuf "no" -- what has arrived counts at once
  local _ <close> = setmetatable({}, { __close = function()
    file:close()
    if self.writers[id] == writer then self.writers[id] = nil end
  end })
  while true do
    local chunk, err = read()
    if err then return nil, err end
    if self.writers[id] ~= writer then
      return nil, require "ws.error".new { kind = "conflict", op = "sandbox.registry",
        message = "another request went on with this upload" }
    end
    if not chunk then return count end
    assert(file:write(chunk))
    count = count + #chunk
  end
end

--- Ends an upload: its bytes become the blob when they have the digest.
---@async
---@param name string
---@param id string
---@param digest string
---@return boolean done  false: the bytes have another digest; the upload is gone
function Blobs:finish(name, id, digest)
  local path, given = upload_path(self, id), self.dir .. "/uploads/" .. id .. ".done"
  local size = self:received(id)
  self.uploads:delete(id)
  self.writers[id] = nil -- who still appends stops
  if size == 0 then assert(fs.write(path, "", { durable = false })) end
  assert(os.rename(path, given))
  local _ <close> = setmetatable({}, { __close = function() os.remove(given) end })
  if digest_of_file(names.algorithm(digest), given) ~= digest then return false end
  assert(os.rename(given, self:path(digest)))
  self.members:put(name .. "@" .. digest, { size = size })
  return true
end

--- Gives up an upload.
---@param id string
function Blobs:cancel(id)
  self.uploads:delete(id)
  self.writers[id] = nil
  os.remove(upload_path(self, id))
end

return M
