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

local function blob(dir, digest) return ("%s/blobs/sha256/%s"):format(dir, digest:sub(8)) end

local function index_of(dir) return assert(json.decode(assert(fs.read(dir .. "/index.json")))) end

return function(test)
  test("an image goes out and comes back the same", function(t)
    local dir = setup(t)
    local source = image(t, "one", { large = crypto.random_bytes(1 << 20):rep(5) }) -- larger than what is read as bytes
    t:eq(t:ok(registry.save(source, { oci = dir .. "/l" }, { name = "1.0" })).digest, source.digest)
    local back = t:ok(registry.open_layout(dir .. "/l"))
    t:eq(back.root, { mediaType = source.root.mediaType, digest = source.digest, size = source.root.size,
      platform = { os = "linux", architecture = "amd64" },
      annotations = { ["org.opencontainers.image.ref.name"] = "1.0" } })
    t:eq(back:read(back.root), source:read(source.root))
    local content = back:read(source.manifest.layers[1])
    t:eq("sha256:" .. crypto.sha256_file(content.file), source.manifest.layers[1].digest)
    t:eq(fs.read(dir .. "/l/oci-layout"), '{"imageLayoutVersion":"1.0.0"}')
    -- and from there to another one
    t:eq(t:ok(registry.save(back, { oci = dir .. "/m" }, { name = "1.0" })).digest, source.digest)
    t:eq(fs.read(dir .. "/m/index.json"), fs.read(dir .. "/l/index.json"))
    t:eq(fs.list(dir .. "/m/blobs/sha256"), fs.list(dir .. "/l/blobs/sha256"))
    t:eq(#fs.list(dir .. "/m"), 3)
  end)

  test("a layout of several images", function(t)
    local dir = setup(t)
    local target = { oci = dir .. "/l" }
    local one, two = image(t, "one"), image(t, "two")
    t:ok(registry.save(one, target, { name = "1.0" }))
    t:ok(registry.save(two, target, { name = "eu.gcr.io/p/app:2.0" }))
    t:eq(t:ok(registry.open_layout(dir .. "/l", "1.0")).digest, one.digest)
    t:eq(t:ok(registry.open_layout(dir .. "/l", "2.0")).digest, two.digest)
    t:eq(t:ok(registry.open_layout(dir .. "/l", "eu.gcr.io/p/app:2.0")).digest, two.digest)
    t:eq(t:ok(registry.open_layout(dir .. "/l", two.digest)).digest, two.digest)
    t:has(t:err("invalid", registry.open_layout(dir .. "/l")).hint, "1.0, eu.gcr.io/p/app:2.0")
    t:has(t:err("not_found", registry.open_layout(dir .. "/l", "3.0")).hint, "1.0, eu.gcr.io/p/app:2.0")
    -- a name moves, an unnamed image is listed once
    t:ok(registry.save(two, target, { name = "1.0" }))
    t:ok(registry.save(one, target))
    t:ok(registry.save(one, target))
    local names = {}
    for i, entry in ipairs(index_of(dir .. "/l").manifests) do
      names[i] = { entry.digest, entry.annotations and entry.annotations["org.opencontainers.image.ref.name"] }
    end
    t:eq(names, { { two.digest, "eu.gcr.io/p/app:2.0" }, { two.digest, "1.0" }, { one.digest } })
  end)

  test("twenty at once into one layout", function(t)
    local dir = setup(t)
    local saves = {}
    for i = 1, 20 do
      saves[i] = function()
        assert(registry.save(image(t, "image " .. i), { oci = dir .. "/l" }, { name = tostring(i) }))
      end
    end
    require "ws.task".all(saves)
    t:eq(#index_of(dir .. "/l").manifests, 20)
    for i = 1, 20 do t:ok(registry.open_layout(dir .. "/l", tostring(i))) end
  end)

  test("a layout that is not one", function(t)
    local dir = setup(t)
    t:err("not_found", registry.open_layout(dir .. "/none"))
    t:has(t:err("not_found", registry.open_layout(dir)).message, "is no OCI image layout: it has no oci-layout")
    local function layout(files)
      fs.remove(dir .. "/l", { recursive = true, missing_ok = true })
      t:ok(fs.mkdir(dir .. "/l/blobs/sha256"))
      for name, text in pairs(files) do t:ok(fs.write(dir .. "/l/" .. name, text)) end
      return registry.open_layout(dir .. "/l")
    end
    local mark = '{"imageLayoutVersion":"1.0.0"}'
    t:err("unsupported", layout { ["oci-layout"] = '{"imageLayoutVersion":"2.0.0"}' })
    t:err("unsupported", layout { ["oci-layout"] = "[" })
    t:err("it has no index.json", layout { ["oci-layout"] = mark })
    t:err("parse", layout { ["oci-layout"] = mark, ["index.json"] = "no json" })
    t:err("parse", layout { ["oci-layout"] = mark, ["index.json"] = '{"schemaVersion":2,"manifests":7}' })
    t:err("parse", layout { ["oci-layout"] = mark, ["index.json"] = '{"manifests":[{"digest":1,"size":1}]}' })
    t:err("has no image", layout { ["oci-layout"] = mark, ["index.json"] = '{"schemaVersion":2,"manifests":[]}' })
    t:err("too_large", layout { ["oci-layout"] = mark, ["index.json"] = (" "):rep(5 << 20) })
    t:ok(fs.mkdir(dir .. "/full/x"))
    t:err("exists", registry.save(image(t, "x"), { oci = dir .. "/full" }))
    t:err("exists", registry.save(image(t, "x"), { oci = dir .. "/l/index.json" }))
    t:raises("a folder expected", registry.open_layout)
    t:raises("must be a string", registry.open_layout, dir, 1)
    t:raises("a target { oci", registry.save, image(t, "x"), {})
    t:raises("a source with root", registry.save, {}, { oci = dir })
    t:raises("unknown option 'tag'", registry.save, image(t, "x"), { oci = dir }, { tag = "x" })
  end)

  test("a layout that is damaged or made to harm", function(t)
    local dir = setup(t)
    local source = image(t, "one", { large = crypto.random_bytes(1 << 20):rep(5) })
    local layer = source.manifest.layers[1]
    local function fresh()
      fs.remove(dir .. "/l", { recursive = true, missing_ok = true })
      t:ok(registry.save(source, { oci = dir .. "/l" }))
      return dir .. "/l"
    end
    local function save()
      fs.remove(dir .. "/out", { recursive = true, missing_ok = true })
      local back, err = registry.open_layout(dir .. "/l")
      if not back then return nil, err end
      local result, problem = registry.save(back, { oci = dir .. "/out" })
      if not result then t:eq(fs.exists(dir .. "/out/index.json"), false) end
      return result, problem
    end
    fresh()
    t:ok(save())

    local l = fresh()
    t:ok(fs.remove(blob(l, layer.digest)))
    local err = t:err("not_found", save())
    t:has(err.message, layer.digest)
    t:has(err.hint, "incomplete")

    l = fresh() -- one byte is another one
    local bytes = fs.read(blob(l, layer.digest))
    t:ok(fs.write(blob(l, layer.digest), bytes:sub(1, 1000) .. "!" .. bytes:sub(1002)))
    t:has(t:err("protocol", save()).message, layer.digest)
    t:eq(fs.exists(blob(dir .. "/out", layer.digest)), false)
    for _, name in ipairs(fs.list(dir .. "/out/blobs/sha256")) do t:ok(not name:find("part", 1, true), name) end

    l = fresh() -- cut off
    t:ok(fs.write(blob(l, layer.digest), bytes:sub(1, 1000)))
    t:has(t:err("protocol", save()).message, "has 1000 bytes, its descriptor says " .. layer.size)

    for _, which in ipairs { source.digest, source.manifest.config.digest } do
      l = fresh()
      t:ok(fs.write(blob(l, which), (fs.read(blob(l, which)):gsub("o", "O"))))
      t:err("protocol", save())
    end

    -- names that lead elsewhere, and sizes that cannot be
    t:ok(fs.write(dir .. "/secret", "secret"))
    l = fresh()
    local function with_root(change)
      local index = index_of(fresh())
      change(index.manifests[1])
      t:ok(fs.write(l .. "/index.json", json.encode(index)))
    end
    for _, digest in ipairs { "sha256:../../../secret", "sha256:" .. ("../"):rep(21) .. "x", "../secret", "sha512:" ..
      ("a"):rep(128), "sha256:" .. ("A"):rep(64), "sha256:" .. ("a"):rep(63) .. "\n" } do
      with_root(function(root) root.digest = digest end)
      t:err("unsupported", save())
    end
    with_root(function(root) root.size = 1 << 50 end)
    t:err("too_large", save())
    with_root(function(root) root.size = root.size + 1 end)
    t:err("protocol", save())
    with_root(function(root) root.size = -1 end)
    t:err("protocol", save())

    -- links
    l = fresh()
    t:ok(fs.rename(blob(l, layer.digest), dir .. "/elsewhere"))
    t:ok(fs.symlink(dir .. "/elsewhere", blob(l, layer.digest)))
    t:has(t:err("denied", save()).message, "is a link")
    l = fresh()
    t:ok(fs.rename(l .. "/blobs", dir .. "/blobs"))
    t:ok(fs.symlink("../blobs", l .. "/blobs"))
    t:err("denied", save())
    t:ok(fs.remove(l .. "/blobs"))
    t:ok(fs.rename(dir .. "/blobs", l .. "/blobs"))
    t:ok(fs.remove(l .. "/index.json"))
    t:ok(fs.symlink(dir .. "/secret", l .. "/index.json"))
    t:err("denied", save())
    l = fresh()
    t:ok(fs.remove(blob(l, layer.digest)))
    t:eq(process.run({ "mkfifo", blob(l, layer.digest) }).code, 0)
    t:err("denied", save())
  end)

  test("indexes in indexes have an end", function(t)
    local dir = setup(t)
    local source = image(t, "one")
    t:ok(registry.save(source, { oci = dir .. "/l" }))
    local root = source.root
    local function wrap()
      local text = json.encode { schemaVersion = 2, mediaType = "application/vnd.oci.image.index.v1+json",
        manifests = { { mediaType = root.mediaType, digest = root.digest, size = root.size,
          platform = { os = "linux", architecture = "amd64" } } } }
      root = { mediaType = "application/vnd.oci.image.index.v1+json", digest = "sha256:" .. crypto.sha256(text),
        size = #text }
      t:ok(fs.write(blob(dir .. "/l", root.digest), text))
      t:ok(fs.write(dir .. "/l/index.json", json.encode { schemaVersion = 2, manifests = { root } }))
      return t:ok(registry.open_layout(dir .. "/l"))
    end
    local nested = wrap()
    t:eq(t:ok(registry.save(nested, { oci = dir .. "/m" })).digest, root.digest)
    t:eq(t:ok(registry.image { base = nested, cmd = { "x" } }).manifest.layers, source.manifest.layers)
    for _ = 1, 10 do nested = wrap() end
    t:err("nested", registry.save(nested, { oci = dir .. "/n" }))
    t:err("nested", registry.image { base = nested, cmd = { "x" } })
  end)

  test("skopeo reads it, and its own is read", function(t)
    if not process.which "skopeo" then t:skip "skopeo is not installed" end
    local dir = setup(t)
    local source = image(t, "one", { cmd = { "/text" }, env = { A = "1" }, labels = { l = "v" } })
    t:ok(registry.save(source, { oci = dir .. "/l" }, { name = "1.0" }))
    local function run(...)
      local r = t:ok(process.run({ ... }, { timeout = 60 }))
      t:eq(r.code, 0, r.stderr)
      return r.stdout
    end
    local seen = t:ok(json.decode(run("skopeo", "--insecure-policy", "inspect", "oci:" .. dir .. "/l:1.0")))
    t:eq({ seen.Digest, seen.Labels, seen.Env, seen.Os }, { source.digest, { l = "v" }, { "A=1" }, "linux" })
    run("skopeo", "--insecure-policy", "copy", "oci:" .. dir .. "/l:1.0", "oci:" .. dir .. "/theirs:copy")
    local back = t:ok(registry.open_layout(dir .. "/theirs", "copy"))
    t:eq(back.digest, source.digest)
    t:eq(t:ok(registry.save(back, { oci = dir .. "/again" })).digest, source.digest)
  end)
end
