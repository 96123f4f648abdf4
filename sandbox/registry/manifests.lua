--- The manifests and tags of a container registry.
local blobs = require "sandbox.registry.blobs"
local check = require "sandbox.registry.check"
local fs = require "ws.fs"
local json = require "ws.json"
local names = require "sandbox.registry.names"
local time = require "ws.time"
local values = require "sandbox.values"

local M = {}

---@class sandbox.Manifest  the record of a manifest in a repository
---@field media_type string
---@field size integer
---@field subject? string  digest of the manifest that it refers to
---@field artifact_type? string
---@field annotations? table<string, string>
---@field uploaded string

---@class sandbox.Manifests
local Manifests = {}
Manifests.__index = Manifests

--- Opens the manifests.
---@param cloud sandbox.Cloud
---@param contents sandbox.Blobs  where their bytes lie
---@return sandbox.Manifests
function M.open(cloud, contents)
  return setmetatable({ contents = contents, records = cloud.store:collection "registry.manifests",
    tags = cloud.store:collection "registry.tags" }, Manifests)
end

--- The record of a manifest, nil when the repository does not have it.
---@param name string
---@param digest string
---@return sandbox.Manifest?
function Manifests:get(name, digest) return self.records:get(name .. "@" .. digest) end

--- The digest that a tag or digest stands for, and the manifest's record; nil when there is none.
---@param name string
---@param reference string
---@return string? digest
---@return sandbox.Manifest? record
function Manifests:resolve(name, reference)
  local digest = reference
  if not reference:find(":", 1, true) then
    local tag = self.tags:get(name .. ":" .. reference)
    digest = tag and tag.digest
  end
  local record = digest and self:get(name, digest)
  return record and digest, record
end

--- The bytes of a manifest.
---@param digest string
---@return string
function Manifests:bytes(digest) return (assert(fs.read(self.contents:path(digest)))) end

--- What referrers are listed with: an image's type is that of its configuration when it says no other.
local function artifact_type(manifest, media_type)
  local said = manifest.artifactType
  if said and said ~= "" then return said end
  if not check.is_index(media_type) then return manifest.config and manifest.config.mediaType end
end

--- Stores a manifest.
---@param name string
---@param digest string
---@param bytes string
---@param manifest table  the same, decoded
---@param media_type string
function Manifests:put(name, digest, bytes, manifest, media_type)
  if self:get(name, digest) then return end
  assert(fs.write(self.contents:path(digest), bytes, { durable = false }))
  self.records:put(name .. "@" .. digest, values.clean {
    media_type = media_type, size = #bytes, subject = manifest.subject and manifest.subject.digest,
    artifact_type = artifact_type(manifest, media_type), annotations = manifest.annotations,
    uploaded = time.rfc3339(),
  })
end

--- Lets a tag stand for a manifest.
---@param name string
---@param tag string
---@param digest string
function Manifests:set_tag(name, tag, digest) self.tags:put(name .. ":" .. tag, { digest = digest }) end

--- Takes a tag away.
---@param name string
---@param tag string
function Manifests:delete_tag(name, tag) self.tags:delete(name .. ":" .. tag) end

--- The tags of a repository, or those of one of its manifests, in the order of their bytes.
---@param name string
---@param digest? string
---@return string[]
function Manifests:tags_of(name, digest)
  local list = json.array {}
  local found, keys = self.tags:list(name .. ":")
  for i, tag in ipairs(found) do
    if not digest or tag.digest == digest then list[#list + 1] = keys[i]:sub(#name + 2) end
  end
  return list
end

--- Removes a manifest and the tags that stand for it.
---@param name string
---@param digest string
function Manifests:delete(name, digest)
  for _, tag in ipairs(self:tags_of(name, digest)) do self:delete_tag(name, tag) end
  self.records:delete(name .. "@" .. digest)
  self.contents:release(digest)
end

--- The manifests whose repository's name begins with `prefix`.
---@param prefix string
---@return { name: string, digest: string, record: sandbox.Manifest }[]
function Manifests:list(prefix)
  local out = {}
  local found, keys = self.records:list(prefix)
  for i, record in ipairs(found) do
    local name, digest = keys[i]:match("^(.*)@(.*)$")
    out[i] = { name = name, digest = digest, record = record }
  end
  return out
end

--- The digest that a push with this reference gets: the reference itself, when it is the bytes' digest, or the usual
--- one for a tag; nil when they do not belong together.
---@param reference string
---@param bytes string
---@return string?
function M.digest_for(reference, bytes)
  local digest = blobs.digest(names.algorithm(reference) or "sha256", bytes)
  if reference:find(":", 1, true) and reference ~= digest then return nil end
  return digest
end

return M
