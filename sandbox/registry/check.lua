--- What makes bytes a manifest that a repository takes: its form by its media type, and that what it names is there.
local answers = require "sandbox.registry.answers"
local json = require "ws.json"
local names = require "sandbox.registry.names"
local values = require "sandbox.values"

local M = {}

M.OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
M.OCI_INDEX = "application/vnd.oci.image.index.v1+json"
M.DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
M.DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

local IMAGES = { [M.OCI_MANIFEST] = true, [M.DOCKER_MANIFEST] = true }
local INDEXES = { [M.OCI_INDEX] = true, [M.DOCKER_LIST] = true }

local function invalid(message, ...)
  answers.fail(400, "MANIFEST_INVALID", message:format(...))
end

--- Whether manifests of a media type list other manifests.
---@param media_type string
---@return boolean
function M.is_index(media_type) return INDEXES[media_type] == true end

--- The media type: what the request says, without parameters; else what the manifest says, or what it looks like.
local function type_of(manifest, content_type)
  local said = content_type and content_type:match("^%s*([^;%s]+)")
  local own = manifest.mediaType
  if own ~= nil and type(own) ~= "string" then invalid("mediaType is not a text") end
  if said and own and said ~= own then
    invalid("the Content-Type is %s, the manifest's mediaType %s", said, own)
  end
  return said or own or (manifest.manifests and M.OCI_INDEX or M.OCI_MANIFEST)
end

local function check_descriptor(descriptor, where)
  if type(descriptor) ~= "table" then invalid("%s is not a descriptor", where) end
  if type(descriptor.mediaType) ~= "string" then invalid("%s has no mediaType", where) end
  if not names.algorithm(descriptor.digest) then
    invalid("%s has no digest that the registry knows: %s", where, tostring(descriptor.digest))
  end
  if math.type(descriptor.size) ~= "integer" or descriptor.size < 0 then invalid("%s has no size", where) end
end

local function each(list, where, fn)
  if list == nil then return end
  if not values.is_array(list) then invalid("%s is not a list", where) end
  for i, descriptor in ipairs(list) do fn(descriptor, ("%s[%d]"):format(where, i - 1)) end
end

--- Reads a manifest. Fails the request when its form is not that of its media type.
---@param bytes string
---@param content_type? string
---@return table manifest
---@return string media_type
function M.read(bytes, content_type)
  local manifest = json.decode(bytes)
  if type(manifest) ~= "table" or json.kind(manifest) == "array" then invalid("the manifest is not a JSON object") end
  manifest = values.clean(manifest)
  local media_type = type_of(manifest, content_type)
  if media_type:find("^application/vnd%.docker%.distribution%.manifest%.v1%+") then
    answers.fail(400, "UNSUPPORTED", "manifests of schema 1 are not supported")
  end
  local image, index = IMAGES[media_type], INDEXES[media_type]
  if (image or index) and manifest.schemaVersion ~= 2 then invalid("schemaVersion is not 2") end
  -- A manifest that can be read as both kinds says one thing to one client and another to the next.
  if image and manifest.manifests ~= nil or index and (manifest.config ~= nil or manifest.layers ~= nil) then
    invalid("the manifest is an image and an index at once")
  end
  if image and not (manifest.config and manifest.layers) then invalid("config or layers are missing") end
  if index and not manifest.manifests then invalid("manifests are missing") end
  if manifest.config ~= nil then check_descriptor(manifest.config, "config") end
  if manifest.subject ~= nil then check_descriptor(manifest.subject, "subject") end
  for _, list in ipairs { "layers", "blobs", "manifests" } do each(manifest[list], list, check_descriptor) end
  return manifest, media_type
end

--- Whether a layer lies elsewhere.
---@param descriptor table
---@return boolean
function M.is_foreign(descriptor)
  return type(descriptor.urls) == "table" and #descriptor.urls > 0
    or descriptor.mediaType:find("nondistributable", 1, true) ~= nil
    or descriptor.mediaType:find("%.foreign%.") ~= nil
end

--- Fails the request when a manifest names content that the repository does not have, or with another size. Its subject
--- may come later.
---@param manifest table
---@param find_blob fun(digest: string): { size: integer }?
---@param find_manifest fun(digest: string): { size: integer }?
function M.content(manifest, find_blob, find_manifest)
  local function check(kind, find, descriptor, where)
    local found = find(descriptor.digest)
    if not found then
      answers.fail(400, "MANIFEST_BLOB_UNKNOWN", ("%s unknown to registry: %s"):format(kind, descriptor.digest),
        { detail = { digest = descriptor.digest } })
    elseif found.size ~= descriptor.size then
      answers.fail(400, "SIZE_INVALID", ("%s has a size of %d, %s has %d bytes"):format(where, descriptor.size,
        descriptor.digest, found.size))
    end
  end
  if manifest.config then check("blob", find_blob, manifest.config, "config") end
  for _, list in ipairs { "layers", "blobs" } do
    each(manifest[list], list, function(descriptor, where)
      if not M.is_foreign(descriptor) then check("blob", find_blob, descriptor, where) end
    end)
  end
  each(manifest.manifests, "manifests", function(descriptor, where)
    check("manifest", find_manifest, descriptor, where)
  end)
end

return M
