--- OCI image layouts: a folder of blobs named by their digests, and an index.json.
--- <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>
---
--- A layout may come from elsewhere. Names in it are digests and nothing else, no link is followed below the folder,
--- and sizes are compared before anything is read.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"
local source = require "ws.registry.source"

local M = {}

M.NAME = "org.opencontainers.image.ref.name"
M.MARK = '{"imageLayoutVersion":"1.0.0"}'

local function fail(kind, message, hint)
  return nil, errors.new { kind = kind, op = "registry.open_layout", message = message, hint = hint }
end

--- Where a blob is below a layout's root, or nil with the reason.
---@param descriptor ws.registry.Descriptor
---@param where string
---@return string? path
---@return ws.Error? err
function M.blob_path(descriptor, where)
  if reference.is_digest(descriptor.digest) then return "blobs/sha256/" .. descriptor.digest:sub(8) end
  return fail("unsupported", ("%s: '%s' is not sha256: and 64 hexadecimal digits"):format(where,
    tostring(descriptor.digest)))
end

--- Reads an index.json.
---@param text string
---@param where string
---@return table? index
---@return ws.Error? err
function M.read_index(text, where)
  local index, descriptor = manifest.read(text, manifest.OCI_INDEX, where)
  if not index then return nil, descriptor end
  if manifest.is_index(descriptor.mediaType) then return index end
  return fail("parse", where .. ": this is no index of images")
end

