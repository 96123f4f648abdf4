--- Push: the blobs that are missing, several at once, then the manifests from the leaves to the root.
local errors = require "ws.error"
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"
local remote = require "ws.registry.remote"

local M = {}

local JOBS = 4
local DEPTH = 8 -- of indexes in indexes

---@class ws.registry.Source
---@field root ws.registry.Descriptor
---@field read fun(self, descriptor: ws.registry.Descriptor): string|table|nil, ws.Error?  the bytes, or
---  `{ file=, offset? }` for a blob
---@field origin? fun(self, descriptor: ws.registry.Descriptor): ws.registry.Reference|string|nil  a repository that has
---  the blob: it is mounted from there when it is of the same registry

---@class ws.registry.PushResult
---@field digest string
---@field size integer       of the root's manifest
---@field sent integer       blobs that were sent,
---@field mounted integer    taken over from another repository of the registry,
---@field skipped integer    there already
---@field bytes integer      that were sent
---@field unchanged boolean  the tag was this image already: nothing was looked at

--- Reads a manifest of the source.
local function read_manifest(source, descriptor)
  local bytes, err = source:read(descriptor)
  if not bytes then return nil, err end
  if type(bytes) == "table" then
    bytes, err = require "ws.fs".read(bytes.file, { offset = bytes.offset, length = descriptor.size })
    if not bytes then return nil, err end
  end
  local ok, problem = manifest.verify(descriptor, bytes, "the manifest to push")
  if not ok then return nil, problem end
  return manifest.read(bytes, descriptor.mediaType, descriptor.digest)
end

--- What there is to push: manifests with the children before their parents, and each blob once.
local function plan(source, root)
  local manifests, list, seen = {}, {}, {}
  local function visit(descriptor, depth)
    if seen[descriptor.digest] then return true end
    seen[descriptor.digest] = true
    local found, whole = read_manifest(source, descriptor)
    if not found then return nil, whole end
    if depth > DEPTH then
      return nil, errors.new { kind = "invalid", op = "registry.push",
        message = ("indexes are nested more than %d deep"):format(DEPTH) }
    end
    for _, child in ipairs(manifest.is_index(whole.mediaType) and found.manifests or {}) do
      local ok, err = visit(child, depth + 1)
      if not ok then return nil, err end
    end
    for _, blob in ipairs(manifest.is_index(whole.mediaType) and {} or manifest.blobs(found)) do
      if not seen[blob.digest] then list[#list + 1], seen[blob.digest] = blob, true end
    end
    whole.subject = found.subject
    manifests[#manifests + 1] = whole
    return true
  end
  local ok, err = visit(root, 1)
  if not ok then return nil, err end
  return manifests, manifest.largest_first(list)
end

local function origin_of(source, blob)
  local from = source.origin and source:origin(blob)
  if not from then return nil end
  return assert(reference.of(from))
end

local function put_blobs(source, ref, list, opts, result)
  local blobs, total, done = require "ws.registry.blobs", 0, 0 -- not needed for an image that is there already
  for _, blob in ipairs(list) do total = total + blob.size end
  return require "ws.registry.parallel"(list, opts.jobs or JOBS, function(blob)
    local how, err = blobs.put(ref, blob, function() return source:read(blob) end, { from = origin_of(source, blob) })
    if not how then return nil, err end
    result[how] = result[how] + 1
    if how == "sent" then result.bytes = result.bytes + blob.size end
    done = done + blob.size
    if opts.on_progress then opts.on_progress(done, total) end
    return true
  end)
end

--- Puts a manifest and, where the registry does not do so by itself, lists it among its subject's referrers.
---@async
---@param ref ws.registry.Reference
---@param whole ws.registry.Descriptor  with `bytes`
---@param subject? ws.registry.Descriptor
---@return true? ok
---@return ws.Error? err
function M.put_manifest(ref, whole, subject)
  local listed, err = remote.put(ref, whole)
  if listed == nil then return nil, err end
  if listed or type(subject) ~= "table" then return true end
  return require "ws.registry.referrers".record(ref, whole, subject)
end

local function put_manifests(ref, manifests)
  for i, whole in ipairs(manifests) do
    local to = ref
    if i < #manifests then to = reference.with(ref, { digest = whole.digest }) end
    local ok, err = M.put_manifest(to, whole, whole.subject)
    if not ok then return nil, err end
  end
  return true
end

--- Pushes a source; see registry.push.
---@async
---@param source ws.registry.Source
---@param ref ws.registry.Reference
---@param opts { jobs?: integer, overwrite?: boolean, on_progress?: fun(done: integer, total: integer) }
---@return ws.registry.PushResult? result
---@return ws.Error? err
function M.push(source, ref, opts)
  local root = source.root
  if ref.digest and ref.digest ~= root.digest then
    return nil, errors.new { kind = "invalid", op = "registry.push",
      message = ("%s is not the image to push, which is %s"):format(ref, root.digest) }
  end
  local result = { digest = root.digest, size = root.size, sent = 0, mounted = 0, skipped = 0, bytes = 0,
    unchanged = false }
  local state, err = remote.check_tag(ref, root, opts.overwrite)
  if not state then return nil, err end
  if state == "same" then
    result.unchanged = true
    return result
  end
  local manifests, list = plan(source, root)
  if not manifests then return nil, list end
  local ok
  ok, err = put_blobs(source, ref, list, opts, result)
  if not ok then return nil, err end
  if result.sent > 0 and ref.tag and not opts.overwrite then -- it took its time: somebody may have been faster
    state, err = remote.check_tag(ref, root)
    if not state then return nil, err end
  end
  ok, err = put_manifests(ref, manifests)
  if not ok then return nil, err end
  return result
end

return M
