--- Container registries: Container Registry, Artifact Registry, and any other that follows the OCI distribution
--- specification.
---
--- A reference is REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:…; a digest wins over a tag. Credentials come from what
--- docker and podman have stored, and for Google's hosts from ws.gcp. Everything is checked against its digest in both
--- directions; what fails in passing is tried again. WSRUN_REGISTRY_ENDPOINT stands for every registry that is not on
--- this machine.
local manifest = require "ws.registry.manifest"
local reference = require "ws.registry.reference"

local M = {}

local function check(opts, known, what)
  if opts ~= nil and type(opts) ~= "table" then error(("%s: options: a table expected"):format(what), 3) end
  for key in pairs(opts or {}) do
    if not known[key] then error(("%s: unknown option '%s'"):format(what, tostring(key)), 3) end
  end
  if opts and opts.platform then manifest.platform(opts.platform) end
  return opts or {}
end

--- Takes a reference apart. Raises for what is no string.
---
--- ```lua
--- local ref = assert(registry.parse "eu.gcr.io/my-project/app:1.4.2")
--- assert(ref.registry == "eu.gcr.io" and ref.repository == "my-project/app" and ref.tag == "1.4.2")
--- ```
---@param ref string
---@return ws.registry.Reference? reference
---@return ws.Error? err  kind `invalid`
function M.parse(ref)
  if type(ref) ~= "string" then error("registry.parse: a string expected, got " .. type(ref), 2) end
  return reference.parse(ref)
end

--- What a tag or digest stands for.
---@async
---@param ref string|ws.registry.Reference
---@param opts? { platform?: string }  of a list the image for this one, such as `linux/amd64`
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kinds `not_found`, `denied`, `unauthenticated`, `invalid` (the reference), …
function M.resolve(ref, opts)
  opts = check(opts, { platform = true }, "registry.resolve")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local remote = require "ws.registry.remote"
  local descriptor, problem = remote.head(exact)
  if not descriptor then return nil, problem end
  if not opts.platform or not manifest.is_index(descriptor.mediaType) then return descriptor end
  local found, one = remote.get(reference.with(exact, { digest = descriptor.digest }), opts)
  if not found then return nil, one end
  one.bytes = nil
  return one
end

--- An image's manifest, or a list of images.
---@async
---@param ref string|ws.registry.Reference
---@param opts? { platform?: string }  of a list the image for this one
---@return table? manifest
---@return ws.registry.Descriptor|ws.Error descriptor  with its `bytes`; or the error, as of `resolve`
function M.manifest(ref, opts)
  opts = check(opts, { platform = true }, "registry.manifest")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  return require "ws.registry.remote".get(exact, opts)
end

--- An image's configuration: entry point, environment, labels, layers.
---@async
---@param ref string|ws.registry.Reference
---@param opts? { platform?: string }  of a list, default linux/amd64
---@return table? config
---@return ws.Error? err  as of `resolve`
function M.config(ref, opts)
  opts = check(opts, { platform = true }, "registry.config")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local found, problem = require "ws.registry.remote".get(exact, { platform = opts.platform or "linux/amd64" })
  if not found then return nil, problem end
  local bytes
  bytes, problem = require "ws.registry.blobs".get(exact, found.config)
  if not bytes then return nil, problem end
  return require "ws.json".decode(bytes, { filename = tostring(exact) })
end

--- The tags of a repository, sorted.
---@async
---@param repository string|ws.registry.Reference  REGISTRY/NAME; a tag or digest is not looked at
---@return string[]? tags
---@return ws.Error? err  kind `not_found`, …
function M.tags(repository)
  local ref, err = reference.of(repository)
  if not ref then return nil, err end
  return require "ws.registry.remote".tags(reference.with(ref))
end

