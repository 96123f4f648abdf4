local archive = require "ws.archive"
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local registry = require "ws.registry"

local function setup(t)
  local dir = t:tmpdir()
  local before = os.getenv("WSRUN_STATE_DIR") or false
  environment.set { WSRUN_STATE_DIR = dir .. "/state" }
  t:defer(function() environment.set { WSRUN_STATE_DIR = before } end)
  return dir
end

local function image(t, text, opts)
  opts = opts or {}
  opts.files = { { path = "/text", data = text, mode = 493 }, { path = "/large", data = opts.large or "" } }
  opts.large = nil
  return t:ok(registry.image(opts))
end

local function run(t, ...)
  local r = t:ok(process.run({ ... }, { timeout = 60 }))
  t:eq(r.code, 0, r.stderr)
  return r.stdout
end

local function tools(t, ...)
  for _, tool in ipairs { ... } do
    if not process.which(tool) then t:skip(tool .. " is not installed") end
  end
end

--- The bytes of a layer of a source, expanded.
local function layer_tar(t, source, descriptor)
  local content = t:ok(source:read(descriptor))
  if type(content) == "table" then
    content = t:ok(fs.read(content.file, { offset = content.offset, length = descriptor.size }))
  end
  t:eq("sha256:" .. crypto.sha256(content), descriptor.digest)
  return t:ok(archive.gunzip(content))
end

--- A layer as docker saves it.
local function layer(name)
  return assert(archive.tar_create { gzip = false, entries = { { name = name, data = "content of " .. name } } })
end

