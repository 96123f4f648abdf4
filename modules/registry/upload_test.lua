-- Uploads and copies when something goes wrong, and what is mounted.
local environment = require "ws.environment"
local fs = require "ws.fs"
local oci = require "oci_registry"
local registry = require "ws.registry"
local task = require "ws.task"

local KIB = 1 << 10

--- An image whose one layer is a file.
local function big_image(t, size)
  local image = oci.image { ("0123456789abcdef"):rep(size // 16) }
  local file, layer = t:tmpdir() .. "/layer", image.manifest.layers[1]
  assert(fs.write(file, image.contents[layer.digest]))
  image.file = file
  function image:read(descriptor)
    if descriptor.digest == layer.digest then return { file = self.file } end
    return self.contents[descriptor.digest]
  end
  return image
end

--- A registry where the layer is the only upload: the config is there.
local function start(t, image, fields)
  local r = oci.start(t, fields)
  r:at "app".blobs[image.manifest.config.digest] = image.contents[image.manifest.config.digest]
  return r
end

return function(test)
  test("the connection is lost at every 256 KiB of an upload", function(t)
    oci.hurry(t)
    local size = 1536 * KIB
    local image = big_image(t, size)
    for at = 0, size, 256 * KIB do
      local r = start(t, image, { cuts = { at } })
      local result = t:ok(registry.push(image, r.host .. "/app:1"))
      t:eq({ result.sent, result.bytes, r:at "app".tags["1"] }, { 1, size, image.root.digest }, at)
      t:eq(r:count("PUT", "uploads"), 2, at)
    end
    local all = {}
    for i = 1, 20 do all[i] = i % 6 * 256 * KIB end
    local r = start(t, image, { cuts = all }) -- more often than is tried
    t:err("connection", registry.push(image, r.host .. "/app:1"))
    local tries = r:count("PUT", "uploads")
    t:ok(tries >= 5 and tries <= 10, tries) -- libcurl itself tries again when a kept connection gave nothing
    t:eq(r:at "app".tags["1"], nil)
    r.cuts = nil
    t:ok(registry.push(image, r.host .. "/app:1")) -- run again
  end)

  test("only the answer is lost: nothing is sent twice", function(t)
    oci.hurry(t)
    local image, r = big_image(t, 1 << 20), nil
    r = start(t, image, { fault = function(req)
      if req.method ~= "PUT" or not req.path:find("uploads", 1, true) then return nil end
      local bytes = req:body()
      r:at "app".blobs[oci.digest(bytes)] = bytes
      oci.cut()
    end })
    t:eq(t:ok(registry.push(image, r.host .. "/app:1")).sent, 1)
    t:eq(r:count("PUT", "uploads"), 1)
  end)

  test("sessions that are lost, servers that are busy, refuse, or say nothing useful", function(t)
    oci.hurry(t)
    local image, answers = big_image(t, 1 << 20), nil
    local r = start(t, image)
    function r.fault(req)
      if req.path:find("uploads", 1, true) and req.method == "PUT" then return table.remove(answers, 1) end
    end
    local function push(list)
      answers, r.log = list, {}
      r:at "app".tags, r:at "app".blobs[image.manifest.layers[1].digest] = {}, nil
      return registry.push(image, r.host .. "/app:1")
    end
    t:ok(push { oci.fail(404, "BLOB_UPLOAD_UNKNOWN"), { status = 500 },
      { status = 503, headers = { ["Retry-After"] = "1" } } })
    t:eq({ r:count("POST", "uploads"), r:count("PUT", "uploads") }, { 4, 4 })
    local err = t:err("denied", push { oci.fail(403, "DENIED", "storage quota exceeded") })
    t:has(err.message, "quota exceeded")
    t:eq(r:count("PUT", "uploads"), 1)
    t:err("invalid", push { oci.fail(400, "DIGEST_INVALID") })
    t:err("too_large", push { oci.fail(413, "SIZE_INVALID") })
    r.fault = function(req)
      if req.method == "POST" then return { status = 202 } end
    end
    t:has(t:err("protocol", push {}).message, "no location")
    r.fault = function(req)
      if req.path:find("manifests", 1, true) and req.method == "PUT" then
        return { status = 201, headers = { ["Docker-Content-Digest"] = oci.digest "else" } }
      end
    end
    t:err("protocol", push {})
  end)

  test("a slow registry is waited for, and the push can be given up at any time", function(t)
    local image = big_image(t, 8 << 20)
    local gone = false
    local r = start(t, image, { fault = function(req)
      if not (req.path:find("uploads", 1, true) and req.method == "PUT") then return nil end
      for _ = 1, 20 do
        if not req:read() then break end
        task.sleep(0.01)
      end
    end })
    r.problems = nil
    t:err("invalid", registry.push(image, r.host .. "/app:1")) -- what we took out of its body is missing there
    r.fault = function(req)
      if not (req.path:find("uploads", 1, true) and req.method == "PUT") then return nil end
      while not req:gone() do task.sleep(0.05) end
      gone = true
    end
    t:err("timeout", task.timeout(0.3, registry.push, image, r.host .. "/app:1"))
    for _ = 1, 100 do
      if gone then break end
      task.sleep(0.02)
    end
    t:eq({ gone, r:at "app".tags["1"] }, { true, nil })
    r.problems = {}
  end)

  test("content that is not what its descriptor says is not sent to its end", function(t)
    local image = big_image(t, 3 << 20)
    local r = start(t, image)
    local bytes = assert(fs.read(image.file))
    for _, wrong in ipairs { "X" .. bytes:sub(2), bytes:sub(1, -2) .. "X" } do
      assert(fs.write(image.file, wrong))
      local err = t:err("invalid", registry.push(image, r.host .. "/app:1"))
      t:ok(not err.retryable)
    end
    assert(fs.write(image.file, bytes:sub(1, -2)))
    t:err("invalid", registry.push(image, r.host .. "/app:1"))
    assert(fs.remove(image.file))
    t:err("not_found", registry.push(image, r.host .. "/app:1"))
    t:eq({ r.received, r:at "app".tags["1"] }, { 0, nil })
    local other = oci.image { "text" }
    other.contents[other.manifest.layers[1].digest] = "test"
    t:err("invalid", registry.push(other, r.host .. "/app:1"))
    other.contents[other.root.digest] = "{}"
    t:err("protocol", registry.push(other, r.host .. "/app:1"))
    other.contents[other.root.digest] = nil
    function other.read() return nil, require "ws.error".new { kind = "io", message = "disk on fire" } end
    t:err("io", registry.push(other, r.host .. "/app:1"))
  end)

  test("layers that are elsewhere are not pushed, images are not nested without end", function(t)
    local r = oci.start(t, { strict = false })
    local image = oci.image { "mine" }
    image.manifest.layers[2] = { mediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      digest = oci.digest "windows", size = 7, urls = { "https://example.invalid/w" } }
    local bytes = require "ws.json".encode(image.manifest)
    image.root = { mediaType = image.manifest.mediaType, digest = oci.digest(bytes), size = #bytes }
    image.contents[image.root.digest] = bytes
    r.fault = function(req, name, _, last)
      if req.method == "PUT" and last == "1" then
        r:at(name).blobs[oci.digest "windows"] = "" -- this registry wants to see them all
      end
    end
    t:eq(t:ok(registry.push(image, r.host .. "/app:1")).sent, 2)
    local nested = oci.index { ["linux/amd64"] = oci.image { "deep" } }
    for _ = 1, 9 do
      local inner = nested
      nested = oci.index { ["linux/amd64"] = inner }
    end
    t:has(t:err("invalid", registry.push(nested, r.host .. "/app:2")).message, "nested")
  end)

  test("blobs are mounted within a registry; refused, they are sent", function(t)
    local image = oci.image { "one", "two" }
    local r = oci.start(t)
    local from = r.host .. "/from/app:1"
    t:ok(registry.push(image, from))
    r.log = {}
    local result = t:ok(registry.copy(from, r.host .. "/to/app:1"))
    t:eq({ result.mounted, result.sent, r:count("PUT", "uploads"), r:count("GET", "/blobs/") }, { 3, 0, 0, 0 })
    t:eq(t:ok(registry.copy(from, r.host .. "/to/app:1")).unchanged, true)
    r.mounts = false
    result = t:ok(registry.copy(from, r.host .. "/second:1"))
    t:eq({ result.mounted, result.sent, r:at "second".tags["1"] }, { 0, 3, image.root.digest })
    for _, status in ipairs { 401, 403, 404, 405, 400 } do
      r.fault = function(req)
        if req.query.mount then return oci.fail(status, "UNAUTHORIZED", "no right to read there") end
      end
      result = t:ok(registry.copy(from, ("%s/refused-%d:1"):format(r.host, status)))
      t:eq({ result.mounted, result.sent }, { 0, 3 }, status)
    end
    r.fault = nil
    function image.origin() return from end -- a source that knows where its layers are
    r.mounts = nil
    t:eq(t:ok(registry.push(image, r.host .. "/based/app:1")).mounted, 3)
  end)

  test("a token for two repositories is refused: what could be mounted is sent", function(t)
    local image = oci.image { "one" }
    local r = oci.start(t, { auth = "bearer" })
    t:ok(registry.push(image, r.host .. "/from/app:1"))
    function r.token_fault(req)
      if #req.query_list == 3 then return oci.fail(401, "UNAUTHORIZED", "not that one") end
    end
    local result = t:ok(registry.copy(r.host .. "/from/app:1", r.host .. "/to/app:1"))
    t:eq({ result.mounted, result.sent }, { 0, 2 })
    r.token_fault = nil
    t:eq(t:ok(registry.copy(r.host .. "/from/app:1", r.host .. "/to/other:1")).mounted, 2)
  end)

  test("an image goes from one registry to another, piece by piece", function(t)
    oci.hurry(t)
    local image, a = big_image(t, 6 << 20), oci.start(t)
    local layer = image.manifest.layers[1].digest
    t:ok(registry.push(image, a.host .. "/app:1"))
    local b = oci.start(t, { cuts = { 1 << 20, 0, 2 << 20 } })
    local result = t:ok(registry.copy(a.host .. "/app:1", b.host .. "/mirror/app:1", { jobs = 1 }))
    t:eq({ result.sent, b:at "mirror/app".blobs[layer] == image.contents[layer] }, { 2, true })
    t:eq(b:at "mirror/app".tags["1"], image.root.digest)

    local cuts = 2
    a.fault = function(req, _, _, last)
      if req.method ~= "GET" or last ~= layer or cuts == 0 then return nil end
      cuts = cuts - 1
      return { headers = { ["Content-Length"] = 6 << 20 }, stream = function(write)
        write(image.contents[layer]:sub(1, 3 << 20))
        oci.cut()
      end }
    end
    local c = oci.start(t)
    t:eq(t:ok(registry.copy(a.host .. "/app:1", c.host .. "/app:1")).sent, 2)
    t:eq(cuts, 0)

    a.fault = nil
    a:at "app".blobs[layer] = ("X"):rep(6 << 20)
    local d = oci.start(t)
    t:has(t:err("protocol", registry.copy(a.host .. "/app:1", d.host .. "/app:1")).message, "digest")
    t:eq({ d:at "app".blobs[layer], d:at "app".tags["1"] }, { nil, nil })
    a:at "app".blobs[layer] = nil
    t:err("not_found", registry.copy(a.host .. "/app:1", d.host .. "/app:1"))
    t:err("not_found", registry.copy(a.host .. "/none:1", d.host .. "/app:1"))
  end)

  test("a list of images is copied whole, or one of it", function(t)
    local index = oci.index { ["linux/amd64"] = oci.image { "amd" }, ["linux/arm64"] = oci.image { "arm" } }
    local a, b = oci.start(t), oci.start(t)
    t:ok(registry.push(index, a.host .. "/app:1"))
    local result = t:ok(registry.copy(a.host .. "/app:1", b.host .. "/app:1"))
    t:eq({ result.digest, result.sent }, { index.root.digest, 4 })
    t:ok(registry.resolve(b.host .. "/app:1", { platform = "linux/arm64" }))
    result = t:ok(registry.copy(a.host .. "/app:1", b.host .. "/one:1", { platform = "linux/arm64" }))
    t:eq(t:ok(registry.manifest(b.host .. "/one:1")).layers[1].digest, oci.digest "arm")
    t:ok(result.digest ~= index.root.digest)
  end)

  test("hosts behind one endpoint are told apart by their names", function(t)
    local r = oci.start(t)
    environment.set { WSRUN_REGISTRY_ENDPOINT = r.url .. "/" }
    t:defer(function() environment.set { WSRUN_REGISTRY_ENDPOINT = false } end)
    t:ok(registry.push(oci.image { "x" }, "registry.example/app:1"))
    t:ok(r:at "registry.example/app".tags["1"])
    t:eq(t:ok(registry.copy("registry.example/app:1", "other.example/app:1")).sent, 2) -- two registries: no mount
    t:ok(registry.push(oci.image { "x" }, r.host .. "/app:1"))
    t:ok(r:at "app".tags["1"])
  end)
end
