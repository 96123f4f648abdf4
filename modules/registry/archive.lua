--- Archives of `docker save`: the old form (a folder for each layer) and the newer one, which is an OCI layout as well;
--- and plain OCI archives. They are read in place, without extracting.
---
--- An archive may come from elsewhere. Its names only ever lead to its own members, links are followed among them, and
--- every member has to lie within the file.
local archive = require "ws.archive"
local cache = require "ws.registry.cache"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local layout = require "ws.registry.layout"
local manifest = require "ws.registry.manifest"
local source = require "ws.registry.source"

local M = {}

local LINKS = 8 -- followed one after another
local LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
local CONFIG = "application/vnd.docker.container.image.v1+json"

local function fail(kind, message, hint)
  return nil, errors.new { kind = kind, op = "registry.open_archive", message = message, hint = hint }
end

--- The members of an archive by name.
local function members_of(file)
  local stat, err = fs.stat(file)
  if not stat then return nil, err end
  local list
  list, err = archive.list { file = file }
  if not list then return nil, err end
  local members = {}
  for _, entry in ipairs(list) do
    if entry.type == "file" and not entry.offset then
      return fail("unsupported", file .. " is compressed", ("expand it first: gzip -d %s"):format(file))
    end
    if entry.type == "file" and entry.offset + entry.size > stat.size then
      return fail("parse", ("%s is cut off: %s would end at byte %d, the file has %d"):format(file, entry.name,
        entry.offset + entry.size, stat.size))
    end
    members[fs.normalize(entry.name)] = entry
  end
  return members
end

---@class ws.registry.Archive: ws.registry.Source
local Archive = {}
Archive.__index = Archive

--- The member of a name, links followed.
function Archive:member(name)
  local at = fs.normalize(name)
  for _ = 1, LINKS do
    local entry = self.members[at]
    if not entry then break end
    if entry.type == "file" then return entry end
    if not entry.target then break end
    at = entry.type == "hardlink" and entry.target or fs.join(fs.dirname(at), entry.target)
    if entry.target:sub(1, 1) == "/" then break end
    at = fs.normalize(at)
  end
  return fail("not_found", ("%s: %s is not in the archive"):format(self.file, name),
    "the archive is incomplete or damaged: save the image again")
end

function Archive:bytes(name)
  local entry, err = self:member(name)
  if not entry then return nil, err end
  if entry.size > source.SMALL then
    return fail("too_large", ("%s: %s has %d bytes; 4 MiB is the most"):format(self.file, name, entry.size))
  end
  return fs.read(self.file, { offset = entry.offset, length = entry.size })
end

--- Reads a manifest, config or layer; a layer is told by its place, and checked by whoever reads it.
---@async
---@param descriptor ws.registry.Descriptor
---@return string|table|nil content
---@return ws.Error? err
function Archive:read(descriptor)
  local known = self.known[descriptor.digest]
  if type(known) == "string" then return known end
  if known and known.pack then
    local layer, err = cache.layer(known.pack)
    if not layer then return nil, err end
    return { file = layer.file }
  end
  local name, err = known and known.name
  if not name then
    name, err = layout.blob_path(descriptor, self.file)
    if not name then return nil, err end
  end
  local entry
  entry, err = self:member(name)
  if not entry then return nil, err end
  if entry.size ~= descriptor.size then
    return fail("protocol", ("%s: %s has %d bytes, its descriptor says %d"):format(self.file, name, entry.size,
      descriptor.size), "the archive is damaged: save the image again")
  end
  if entry.size > source.SMALL then return { file = self.file, offset = entry.offset } end
  local bytes
  bytes, err = fs.read(self.file, { offset = entry.offset, length = entry.size })
  if not bytes then return nil, err end
  local ok
  ok, err = manifest.verify(descriptor, bytes, ("%s: %s"):format(self.file, name))
  if not ok then return nil, err end
  return bytes
end

local function decode(self, name)
  local bytes, err = self:bytes(name)
  if not bytes then return nil, err end
  local value, problem = json.decode(bytes)
  if problem then return fail("parse", ("%s: %s: %s"):format(self.file, name, problem.message)) end
  return value
end

--- What a manifest.json lists, checked.
local function images_of(self)
  local list, err = decode(self, "manifest.json")
  if not list then return nil, err end
  local right = json.kind(list) == "array"
  for _, one in ipairs(right and list or {}) do
    right = right and type(one) == "table" and type(one.Config) == "string" and json.kind(one.Layers) == "array"
    for _, layer in ipairs(right and one.Layers or {}) do right = right and type(layer) == "string" end
  end
  if right then return list end
  return fail("parse", self.file .. ": manifest.json is not what docker save writes")
end

