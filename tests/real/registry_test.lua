-- ws.registry against docker-registry, with skopeo at the other end where it is installed.
local environment = require "ws.environment"
local fs = require "ws.fs"
local json = require "ws.json"
local oci = require "oci_registry"
local process = require "ws.process"
local registry = require "ws.registry"
local server = require "ws.server"
local servers = require "servers"
local task = require "ws.task"

--- An image with a layer of 5 MiB in a file.
local function image_with_file(t)
  local image = oci.image { ("0123456789abcdef"):rep(5 << 16), "small" }
  local file, layer = t:tmpdir() .. "/layer", image.manifest.layers[1].digest
  assert(fs.write(file, image.contents[layer]))
  function image:read(descriptor)
    return descriptor.digest == layer and { file = file } or self.contents[descriptor.digest]
  end
  return image
end

local function skopeo(t, ...)
  if not process.which "skopeo" then return nil end
  return t:ok(process.check({ "skopeo", "--tmpdir", t:tmpdir(), ... }, { timeout = 60 })).stdout
end

--- A docker-registry that knows one user, me:pw.
local function start_with_password(t)
  local probe = assert(server.listen { handler = function() return {} end })
  local port = probe.port
  probe:close()
  local dir = t:tmpdir()
  assert(fs.write(dir .. "/users", "me:$2a$04$4IHj2/3eC1QwX3nus.98Iu/9tmRHurWcOuHK8TXdKQpF5V8x0KN12\n"))
  assert(fs.write(dir .. "/config.yml", ([[
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s/blobs}}
http: {addr: "127.0.0.1:%d"}
auth: {htpasswd: {realm: test, path: %s/users}}
]]):format(dir, port, dir)))
  local child = t:ok(process.start({ "docker-registry", "serve", dir .. "/config.yml" }, { stderr = "discard" }))
  t:defer(function() child:stop() end)
  local base = ("http://127.0.0.1:%d/v2/"):format(port)
  for _ = 1, 500 do
    if require "ws.http".get(base) then return "127.0.0.1:" .. port end
    task.sleep(0.02)
  end
  error "docker-registry did not start"
end

return function(test)
  test("push, pull, copy, tag, list, attach, delete", function(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local image, ref = image_with_file(t), host .. "/team/app:1.0"
    local result = t:ok(registry.push(image, ref))
    t:eq({ result.digest, result.sent }, { image.root.digest, 3 })
    t:eq(t:ok(registry.push(image, ref)).unchanged, true)
    t:err("exists", registry.push(oci.image { "other" }, ref))
    t:eq(registry.resolve(ref).digest, image.root.digest)
    t:eq(registry.config(ref).os, "linux")
    t:eq(registry.tag(ref, "stable").digest, image.root.digest)
    t:eq(registry.tags(host .. "/team/app"), { "1.0", "stable" })
    t:eq(t:ok(registry.copy(ref, host .. "/other/app:1.0")).mounted, 3)
    local file = t:tmpdir() .. "/layer"
    t:ok(registry.get_blob(host .. "/other/app", image.manifest.layers[1], { file = file }))
    t:ok(fs.read(file) == image.contents[image.manifest.layers[1].digest])

    local attached = t:ok(registry.attach(ref, { artifact_type = "application/spdx+json",
      media_type = "application/spdx+json", data = "{}" }))
    t:eq(registry.attach(ref, { artifact_type = "application/spdx+json", media_type = "application/spdx+json",
      data = "{}" }).digest, attached.digest)
    t:eq(#t:ok(registry.referrers(ref)), 1) -- this registry has no referrers API

    local index = oci.index { ["linux/amd64"] = oci.image { "amd" }, ["linux/arm64"] = oci.image { "arm" } }
    t:ok(registry.push(index, host .. "/team/app:multi"))
    t:eq(t:ok(registry.copy(host .. "/team/app:multi", host:gsub("127.0.0.1", "localhost") .. "/mirror:1")).digest,
      index.root.digest)
    t:err("unsupported", registry.delete(ref))
    t:eq(registry.delete(("%s/team/app@%s"):format(host, image.root.digest)), true)
    t:err("not_found", registry.resolve(ref))
    t:err("not_found", registry.tags(host .. "/none"))
  end, { timeout = 120 })

  test("skopeo reads what we push, and we what it pushes", function(t)
    if not process.which "skopeo" then t:skip "skopeo is not installed" end
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local image = image_with_file(t)
    t:ok(registry.push(image, host .. "/app:1"))
    local dir = t:tmpdir()
    skopeo(t, "copy", "-q", "--preserve-digests", "--src-tls-verify=false", "docker://" .. host .. "/app:1",
      "oci:" .. dir .. "/layout:x")
    local index = t:ok(json.decode(assert(fs.read(dir .. "/layout/index.json"))))
    t:eq(index.manifests[1].digest, image.root.digest)
    skopeo(t, "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", "oci:" .. dir .. "/layout:x",
      "docker://" .. host .. "/back:1")
    t:eq(registry.resolve(host .. "/back:1").digest, image.root.digest)
    skopeo(t, "copy", "-q", "--dest-tls-verify=false", "--format", "v2s2", "oci:" .. dir .. "/layout:x",
      "docker://" .. host .. "/docker:2")
    local manifest, descriptor = registry.manifest(host .. "/docker:2")
    t:eq({ descriptor.mediaType, #manifest.layers },
      { "application/vnd.docker.distribution.manifest.v2+json", 2 })
    t:eq(t:ok(registry.copy(host .. "/docker:2", host .. "/third:2")).digest, descriptor.digest)
  end, { timeout = 120 })

  test("a password", function(t)
    local dir = t:tmpdir()
    environment.set { DOCKER_CONFIG = dir, HOME = dir }
    t:defer(function() environment.set { DOCKER_CONFIG = false, HOME = false } end)
    local host = start_with_password(t)
    local image = image_with_file(t)
    t:has(t:err("unauthenticated", registry.push(image, host .. "/app:1")).hint, "docker login " .. host)
    local function login(password)
      local auth = require "ws.crypto".base64_encode("me:" .. password)
      assert(fs.write(dir .. "/config.json", json.encode { auths = { [host] = { auth = auth } } }))
    end
    login "wrong"
    t:err("unauthenticated", registry.push(image, host .. "/app:1"))
    login "pw"
    t:eq(t:ok(registry.push(image, host .. "/app:1")).sent, 3)
    t:eq(t:ok(registry.copy(host .. "/app:1", host .. "/b:1")).mounted, 3)
  end, { timeout = 120 })
end
