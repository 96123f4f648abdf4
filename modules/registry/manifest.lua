--- Manifests: Docker's schema 2 and manifest lists, OCI manifests and indexes.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local json = require "ws.json"

local M = {}

M.OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
M.OCI_INDEX = "application/vnd.oci.image.index.v1+json"
M.DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
M.DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

M.MAX_SIZE = 4 << 20 -- bytes; what registries accept at most

--- What we can read, for the Accept header.
M.ACCEPT = table.concat({ M.OCI_MANIFEST, M.OCI_INDEX, M.DOCKER_MANIFEST, M.DOCKER_LIST }, ", ")

---@class ws.registry.Descriptor
---@field mediaType string
---@field digest string
---@field size integer  bytes
---@field annotations? table<string, string>
---@field platform? { os: string, architecture: string, variant?: string }
---@field artifactType? string
---@field urls? string[]  places outside the registry that have it
---@field bytes? string   the content itself, of a manifest that was read

local indexes = { [M.OCI_INDEX] = true, [M.DOCKER_LIST] = true }
local images = { [M.OCI_MANIFEST] = true, [M.DOCKER_MANIFEST] = true }

--- Whether a media type is that of a list of manifests.
---@param media_type string
---@return boolean
function M.is_index(media_type) return indexes[media_type] == true end

--- Whether a media type is that of a manifest of either form.
---@param media_type string
---@return boolean
function M.is_manifest(media_type) return indexes[media_type] == true or images[media_type] == true end

--- The descriptor of bytes.
---@param media_type string
---@param bytes string
---@return ws.registry.Descriptor
function M.describe(media_type, bytes)
  return { mediaType = media_type, digest = "sha256:" .. crypto.sha256(bytes), size = #bytes }
end

--- Refuses bytes that are not what a descriptor promises.
---@param descriptor ws.registry.Descriptor
---@param bytes string
---@param where string  for people
---@return true? ok
---@return ws.Error? err  kind `protocol`
function M.verify(descriptor, bytes, where)
  local digest = "sha256:" .. crypto.sha256(bytes)
  if digest == descriptor.digest and #bytes == (descriptor.size or #bytes) then return true end
  return nil, errors.new { kind = "protocol", op = "registry",
    message = ("%s: %s was promised (%s bytes), %s came (%d bytes)"):format(where, descriptor.digest,
      descriptor.size or "?", digest, #bytes),
    hint = "what is stored or what came in between is damaged; nothing of it was used" }
end

local function unreadable(where, why)
  return nil, errors.new { kind = "parse", op = "registry", message = ("%s: %s"):format(where, why) }
end

local function check_descriptors(list)
  if type(list) ~= "table" then return false end
  for _, one in ipairs(list) do
    if type(one) ~= "table" or type(one.digest) ~= "string" or math.type(one.size) ~= "integer" then return false end
  end
  return true
end

--- Reads a manifest. Its type is what it says of itself, else what the server says, else what it looks like.
---@param bytes string
---@param media_type? string  the server's word
---@param where string        for people
---@return table? manifest
---@return ws.registry.Descriptor|ws.Error descriptor  with `bytes`
function M.read(bytes, media_type, where)
  if #bytes > M.MAX_SIZE then return unreadable(where, "the manifest is larger than 4 MiB") end
  local manifest, err = json.decode(bytes)
  if type(manifest) ~= "table" then
    return unreadable(where, "the manifest is not JSON" .. (err and ": " .. err.message or ""))
  end
  local said = media_type and media_type:match("^%s*([^%s;]+)")
  if manifest.schemaVersion == 1 or (said and said:find("manifest.v1+", 1, true) and not M.is_manifest(said)) then
    return nil, errors.new { kind = "unsupported", op = "registry",
      message = where .. ": this is an image of Docker's schema 1, which no registry takes any more",
      hint = "build it again, or push it once with a newer docker" }
  end
  local kind = manifest.mediaType
  if not M.is_manifest(kind) then kind = said end
  if not M.is_manifest(kind) then kind = manifest.manifests and M.OCI_INDEX or M.OCI_MANIFEST end
  local right
  if M.is_index(kind) then
    right = check_descriptors(manifest.manifests)
  else
    right = check_descriptors { manifest.config } and manifest.config and check_descriptors(manifest.layers)
  end
  if not right then return unreadable(where, "this is neither an image nor a list of images") end
  local descriptor = M.describe(kind, bytes)
  descriptor.bytes, descriptor.artifactType = bytes, manifest.artifactType
  return manifest, descriptor
end

--- A blob that registries do not hold: it is fetched from elsewhere.
---@param descriptor ws.registry.Descriptor
---@return boolean
function M.is_foreign(descriptor)
  return descriptor.mediaType:find("nondistributable", 1, true) ~= nil
    or descriptor.mediaType:find("rootfs.foreign", 1, true) ~= nil
end

--- The blobs of an image's manifest: its config and layers.
---@param manifest table
---@return ws.registry.Descriptor[]
function M.blobs(manifest)
  local list = { manifest.config }
  for _, layer in ipairs(manifest.layers) do
    if not M.is_foreign(layer) then list[#list + 1] = layer end
  end
  return list
end

--- Sorts blobs for a transfer: the largest first, so that the others fill the time beside it.
---@param list ws.registry.Descriptor[]
---@return ws.registry.Descriptor[] list  the same
function M.largest_first(list)
  table.sort(list, function(a, b)
    if a.size ~= b.size then return a.size > b.size end
    return a.digest < b.digest
  end)
  return list
end

--- Reads a platform such as `linux/arm64/v8`. Raises for anything else.
---@param text string
---@return { os: string, architecture: string, variant?: string }
function M.platform(text)
  local os_name, architecture, variant = tostring(text):match("^([%w._-]+)/([%w._-]+)/?([%w._-]*)$")
  if not os_name then error(("registry: '%s' is no platform such as linux/amd64"):format(tostring(text)), 3) end
  return { os = os_name, architecture = architecture, variant = variant ~= "" and variant or nil }
end

local function text_of(platform)
  if type(platform) ~= "table" then return "unknown" end
  local text = ("%s/%s"):format(platform.os, platform.architecture)
  return platform.variant and text .. "/" .. platform.variant or text
end

--- The image of an index for a platform: the first that fits, one without a variant before others.
---@param index table
---@param wanted string  such as `linux/amd64`
---@param where string   for people
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kind `not_found`, says which there are
function M.choose(index, wanted, where)
  local platform, best, there = M.platform(wanted), nil, {}
  for _, one in ipairs(index.manifests) do
    local has = one.platform
    there[#there + 1] = text_of(has)
    if type(has) == "table" and has.os == platform.os and has.architecture == platform.architecture
      and (not platform.variant or has.variant == platform.variant) then
      if not best or (best.platform.variant and not has.variant) then best = one end
    end
  end
  if best then return best end
  return nil, errors.new { kind = "not_found", op = "registry",
    message = ("%s has no image for %s"):format(where, wanted),
    hint = #there > 0 and "there are: " .. table.concat(there, ", ") or "the list is empty" }
end

return M