local function choose(self, list, tag)
  local found, names = {}, {}
  for _, one in ipairs(list) do
    local tags = type(one.RepoTags) == "table" and one.RepoTags or {}
    local fits = tag == nil
    for _, name in ipairs(tags) do
      names[#names + 1] = tostring(name)
      fits = fits or name == tag or tostring(name):match(":([^:/]+)$") == tag
    end
    if fits then found[#found + 1] = one end
  end
  local hint = #names > 0 and "there are: " .. table.concat(names, ", ") or nil
  if #found == 1 then return found[1] end
  if #found == 0 then
    return fail("not_found", tag and ("%s has no image '%s'"):format(self.file, tag) or self.file .. " has no image",
      hint)
  end
  return fail("invalid", self.file .. " has several images: say which", hint)
end

--- The manifest that the archive itself has for a config, when all its layers are compressed and there.
local function own_manifest(self, config_digest)
  if not self.members["index.json"] then return nil end
  local function search(descriptor, depth)
    if type(descriptor) ~= "table" or depth > 8 then return nil end
    local bytes = type(descriptor.size) == "number" and descriptor.size <= source.SMALL and self:read(descriptor)
    if type(bytes) ~= "string" then return nil end
    local found, whole = manifest.read(bytes, descriptor.mediaType, self.file)
    if not found then return nil end
    if not manifest.is_index(whole.mediaType) then
      if found.config.digest ~= config_digest then return nil end
      for _, layer in ipairs(found.layers) do
        local name = layout.blob_path(layer, self.file)
        if not name or not self.members[name] or tostring(layer.mediaType):find("tar$") then return nil end
      end
      return descriptor
    end
    for _, child in ipairs(found.manifests) do
      local root = search(child, depth + 1)
      if root then return root end
    end
  end
  local index = decode(self, "index.json")
  for _, one in ipairs(type(index) == "table" and type(index.manifests) == "table" and index.manifests or {}) do
    local root = search(one, 1)
    if root then return root end
  end
end

local function layer_error(self, name, digest, wanted)
  return fail("protocol", ("%s: the layer %s is sha256:%s, the config says %s"):format(self.file, name, digest, wanted),
    "the archive is damaged: save the image again")
end

--- The descriptor of a layer: one that is compressed as it is, another one after compression.
local function describe_layer(self, name, diff_id)
  local entry, err = self:member(name)
  if not entry then return nil, err end
  local from = { file = self.file, offset = entry.offset, length = entry.size }
  local head
  head, err = fs.read(self.file, { offset = entry.offset, length = math.min(2, entry.size) })
  if not head then return nil, err end
  if head == "\x1f\x8b" then
    local packed, problem = archive.pack { from = from }
    if not packed then return nil, problem end
    local descriptor = { mediaType = LAYER, digest = "sha256:" .. packed.sha256, size = packed.size }
    self.known[descriptor.digest] = { name = name }
    return descriptor
  end
  local layer, problem = cache.layer { from = from }
  if not layer then return nil, problem end
  if layer.diff_id ~= diff_id then return layer_error(self, name, layer.diff_id:sub(8), diff_id) end
  self.known[layer.digest] = { pack = { from = from } }
  return { mediaType = LAYER, digest = layer.digest, size = layer.size }
end

--- The root of an image of manifest.json: the archive's own manifest, else one that is made of config and layers.
local function docker_root(self, image)
  local bytes, err = self:bytes(image.Config)
  if not bytes then return nil, err end
  local config = manifest.describe(CONFIG, bytes)
  local named = image.Config:match("(%x+)%.json$") or image.Config:match("^blobs/sha256/(%x+)$")
  if named and #named == 64 and "sha256:" .. named ~= config.digest then
    return fail("protocol", ("%s: %s has the digest %s"):format(self.file, image.Config, config.digest),
      "the archive is damaged: save the image again")
  end
  local root = own_manifest(self, config.digest)
  if root then return root end
  self.known[config.digest] = bytes
  local made = { schemaVersion = 2, mediaType = manifest.DOCKER_MANIFEST, config = config, layers = json.array() }
  for i in ipairs(image.Layers) do made.layers[i] = { digest = "", size = 0 } end
  local parsed
  parsed, err = source.config(self, made, ("%s: %s"):format(self.file, image.Config))
  if not parsed then return nil, err end
  for i, name in ipairs(image.Layers) do
    made.layers[i], err = describe_layer(self, name, parsed.rootfs.diff_ids[i])
    if not made.layers[i] then return nil, err end
  end
  local text = json.encode(made)
  root = manifest.describe(made.mediaType, text)
  root.platform = { os = parsed.os, architecture = parsed.architecture, variant = parsed.variant }
  self.known[root.digest] = text
  return root
end

--- Opens an image as a source; see registry.open_archive.
---@async
---@param file string
---@param tag? string
---@return ws.registry.Source? source
---@return ws.Error? err
function M.open(file, tag)
  if type(file) ~= "string" then error("registry.open_archive: a file expected, got " .. type(file), 2) end
  if tag ~= nil and type(tag) ~= "string" then error("registry.open_archive: the tag must be a string", 2) end
  local members, err = members_of(file)
  if not members then return nil, err end
  local self = setmetatable({ file = file, members = members, known = {} }, Archive)
  if members["manifest.json"] then
    local list, image
    list, err = images_of(self)
    if list then image, err = choose(self, list, tag) end
    if not image then return nil, err end
    self.root, err = docker_root(self, image)
  elseif members["index.json"] then
    local text, index
    text, err = self:bytes("index.json")
    if text then index, err = layout.read_index(text, file .. ": index.json") end
    if not index then return nil, err end
    self.root, err = layout.select(index, tag, file)
  else
    return fail("parse", file .. " is no archive of an image: it has neither manifest.json nor index.json")
  end
  if not self.root then return nil, err end
  self.digest = self.root.digest
  return self
end

return M
