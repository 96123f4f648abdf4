--- Images made of files, without a daemon: `registry.image`.
---
--- The same inputs give the same bytes on every machine: one layer (sorted, owner 0, one time for all), a config and a
--- manifest with keys in a fixed order. Nothing of the machine gets in: no name, user, umask, zone or time of a file.
local base_image = require "ws.registry.base"
local cache = require "ws.registry.cache"
local errors = require "ws.error"
local files = require "ws.registry.files"
local fs = require "ws.fs"
local json = require "ws.json"
local manifest = require "ws.registry.manifest"
local options = require "ws.registry.options"
local program = require "ws.registry.program"
local time = require "ws.time"

local M = {}

local types = {
  [false] = { manifest = manifest.OCI_MANIFEST, config = "application/vnd.oci.image.config.v1+json",
    layer = "application/vnd.oci.image.layer.v1.tar+gzip" },
  [true] = { manifest = manifest.DOCKER_MANIFEST, config = "application/vnd.docker.container.image.v1+json",
    layer = "application/vnd.docker.image.rootfs.diff.tar.gzip" },
}

--- Environment: a name that the base has keeps its place and gets the new value.
local function merge_env(base, list)
  local merged, at = {}, {}
  for _, entries in ipairs { base or {}, list } do
    for _, entry in ipairs(entries) do
      local name = entry:match("^[^=]*")
      at[name] = at[name] or #merged + 1
      merged[at[name]] = entry
    end
  end
  return merged
end

local function merge_map(base, more)
  local merged = {}
  for _, map in ipairs { base or {}, more or {} } do
    for name, value in pairs(map) do merged[name] = value end
  end
  return json.object(merged) -- of a plain table: keys are sorted
end

--- What a container of the image starts with. An entry point of its own makes the base's command meaningless.
local function run_config(base, opts)
  local old = base and type(base.config.config) == "table" and base.config.config or {}
  local config = {}
  for key, value in pairs(old) do config[key] = value end
  if opts.entrypoint then config.Entrypoint, config.Cmd = json.array { table.unpack(opts.entrypoint) }, nil end
  if opts.cmd then config.Cmd = json.array { table.unpack(opts.cmd) } end
  config.Env = merge_env(old.Env ~= json.null and old.Env or nil, opts.env)
  if #config.Env == 0 then config.Env = nil end
  config.User = opts.user or config.User
  config.WorkingDir = opts.workdir or config.WorkingDir
  if next(opts.labels) then config.Labels = merge_map(old.Labels ~= json.null and old.Labels or nil, opts.labels) end
  if #opts.exposed_ports > 0 then
    local exposed = {}
    for _, port in ipairs(opts.exposed_ports) do exposed[port] = json.object() end
    config.ExposedPorts = merge_map(old.ExposedPorts ~= json.null and old.ExposedPorts or nil, exposed)
  end
  return config
end

