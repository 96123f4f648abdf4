local environment = require "ws.environment"
local fs = require "ws.fs"
local json = require "ws.json"
local oci = require "oci_registry"
local process = require "ws.process"
local registry = require "ws.registry"
local task = require "ws.task"

local program = os.getenv("WSRUN") or "build/wsrun"

--- A folder as a pull's target.
local function folder(t)
  local target = { dir = t:tmpdir(), manifests = {} }
  function target:has(descriptor) return fs.exists(self:path(descriptor)) end
  function target:path(descriptor) return self.dir .. "/" .. descriptor.digest end
  function target:put(descriptor, bytes)
    self.manifests[#self.manifests + 1] = descriptor.digest
    return fs.write(self:path(descriptor), bytes)
  end
  function target:finish(root, ref)
    self.root, self.ref = root, ref
    return true
  end
  return target
end

local function pull(ref, target, opts)
  return require "ws.registry.pull".pull(assert(registry.parse(ref)), target, opts or {})
end

return function(test)
  test("the README's example is true", function(t)
    local r = oci.start(t)
    environment.set { WSRUN_REGISTRY_ENDPOINT = r.url }
    t:defer(function() environment.set { WSRUN_REGISTRY_ENDPOINT = false } end)
    t:ok(registry.push(oci.image { "layer" }, "eu.gcr.io/my-project/app:1.4.2"))
    t:examples "modules/registry/README.md"
    t:ok(r:at "eu.gcr.io/my-project/app".tags["stable"])
    t:ok(r:at "europe-docker.pkg.dev/my-project/images/app".tags["1.4.2"])
  end)

  test("references", function(t)
    local digest = "sha256:" .. ("0a"):rep(32)
    for text, parts in pairs {
      ["eu.gcr.io/p/app:1.4.2"] = { "eu.gcr.io", "p/app", "1.4.2" },
      ["eu.gcr.io/p/app"] = { "eu.gcr.io", "p/app" },
      ["127.0.0.1:5000/x@" .. digest] = { "127.0.0.1:5000", "x", nil, digest },
      ["[::1]:5000/x:y"] = { "[::1]:5000", "x", "y" },
      ["localhost/a/b/c:v"] = { "localhost", "a/b/c", "v" },
      ["h.example/a-b_c.d/e__f:T_1@" .. digest] = { "h.example", "a-b_c.d/e__f", "T_1", digest },
    } do
      local ref = t:ok(registry.parse(text))
      t:eq({ ref.registry, ref.repository, ref.tag, ref.digest }, parts, text)
      t:eq(tostring(ref), text)
    end
    for text, why in pairs {
      [""] = "begins with the registry's host", app = "begins with the registry's host",
      ["app:1"] = "host", ["p/app:1"] = "host", ["eu.gcr.io"] = "host", ["eu.gcr.io/"] = "repository is missing",
      ["eu.gcr.io/App:1"] = "lower case", ["eu.gcr.io/a//b"] = "'' cannot be a part",
      ["eu.gcr.io/a/../b"] = "'..' cannot be a part", ["eu.gcr.io/a:"] = "'' cannot be a tag",
      ["eu.gcr.io/a:-x"] = "'-x' cannot be a tag", ["eu.gcr.io/a:b:c"] = "'b:c' cannot be a tag",
      ["eu.gcr.io/a@sha256:12"] = "64 hexadecimal", ["eu.gcr.io/a@md5:" .. ("0"):rep(32)] = "64 hexadecimal",
      ["eu.gcr.io/a b"] = "cannot be a part", ["eu.gcr.io/" .. ("x"):rep(256)] = "longer than 255",
      ["eu.gcr.io/a:" .. ("x"):rep(129)] = "cannot be a tag", ["https://eu.gcr.io/a"] = "host",
    } do
      t:has(t:err("invalid", registry.parse(text)).message, why)
    end
    t:has(t:err("invalid", registry.parse "alpine:3").hint, "docker.io/library/alpine:3")
    t:has(t:err("invalid", registry.parse "grafana/grafana:9").hint, "docker.io/grafana/grafana:9")
    t:has(t:err("invalid", registry.resolve "eu.gcr.io/p/app").hint, "eu.gcr.io/p/app:latest")
    t:raises("a string expected", registry.parse, nil)
  end)

  test("misuse raises", function(t)
    t:raises("unknown option 'plattform'", registry.resolve, "h.x/a:1", { plattform = "linux/amd64" })
    t:raises("no platform such as", registry.resolve, "h.x/a:1", { platform = "linux" })
    t:raises("a source with root and read", registry.push, {}, "h.x/a:1")
    t:raises("a target", registry.pull, "h.x/a:1", {})
    t:raises("cannot be a tag", registry.tag, "h.x/a:1", "no tag")
    t:raises("artifact_type and media_type", registry.attach, "h.x/a:1", { data = "x" })
    t:raises("data or file", registry.attach, "h.x/a:1", { artifact_type = "a/b", media_type = "c/d" })
    t:raises("a string or { file", registry.put_blob, "h.x/a", 1)
    t:eq(registry.no_such_function, nil)
  end)

  test("a push sends what is missing; again it asks once; another image is refused", function(t)
    local r = oci.start(t)
    local image, ref = oci.image { "one", "two", "two" }, r.host .. "/p/app:1.0"
    local steps = {}
    local result = t:ok(registry.push(image, ref, { on_progress = function(done, total)
      steps[#steps + 1] = { done, total }
    end }))
    local size = image.manifest.config.size + 6
    t:eq(result, { digest = image.root.digest, size = image.root.size, sent = 3, mounted = 0, skipped = 0,
      bytes = size, unchanged = false })
    t:eq({ #steps, steps[3] }, { 3, { size, size } })
    t:eq(r:at "p/app".tags, { ["1.0"] = image.root.digest })
    t:eq({ r:count("HEAD", "/blobs/"), r:count "POST", r:count("PUT", "/blobs/"), r:count("PUT", "/manifests/"),
      r:count("HEAD", "/manifests/"), #r.log }, { 3, 3, 3, 1, 2, 12 })
    t:eq(r.log[1], "HEAD /v2/p/app/manifests/1.0")
    t:eq(r.log[12], "PUT /v2/p/app/manifests/1.0")

    r.log = {}
    result = t:ok(registry.push(image, ref))
    t:eq({ result.unchanged, result.sent, r.log }, { true, 0, { "HEAD /v2/p/app/manifests/1.0" } })

    local other = oci.image { "one", "three" }
    local err = t:err("exists", registry.push(other, ref))
    t:has(err.message, image.root.digest)
    t:has(err.hint, "overwrite")
    t:eq(r:at "p/app".tags["1.0"], image.root.digest)
    result = t:ok(registry.push(other, ref, { overwrite = true, jobs = 1 }))
    t:eq({ result.sent, result.skipped }, { 2, 1 })
    t:eq(r:at "p/app".tags["1.0"], other.root.digest)
    t:ok(registry.push(image, ("%s/p/app@%s"):format(r.host, image.root.digest)))
    t:has(t:err("invalid", registry.push(other, ("%s/p/app@%s"):format(r.host, image.root.digest))).message,
      "is not the image to push")
  end)

  test("somebody else takes the tag while blobs are sent", function(t)
    local other, r = oci.image { "theirs" }, nil
    r = oci.start(t, { fault = function(req)
      if req.method == "POST" then r:at "app".tags["1"] = other.root.digest end
    end })
    t:ok(registry.push(other, r.host .. "/app:0"))
    t:err("exists", registry.push(oci.image { "mine" }, r.host .. "/app:1"))
    t:eq(r:at "app".tags["1"], other.root.digest)
  end)

  test("several blobs are sent at once, no more than jobs; the first failure ends the others", function(t)
    local layers, now, most = {}, 0, 0
    for i = 1, 12 do layers[i] = ("layer %d"):format(i) end
    local r = oci.start(t, { fault = function(req)
      if req.method ~= "PUT" or not req.path:find("uploads", 1, true) then return nil end
      now = now + 1
      most = math.max(most, now)
      task.sleep(0.02)
      now = now - 1
    end })
    t:ok(registry.push(oci.image(layers), r.host .. "/app:1", { jobs = 3 }))
    t:eq(most, 3)
    r.fault = function(req)
      if req.method ~= "POST" then return nil end
      now = now + 1
      if now == 2 then return oci.fail(403, "DENIED", "no write access") end
      task.sleep(30)
    end
    now = 0
    layers[1], layers[2] = "other 1", "other 2"
    t:err("denied", registry.push(oci.image(layers), r.host .. "/new:1", { jobs = 4 }))
    t:ok(now <= 4)
  end)

  test("resolve, manifest, config, of an index by platform", function(t)
    oci.hurry(t)
    local r = oci.start(t)
    local amd, v6, v7 = oci.image { "amd" }, oci.image { "arm v6" }, oci.image { "arm v7" }
    local index = oci.index { ["linux/amd64"] = amd, ["linux/arm/v6"] = v6, ["linux/arm/v7"] = v7 }
    local ref = r.host .. "/app:1"
    local result = t:ok(registry.push(index, ref))
    t:eq({ result.sent, result.digest }, { 6, index.root.digest })
    t:eq(r.log[#r.log], "PUT /v2/app/manifests/1")
    t:eq(registry.resolve(ref), index.root)
    t:eq(registry.resolve(ref, { platform = "linux/amd64" }).digest, amd.root.digest)
    t:eq(registry.resolve(ref, { platform = "linux/arm" }).digest, v6.root.digest)
    t:eq(registry.resolve(ref, { platform = "linux/arm/v7" }).digest, v7.root.digest)
    local err = t:err("not_found", registry.resolve(ref, { platform = "windows/amd64" }))
    t:has(err.hint, "linux/amd64, linux/arm/v6, linux/arm/v7")
    local manifest, descriptor = registry.manifest(ref)
    t:eq({ #manifest.manifests, descriptor.bytes }, { 3, index.contents[index.root.digest] })
    manifest, descriptor = registry.manifest(ref, { platform = "linux/amd64" })
    t:eq({ manifest.layers[1].digest, descriptor.platform.architecture }, { oci.digest "amd", "amd64" })
    t:eq(registry.config(ref).config.Entrypoint, { "/app" })
    t:eq(registry.config(("%s/app@%s"):format(r.host, v7.root.digest)).os, "linux")
    t:has(t:err("not_found", registry.resolve(r.host .. "/app:none")).message, "app:none is not in the registry")
    t:err("not_found", registry.config(r.host .. "/none:1"))
    t:err("connection", require "ws.registry.remote".head(assert(registry.parse "127.0.0.1:1/x:1")))
  end)

  test("a registry that leaves out headers, or lies in them", function(t)
    local image, kind = oci.image { "x" }, "application/json"
    local bytes = image.contents[image.root.digest]
    local r = oci.start(t, { fault = function(req, _, what)
      if what ~= "manifests" then return nil end
      return { headers = { ["Content-Type"] = kind }, body = req.method == "GET" and bytes or nil }
    end })
    local ref = r.host .. "/app:1"
    local descriptor = t:ok(registry.resolve(ref))
    t:eq({ descriptor.digest, descriptor.mediaType }, { image.root.digest, image.root.mediaType })
    t:err("protocol", registry.resolve(("%s/app@sha256:%s"):format(r.host, ("0"):rep(64))))
    r.fault = function(req)
      return { headers = { ["Content-Type"] = image.root.mediaType, ["Content-Length"] = #bytes,
        ["Docker-Content-Digest"] = oci.digest "other" }, body = req.method == "GET" and bytes or nil }
    end
    t:has(t:err("protocol", registry.manifest(ref)).message, "was promised")
    t:err("protocol", registry.resolve(("%s/app@%s"):format(r.host, image.root.digest)))
    for text, expected in pairs {
      ['{"schemaVersion":1,"fsLayers":[]}'] = "unsupported", ["{}"] = "parse", ["<html>"] = "parse", ["[1]"] = "parse",
      ['{"config":{"digest":"x","size":"1"},"layers":[]}'] = "parse", ['{"manifests":[1]}'] = "parse",
    } do
      r.fault = function() return { headers = { ["Content-Type"] = kind }, body = text } end
      t:err(expected, registry.manifest(ref))
    end
    r.fault = function() return { body = ("x"):rep(5 << 20) } end
    t:err("too_large", registry.manifest(ref))
  end)

  test("a pull verifies and keeps only what is right", function(t)
    local r = oci.start(t)
    local layer = ("layer"):rep(100000)
    local image, ref = oci.image { layer, "small" }, r.host .. "/app:1"
    t:ok(registry.push(image, ref))
    local target = folder(t)
    local result = t:ok(pull(ref, target))
    t:eq({ result.digest, result.skipped, result.bytes }, { image.root.digest, 0,
      #layer + 5 + image.manifest.config.size })
    t:eq({ target.root.digest, tostring(target.ref), target.manifests }, { image.root.digest, ref,
      { image.root.digest } })
    for digest, bytes in pairs(image.contents) do t:ok(fs.read(target.dir .. "/" .. digest) == bytes) end
    t:eq(#fs.list(target.dir), 4)
    t:eq(t:ok(pull(ref, target)).skipped, 3)

    local stored = r:at "app".blobs
    for _, wrong in ipairs { layer:upper(), layer:sub(1, -2) } do
      stored[oci.digest(layer)] = wrong
      target = folder(t)
      t:has(t:err("protocol", pull(ref, target)).message, "were promised")
      for _, name in ipairs(fs.list(target.dir)) do t:ok(image.contents[name], name) end
      t:err("protocol", registry.get_blob(r.host .. "/app", image.manifest.layers[1]))
    end
    stored[oci.digest(layer)] = layer .. "more"
    target = folder(t)
    t:err("too_large", pull(ref, target))
    t:eq(fs.exists(target:path(image.manifest.layers[1])), false)
    stored[oci.digest(layer)] = nil
    t:err("not_found", pull(ref, target))
  end)

  test("a blob that breaks off is fetched again", function(t)
    oci.hurry(t)
    local layer, tries, cuts = ("x"):rep(3 << 20), 0, 2
    local image = oci.image { layer }
    local r = oci.start(t, { fault = function(req, _, what, last)
      if req.method ~= "GET" or what ~= "blobs" or last ~= oci.digest(layer) then return nil end
      tries = tries + 1
      if tries > cuts then return nil end
      return { headers = { ["Content-Length"] = #layer }, stream = function(write)
        write(layer:sub(1, 1 << 20))
        oci.cut()
      end }
    end })
    t:ok(registry.push(image, r.host .. "/app:1"))
    local target = folder(t)
    t:ok(pull(r.host .. "/app:1", target))
    t:eq({ tries, #fs.list(target.dir) }, { 3, 3 })
    cuts, target = math.huge, folder(t)
    t:err("connection", pull(r.host .. "/app:1", target))
    t:ok(tries >= 8 and tries <= 20, tries) -- libcurl itself tries again when a kept connection gave nothing
    t:eq(fs.exists(target:path(image.manifest.layers[1])), false)
    t:eq(#fs.list(target.dir), 1)
  end)

  test("blobs and manifests one by one", function(t)
    local r, dir = oci.start(t), t:tmpdir()
    local repository = r.host .. "/app"
    t:ok(fs.write(dir .. "/f", "from a file"))
    local one = t:ok(registry.put_blob(repository, { file = dir .. "/f" }, { media_type = "text/plain" }))
    t:eq(one, { mediaType = "text/plain", digest = oci.digest "from a file", size = 11 })
    t:eq(registry.get_blob(repository, one), "from a file")
    t:eq(registry.get_blob(repository, one, { file = dir .. "/back" }), true)
    t:eq(fs.read(dir .. "/back"), "from a file")
    local empty = t:ok(registry.put_blob(repository, ""))
    t:eq(registry.get_blob(repository, empty), "")
    t:err("not_found", registry.put_blob(repository, { file = dir .. "/none" }))
    local bytes = json.encode { schemaVersion = 2, config = one, layers = json.array { one } }
    local put = t:ok(registry.put_manifest(repository .. ":1", bytes, "application/vnd.oci.image.manifest.v1+json"))
    t:eq({ put.digest, r:at "app".tags["1"] }, { oci.digest(bytes), oci.digest(bytes) })
    t:err("parse", registry.put_manifest(repository .. ":1", "{", "application/json"))
    bytes = bytes:gsub("sha256:%x%x%x%x", "sha256:0000")
    local err = t:err("invalid", registry.put_manifest(repository .. ":2", bytes, "application/json"))
    t:eq({ err.code, err.status }, { "MANIFEST_BLOB_UNKNOWN", 400 })
    t:err("unsupported", registry.get_blob(repository, { digest = "sha512:" .. ("0"):rep(128), size = 1 }))
  end)

  test("tags, tag, delete", function(t)
    local r = oci.start(t, { page = 2 })
    local image, ref = oci.image { "x" }, r.host .. "/app:1"
    t:err("not_found", registry.tags(r.host .. "/app"))
    t:ok(registry.push(image, ref))
    for _, tag in ipairs { "2", "3", "4", "5" } do t:eq(registry.tag(ref, tag).digest, image.root.digest) end
    t:eq(registry.tags(r.host .. "/app"), { "1", "2", "3", "4", "5" })
    t:eq(r:count("GET", "/tags/list"), 4) -- one said that there is no such repository
    t:ok(registry.tag(ref, "5"))
    local other = oci.image { "y" }
    t:ok(registry.push(other, r.host .. "/app:other"))
    t:err("exists", registry.tag(ref, "other"))
    t:eq(registry.tag(ref, "other", { overwrite = true }).digest, image.root.digest)
    t:err("not_found", registry.tag(r.host .. "/app:none", "6"))
    local err = t:err("unsupported", registry.delete(ref))
    t:has(err.hint, "by its digest")
    t:ok(registry.delete(("%s/app@%s"):format(r.host, image.root.digest)))
    t:err("not_found", registry.resolve(ref))
    t:err("not_found", registry.delete(ref))
    r.fault = function(_, _, what)
      if what == "tags" then
        return { headers = { Link = '</v2/app/tags/list?last=x>; rel="next"' }, body = '{"tags":["x"]}' }
      end
    end
    t:has(t:err("protocol", registry.tags(r.host .. "/app")).message, "no end")
    r.fault = function() return { headers = { Link = '<http://localhost:1/>; rel="next"' }, body = '{"tags":[]}' } end
    t:err("protocol", registry.tags(r.host .. "/app"))
    r.fault = function() return { body = "no JSON" } end
    t:err("protocol", registry.tags(r.host .. "/app"))
  end)

  test("errors have the registry's words, a kind, and a hint", function(t)
    oci.hurry(t)
    local status, code, calls = 403, "DENIED", 0
    local r = oci.start(t, { fault = function()
      calls = calls + 1
      return oci.fail(status, code, "in its own words", { ["Retry-After"] = "0" })
    end })
    local function ask() return registry.manifest(r.host .. "/app:1") end
    local err = t:err("denied", ask())
    t:eq({ err.status, err.code, calls }, { 403, "DENIED", 1 })
    t:has(err.message, "403 DENIED: in its own words")
    t:has(err.hint, "docker login " .. r.host)
    status, code = 404, "NAME_UNKNOWN"
    t:has(t:err("not_found", ask()).hint, "Artifact Registry")
    status, code, calls = 429, "TOOMANYREQUESTS", 0
    err = t:err("exhausted", ask())
    t:has(err.hint, "quota")
    t:eq({ calls, err.retryable }, { 6, true })
    status, code, calls = 503, "UNAVAILABLE", 0
    t:err("unavailable", ask())
    t:eq(calls, 6)
    status = 418
    t:err("failed", ask())
    r.fault = function() return { status = 400, body = "<html>\nbad</html>" } end
    t:has(t:err("invalid", ask()).message, "400 <html>")
    local left = 2
    r.fault = function()
      left = left - 1
      if left >= 0 then return { status = 502, headers = { ["Retry-After"] = "0" } } end
    end
    t:err("not_found", ask())
    t:eq(left, -1)
  end)

  test("a run that may not write may look", function(t)
    local r = oci.start(t, { auth = "bearer" })
    t:ok(registry.push(oci.image { "x" }, r.host .. "/app:1"))
    local result = t:ok(process.run { program, "-e", ([[
      require "ws.engine".native.forbid("write")
      local registry = require "ws.registry"
      print(registry.resolve("%s/app:1").size, registry.tags("%s/app")[1])
      print(pcall(registry.tag, "%s/app:1", "2"))]]):gsub("%%s", r.host) })
    t:has(result.stdout, "\t1\n")
    t:has(result.stdout, "would change something")
    t:eq(r:at "app".tags["2"], nil)
  end)
end
