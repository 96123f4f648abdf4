--- Referrers: what is attached to an image, such as its provenance and its bill of materials.
---
--- <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers>. A registry without that
--- API keeps the list as an index under the tag sha256-HEX; then the writer of a referrer keeps it up to date.
local blobs = require "ws.registry.blobs"
local client = require "ws.registry.client"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local manifest = require "ws.registry.manifest"
local push = require "ws.registry.push"
local reference = require "ws.registry.reference"
local remote = require "ws.registry.remote"
local task = require "ws.task"

local M = {}

local EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
local RECORD_ATTEMPTS = 10

local function fallback_tag(digest)
  return (digest:gsub(":", "-"))
end

--- The list under the tag; empty when there is none.
local function read_fallback(ref, digest)
  local index, descriptor = remote.get(reference.with(ref, { tag = fallback_tag(digest) }))
  if index then return manifest.is_index(descriptor.mediaType) and index.manifests or {} end
  if descriptor.kind == "not_found" then return {} end
  return nil, descriptor
end

local function read_api(ref, digest, artifact_type, list)
  local supported, filtered = true, false
  local query = artifact_type and "?" .. require "ws.http".query { artifactType = artifact_type } or ""
  local ok, err = client.pages(ref, { path = "referrers/" .. digest .. query,
    headers = { accept = manifest.OCI_INDEX }, statuses = { [200] = true, [404] = true } }, function(answer)
    local page = answer.status == 200 and json.decode(answer.body)
    if type(page) ~= "table" or type(page.manifests) ~= "table" then
      supported = false
      return true
    end
    filtered = filtered or (answer.headers["oci-filters-applied"] or ""):find("artifactType", 1, true) ~= nil
    for _, one in ipairs(page.manifests) do list[#list + 1] = one end
    return true
  end)
  -- Old registries answer what they do not know in many ways.
  if not ok and err.status ~= 400 and err.status ~= 405 and err.status ~= 501 then return nil, err end
  return ok == true and supported, filtered
end

--- The descriptors of what is attached to a manifest.
---@async
---@param ref ws.registry.Reference
---@param digest string
---@param artifact_type? string
---@return ws.registry.Descriptor[]? list
---@return ws.Error? err
function M.list(ref, digest, artifact_type)
  local list = {}
  local supported, err = read_api(ref, digest, artifact_type, list)
  if supported == nil then return nil, err end
  if not supported then
    list, err = read_fallback(ref, digest)
    if not list then return nil, err end
  end
  local wanted = {}
  for _, one in ipairs(list) do
    if not artifact_type or one.artifactType == artifact_type then wanted[#wanted + 1] = one end
  end
  return wanted
end

local function find(list, digest)
  for _, one in ipairs(list) do
    if one.digest == digest then return one end
  end
end

--- What the list says of a referrer.
local function entry_of(whole)
  local content = json.decode(whole.bytes)
  return { mediaType = whole.mediaType, digest = whole.digest, size = whole.size,
    artifactType = content.artifactType or (content.config and content.config.mediaType),
    annotations = content.annotations }
end

local turns = {} -- one limit for each tag that this process writes

local function add(to, whole, subject)
  for attempt = 1, RECORD_ATTEMPTS do
    local list, err = read_fallback(to, subject.digest)
    if not list then return nil, err end
    if find(list, whole.digest) then return true end
    local all = { table.unpack(list) }
    all[#all + 1] = entry_of(whole)
    local bytes = json.encode { schemaVersion = 2, mediaType = manifest.OCI_INDEX, manifests = json.array(all) }
    local index = manifest.describe(manifest.OCI_INDEX, bytes)
    index.bytes = bytes
    local put, problem = remote.put(to, index)
    if put == nil then return nil, problem end
    if attempt > 1 then task.sleep(math.random() * 0.05 * attempt) end
  end
  return nil, errors.new { kind = "conflict", op = "registry.attach",
    message = ("%s was overwritten by others %d times"):format(to, RECORD_ATTEMPTS),
    hint = "the referrer is stored; run it again to list it" }
end

--- Adds a referrer to the list under the tag. Tags have no preconditions: this process writes one entry after another,
--- and reads the list again after each write until the entry is in it. Another process that read the list before that
--- write may still overwrite it; to attach the same data again lists it again.
---@async
---@param ref ws.registry.Reference
---@param whole ws.registry.Descriptor  with `bytes`
---@param subject ws.registry.Descriptor
---@return true? ok
---@return ws.Error? err  kind `conflict`: others overwrote it again and again
function M.record(ref, whole, subject)
  local to = reference.with(ref, { tag = fallback_tag(subject.digest) })
  local key = client.url(to, to.tag)
  turns[key] = turns[key] or task.limit(1)
  return turns[key]:run(add, to, whole, subject)
end

local function content_of(opts)
  if opts.data then return opts.data end
  return fs.read(opts.file, { max = 64 << 20 })
end

local function build(subject, opts, data)
  local layer = manifest.describe(opts.media_type, data)
  local config = manifest.describe(EMPTY_TYPE, "{}")
  local bytes = json.encode { schemaVersion = 2, mediaType = manifest.OCI_MANIFEST, artifactType = opts.artifact_type,
    config = config, layers = { layer }, annotations = opts.annotations,
    subject = { mediaType = subject.mediaType, digest = subject.digest, size = subject.size } }
  local whole = manifest.describe(manifest.OCI_MANIFEST, bytes)
  whole.bytes, whole.artifactType, whole.annotations = bytes, opts.artifact_type, opts.annotations
  return whole, config, layer
end

--- Attaches data to an image; see registry.attach.
---@async
---@param ref ws.registry.Reference
---@param opts { artifact_type: string, media_type: string, data?: string, file?: string, annotations?: table }
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err
function M.attach(ref, opts)
  local subject, err = remote.head(ref, { actions = "pull,push" })
  if not subject then return nil, err end
  local data
  data, err = content_of(opts)
  if not data then return nil, err end
  local whole, config, layer = build(subject, opts, data)
  local list
  list, err = M.list(ref, subject.digest)
  if not list then return nil, err end
  if not find(list, whole.digest) then
    for _, blob in ipairs { { config, "{}" }, { layer, data } } do
      local how
      how, err = blobs.put(ref, blob[1], function() return blob[2] end)
      if not how then return nil, err end
    end
    local ok
    ok, err = push.put_manifest(reference.with(ref, { digest = whole.digest }), whole, subject)
    if not ok then return nil, err end
  end
  whole.bytes = nil
  return whole
end

return M