--- The history has one entry for each layer, and some without; a base that lost its own gets one.
local function history_of(base, layers, entry)
  local history, count = json.array(), 0
  local old = base and base.config.history
  for _, one in ipairs(type(old) == "table" and old or {}) do
    if type(one) == "table" then
      history[#history + 1] = one
      if one.empty_layer ~= true then count = count + 1 end
    end
  end
  if count ~= layers then
    history = json.array()
    for i = 1, layers do history[i] = { created = entry.created, created_by = "layer of the base" } end
  end
  history[#history + 1] = entry
  return history
end

local function config_of(base, opts, layer)
  local wanted = manifest.platform(opts.platform)
  local old = base and base.config or { architecture = wanted.architecture, os = wanted.os, variant = wanted.variant,
    rootfs = { diff_ids = {} } }
  local config = {}
  for key, value in pairs(old) do config[key] = value end
  for _, key in ipairs { "id", "container", "container_config", "docker_version", "parent" } do config[key] = nil end
  config.created = time.rfc3339(opts.created)
  config.config = run_config(base, opts)
  if not next(config.config) then config.config = json.object() end
  local diff_ids = json.array { table.unpack(old.rootfs.diff_ids) }
  local entry = { created = config.created, created_by = "wsrun image build" }
  config.history = history_of(base, #diff_ids, entry)
  if layer then diff_ids[#diff_ids + 1] = layer.diff_id
  else entry.empty_layer = true end
  config.rootfs = { type = "layers", diff_ids = diff_ids }
  return config
end

local function manifest_of(base, opts, config_bytes, layer)
  local docker = base ~= nil and base.docker
  local kinds = types[docker]
  local made = { schemaVersion = 2, mediaType = kinds.manifest, config = manifest.describe(kinds.config, config_bytes),
    layers = json.array() }
  for i, one in ipairs(base and base.manifest.layers or {}) do made.layers[i] = one end
  if layer then
    made.layers[#made.layers + 1] = { mediaType = kinds.layer, digest = layer.digest, size = layer.size }
  end
  local annotations = {}
  if base and base.ref and not docker then
    annotations["org.opencontainers.image.base.name"] = tostring(base.ref)
    annotations["org.opencontainers.image.base.digest"] = base.descriptor.digest
  end
  for name, value in pairs(opts.annotations) do annotations[name] = value end
  if next(annotations) then made.annotations = annotations end
  return made
end

---@class ws.registry.Image: ws.registry.Source
---@field root ws.registry.Descriptor  with `platform`
---@field digest string      of the manifest
---@field size integer       of config and layers, bytes
---@field manifest table
---@field config table
local Image = {}
Image.__index = Image

--- Reads a manifest, config or layer. A layer of the base is fetched now.
---@async
---@param descriptor ws.registry.Descriptor
---@return string|table|nil content
---@return ws.Error? err
function Image:read(descriptor)
  local bytes = self.small[descriptor.digest]
  if bytes then return bytes end
  if self.layer and descriptor.digest == self.layer.digest then
    local stat = fs.stat(self.layer.file)
    if stat and stat.size == descriptor.size then return { file = self.layer.file } end
    local layer, err = cache.layer(self.pack) -- the cache has let go of it
    if not layer then return nil, err end
    if layer.digest ~= descriptor.digest then
      return nil, errors.new { kind = "conflict", op = "registry.image", retryable = false,
        message = "a file of the image was changed after its digest was made", hint = "build the image again" }
    end
    return { file = layer.file }
  end
  if self.base then return self.base:read(descriptor) end
  return nil, errors.new { kind = "not_found", op = "registry.image",
    message = ("%s is not in the image"):format(descriptor.digest) }
end

--- The repository that has a layer of the base, for mounting.
---@param descriptor ws.registry.Descriptor
---@return ws.registry.Reference|string|nil
function Image:origin(descriptor)
  if not self.base or self.small[descriptor.digest] then return nil end
  if self.layer and descriptor.digest == self.layer.digest then return nil end
  return self.base:origin(descriptor)
end

local function platform_of(config)
  return { os = config.os, architecture = config.architecture, variant = config.variant,
    ["os.version"] = config["os.version"] }
end

--- What has to be true before anything is built.
local function check_image(base, opts, set)
  if base and base.docker and next(opts.annotations) then
    return nil, errors.new { kind = "invalid", op = "registry.image",
      message = ("%s is an image of Docker's format, which has no annotations"):format(base.name),
      hint = "use labels, or a base in OCI format" }
  end
  if #set.entries == 0 and not base then
    return nil, errors.new { kind = "invalid", op = "registry.image",
      message = "an image without files and without a base would be empty" }
  end
  local words = opts.entrypoint or opts.cmd or {}
  local path
  for _, entry in ipairs(opts.env) do path = entry:match("^PATH=(.*)$") or path end
  local platform = base and base.config or manifest.platform(opts.platform)
  return program.check(words, set, { base = base ~= nil, workdir = opts.workdir, path = path,
    architecture = platform.architecture })
end

--- Makes an image; see registry.image.
---@async
---@param opts ws.registry.ImageOptions
---@return ws.registry.Image? image
---@return ws.Error? err
function M.image(opts)
  local o, problem = options.read(opts)
  if not o then error("registry.image: " .. problem, 2) end
  local base, err
  if o.base then
    base, err = base_image.open(o.base, o.platform, opts.platform ~= nil)
    if not base then return nil, err end
  end
  local set
  set, err = files.entries(o.files, { parents = not base })
  if not set then return nil, err end
  local ok
  ok, err = check_image(base, o, set)
  if not ok then return nil, err end
  local pack, layer = { entries = set.entries, mtime = o.created }, nil
  if #set.entries > 0 then
    layer, err = cache.layer(pack)
    if not layer then return nil, err end
  end
  local config = config_of(base, o, layer)
  local config_bytes = json.encode(config)
  local made = manifest_of(base, o, config_bytes, layer)
  local bytes = json.encode(made)
  local root = manifest.describe(made.mediaType, bytes)
  root.platform = platform_of(config)
  local size = made.config.size
  for _, one in ipairs(made.layers) do size = size + one.size end
  return setmetatable({ root = root, digest = root.digest, size = size, manifest = made, config = config, base = base,
    layer = layer, pack = pack, small = { [root.digest] = bytes, [made.config.digest] = config_bytes } }, Image)
end

return M