--- Gives an image another tag in its repository.
---@async
---@param ref string|ws.registry.Reference
---@param tag string
---@param opts? { overwrite?: boolean }  also when the tag stands for another image
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kinds `exists` (the tag stands for another image), `not_found`, …
function M.tag(ref, tag, opts)
  opts = check(opts, { overwrite = true }, "registry.tag")
  if not reference.is_tag(tag) then error(("registry.tag: '%s' cannot be a tag"):format(tostring(tag)), 2) end
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local remote = require "ws.registry.remote"
  local found, descriptor = remote.get(exact, { actions = "pull,push" })
  if not found then return nil, descriptor end
  local to = reference.with(exact, { tag = tag })
  local state, problem = remote.check_tag(to, descriptor, opts.overwrite)
  if not state then return nil, problem end
  if state ~= "same" then
    local put
    put, problem = remote.put(to, descriptor)
    if put == nil then return nil, problem end
  end
  descriptor.bytes = nil
  return descriptor
end

--- Deletes a tag, or with a digest the image and all its tags. Not every registry can delete a tag alone.
---@async
---@param ref string|ws.registry.Reference
---@return true? ok
---@return ws.Error? err  kinds `not_found`, `unsupported`, `denied`, `conflict`, …
function M.delete(ref)
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  return require "ws.registry.remote".delete(exact)
end

local function digest_of(ref)
  if ref.digest then return ref.digest end
  local descriptor, err = require "ws.registry.remote".head(ref)
  return descriptor and descriptor.digest, err
end

--- What is attached to an image.
---@async
---@param ref string|ws.registry.Reference
---@param opts? { artifact_type?: string }  only these
---@return ws.registry.Descriptor[]? referrers
---@return ws.Error? err
function M.referrers(ref, opts)
  opts = check(opts, { artifact_type = true }, "registry.referrers")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local digest, problem = digest_of(exact)
  if not digest then return nil, problem end
  return require "ws.registry.referrers".list(reference.with(exact), digest, opts.artifact_type)
end

--- Attaches data to an image, as a referrer of it. The same data attached twice is there once.
---@async
---@param ref string|ws.registry.Reference
---@param opts { artifact_type: string, media_type: string, data?: string, file?: string,
---  annotations?: table<string, string> }
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kinds `not_found` (the image, the file), `denied`, `conflict`, …
function M.attach(ref, opts)
  check(opts, { artifact_type = true, media_type = true, data = true, file = true, annotations = true },
    "registry.attach")
  if not opts or type(opts.artifact_type) ~= "string" or type(opts.media_type) ~= "string" then
    error("registry.attach: options artifact_type and media_type expected", 2)
  end
  if (opts.data == nil) == (opts.file == nil) then error("registry.attach: option data or file expected", 2) end
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  return require "ws.registry.referrers".attach(exact, opts)
end

local function check_source(source, what)
  if type(source) ~= "table" or type(source.root) ~= "table" or not source.read then
    error(what .. ": a source with root and read expected", 3)
  end
end

local push_options = { jobs = true, overwrite = true, on_progress = true }

