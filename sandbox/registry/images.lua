--- The registry's images as others see them: Artifact Registry's lists, and what a node of a cluster pulls.
local check = require "sandbox.registry.check"
local json = require "ws.json"
local values = require "sandbox.values"

local PLATFORM = { os = "linux", architecture = "amd64" } -- of the nodes
local CONFIGURATIONS = { ["application/vnd.oci.image.config.v1+json"] = true,
  ["application/vnd.docker.container.image.v1+json"] = true }
local LOOPBACK = { localhost = true, ["127.0.0.1"] = true, ["[::1]"] = true }

--- Takes a reference apart as a node does: `nginx` is docker.io/library/nginx:latest, a digest wins over a tag.
local function parse(reference)
  local rest, digest = reference:match("^([^@]*)@(.+)$")
  rest = rest or reference
  local host, path = rest:match("^([^/]+)/(.+)$")
  if not host or not (host:find("[.:]") or host == "localhost") then
    host, path = "docker.io", host and rest or "library/" .. rest
  end
  local name, tag = path:match("^(.*):([^:/]+)$")
  name = name or path
  local whole = host .. "/" .. name
  -- A node could not reach loopback; here the address is the registry itself, which needs no host in its names.
  local here = LOOPBACK[host:match("^(%[.*%])") or host:match("^[^:]*")] ~= nil
  return { name = here and name or whole, host = host, repository = whole, reference = digest or tag or "latest",
    text = digest and ("%s@%s"):format(whole, digest) or ("%s:%s"):format(whole, tag or "latest") }
end

return function(registry)
  local store, blobs = registry.manifests, registry.blobs
  local M = {}

  --- The manifests of repositories whose name begins with `prefix`.
  ---@param prefix string
  ---@return { name: string, digest: string, tags: string[], size: integer, media_type: string, uploaded: string }[]
  function M.images(prefix)
    local images = {}
    for i, one in ipairs(store:list(prefix)) do
      images[i] = { name = one.name, digest = one.digest, tags = store:tags_of(one.name, one.digest),
        size = one.record.size, media_type = one.record.media_type, uploaded = one.record.uploaded }
    end
    return images
  end

  --- Removes all repositories whose name begins with `prefix`.
  ---@param prefix string
  function M.drop(prefix)
    for _, one in ipairs(store:list(prefix)) do store:delete(one.name, one.digest) end
    for _, key in ipairs(select(2, blobs.members:list(prefix))) do
      local name, digest = key:match("^(.*)@(.*)$")
      blobs:remove(name, digest)
    end
  end

  --- A content as JSON; without waiting, because the nodes' controller must not be interrupted.
  local function read(digest)
    local file = io.open(blobs:path(digest), "rb")
    if not file then return nil end
    local value = json.decode(file:read "a")
    file:close()
    return type(value) == "table" and values.clean(value) or nil
  end

  --- The manifest of an image, or of its form for the nodes' platform.
  local function for_platform(name, manifest)
    if not manifest.manifests then return manifest end
    for _, child in ipairs(manifest.manifests) do
      local platform = child.platform or {}
      if platform.os == PLATFORM.os and platform.architecture == PLATFORM.architecture
        and store:get(name, child.digest) then
        return for_platform(name, read(child.digest))
      end
    end
  end

  ---@class sandbox.Pull  what comes of pulling an image
  ---@field problem? string  why it failed, as containerd says it
  ---@field id? string  repository and digest, as a Pod's status names the image
  ---@field size? integer  bytes of its layers
  ---@field config? table  Entrypoint, Cmd, Labels, ... of its configuration

  --- Pulls as a node does. Nothing when the registry has no such repository: then it is somebody else's image.
  ---@param reference string  of a container
  ---@return sandbox.Pull?
  function M.pull(reference)
    local image = parse(reference)
    if #store:list(image.name .. "@") == 0 and #(blobs.members:list(image.name .. "@")) == 0 then return nil end
    local function fail(code, why)
      return { problem = ('rpc error: code = %s desc = failed to pull and unpack image "%s": %s'):format(code,
        image.text, why) }
    end
    local function absent(digest)
      return fail("NotFound", ("failed to copy: httpReadSeeker: failed open: content at https://%s/v2/%s/blobs/%s not "
        .. "found: not found"):format(image.host, image.repository:sub(#image.host + 2), digest))
    end
    local digest = store:resolve(image.name, image.reference)
    if not digest then
      return fail("NotFound", ('failed to resolve reference "%s": %s: not found'):format(image.text, image.text))
    end
    local manifest = for_platform(image.name, read(digest))
    if not manifest then return fail("NotFound", "no match for platform in manifest: not found") end
    local size, config = 0, manifest.config
    if not config or not CONFIGURATIONS[config.mediaType] then
      return fail("Unknown", "failed to unpack image on snapshotter overlayfs: mismatched image rootfs and manifest "
        .. "layers")
    end
    if not blobs:get(image.name, config.digest) then return absent(config.digest) end
    for _, layer in ipairs(manifest.layers or {}) do
      if not check.is_foreign(layer) and not blobs:get(image.name, layer.digest) then return absent(layer.digest) end
      size = size + layer.size
    end
    return { id = ("%s@%s"):format(image.repository, digest), size = size,
      config = (read(config.digest) or {}).config or {} }
  end

  return M
end