--- An archive as docker before 25 saves it: two images that share a layer, which the second has as a link.
local function old_form(change)
  local one, two = layer "one", layer "two"
  local function config(...)
    local diff_ids = json.array()
    for i, tar in ipairs { ... } do diff_ids[i] = "sha256:" .. crypto.sha256(tar) end
    return json.encode { os = "linux", architecture = "amd64", config = { Cmd = { "x" } },
      rootfs = { type = "layers", diff_ids = diff_ids } }
  end
  local configs = { config(one, two), config(one) }
  local names = { crypto.sha256(configs[1]) .. ".json", crypto.sha256(configs[2]) .. ".json" }
  local a, b = ("a"):rep(64), ("b"):rep(64)
  local manifest = {
    { Config = names[1], RepoTags = { "eu.gcr.io/p/app:1.0", "app:latest" },
      Layers = { a .. "/layer.tar", b .. "/layer.tar" } },
    { Config = names[2], RepoTags = { "base:1" }, Layers = { ("c"):rep(64) .. "/layer.tar" } },
  }
  local entries = { [names[1]] = { data = configs[1] }, [names[2]] = { data = configs[2] },
    [a .. "/layer.tar"] = { data = one }, [b .. "/layer.tar"] = { data = two }, [a .. "/VERSION"] = { data = "1.0" },
    [("c"):rep(64) .. "/layer.tar"] = { link = "../" .. a .. "/layer.tar" } }
  if change then change(manifest, entries, { configs = names, a = a .. "/layer.tar", b = b .. "/layer.tar" }) end
  entries["manifest.json"] = entries["manifest.json"] or { data = json.encode(manifest) }
  local list = {}
  for name, entry in pairs(entries) do
    entry.name = name
    list[#list + 1] = entry
  end
  return assert(archive.tar_create { gzip = false, entries = list })
end

return function(test)
  test("an image goes out and comes back the same", function(t)
    local dir = setup(t)
    local source = image(t, "one", { large = crypto.random_bytes(1 << 20):rep(5), cmd = { "/text" } })
    t:eq(t:ok(registry.save(source, { archive = dir .. "/x.tar" }, { name = "eu.gcr.io/p/app:1.0" })).digest,
      source.digest)
    local back = t:ok(registry.open_archive(dir .. "/x.tar"))
    t:eq({ back.root.digest, back.root.mediaType }, { source.digest, source.root.mediaType })
    t:eq(back:read(back.root), source:read(source.root))
    local descriptor = source.manifest.layers[1]
    local content = back:read(descriptor)
    t:ok(content.offset > 0)
    t:eq("sha256:" .. crypto.sha256(fs.read(content.file, { offset = content.offset, length = descriptor.size })),
      descriptor.digest)
    for _, tag in ipairs { "1.0", "eu.gcr.io/p/app:1.0" } do t:ok(registry.open_archive(dir .. "/x.tar", tag)) end
    t:has(t:err("not_found", registry.open_archive(dir .. "/x.tar", "2.0")).hint, "eu.gcr.io/p/app:1.0")
    -- the same image gives the same archive, also by way of a layout
    t:ok(registry.save(back, { oci = dir .. "/l" }))
    t:ok(registry.save(t:ok(registry.open_layout(dir .. "/l")), { archive = dir .. "/y.tar" },
      { name = "eu.gcr.io/p/app:1.0" }))
    t:eq(crypto.sha256_file(dir .. "/y.tar"), crypto.sha256_file(dir .. "/x.tar"))
    t:eq(fs.glob("*.part*", { dir = dir }), {})
    -- without a name
    t:ok(registry.save(source, { archive = dir .. "/z.tar" }))
    t:eq(t:ok(registry.open_archive(dir .. "/z.tar")).digest, source.digest)
    t:eq(t:ok(registry.image { base = back, cmd = { "y" } }).manifest.layers, source.manifest.layers)
  end)

  test("the old form of docker save", function(t)
    local dir = setup(t)
    local file = dir .. "/old.tar"
    t:ok(fs.write(file, old_form()))
    local source = t:ok(registry.open_archive(file, "1.0"))
    local manifest = json.decode(source:read(source.root))
    t:eq(manifest.mediaType, "application/vnd.docker.distribution.manifest.v2+json")
    t:eq(#manifest.layers, 2)
    for i, name in ipairs { "one", "two" } do t:eq(layer_tar(t, source, manifest.layers[i]), layer(name)) end
    t:eq(json.decode(source:read(manifest.config)).config.Cmd, { "x" })
    t:eq(t:ok(registry.open_archive(file, "eu.gcr.io/p/app:1.0")).digest, source.digest)
    t:eq(t:ok(registry.open_archive(file, "app:latest")).digest, source.digest)
    local base = t:ok(registry.open_archive(file, "base:1"))
    t:eq(json.decode(base:read(base.root)).layers, { manifest.layers[1] })
    t:has(t:err("invalid", registry.open_archive(file)).hint, "eu.gcr.io/p/app:1.0, app:latest, base:1")
    -- what the cache lets go of is compressed again
    t:ok(fs.remove(require "ws.registry.cache".folder(), { recursive = true }))
    t:eq(layer_tar(t, source, manifest.layers[2]), layer("two"))
    -- and it can be saved in the newer form
    t:ok(registry.save(source, { archive = dir .. "/new.tar" }, { name = "app:1" }))
    t:eq(t:ok(registry.open_archive(dir .. "/new.tar")).digest, source.digest)
  end)

  test("the newer form with layers that are not compressed", function(t)
    local dir = setup(t)
    local tar = layer "one"
    local config = json.encode { os = "linux", architecture = "amd64",
      rootfs = { type = "layers", diff_ids = { "sha256:" .. crypto.sha256(tar) } } }
    local function descriptor(media_type, text)
      return { mediaType = "application/vnd.oci.image." .. media_type, digest = "sha256:" .. crypto.sha256(text),
        size = #text }
    end
    local manifest = json.encode { schemaVersion = 2, mediaType = "application/vnd.oci.image.manifest.v1+json",
      config = descriptor("config.v1+json", config), layers = { descriptor("layer.v1.tar", tar) } }
    local function path(text) return "blobs/sha256/" .. crypto.sha256(text) end
    t:ok(archive.tar_create { gzip = false, file = dir .. "/x.tar", entries = {
      { name = path(tar), data = tar }, { name = path(config), data = config },
      { name = path(manifest), data = manifest },
      { name = "oci-layout", data = '{"imageLayoutVersion":"1.0.0"}' },
      { name = "index.json", data = json.encode { schemaVersion = 2,
        manifests = { descriptor("manifest.v1+json", manifest) } } },
      { name = "manifest.json", data = json.encode { { Config = path(config), Layers = { path(tar) },
        RepoTags = { "app:1" } } } } } })
    local source = t:ok(registry.open_archive(dir .. "/x.tar"))
    local made = json.decode(source:read(source.root))
    t:eq(layer_tar(t, source, made.layers[1]), tar)
    t:eq(made.config.digest, "sha256:" .. crypto.sha256(config))
  end)

  test("an archive that is not one", function(t)
    local dir = setup(t)
    local function open(bytes)
      t:ok(fs.write(dir .. "/x.tar", bytes))
      return registry.open_archive(dir .. "/x.tar")
    end
    t:err("not_found", registry.open_archive(dir .. "/none"))
    t:err("parse", open "this is no archive of anything, and long enough to be looked at")
    t:err("neither manifest.json nor index.json", open(layer "x"))
    local packed = t:err("unsupported", open(archive.gzip(old_form())))
    t:has(packed.hint, "gzip -d")
    for _, text in ipairs { "no json", "{}", "7", "[7]", '[{"Config":1,"Layers":[]}]', '[{"Config":"x"}]',
      '[{"Config":"x","Layers":[1]}]', '[{"Config":"x","Layers":{}}]' } do
      t:err("parse", open(old_form(function(_, entries) entries["manifest.json"] = { data = text } end)))
    end
    t:err("has no image", open(old_form(function(_, entries) entries["manifest.json"] = { data = "[]" } end)))
    t:err("too_large", open(old_form(function(_, entries)
      entries["manifest.json"] = { data = (" "):rep(5 << 20) }
    end)))
    t:raises("a file expected", registry.open_archive)
    t:raises("must be a string", registry.open_archive, dir, 1)
    t:err("not_found", registry.save(image(t, "x"), { archive = dir .. "/no/x.tar" }))
    t:ok(fs.mkdir(dir .. "/folder/x"))
    t:ok(not registry.save(image(t, "x"), { archive = dir .. "/folder" }))
    t:eq(fs.glob("*.part*", { dir = dir }), {})
  end)

  test("an archive that is damaged or made to harm", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/secret", "secret"))
    local function open(change, tag)
      t:ok(fs.write(dir .. "/x.tar", old_form(change)))
      return registry.open_archive(dir .. "/x.tar", tag or "1.0")
    end
    t:ok(open())
    for _, which in ipairs { "config", "a", "b" } do
      local missing = t:err("not_found", open(function(_, entries, names)
        entries[which == "config" and names.configs[1] or names[which]] = nil
      end))
      t:has(missing.hint, "incomplete")
    end
    local err = t:err("protocol", open(function(_, entries, names) entries[names.b].data = layer "three" end))
    t:has(err.message, "the layer " .. ("b"):rep(64) .. "/layer.tar is sha256:")
    t:err("protocol", open(function(_, entries, names) entries[names.configs[1]].data = "{}" end))
    t:err("parse", open(function(manifest, entries)
      manifest[1].Config, entries["c.json"] = "c.json", { data = "{}" }
    end))
    t:err("parse", open(function(manifest) table.remove(manifest[1].Layers) end))
    for _, path in ipairs { "../secret", dir .. "/secret", "../../../../../etc/passwd", "", ".", "/" } do
      t:err("not_found", open(function(manifest) manifest[1].Config = path end))
      t:err("not_found", open(function(manifest) manifest[1].Layers[1] = path end))
    end
    -- links: out of the archive, in a circle, to a folder
    for _, target in ipairs { "../../secret", dir .. "/secret", "layer.tar", "../" .. ("d"):rep(64) } do
      t:err("not_found", open(function(_, entries, names) entries[names.a] = { link = target } end))
    end

    -- cut off, with every length that cuts something
    local whole = old_form()
    for _, keep in ipairs { 100, 512, 1000, #whole // 2, #whole - 2000, #whole - 1200 } do
      t:ok(fs.write(dir .. "/x.tar", whole:sub(1, keep)))
      t:eq((registry.open_archive(dir .. "/x.tar", "1.0")), nil, keep .. " bytes")
    end
    -- a member that claims to be larger than anything: base 256, 2^62 bytes
    local at = whole:find(("b"):rep(64) .. "/layer.tar", 1, true)
    local header = whole:sub(at, at + 511)
    header = header:sub(1, 124) .. "\x80" .. ("\0"):rep(3) .. string.pack(">I8", 1 << 62) .. header:sub(137)
    local sum = 0
    for i = 1, 512 do sum = sum + ((i >= 149 and i <= 156) and 32 or header:byte(i)) end
    header = header:sub(1, 148) .. ("%06o\0 "):format(sum) .. header:sub(157)
    t:ok(fs.write(dir .. "/x.tar", whole:sub(1, at - 1) .. header .. whole:sub(at + 512)))
    t:ok(not registry.open_archive(dir .. "/x.tar", "1.0"))

    -- an archive of the newer form whose blob is another one
    local source = image(t, "one", { large = crypto.random_bytes(1 << 20):rep(5) })
    t:ok(registry.save(source, { archive = dir .. "/new.tar" }))
    local bytes = fs.read(dir .. "/new.tar")
    local back = t:ok(registry.open_archive(dir .. "/new.tar"))
    local from = back:read(source.manifest.layers[1]).offset
    t:ok(fs.write(dir .. "/new.tar", bytes:sub(1, from + 100) .. "!" .. bytes:sub(from + 102)))
    back = t:ok(registry.open_archive(dir .. "/new.tar"))
    t:ok(fs.remove(require "ws.registry.cache".folder(), { recursive = true })) -- it has the right one
    t:err("protocol", registry.save(back, { archive = dir .. "/copy.tar" }))
    t:err("protocol", registry.save(back, { oci = dir .. "/copy" }))
    t:eq(fs.exists(dir .. "/copy.tar"), false)
  end)

  test("a list of images does not fit into an archive", function(t)
    local dir = setup(t)
    local source = image(t, "one")
    t:ok(registry.save(source, { oci = dir .. "/l" }))
    local root = { mediaType = source.root.mediaType, digest = source.digest, size = source.root.size,
      platform = { os = "linux", architecture = "amd64" } }
    local text = json.encode { schemaVersion = 2, mediaType = "application/vnd.oci.image.index.v1+json",
      manifests = { root } }
    local digest = crypto.sha256(text)
    t:ok(fs.write(dir .. "/l/blobs/sha256/" .. digest, text))
    t:ok(fs.write(dir .. "/l/index.json", json.encode { schemaVersion = 2, manifests = {
      { mediaType = "application/vnd.oci.image.index.v1+json", digest = "sha256:" .. digest, size = #text } } }))
    local list = t:ok(registry.open_layout(dir .. "/l"))
    t:has(t:err("unsupported", registry.save(list, { archive = dir .. "/x.tar" })).hint, "say the platform")
  end)

  test("skopeo reads it, and its archives are read", function(t)
    tools(t, "skopeo")
    local dir = setup(t)
    local source = image(t, "one", { cmd = { "/text" }, labels = { l = "v" }, large = crypto.random_hex(1000) })
    t:ok(registry.save(source, { archive = dir .. "/x.tar" }, { name = "eu.gcr.io/p/app:1.0" }))
    local seen = json.decode(run(t, "skopeo", "--insecure-policy", "inspect", "docker-archive:" .. dir .. "/x.tar"))
    t:eq({ seen.RepoTags, seen.Labels }, { {}, { l = "v" } })
    t:eq(json.decode(run(t, "skopeo", "--insecure-policy", "inspect", "oci-archive:" .. dir .. "/x.tar")).Digest,
      source.digest)
    local tar = layer_tar(t, source, source.manifest.layers[1])
    for _, kind in ipairs { "docker-archive", "oci-archive" } do
      local file = ("%s/%s.tar"):format(dir, kind)
      run(t, "skopeo", "--insecure-policy", "copy", "docker-archive:" .. dir .. "/x.tar",
        ("%s:%s:eu.gcr.io/p/app:1.0"):format(kind, file))
      local back = t:ok(registry.open_archive(file, "1.0"))
      local manifest = json.decode(back:read(back.root))
      t:eq(layer_tar(t, back, manifest.layers[1]), tar)
      t:eq(json.decode(back:read(manifest.config)).config.Labels, { l = "v" })
    end
  end)

  test("buildah loads it", function(t)
    tools(t, "buildah")
    local dir = setup(t)
    t:ok(registry.save(image(t, "one", { cmd = { "/text" } }), { archive = dir .. "/x.tar" },
      { name = "localhost/app:1" }))
    local r = t:ok(process.run({ "buildah", "--root", dir .. "/store", "--runroot", dir .. "/run", "--storage-driver",
      "vfs", "pull", "docker-archive:" .. dir .. "/x.tar" }, { timeout = 60 }))
    t:defer(function() -- the store's folders are read-only
      process.run { "chmod", "-R", "u+w", dir .. "/store", dir .. "/run" }
    end)
    if r.code ~= 0 and r.stderr:find("unshare", 1, true) then t:skip("buildah may not work here: " .. r.stderr) end
    t:eq(r.code, 0, r.stderr)
    local id = r.stdout:match("%x+")
    t:ok(id and #id >= 12, r.stdout)
    local found = run(t, "buildah", "--root", dir .. "/store", "--runroot", dir .. "/run", "--storage-driver", "vfs",
      "images", "--format", "{{.Name}}:{{.Tag}}")
    t:has(found, "localhost/app:1")
  end)
end
