--- Reading images of any source: the manifest for a platform, small blobs as bytes, whole images into a target.
local archive = require "ws.archive"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local manifest = require "ws.registry.manifest"

local M = {}

local DEPTH = 8 -- of indexes in indexes
M.SMALL = manifest.MAX_SIZE -- bytes of a manifest or config at most

--- A small blob of a source, checked.
---@async
---@param source ws.registry.Source
---@param descriptor ws.registry.Descriptor
---@param where string  for people
---@return string? bytes
---@return ws.Error? err
function M.bytes(source, descriptor, where)
  if descriptor.size > M.SMALL then
    return nil, errors.new { kind = "too_large", op = "registry",
      message = ("%s: %s is to have %d bytes; a manifest or config has at most 4 MiB"):format(where,
        descriptor.digest, descriptor.size) }
  end
  local content, err = source:read(descriptor)
  if type(content) == "table" then
    content, err = fs.read(content.file, { offset = content.offset, length = descriptor.size })
  end
  if not content then return nil, err end
  local ok
  ok, err = manifest.verify(descriptor, content, where)
  if not ok then return nil, err end
  return content
end

--- The manifest of a source's image; of an index that for the platform.
---@async
---@param source ws.registry.Source
---@param platform string
---@param where string  for people
---@return table? manifest
---@return ws.registry.Descriptor|ws.Error descriptor  with `bytes`
function M.image(source, platform, where)
  local descriptor = source.root
  for _ = 1, DEPTH do
    local bytes, err = M.bytes(source, descriptor, where)
    if not bytes then return nil, err end
    local found, whole = manifest.read(bytes, descriptor.mediaType, where)
    if not found then return nil, whole end
    if not manifest.is_index(whole.mediaType) then return found, whole end
    descriptor, err = manifest.choose(found, platform, where)
    if not descriptor then return nil, err end
  end
  return nil, errors.new { kind = "invalid", op = "registry",
    message = ("%s: indexes are nested more than %d deep"):format(where, DEPTH) }
end

--- The config of an image, as a table.
---@async
---@param source ws.registry.Source
---@param found table  its manifest
---@param where string
---@return table? config
---@return ws.Error? err
function M.config(source, found, where)
  local bytes, err = M.bytes(source, found.config, where)
  if not bytes then return nil, err end
  local config, problem = json.decode(bytes, { filename = where })
  local rootfs = type(config) == "table" and config.rootfs
  if type(rootfs) ~= "table" or type(rootfs.diff_ids) ~= "table" or type(config.os) ~= "string"
    or type(config.architecture) ~= "string" or #rootfs.diff_ids ~= #found.layers then
    return nil, errors.new { kind = "parse", op = "registry",
      message = ("%s: the config is not one of an image%s"):format(where, problem and ": " .. problem.message or ""),
      hint = "it says os, architecture, and one rootfs.diff_ids entry for each layer" }
  end
  return config
end

--- Writes one blob's content to a file, which appears only when it is complete and right.
---@async
---@param descriptor ws.registry.Descriptor
---@param content string|table
---@param path string
---@return true? ok
---@return ws.Error? err
function M.write(descriptor, content, path)
  local from = type(content) == "string" and { data = content }
    or { file = content.file, offset = content.offset, length = descriptor.size }
  local part = ("%s.part-%s"):format(path, require "ws.crypto".random_hex(4))
  local _ <close> = setmetatable({}, { __close = function()
    require "ws.task".shield(fs.remove, part, { missing_ok = true })
  end })
  local packed, err = archive.pack { from = from, file = part }
  if not packed then return nil, err end
  local ok
  ok, err = M.check(descriptor, packed, path)
  if not ok then return nil, err end
  return fs.rename(part, path)
end

--- Refuses what was read unless it is what the descriptor promises.
---@param descriptor ws.registry.Descriptor
---@param packed ws.archive.Packed
---@param where string
---@return true? ok
---@return ws.Error? err  kind `protocol`
function M.check(descriptor, packed, where)
  if "sha256:" .. packed.raw_sha256 == descriptor.digest and packed.raw_size == descriptor.size then return true end
  return nil, errors.new { kind = "protocol", op = "registry",
    message = ("%s: %s was promised (%d bytes), sha256:%s came (%d bytes)"):format(where, descriptor.digest,
      descriptor.size, packed.raw_sha256, packed.raw_size),
    hint = "what is stored is damaged; nothing of it was used" }
end

--- Puts what a descriptor stands for, and all below it, into the target: blobs first, then the manifest.
local function save_below(source, target, descriptor, seen, depth)
  if seen[descriptor.digest] then return true end
  seen[descriptor.digest] = true
  local bytes, err = M.bytes(source, descriptor, descriptor.digest)
  if not bytes then return nil, err end
  local found, whole = manifest.read(bytes, descriptor.mediaType, descriptor.digest)
  if not found then return nil, whole end
  if depth > DEPTH then
    return nil, errors.new { kind = "invalid", op = "registry",
      message = ("indexes are nested more than %d deep"):format(DEPTH) }
  end
  local ok
  for _, child in ipairs(manifest.is_index(whole.mediaType) and found.manifests or {}) do
    ok, err = save_below(source, target, child, seen, depth + 1)
    if not ok then return nil, err end
  end
  for _, blob in ipairs(manifest.is_index(whole.mediaType) and {} or manifest.blobs(found)) do
    if not seen[blob.digest] and not target:has(blob) then
      local content
      content, err = source:read(blob)
      if not content then return nil, err end
      if target.take then ok, err = target:take(blob, content)
      else ok, err = M.write(blob, content, target:path(blob)) end
      if not ok then return nil, err end
    end
    seen[blob.digest] = true
  end
  return target:put(whole, bytes)
end

--- Saves an image into an OCI layout or a docker archive; see registry.save.
---@async
---@param source ws.registry.Source
---@param target ws.registry.Target
---@param name? string|ws.registry.Reference  its tag in a layout; its reference in an archive
---@return { digest: string, size: integer }? result
---@return ws.Error? err
function M.save(source, target, name)
  local ok, err = save_below(source, target, source.root, {}, 1)
  if ok then ok, err = target:finish(source.root, name) end
  if not ok then return nil, err end
  return { digest = source.root.digest, size = source.root.size }
end

return M
