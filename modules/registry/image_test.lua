local archive = require "ws.archive"
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local registry = require "ws.registry"

--- A folder for the test, and a state of its own.
local function setup(t)
  local dir = t:tmpdir()
  local before = os.getenv("WSRUN_STATE_DIR") or false
  environment.set { WSRUN_STATE_DIR = dir .. "/state" }
  t:defer(function() environment.set { WSRUN_STATE_DIR = before } end)
  return dir
end

--- An ELF program as far as its headers go, with an interpreter if one is given.
local function elf(machine, interpreter)
  local head = "\x7fELF\2\1\1" .. ("\0"):rep(9) .. string.pack("<I2I2I4I8I8I8I4I2I2I2I2I2I2", 2, machine, 1, 0x400000,
    64, 0, 0, 64, 56, interpreter and 1 or 0, 64, 0, 0)
  if not interpreter then return head .. ("\0"):rep(64) end
  return head .. string.pack("<I4I4I8I8I8I8I8I8", 3, 4, 120, 0, 0, #interpreter + 1, #interpreter + 1, 1)
    .. interpreter .. "\0"
end

local AMD64, ARM64 = 0x3e, 0xb7

--- What an image's own layer has, by name.
local function layer_of(t, image)
  local found = t:ok(image:read(image.manifest.layers[#image.manifest.layers]))
  local by_name, names = {}, {}
  for i, entry in ipairs(t:ok(archive.list { file = found.file })) do
    by_name[entry.name], names[i] = entry, entry.name
  end
  return by_name, names, found.file
end

return function(test)
  test("an image of files: layer, config, manifest", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/app", elf(AMD64), { mode = 448 }))
    local image = t:ok(registry.image {
      files = { { path = "/app/bin/app", file = dir .. "/app" }, { path = "/etc/app.conf", data = "x=1\n" },
        { path = "/tmp/", mode = 1023 }, { path = "/bin/app", link = "../app/bin/app" } },
      entrypoint = { "/bin/app" }, cmd = { "serve" }, env = { B = "2", A = "1" }, user = "65532:65532",
      workdir = "/app", labels = { version = "1.4.2" }, annotations = { note = "n" },
      exposed_ports = { 8080, "53/udp" }, created = 1700000000,
    })
    local by_name, names, file = layer_of(t, image)
    t:eq(names, { "app/", "app/bin/", "app/bin/app", "bin/", "bin/app", "etc/", "etc/app.conf", "tmp/" })
    t:eq({ by_name["app/bin/app"].mode, by_name["etc/app.conf"].mode, by_name["tmp/"].mode, by_name["bin/"].mode },
      { 493, 420, 1023, 493 })
    t:eq(by_name["bin/app"].target, "../app/bin/app")
    local r = t:ok(process.run({ "tar", "--full-time", "--utc", "-tvzf", file }))
    t:has(r.stdout, "-rwxr-xr-x 0/0")
    t:has(r.stdout, "2023-11-14 22:13:20 app/bin/app")
    -- the config, as the specification names its keys
    local layer = image.manifest.layers[1]
    t:eq(json.decode(image:read(image.manifest.config)), {
      architecture = "amd64", os = "linux", created = "2023-11-14T22:13:20Z",
      config = { Entrypoint = { "/bin/app" }, Cmd = { "serve" }, Env = { "A=1", "B=2" }, User = "65532:65532",
        WorkingDir = "/app", Labels = { version = "1.4.2" }, ExposedPorts = { ["8080/tcp"] = {}, ["53/udp"] = {} } },
      rootfs = { type = "layers", diff_ids = { "sha256:" .. crypto.sha256(archive.gunzip(fs.read(file))) } },
      history = { { created = "2023-11-14T22:13:20Z", created_by = "wsrun image build" } },
    })
    t:eq({ layer.digest, layer.size }, { "sha256:" .. crypto.sha256_file(file), fs.stat(file).size })
    t:eq(image.manifest.annotations, { note = "n" })
    local bytes = t:ok(image:read(image.root))
    t:eq(image.digest, "sha256:" .. crypto.sha256(bytes))
    t:eq(image.root.size, #bytes)
    t:eq(image.size, layer.size + image.manifest.config.size)
    t:err("not_found", image:read { digest = "sha256:" .. ("0"):rep(64), size = 1, mediaType = "x" })
  end)

  test("the same inputs give the same digest: other folder, umask, zone, locale, times, order", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/build.lua", [[
      local image = assert(require "ws.registry".image { files = { { path = "/srv", file = "tree" } } })
      print(image.digest, #image.layer.file)
    ]]))
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    local function build(name, before, names, after)
      local place = ("%s/%s"):format(dir, name)
      t:ok(fs.mkdir(place))
      local r = t:ok(process.run({ "sh", "-ec", ([[
        %s; mkdir -p tree/sub; for f in %s; do echo "content of $f" >"tree/$f"; done
        chmod u+x tree/a; ln -s a tree/link; %s; exec "$1" "$2"]]):format(before, names, after), "sh", wsrun,
        dir .. "/build.lua" }, { cwd = place, env = { WSRUN_STATE_DIR = place .. "/state" } }))
      t:eq(r.code, 0, r.stderr)
      return r.stdout:match("^sha256:%x+")
    end
    local one = build("one", "umask 022; export TZ=UTC0 LC_ALL=C", "a b sub/c sub/\u{e9}", "true")
    local two = build("another-place", "umask 077; export TZ=Asia/Tokyo LC_ALL=C.UTF-8", "sub/\u{e9} sub/c b a",
      "touch -d 2001-02-03 tree/a tree/sub")
    t:ok(one)
    t:eq(one, two)
  end)

  test("the digest of this image never changes", function(t)
    setup(t)
    -- if it does, every image gets another digest with the next version of wsrun
    local image = t:ok(registry.image { files = { { path = "/hello", data = "hello\n", mode = 493 } },
      cmd = { "/hello" } })
    t:eq(image.config.rootfs.diff_ids[1], "sha256:5b58965a5a7f5ee2e0d89cfbb9e4b9d84d31d3e71bfc3120a26c44080b62916c")
    t:eq(image.digest, "sha256:9e81bd29106a09a4adc9eb5822acc573a6ca74b706873f8ab1f8021cfd729d2b")
  end)

  test("every input makes another digest", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/f", "1"))
    local function digest(change)
      local opts = { files = { { path = "/f", file = dir .. "/f" } } }
      for key, value in pairs(change) do opts[key] = value end
      return t:ok(registry.image(opts)).digest
    end
    local seen = { [digest {}] = "nothing" }
    t:eq(digest {}, next(seen))
    for name, change in pairs { env = { env = { A = "1" } },
      user = { user = "1" }, workdir = { workdir = "/w" }, labels = { labels = { a = "b" } },
      annotations = { annotations = { a = "b" } }, ports = { exposed_ports = { 1 } }, created = { created = 1 },
      platform = { platform = "linux/arm64/v8" },
      mode = { files = { { path = "/f", file = dir .. "/f", mode = 256 } } },
      path = { files = { { path = "/g", file = dir .. "/f" } } }, data = { files = { { path = "/f", data = "2" } } },
      cmd = { files = { { path = "/f", data = "1", mode = 493 } }, cmd = { "/f" } },
      entrypoint = { files = { { path = "/f", data = "1", mode = 493 } }, entrypoint = { "/f" } } } do
      local one = digest(change)
      t:eq(seen[one], nil, name)
      seen[one] = name
    end
  end)

  test("an unchanged layer is not compressed again, and a damaged cache does no harm", function(t)
    local dir = setup(t)
    local opts = { files = { { path = "/f", data = crypto.random_hex(100000) } } }
    local image = t:ok(registry.image(opts))
    local file = image.layer.file
    local inode = t:ok(fs.stat(file)).inode
    t:eq(registry.image(opts).digest, image.digest)
    t:eq(fs.stat(file).inode, inode)
    t:ok(fs.write(file, "damaged"))
    t:eq(registry.image(opts).digest, image.digest)
    t:eq("sha256:" .. crypto.sha256_file(file), image.layer.digest)
    -- gone between build and push
    t:ok(fs.remove(file))
    t:eq(t:ok(image:read(image.manifest.layers[1])).file, file)
    t:eq("sha256:" .. crypto.sha256_file(file), image.layer.digest)
    for _, name in ipairs(t:ok(fs.list(dir .. "/state/cache/blobs"))) do t:ok(not name:find("%.new"), name) end
  end)

  test("a file that changes after its digest was made", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/f", "one"))
    local image = t:ok(registry.image { files = { { path = "/f", file = dir .. "/f" } } })
    t:ok(fs.write(dir .. "/f", "two"))
    t:ok(image:read(image.manifest.layers[1]))
    t:ok(fs.remove(image.layer.file))
    t:err("conflict", image:read(image.manifest.layers[1]))
  end)

  test("the cache is bounded", function(t)
    setup(t)
    local cache = require "ws.registry.cache"
    local limit, keep = cache.LIMIT, cache.KEEP
    t:defer(function() cache.LIMIT, cache.KEEP = limit, keep end)
    local files = {}
    for i = 1, 3 do
      files[i] = t:ok(cache.layer { from = { data = crypto.random_bytes(100000) } }).file
      require "ws.task".sleep(0.02)
    end
    cache.LIMIT = 250000
    t:eq(cache.prune(), 0, "what was just used stays")
    cache.KEEP = -1
    t:ok(fs.touch(files[1]))
    t:ok(cache.prune() > 0)
    t:eq({ fs.exists(files[1]), fs.exists(files[2]), fs.exists(files[3]) }, { true, false, true })
    cache.LIMIT = 0
    cache.prune()
    t:eq(#t:ok(fs.list(cache.folder())), 0)
  end)

  test("what cannot be an image is refused, with one clear error", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/elf", elf(AMD64), { mode = 493 }))
    t:ok(fs.write(dir .. "/dynamic", elf(AMD64, "/lib64/ld-linux-x86-64.so.2"), { mode = 493 }))
    t:ok(fs.write(dir .. "/arm", elf(ARM64), { mode = 493 }))
    t:ok(fs.write(dir .. "/script", "#!/bin/sh\n", { mode = 493 }))
    t:eq(process.run({ "mkfifo", dir .. "/fifo" }).code, 0)
    t:ok(fs.mkdir(dir .. "/odd"))
    t:eq(process.run({ "mkfifo", dir .. "/odd/fifo" }).code, 0)
    local x = { path = "/x", data = "1" }
    local function app(name, entry)
      return { files = { { path = "/app", file = dir .. "/" .. name } }, entrypoint = { entry or "/app" } }
    end
    for _, case in ipairs {
      { "not_found", "/x: its file /nowhere/x cannot be read", { files = { { path = "/x", file = "/nowhere/x" } } } },
      { "invalid", "'x' cannot be a path in an image: it is not absolute", { files = { { path = "x", data = "1" } } } },
      { "invalid", "/x is given twice: data, and data", { files = { x, x } } },
      { "invalid", "/x is given twice", { files = { x, { path = "/x/" } } } },
      { "invalid", "/x/y cannot be below /x, which is no folder", { files = { x, { path = "/x/y", data = "" } } } },
      { "invalid", "it has a part '..'", { files = { { path = "/../x", data = "" } } } },
      { "invalid", "two slashes", { files = { { path = "/a//x", data = "" } } } },
      { "invalid", "control character", { files = { { path = "/a\nb", data = "" } } } },
      { "invalid", "the image's root", { files = { { path = "/", mode = 1 } } } },
      { "invalid", "removes a file", { files = { { path = "/a/.wh.b", data = "" } } } },
      { "invalid", "longer than 255", { files = { { path = "/" .. ("n"):rep(256), data = "" } } } },
      { "invalid", "mode 10000", { files = { { path = "/x", data = "", mode = 4096 } } } },
      { "invalid", "fifo is a fifo", { files = { { path = "/x", file = dir .. "/fifo" } } } },
      { "invalid", "odd/fifo is a fifo", { files = { { path = "/x", file = dir .. "/odd" } } } },
      { "invalid", "would be empty", {} },
      { "invalid", "the entry point /none is not in the image", app("elf", "/none") },
      { "invalid", "the entry point none is not in the image", app("elf", "none") },
      { "invalid", "the entry point /x cannot be executed", { files = { x }, entrypoint = { "/x" } } },
      { "invalid", "the entry point /x is a folder", { files = { { path = "/x/" } }, cmd = { "/x" } } },
      { "invalid", "/app needs /lib64/ld-linux-x86-64.so.2, which is not in the image", app "dynamic" },
      { "invalid", "/app needs /bin/sh", app "script" },
      { "invalid", "/app is a program for arm64, the image is for amd64", app "arm" },
    } do
      local refused = t:err(case[1], registry.image(case[3]))
      t:eq(refused.kind, case[1])
      t:has(refused.message, case[2])
    end
    local err = t:err("invalid", registry.image { cmd = { "/app/servr" },
      files = { { path = "/app/server", data = "", mode = 493 } } })
    t:eq(err.hint, "did you mean /app/server?")
  end)

  test("programs that are found", function(t)
    local dir = setup(t)
    t:ok(fs.write(dir .. "/arm", elf(ARM64), { mode = 493 }))
    t:ok(registry.image { platform = "linux/arm64", files = { { path = "/a", file = dir .. "/arm" } }, cmd = { "/a" } })
    local sh = { path = "/usr/bin/sh", data = elf(AMD64), mode = 493 }
    local script = { path = "/run", data = "#! /bin/sh\n", mode = 493 }
    t:ok(registry.image { files = { sh, script, { path = "/bin", link = "usr/bin" } }, cmd = { "/run" } })
    t:ok(registry.image { files = { sh }, cmd = { "sh", "-c", "x" } })
    t:ok(registry.image { files = { sh }, cmd = { "bin/sh" }, workdir = "/usr" })
    t:ok(registry.image { files = { { path = "/opt/tool", data = "", mode = 73 } }, cmd = { "tool" },
      env = { "PATH=/opt" } })
    t:err("invalid", registry.image { files = { { path = "/a", link = "/b" }, { path = "/b", link = "a" } },
      cmd = { "/a" } })
  end)

  test("folders from disk", function(t)
    local dir = setup(t)
    t:eq(process.run({ "sh", "-ec", "mkdir -p d/e/empty; echo 1 >d/one; echo 2 >d/e/two; ln -s ../one d/e/l" },
      { cwd = dir }).code, 0)
    local _, names = layer_of(t, t:ok(registry.image { files = {
      { path = "/srv/", file = dir .. "/d/" }, { path = "/", file = dir .. "/d/e" },
      { path = "/etc/", file = dir .. "/d/one" },
      { path = "/srv/e/", mode = 448 } } }))
    t:eq(names, { "empty/", "etc/", "etc/one", "l", "srv/", "srv/e/", "srv/e/empty/", "srv/e/l", "srv/e/two", "srv/one",
      "two" })
    local by_name = layer_of(t, t:ok(registry.image { files = { { path = "/d", file = dir .. "/d", mode = 384 } } }))
    t:eq({ by_name["d/one"].mode, by_name["d/"].mode, by_name["d/e/l"].target }, { 384, 493, "../one" })
  end)

  test("an image on a base", function(t)
    local dir = setup(t)
    local base = t:ok(registry.image { files = { { path = "/bin/sh", data = elf(AMD64), mode = 493 } },
      entrypoint = { "/bin/sh" }, cmd = { "-l" }, env = { "PATH=/bin", "A=base" }, labels = { a = "base", b = "base" },
      exposed_ports = { 1 }, user = "7", workdir = "/root" })
    local image = t:ok(registry.image { base = base, files = { { path = "/bin/app", data = elf(AMD64), mode = 493 } },
      entrypoint = { "/bin/app" }, env = { A = "mine", C = "new" }, labels = { b = "mine" }, exposed_ports = { 2 } })
    t:eq(#image.manifest.layers, 2)
    t:eq(image.manifest.layers[1], base.manifest.layers[1])
    t:eq(image.config.rootfs.diff_ids[1], base.config.rootfs.diff_ids[1])
    t:eq(image.config.config, { Entrypoint = { "/bin/app" }, Env = { "PATH=/bin", "A=mine", "C=new" },
      Labels = { a = "base", b = "mine" }, ExposedPorts = { ["1/tcp"] = {}, ["2/tcp"] = {} }, User = "7",
      WorkingDir = "/root" }) -- the base's command is not one for the new entry point
    t:eq(#image.config.history, 2)
    -- no entry for /bin: it would replace a base's link and set its folder's mode anew
    local _, names = layer_of(t, image)
    t:eq(names, { "bin/app" })
    t:eq(image:read(image.manifest.layers[1]), base:read(base.manifest.layers[1]))
    -- only another configuration
    local more = t:ok(registry.image { base = image, cmd = { "x" } })
    t:eq(more.config.config.Entrypoint, { "/bin/app" })
    t:eq(more.config.config.Cmd, { "x" })
    t:eq({ #more.manifest.layers, more.config.history[3].empty_layer }, { 2, true })
    -- the base's entry point is trusted, its platform is not
    t:ok(registry.image { base = base, files = { { path = "/a", data = "" } }, entrypoint = { "/usr/bin/unknown" } })
    t:err("program for arm64", registry.image { base = base, cmd = { "/a" },
      files = { { path = "/a", data = elf(ARM64), mode = 493 } } })
    t:err("is an image for linux/amd64, not for linux/arm64", registry.image { base = base, platform = "linux/arm64",
      files = {} })
    -- from a layout on disk
    t:ok(registry.save(base, { oci = dir .. "/base" }, { name = "b" }))
    local again = t:ok(registry.image { base = t:ok(registry.open_layout(dir .. "/base", "b")), cmd = { "x" } })
    t:eq(again.manifest.layers, base.manifest.layers)
  end)

  --- A base as some other builder makes it: manifest and config from tables.
  local function foreign(manifest, config)
    local crypto_digest = function(text) return "sha256:" .. crypto.sha256(text) end
    local config_text = json.encode(config)
    manifest.config.digest, manifest.config.size = crypto_digest(config_text), #config_text
    local text = json.encode(manifest)
    local blobs = { [crypto_digest(config_text)] = config_text, [crypto_digest(text)] = text }
    return { root = { mediaType = manifest.mediaType, digest = crypto_digest(text), size = #text },
      read = function(_, descriptor) return blobs[descriptor.digest] end, blobs = blobs }
  end

  local layer = { mediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip", digest = "sha256:" .. ("1"):rep(64),
    size = 10 }

  test("a base in docker's format, without history, with keys of its own", function(t)
    setup(t)
    local manifest = { schemaVersion = 2, mediaType = "application/vnd.docker.distribution.manifest.v2+json",
      config = { mediaType = "application/vnd.docker.container.image.v1+json" }, layers = { layer } }
    local base = foreign(manifest, { os = "linux", architecture = "amd64", container = "c", docker_version = "1",
      ["os.version"] = "12", config = { Env = json.null, Healthcheck = { Test = { "NONE" } } },
      rootfs = { type = "layers", diff_ids = { "sha256:" .. ("2"):rep(64) } } })
    local image = t:ok(registry.image { base = base, files = { { path = "/a", data = "" } }, env = { A = "1" } })
    t:eq(image.root.mediaType, manifest.mediaType)
    t:eq({ image.manifest.config.mediaType, image.manifest.layers[1], image.manifest.layers[2].mediaType },
      { manifest.config.mediaType, layer, layer.mediaType })
    t:eq(image.config.config, { Env = { "A=1" }, Healthcheck = { Test = { "NONE" } } })
    t:eq({ image.config["os.version"], image.config.container, image.config.docker_version }, { "12" })
    t:eq({ #image.config.history, image.config.history[1].created_by }, { 2, "layer of the base" })
    t:has(t:err("invalid", registry.image { base = base, files = {}, annotations = { a = "b" } }).message,
      "which has no annotations")
  end)

  test("bases that are damaged", function(t)
    setup(t)
    local function manifest() return { schemaVersion = 2, mediaType = "application/vnd.oci.image.manifest.v1+json",
      config = { mediaType = "application/vnd.oci.image.config.v1+json" }, layers = { layer } } end
    local config = { os = "linux", architecture = "amd64", rootfs = { type = "layers",
      diff_ids = { "sha256:" .. ("2"):rep(64) } } }
    local function build(base) return registry.image { base = base, files = { { path = "/a", data = "" } } } end
    t:ok(build(foreign(manifest(), config)))
    t:err("parse", build(foreign(manifest(), { os = "linux" })))
    t:err("parse", build(foreign(manifest(), { os = "linux", architecture = "amd64", rootfs = { diff_ids = {} } })))
    t:err("parse", build(foreign(manifest(), "text")))
    local base = foreign(manifest(), config)
    for digest, text in pairs(base.blobs) do base.blobs[digest] = text .. " " end
    t:err("protocol", build(base))
    base.root.size = 1 << 40
    t:err("too_large", build(base))
    base = foreign(manifest(), config)
    local index = json.encode { schemaVersion = 2, mediaType = "application/vnd.oci.image.index.v1+json", manifests = {
      { mediaType = base.root.mediaType, digest = base.root.digest, size = base.root.size,
        platform = { os = "linux", architecture = "amd64" } } } }
    base.blobs["sha256:" .. crypto.sha256(index)] = index
    base.root = { mediaType = "application/vnd.oci.image.index.v1+json", digest = "sha256:" .. crypto.sha256(index),
      size = #index }
    t:ok(build(base))
    t:has(t:err("not_found", registry.image { base = base, platform = "linux/s390x", files = {} }).hint, "linux/amd64")
    t:err("invalid", build "not a reference")
  end)

  test("a large file is streamed", function(t)
    local dir = setup(t)
    t:eq(process.run({ "sh", "-c", "head -c 120000000 /dev/zero >big" }, { cwd = dir }).code, 0)
    local function peak() return tonumber(fs.read("/proc/self/status"):match("VmHWM:%s*(%d+)")) end
    local before = peak()
    local image = t:ok(registry.image { files = { { path = "/big", file = dir .. "/big" } } })
    t:ok(image.size < 1000000)
    t:ok(peak() - before < 20000, ("%d kB more"):format(peak() - before))
  end)

  test("misuse raises, with the caller's line", function(t)
    for text, opts in pairs { ["unknown option 'entry'"] = { entry = {} }, ["cmd must be a table"] = { cmd = "x" },
      ["files%[1%] must be a table with a path"] = { files = { "x" } }, ["unknown key 'src'"] =
        { files = { { path = "/x", src = "" } } }, ["one of file, data and link"] = { files = { { path = "/x" } } },
      ["mode of files%[1%] must be an integer"] = { files = { { path = "/x", data = "", mode = "755" } } },
      ["env%[1%]"] = { env = { "x" } }, ["env must"] = { env = { A = 1 } }, ["exposed_ports%[1%]"] =
        { exposed_ports = { 70000 } }, ["workdir must be absolute"] = { workdir = "x" },
      ["no platform"] = { platform = "amd64" }, ["created must"] = { created = 1.5 }, ["labels must"] =
        { labels = { "a" } }, ["entrypoint%[1%]"] = { entrypoint = { 1 } }, ["base must"] = { base = 1 } } do
      t:has(tostring(t:raises(text, registry.image, opts)), "registry.image: ")
    end
    t:raises("image_test.lua:%d+: registry.image: a table expected", function() registry.image() end)
  end)
end