--- The image of an index.json that has the tag; without one, the only image.
---@param index table
---@param tag? string
---@param where string
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kind `not_found`, `invalid` (several, and no tag)
function M.select(index, tag, where)
  local names, found = {}, {}
  for _, one in ipairs(index.manifests) do
    local name = type(one.annotations) == "table" and one.annotations[M.NAME] or nil
    names[#names + 1] = name or one.digest
    if not tag or name == tag or one.digest == tag or (name and name:match(":([^:/]+)$") == tag) then
      found[#found + 1] = one
    end
  end
  local hint = #names > 0 and "there are: " .. table.concat(names, ", ") or nil
  if #found == 0 then
    return fail("not_found", tag and ("%s has no image '%s'"):format(where, tag) or where .. " has no image", hint)
  end
  for _, one in ipairs(found) do
    if one.digest ~= found[1].digest then
      return fail("invalid", where .. " has several images: say which", hint)
    end
  end
  return found[1]
end

---@class ws.registry.Layout: ws.registry.Source
local Layout = {}
Layout.__index = Layout

--- A file of the layout that is really there, not a link to elsewhere.
local function plain(path, kind)
  local stat, err = fs.stat(path, { follow = false })
  if not stat then return nil, err end
  if stat.type == kind then return stat end
  return fail("denied", ("%s is a %s; in an image layout a %s is expected there"):format(path, stat.type, kind),
    stat.type == "link" and "copy what it points to in its place" or nil)
end

--- Reads a blob: a small one as bytes, checked; a larger one as the file that has it, which whoever reads it checks.
---@async
---@param descriptor ws.registry.Descriptor
---@return string|table|nil content
---@return ws.Error? err  kinds `not_found`, `protocol` (another size or digest), `denied` (a link)
function Layout:read(descriptor)
  local below, err = M.blob_path(descriptor, self.dir)
  if not below then return nil, err end
  local path = fs.join(self.dir, below)
  local stat
  stat, err = plain(path, "file")
  if not stat then
    if err.kind ~= "not_found" then return nil, err end
    return fail("not_found", ("%s: the blob %s (%s) is missing"):format(self.dir, descriptor.digest,
      descriptor.mediaType), "the layout is incomplete: make it anew")
  end
  if stat.size ~= descriptor.size then
    return fail("protocol", ("%s has %d bytes, its descriptor says %d"):format(path, stat.size, descriptor.size),
      "the layout is damaged: make it anew")
  end
  if stat.size > source.SMALL then return { file = path } end
  local bytes
  bytes, err = fs.read(path)
  if not bytes then return nil, err end
  local ok
  ok, err = manifest.verify(descriptor, bytes, path)
  if not ok then return nil, err end
  return bytes
end

local function read_json(path, where)
  local stat, err = plain(path, "file")
  if not stat then
    if err.kind == "not_found" then return fail("not_found", ("%s is no OCI image layout: it has no %s"):format(where,
      fs.basename(path))) end
    return nil, err
  end
  return fs.read(path, { max = manifest.MAX_SIZE })
end

--- Opens an image as a source; see registry.open_layout.
---@async
---@param dir string
---@param tag? string
---@return ws.registry.Source? source
---@return ws.Error? err
function M.open(dir, tag)
  if type(dir) ~= "string" then error("registry.open_layout: a folder expected, got " .. type(dir), 2) end
  if tag ~= nil and type(tag) ~= "string" then error("registry.open_layout: the tag must be a string", 2) end
  local text, err = read_json(fs.join(dir, "oci-layout"), dir)
  if not text then return nil, err end
  local mark = json.decode(text)
  local version = type(mark) == "table" and mark.imageLayoutVersion
  if type(version) ~= "string" or not version:find("^1%.") then
    return fail("unsupported", ("%s: the version of the layout is %s, not 1.0.0"):format(dir, tostring(version)))
  end
  text, err = read_json(fs.join(dir, "index.json"), dir)
  if not text then return nil, err end
  local index
  index, err = M.read_index(text, fs.join(dir, "index.json"))
  if not index then return nil, err end
  for _, below in ipairs { "blobs", "blobs/sha256" } do
    local ok, problem = plain(fs.join(dir, below), "directory")
    if not ok then return nil, problem end
  end
  local root
  root, err = M.select(index, tag, dir)
  if not root then return nil, err end
  return setmetatable({ dir = dir, root = root, digest = root.digest }, Layout)
end

---@class ws.registry.LayoutTarget: ws.registry.Target
local Target = {}
Target.__index = Target

--- Whether the layout has the blob, whole.
---@async
---@param descriptor ws.registry.Descriptor
---@return boolean
function Target:has(descriptor)
  local path = self:path(descriptor)
  local stat = fs.stat(path, { follow = false })
  return stat ~= nil and stat.type == "file" and stat.size == descriptor.size
    and crypto.sha256_file(path) == descriptor.digest:sub(8)
end

--- Where a blob's file shall be written. A digest of another kind has no place: whoever writes it is refused.
---@param descriptor ws.registry.Descriptor
---@return string
function Target:path(descriptor)
  return fs.join(self.dir, M.blob_path(descriptor, self.dir) or "blobs/sha256/unsupported")
end

--- Puts a manifest.
---@async
---@param descriptor ws.registry.Descriptor
---@param bytes string
---@return true? ok
---@return ws.Error? err
function Target:put(descriptor, bytes)
  return source.write(descriptor, bytes, self:path(descriptor))
end

--- Lists the image in index.json, in the place of the one that had its name. Other images stay.
---@async
---@param root ws.registry.Descriptor
---@param name? string|ws.registry.Reference
---@return true? ok
---@return ws.Error? err
function Target:finish(root, name)
  local tag = type(name) == "table" and name.tag or type(name) == "string" and name or nil
  local path = fs.join(self.dir, "index.json")
  local lock <close>, problem = fs.lock(fs.join(self.dir, "oci-layout"), { wait = 60 })
  if not lock then return nil, problem end
  local index = { schemaVersion = 2, mediaType = manifest.OCI_INDEX, manifests = json.array() }
  local text, err = fs.read(path, { max = manifest.MAX_SIZE })
  if text then
    index, err = M.read_index(text, path)
    if not index then return nil, err end
  elseif err.kind ~= "not_found" then
    return nil, err
  end
  local entry = { mediaType = root.mediaType, digest = root.digest, size = root.size, platform = root.platform,
    annotations = tag and { [M.NAME] = tag } or nil }
  local kept = json.array()
  for _, one in ipairs(index.manifests) do
    local other = type(one.annotations) == "table" and one.annotations[M.NAME] or nil
    local replaced = one.digest == root.digest and (other == nil or tag == nil) or (tag ~= nil and other == tag)
    if replaced and tag == nil then entry.annotations = one.annotations end
    if not replaced then kept[#kept + 1] = one end
  end
  kept[#kept + 1] = entry
  index.manifests = kept
  return fs.write(path, json.encode(index))
end

--- A layout to write to; the folder is made when it is missing.
---@async
---@param dir string
---@return ws.registry.Target? target
---@return ws.Error? err  kinds `exists` (a folder with something else), `denied`, …
function M.target(dir)
  local ok, err = fs.mkdir(dir)
  local names
  if ok then names, err = fs.list(dir) end
  if not names then return nil, err end
  if #names > 0 and not fs.exists(fs.join(dir, "oci-layout")) then
    return nil, errors.new { kind = "exists", op = "registry.pull",
      message = ("%s is no OCI image layout, and not empty"):format(dir), hint = "give a new or an empty folder" }
  end
  ok, err = fs.write(fs.join(dir, "oci-layout"), M.MARK, { how = "create" })
  if not ok and err.kind ~= "exists" then return nil, err end
  ok, err = fs.mkdir(fs.join(dir, "blobs/sha256"))
  if not ok then return nil, err end
  return setmetatable({ dir = dir }, Target)
end

return M
