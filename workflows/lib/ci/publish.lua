-- What a build publishes, in this order, so that an interrupted one leaves nothing half visible and the next one goes
-- on: the image by its digest, what is attached to it, its tag of inputs; the chart, which only one of two different
-- builds of a version can put there; the image's tag; the index; the archive, artifacts.json last.
local build = require "lib.ci.build"
local crypto = require "ws.crypto"
local gcs = require "ws.gcs"
local git = require "ws.git"
local index = require "lib.ci.index"
local json = require "ws.json"
local ordered = require "lib.ci.ordered"
local project = require "ws.project"
local provenance = require "lib.ci.provenance"
local registry = require "ws.registry"
local sbom = require "lib.ci.sbom"
local task = require "ws.task"
local time = require "ws.time"
local version = require "lib.ci.version"

local M = {}

local FOREVER = "max-age=31536000, immutable"
local HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
local HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

local function tool_version() return require "ws.engine".native.version end

local function by_digest(b) return ("%s@%s"):format(b.repository, b.image.digest) end

--- The documents that are attached to the image.
local function documents(b)
  local remote = git.remote(project.root())
  local builder_id, invocation = provenance.builder(os.getenv)
  local common = { app = b.app, version = b.version, repository = b.repository, digest = b.image.digest,
    modules = b.modules, bases = b.bases, go_version = b.go_version }
  local function with(fields) return setmetatable(fields, { __index = common }) end
  return {
    sbom = { media_type = sbom.MEDIA_TYPE, bytes = sbom.write(with { created = time.rfc3339(b.created),
      tool = "wsrun-" .. tool_version() }) },
    provenance = { media_type = provenance.MEDIA_TYPE, annotations = { ["in-toto.io/predicate-type"] =
      provenance.PREDICATE }, bytes = provenance.write(with { platform = b.platform, builder = b.builder,
      inputs = b.inputs, settings = b.settings, source = b.shown, commit = b.commit, git_url = remote and remote.url,
      dirty = #b.dirty > 0, tool_version = tool_version(), builder_id = builder_id, invocation = invocation }) },
  }
end

--- Fetches what was attached to an image that is there already.
local function attached(b, media_type)
  local list = assert(registry.referrers(by_digest(b), { artifact_type = media_type }))
  if not list[1] then return nil end
  local manifest = assert(registry.manifest(("%s@%s"):format(b.repository, list[1].digest)))
  local bytes = assert(registry.get_blob(b.repository, manifest.layers[1]))
  return { media_type = media_type, bytes = bytes, digest = list[1].digest }
end

local function attach(b, document)
  local descriptor = assert(registry.attach(by_digest(b), { artifact_type = document.media_type,
    media_type = document.media_type, data = document.bytes, annotations = document.annotations }))
  document.digest = descriptor.digest
end

local function all(functions)
  local results, err = task.all(functions)
  if not results then error(err, 0) end
  return results
end

--- Pushes the image by its digest with SBOM and provenance, then tags it by its inputs; or takes what was attached to
--- the image that is there.
---@param b ci.Build
function M.push(b)
  if b.found then
    if not b.recorded then
      all {
        function() b.sbom = attached(b, sbom.MEDIA_TYPE) end,
        function() b.provenance = attached(b, provenance.MEDIA_TYPE) end,
      }
    end
    b.w:summary(("not pushed: %s is there"):format(by_digest(b):sub(1, #b.repository + 20)))
    return
  end
  local made = documents(b)
  b.sbom, b.provenance = made.sbom, made.provenance
  local result = assert(registry.push(b.source, by_digest(b), {
    on_progress = function(done, total) b.w:progress("blobs", done, total) end }))
  -- One after the other: a registry without the referrers API keeps them in one list.
  attach(b, b.sbom)
  attach(b, b.provenance)
  local tagged, err = registry.tag(by_digest(b), b.inputs_tag)
  -- Somebody built the same meanwhile with a builder whose images differ from build to build: both are right.
  if not tagged and err.kind ~= "exists" then error(err, 0) end
  b.w:changed(("%s, %d blobs sent, %d there"):format(b.image.digest:sub(1, 19), result.sent,
    result.skipped + result.mounted))
end

--- A friendlier word for what Cloud Storage refuses.
local function storage_error(err, bucket)
  if err.kind == "denied" then
    err.message = ("the bucket gs://%s refuses this account: %s"):format(bucket, err.message)
    err.hint = "wsrun auth status says who it is; it needs the role roles/storage.objectAdmin on the bucket"
  elseif err.kind == "not_found" then
    err.message = ("there is no bucket gs://%s"):format(bucket)
    err.hint = "create it, or correct wsrun.yaml: wsrun config shows where the name comes from"
  end
  error(err, 0)
end

--- Puts an object that must never change. Returns whether it was put; false: the same bytes are there.
local function put_once(bucket, name, bytes, content_type)
  local url = ("gs://%s/%s"):format(bucket, name)
  local object, err = gcs.put(url, bytes, { if_generation = 0, content_type = content_type, cache_control = FOREVER })
  if object then return true, url end
  if err.kind ~= "precondition" then storage_error(err, bucket) end
  local there, problem = gcs.get(url)
  if not there then storage_error(problem, bucket) end
  if there == bytes then return false, url end
  build.refuse_change("gcs.put", ("%s was published with other content: it is sha256:%s, this is sha256:%s"):format(url,
    crypto.sha256(there), crypto.sha256(bytes)))
end

--- Uploads the chart's package.
---@param b ci.Build
function M.chart(b)
  local put
  put, b.package.url = put_once(b.charts, b.package.path, b.package.bytes, "application/gzip")
  if put then b.w:changed(b.package.url) else b.w:summary("not uploaded: the same bytes are there") end
end

--- Gives the image the version's tag.
---@param b ci.Build
function M.tag(b)
  local name = ("%s:%s"):format(b.repository, b.tag)
  if b.tagged and b.tagged.digest == b.image.digest then
    b.w:summary(name .. " is there")
    return
  end
  local ok, err = registry.tag(by_digest(b), b.tag)
  if not ok then
    if err.kind ~= "exists" then error(err, 0) end
    build.refuse_change("image", ("%s was pushed with other content meanwhile: %s"):format(name, err.message))
  end
  b.w:changed(b.found and "only tagged: " .. name or name)
end

--- Lists the chart in the bucket's index.yaml.
---@param b ci.Build
function M.index(b)
  local entry = index.entry(b.package.metadata, { digest = b.package.digest, url = b.package.path,
    created = time.rfc3339() })
  local result, err = index.publish(b.charts, entry, { on_wait = function(text) b.w:progress(text) end })
  if not result then
    if err.kind == "denied" or err.kind == "not_found" then storage_error(err, b.charts) end
    error(err, 0)
  end
  if not result.changed then return b.w:summary("listed already") end
  b.w:changed(("gs://%s/index.yaml%s"):format(b.charts, result.attempts > 1
    and (", at the %dth attempt"):format(result.attempts) or ""))
end

--- A chart as an OCI artifact, with Helm's media types; the same bytes for the same package.
local function oci_source(b)
  local config = json.encode(b.package.metadata)
  local function describe(media_type, bytes)
    return { mediaType = media_type, digest = "sha256:" .. crypto.sha256(bytes), size = #bytes }
  end
  local manifest = ordered("schemaVersion", 2, "mediaType", "application/vnd.oci.image.manifest.v1+json",
    "config", describe(HELM_CONFIG, config), "layers", json.array { describe(HELM_CHART, b.package.bytes) },
    "annotations", ordered("org.opencontainers.image.title", b.chart, "org.opencontainers.image.version", b.version,
      "org.opencontainers.image.description", b.package.metadata.description))
  local bytes = json.encode(manifest)
  local root = describe(manifest.mediaType, bytes)
  local contents = { [root.digest] = bytes, [manifest.config.digest] = config,
    [manifest.layers[1].digest] = b.package.bytes }
  return { root = root, read = function(_, descriptor) return contents[descriptor.digest] end }
end

--- Pushes the chart to the registry, for `helm pull oci://REGISTRY/charts/CHART`.
---@param b ci.Build
function M.oci(b)
  local repository = ("%s/charts/%s"):format(b.registry, b.chart)
  local result, err = registry.push(oci_source(b), ("%s:%s"):format(repository, version.tag(b.version)))
  if not result then
    if err.kind ~= "exists" then error(err, 0) end
    build.refuse_change("chart", ("%s:%s is in the registry with other content"):format(repository, b.tag))
  end
  b.package.oci = ("%s@%s"):format(repository, result.digest)
  if result.unchanged then b.w:summary("there already") else b.w:changed("oci://" .. b.package.oci) end
end

--- Bytes of an image's config and layers.
local function image_size(b)
  local manifest = assert(registry.manifest(by_digest(b), { platform = b.platform }))
  local size = manifest.config.size
  for _, layer in ipairs(manifest.layers) do size = size + layer.size end
  return size
end

local function document(d)
  return d and ordered("digest", d.digest, "media_type", d.media_type, "size", #d.bytes)
end

--- artifacts.json: every digest of the version. Nothing in it but the tests' time depends on when it was made.
local function artifacts(b)
  return ordered("schema_version", 1, "app", b.app, "version", b.version, "commit", b.commit,
    "created", time.rfc3339(b.created), "dirty", #b.dirty > 0 or nil, "inputs", b.inputs,
    "image", ordered("repository", b.repository, "tag", b.tag, "digest", b.image.digest, "size", b.image.size,
      "platform", b.platform, "builder", b.builder),
    "chart", ordered("name", b.chart, "version", b.version, "url", b.package.url,
      "digest", "sha256:" .. b.package.digest, "size", #b.package.bytes, "oci", b.package.oci),
    "provenance", document(b.provenance), "sbom", document(b.sbom),
    "tests", b.tests and ordered("passed", b.tests.passed, "failed", b.tests.failed, "skipped", b.tests.skipped,
      "seconds", b.tests.seconds, "file", ("gs://%s/%s/%s/junit.xml"):format(b.archive, b.app, b.version)))
end

--- Keeps one file of the archive. What an interrupted build of this version left stays as it is.
local function keep(b, name, bytes, content_type)
  local url = ("gs://%s/%s/%s/%s"):format(b.archive, b.app, b.version, name)
  local object, err = gcs.put(url, bytes, { if_generation = 0, content_type = content_type })
  if not object and err.kind ~= "precondition" then storage_error(err, b.archive) end
  return object ~= nil
end

--- Whether what was recorded of the version is what this build made.
local function same_version(a, recorded)
  return type(recorded) == "table" and type(recorded.image) == "table" and type(recorded.chart) == "table"
    and recorded.image.digest == a.image.digest and recorded.chart.digest == a.chart.digest
end

--- Keeps the results: tests, lint, SBOM, provenance, then artifacts.json.
---@param b ci.Build
function M.archive(b)
  if not b.recorded then b.image.size = image_size(b) end
  local a = artifacts(b)
  b.artifacts = a
  if b.recorded and same_version(a, b.recorded) then
    b.artifacts = b.recorded
    local commit = b.recorded.commit
    b.w:summary(("kept since it was published%s"):format(type(commit) == "string"
      and (" from commit %s"):format(commit:sub(1, 12)) or ""))
    return
  end
  local files = {
    { "helm-lint.txt", b.lint, "text/plain; charset=utf-8" },
    { "junit.xml", b.junit, "application/xml" },
    { "sbom.spdx.json", b.sbom and b.sbom.bytes, sbom.MEDIA_TYPE },
    { "provenance.json", b.provenance and b.provenance.bytes, provenance.MEDIA_TYPE },
  }
  local functions = {}
  for _, file in ipairs(files) do
    if file[2] then functions[#functions + 1] = function() return keep(b, file[1], file[2], file[3]) end end
  end
  all(functions)
  if not keep(b, "artifacts.json", json.encode(a, { indent = 2 }) .. "\n", "application/json") then
    local text = assert(gcs.get(b.artifacts_url)) -- somebody published the same version at the same time
    local recorded = assert(json.decode(text, { filename = b.artifacts_url }))
    if not same_version(a, recorded) then
      build.refuse_change("archive", ("%s is of another build, %s"):format(b.artifacts_url,
        tostring(type(recorded.image) == "table" and recorded.image.digest)))
    end
    b.artifacts = recorded
    return b.w:summary("somebody else published the same at the same time")
  end
  b.w:changed(b.artifacts_url)
end

--- The result: the image by digest and the chart, one a line, for the next program.
---@param b ci.Build
function M.say(b)
  if b.w.options.json then
    b.w.emit { type = "result", run = b.w, fields = { artifacts = b.artifacts } }
  else
    print(("%s\n%s"):format(by_digest(b), b.package.url))
  end
end

return M