--- Pushes an image: `registry.image`, `registry.open_layout`, `registry.open_archive`, or anything that has a `root`
--- and a `read`. Blobs that are there are not sent; a tag that stands for another image is refused unless `overwrite`.
---@async
---@param source ws.registry.Source
---@param ref string|ws.registry.Reference  with a tag, or the image's own digest
---@param opts? { jobs?: integer, overwrite?: boolean, on_progress?: fun(done: integer, total: integer) }  jobs: blobs
---  at once, default 4; on_progress: bytes, after each blob
---@return ws.registry.PushResult? result
---@return ws.Error? err  kinds `exists` (the tag stands for another image), `denied`, `unauthenticated`, `invalid` (the
---  source's content is not what its descriptors say), …
function M.push(source, ref, opts)
  opts = check(opts, push_options, "registry.push")
  check_source(source, "registry.push")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  return require "ws.registry.push".push(source, exact, opts)
end

local function target_of(to, what)
  if type(to) == "table" and type(to.oci) == "string" then return require "ws.registry.layout".target(to.oci) end
  if type(to) == "table" and type(to.archive) == "string" then
    return require "ws.registry.archive_target".target(to.archive)
  end
  error(("%s: a target { oci = folder } or { archive = file } expected"):format(what), 3)
end

--- Pulls an image into an OCI layout or a docker archive.
---@async
---@param ref string|ws.registry.Reference
---@param target { oci?: string, archive?: string }  folder, or file
---@param opts? { platform?: string, jobs?: integer, on_progress?: fun(done: integer, total: integer) }  platform: of a
---  list only the image for this one; an archive has one image, by default that for linux/amd64
---@return { digest: string, size: integer, bytes: integer, skipped: integer }? result  bytes that came; blobs that
---  were there already
---@return ws.Error? err  kinds `not_found`, `protocol` (not what was promised), `no_space`, …
function M.pull(ref, target, opts)
  opts = check(opts, { platform = true, jobs = true, on_progress = true }, "registry.pull")
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local to, problem = target_of(target, "registry.pull")
  if not to then return nil, problem end
  local platform = opts.platform or (target.archive and "linux/amd64") or nil
  return require "ws.registry.pull".pull(exact, to,
    { platform = platform, jobs = opts.jobs, on_progress = opts.on_progress })
end

--- Saves a source in an OCI layout or a docker archive.
---@async
---@param source ws.registry.Source
---@param target { oci?: string, archive?: string }  folder, or file
---@param opts? { name?: string }  the image's name there: a tag in a layout, REGISTRY/NAME:TAG in an archive
---@return { digest: string, size: integer }? result
---@return ws.Error? err  kinds `exists` (the folder holds something else), `protocol` (a damaged source), `no_space`, …
function M.save(source, target, opts)
  opts = check(opts, { name = true }, "registry.save")
  check_source(source, "registry.save")
  local to, err = target_of(target, "registry.save")
  if not to then return nil, err end
  return require "ws.registry.source".save(source, to, opts.name)
end

--- Copies an image to another repository or registry; within one registry blobs are mounted.
---@async
---@param from string|ws.registry.Reference
---@param to string|ws.registry.Reference  with a tag, or the image's own digest
---@param opts? { platform?: string, jobs?: integer, overwrite?: boolean,
---  on_progress?: fun(done: integer, total: integer) }  platform: of a list only the image for this one
---@return ws.registry.PushResult? result
---@return ws.Error? err  as of `push` and `resolve`
function M.copy(from, to, opts)
  opts = check(opts, { platform = true, jobs = true, overwrite = true, on_progress = true }, "registry.copy")
  local source_ref, err = reference.exact(from)
  if not source_ref then return nil, err end
  local target_ref, problem = reference.exact(to)
  if not target_ref then return nil, problem end
  local source
  source, problem = require "ws.registry.copy".open(source_ref, opts)
  if not source then return nil, problem end
  return require "ws.registry.push".push(source, target_ref, opts)
end

--- Puts a blob into a repository unless it is there.
---@async
---@param repository string|ws.registry.Reference
---@param content string|{ file: string }
---@param opts? { media_type?: string }  default application/octet-stream
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err
function M.put_blob(repository, content, opts)
  opts = check(opts, { media_type = true }, "registry.put_blob")
  local ref, err = reference.of(repository)
  if not ref then return nil, err end
  local media_type, descriptor = opts.media_type or "application/octet-stream", nil
  if type(content) == "string" then
    descriptor = manifest.describe(media_type, content)
  elseif type(content) == "table" and type(content.file) == "string" then
    local stat, problem = require "ws.fs".stat(content.file)
    if not stat then return nil, problem end
    local digest
    digest, problem = require "ws.crypto".sha256_file(content.file)
    if not digest then return nil, problem end
    descriptor = { mediaType = media_type, digest = "sha256:" .. digest, size = stat.size }
  else
    error("registry.put_blob: a string or { file = path } expected", 2)
  end
  local how, problem = require "ws.registry.blobs".put(ref, descriptor, function() return content end)
  if not how then return nil, problem end
  return descriptor
end

--- Gets a blob: its bytes, or with `file` into a file that appears only when it is complete and right.
---@async
---@param repository string|ws.registry.Reference
---@param descriptor ws.registry.Descriptor
---@param opts? { file?: string }
---@return string|true|nil content  true with `file`
---@return ws.Error? err  kinds `not_found`, `protocol` (not what was promised), …
function M.get_blob(repository, descriptor, opts)
  opts = check(opts, { file = true }, "registry.get_blob")
  local ref, err = reference.of(repository)
  if not ref then return nil, err end
  return require "ws.registry.blobs".get(ref, descriptor, opts)
end

--- Puts a manifest under a tag or its digest, whatever was there; what it names has to be in the repository.
---@async
---@param ref string|ws.registry.Reference
---@param bytes string
---@param media_type string
---@return ws.registry.Descriptor? descriptor
---@return ws.Error? err  kinds `parse`, `invalid` (something it names is missing), …
function M.put_manifest(ref, bytes, media_type)
  local exact, err = reference.exact(ref)
  if not exact then return nil, err end
  local found, descriptor = manifest.read(bytes, media_type, tostring(exact))
  if not found then return nil, descriptor end
  local ok, problem = require "ws.registry.push".put_manifest(exact, descriptor, found.subject)
  if not ok then return nil, problem end
  descriptor.bytes = nil
  return descriptor
end

---@class ws.registry.ImageOptions
---@field base? string|ws.registry.Source  the image to build on; its layers are mounted or fetched when it is pushed
---@field files? { path: string, file?: string, data?: string, link?: string, mode?: integer }[]  `path` in the image;
---  `file`: a file or folder on disk, or `data`, or the target of a `link`; a path that ends with a slash and has none
---  is a folder. Mode: default 0755 for what can be executed and folders, else 0644; of a folder: of the files in it
---@field entrypoint? string[]  what starts; the base's command is not one for it
---@field cmd? string[]
---@field env? table<string, string>|string[]  by name, or a list of NAME=value
---@field user? string
---@field workdir? string
---@field labels? table<string, string>
---@field annotations? table<string, string>  of the manifest; Docker's format, which a base may have, has none
---@field exposed_ports? (integer|string)[]  8080 or "53/udp"
---@field platform? string   default linux/amd64; of a base that is a list: which one
---@field created? integer   seconds since 1970, also of the files; default 0

--- Makes an image without a daemon: one layer of files, above a base or alone. The same inputs give the same digest on
--- every machine. Nothing is sent: the result, with its `digest`, is a source for `push` and `save`.
---
--- ```lua
--- local image = assert(registry.image { files = { { path = "/app", file = "bin/app" } }, entrypoint = { "/app" } })
--- assert(registry.push(image, "eu.gcr.io/my-project/app:1.4.2"))
--- ```
---@async
---@param opts ws.registry.ImageOptions
---@return ws.registry.Image? image
---@return ws.Error? err  kinds `invalid` (a path that is given twice or not absolute, an entry point that is missing,
---  cannot be executed or is for another platform), `not_found` (a file, the base), and those of the base's registry
function M.image(opts)
  return require "ws.registry.image".image(opts)
end

--- Opens an image of an OCI layout as a source.
---@async
---@param dir string
---@param tag? string  its name in the layout (annotation org.opencontainers.image.ref.name), or a digest; default: the
---  only image
---@return ws.registry.Source? source
---@return ws.Error? err  kinds `not_found`, `invalid` (several images, none said), `parse`, `unsupported`, `denied`
function M.open_layout(dir, tag)
  return require "ws.registry.layout".open(dir, tag)
end

--- Opens an image of an archive of `docker save`, old form or new, or of a plain OCI archive, as a source. Layers that
--- are not compressed are compressed now.
---@async
---@param file string
---@param tag? string  its name in the archive, or the name's tag; default: the only image
---@return ws.registry.Source? source
---@return ws.Error? err  kinds `not_found`, `parse`, `protocol` (damaged), `invalid` (several images, none said),
---  `unsupported` (the archive itself is compressed)
function M.open_archive(file, tag)
  return require "ws.registry.archive".open(file, tag)
end

return M
