--- Writing an archive that `docker load` takes: an OCI layout with a manifest.json beside it, as docker 25 and later
--- save it. Layers stay compressed, so an image keeps its digest.
local archive = require "ws.archive"
local cache = require "ws.registry.cache"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local layout = require "ws.registry.layout"
local manifest = require "ws.registry.manifest"
local source = require "ws.registry.source"
local task = require "ws.task"

local M = {}

---@class ws.registry.ArchiveTarget: ws.registry.Target
local Target = {}
Target.__index = Target

--- Whether the blob is at hand: what a pull fetches goes by the cache.
---@async
---@param descriptor ws.registry.Descriptor
---@return boolean
function Target:has(descriptor)
  local file = cache.find(descriptor)
  if file then self.contents[descriptor.digest] = { file = file } end
  return file ~= nil
end

--- Where a blob's file shall be written.
---@param descriptor ws.registry.Descriptor
---@return string
function Target:path(descriptor)
  local file = fs.join(self.dir, descriptor.digest:match("%w+$"))
  self.contents[descriptor.digest] = { file = file }
  return file
end

--- Takes a blob from where it is.
---@async
---@param descriptor ws.registry.Descriptor
---@param content string|table
---@return true? ok
---@return ws.Error? err  kind `protocol`: it is not what its digest says
function Target:take(descriptor, content)
  local from = type(content) == "string" and { data = content }
    or { file = content.file, offset = content.offset, length = descriptor.size }
  local packed, err = archive.pack { from = from }
  if not packed then return nil, err end
  local ok
  ok, err = source.check(descriptor, packed, from.file or descriptor.digest)
  if not ok then return nil, err end
  self.contents[descriptor.digest] = from
  return true
end

--- Puts a manifest.
---@param descriptor ws.registry.Descriptor
---@param bytes string
---@return true ok
function Target:put(descriptor, bytes)
  self.contents[descriptor.digest] = { data = bytes }
  return true
end

local function names_of(name)
  if type(name) == "table" then
    if not name.tag then return nil end
    return ("%s/%s:%s"):format(name.registry, name.repository, name.tag), name.tag
  end
  return name, name and name:match(":([^:/]+)$")
end

--- Writes the archive; it replaces an older one when all is there.
---@async
---@param root ws.registry.Descriptor
---@param name? string|ws.registry.Reference
---@return true? ok
---@return ws.Error? err
function Target:finish(root, name)
  local refused = { kind = "unsupported", op = "registry.pull" }
  if manifest.is_index(root.mediaType) then
    refused.message, refused.hint = "a docker archive has one image, this is a list of images", "say the platform"
    return nil, errors.new(refused)
  end
  local found, whole = manifest.read(self.contents[root.digest].data, root.mediaType, root.digest)
  if not found then return nil, whole end
  local full, tag = names_of(name)
  local listed = { Config = "", Layers = json.array(), RepoTags = full and { full } or json.null }
  local entries, seen = { { name = "blobs/" }, { name = "blobs/sha256/" } }, {}
  for i, descriptor in ipairs { root, found.config, table.unpack(found.layers) } do
    local path, err = layout.blob_path(descriptor, self.file)
    if not path then return nil, err end
    local content = self.contents[descriptor.digest]
    if not content then -- a layer that registries do not hold
      refused.message = ("the layer %s is only to be had elsewhere"):format(descriptor.digest)
      return nil, errors.new(refused)
    end
    if not seen[path] then
      entries[#entries + 1] = { name = path, data = content.data, file = content.file, offset = content.offset,
        length = content.file and descriptor.size or nil }
    end
    seen[path] = true
    if i == 2 then listed.Config = path elseif i > 2 then table.insert(listed.Layers, path) end
  end
  local entry = { mediaType = root.mediaType, digest = root.digest, size = root.size, platform = root.platform }
  if full then entry.annotations = { [layout.NAME] = tag, ["io.containerd.image.name"] = full } end
  entries[#entries + 1] = { name = "oci-layout", data = layout.MARK }
  entries[#entries + 1] = { name = "manifest.json", data = json.encode(json.array { listed }) }
  entries[#entries + 1] = { name = "index.json",
    data = json.encode { schemaVersion = 2, mediaType = manifest.OCI_INDEX, manifests = json.array { entry } } }
  local part = ("%s.part-%s"):format(self.file, crypto.random_hex(4))
  local _ <close> = setmetatable({}, { __close = function()
    task.shield(fs.remove, part, { missing_ok = true })
  end })
  local ok, err = archive.tar_create { entries = entries, file = part, gzip = false }
  if ok then ok, err = fs.rename(part, self.file) end
  if not ok then return nil, err end
  cache.prune()
  return true
end

--- An archive to write. An existing file is replaced when all is there.
---@async
---@param file string
---@return ws.registry.Target? target
---@return ws.Error? err
function M.target(file)
  local dir, err = cache.folder()
  if not dir then return nil, err end
  return setmetatable({ file = file, dir = dir, contents = {} }, Target)
end

return M
