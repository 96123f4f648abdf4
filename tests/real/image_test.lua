-- The sample application as an image: made without a daemon, pushed to docker-registry, pulled by skopeo and crane, and
-- what they pulled, unpacked, answers on its health path.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local registry = require "ws.registry"
local servers = require "servers"

local function need(t, ...)
  for _, tool in ipairs { ... } do
    if not process.which(tool) then t:skip(tool .. " is not installed") end
  end
end

local function setup(t)
  local dir = t:tmpdir()
  local before = os.getenv("WSRUN_STATE_DIR") or false
  environment.set { WSRUN_STATE_DIR = dir .. "/state" }
  t:defer(function() environment.set { WSRUN_STATE_DIR = before } end)
  return dir
end

local function run(...)
  return assert(process.check({ ... }, { timeout = 300 })).stdout
end

--- The application as another machine would build it: in a folder of its own, with other umask, zone and times.
local function build(t, place, settings)
  t:ok(fs.mkdir(place))
  run("sh", "-ec", ([[
    %s; cp -R app/src "$1/src"; cd "$1/src"; find . -exec touch -d "$2" {} +
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=1.4.2" -o ../app .]])
    :format(settings), "sh", place, place:find("one$") and "2001-01-01" or "2020-02-02")
  return t:ok(registry.image {
    files = { { path = "/app", file = place .. "/app" } }, entrypoint = { "/app" }, user = "65532:65532",
    exposed_ports = { 8080, 8443 }, labels = { ["org.opencontainers.image.version"] = "1.4.2" },
  })
end

--- Unpacks the only layer of an OCI layout, starts its entry point and asks how it is.
local function answers(t, layout, dir, tag)
  local source = t:ok(registry.open_layout(layout, tag))
  local manifest = json.decode(source:read(source.root))
  local config = json.decode(source:read(manifest.config))
  local content = t:ok(source:read(manifest.layers[1]))
  t:ok(fs.mkdir(dir))
  t:ok(archive.extract({ file = content.file }, dir))
  local child <close> = t:ok(process.start({ dir .. config.config.Entrypoint[1] }, { stdout = "pipe",
    env = { LISTEN = "127.0.0.1:0", LISTEN_TLS = "off", SHUTDOWN_DELAY = "0s" } }))
  local address
  for line in child:lines() do
    address = json.decode(line).listen
    if address then break end
  end
  local health = t:ok(http.request { url = ("http://%s/healthz"):format(address), timeout = 10 })
  t:eq({ health.status, health.body }, { 200, "ok\n" })
  t:has(t:ok(http.request { url = ("http://%s/"):format(address), timeout = 10 }).body, "1.4.2")
  child:stop()
  return source.digest
end

return function(test)
  test("built on two machines, pushed, pulled by skopeo and crane, it answers", function(t)
    need(t, "go", "docker-registry", "skopeo", "crane")
    local dir = setup(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local image = build(t, dir .. "/one", "umask 022; export TZ=UTC0")
    environment.set { WSRUN_STATE_DIR = dir .. "/another-state" }
    local other = build(t, dir .. "/two", "umask 077; export TZ=Asia/Tokyo")
    t:eq(other.digest, image.digest, "the same inputs give the same digest on two machines")

    local ref = host .. "/livingpackets/app:1.4.2"
    local pushed = t:ok(registry.push(image, ref))
    t:eq({ pushed.digest, pushed.sent }, { image.digest, 2 })
    t:eq(t:ok(registry.push(other, ref)).unchanged, true)
    local seen = json.decode(run("skopeo", "--insecure-policy", "inspect", "--tls-verify=false", "docker://" .. ref))
    t:eq({ seen.Digest, seen.Architecture, seen.Labels }, { image.digest, "amd64", image.config.config.Labels })
    t:has(run("crane", "--insecure", "digest", ref), image.digest)
    run("crane", "--insecure", "validate", "--remote", ref)

    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "docker://" .. ref,
      ("oci:%s/skopeo:x"):format(dir))
    run("crane", "--insecure", "pull", "--format=oci", ref, dir .. "/crane")
    t:eq(answers(t, dir .. "/skopeo", dir .. "/run-skopeo", "x"), image.digest)
    t:eq(answers(t, dir .. "/crane", dir .. "/run-crane"), image.digest)
    -- and by ourselves
    t:ok(registry.pull(ref, { oci = dir .. "/own" }))
    t:eq(answers(t, dir .. "/own", dir .. "/run-own"), image.digest)
  end, { timeout = 400 })

  test("a base in a registry: mounted in the same one, fetched for another", function(t)
    need(t, "docker-registry", "crane")
    local dir = setup(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local elsewhere = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local large = crypto.random_bytes(1 << 20):rep(6)
    local base = t:ok(registry.image { files = { { path = "/lib/large", data = large } }, env = { A = "base" } })
    local base_ref = host .. "/bases/os:12"
    t:ok(registry.push(base, base_ref))
    local image = t:ok(registry.image { base = base_ref, files = { { path = "/app", data = "x" } } })
    t:eq({ #image.manifest.layers, image.config.config.Env }, { 2, { "A=base" } })
    t:eq({ image.manifest.annotations["org.opencontainers.image.base.name"],
      image.manifest.annotations["org.opencontainers.image.base.digest"] }, { base_ref, base.digest })
    t:eq(t:ok(registry.image { base = ("%s/bases/os@%s"):format(host, base.digest),
      files = { { path = "/app", data = "x" } } }).manifest.layers, image.manifest.layers)

    t:ok(fs.remove(require "ws.registry.cache".folder(), { recursive = true })) -- the base was made here as well
    local pushed = t:ok(registry.push(image, host .. "/apps/app:1"))
    t:eq({ pushed.mounted, pushed.sent }, { 1, 2 })
    local cached = require "ws.registry.cache".find(base.manifest.layers[1])
    t:eq(cached, nil, "a layer that is mounted is not fetched")
    pushed = t:ok(registry.push(image, elsewhere .. "/apps/app:1"))
    t:eq({ pushed.mounted, pushed.sent }, { 0, 3 })
    for _, one in ipairs { host, elsewhere } do
      run("crane", "--insecure", "validate", "--remote", one .. "/apps/app:1")
    end
    t:err("not_found", registry.image { base = host .. "/bases/none:1", files = {} })
    t:ok(registry.save(image, { archive = dir .. "/x.tar" }, { name = "localhost/app:1" }))
    run("crane", "validate", "--tarball", dir .. "/x.tar")
    -- a base that is gone when its layer is needed
    t:ok(registry.delete(("%s/bases/os@%s"):format(host, base.digest)))
    t:err("not_found", registry.image { base = base_ref, files = {} })
  end, { timeout = 120 })

  test("layouts and archives of others are pushed, ours are pushed by others", function(t)
    need(t, "docker-registry", "crane", "skopeo")
    local dir = setup(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local image = t:ok(registry.image { files = { { path = "/app", data = crypto.random_bytes(1 << 20):rep(5) } } })
    local ref = host .. "/p/app:1"
    t:ok(registry.save(image, { oci = dir .. "/l" }, { name = "1" }))
    t:ok(registry.save(image, { archive = dir .. "/x.tar" }, { name = ref }))
    -- theirs
    run("crane", "--insecure", "push", dir .. "/l", host .. "/crane/layout:1")
    t:eq(t:ok(registry.resolve(host .. "/crane/layout:1")).digest, image.digest)
    run("crane", "--insecure", "push", dir .. "/x.tar", host .. "/crane/archive:1")
    t:eq(t:ok(registry.manifest(host .. "/crane/archive:1")).layers[1].digest, image.manifest.layers[1].digest)
    run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci-archive:" .. dir .. "/x.tar",
      ("docker://%s/skopeo/archive:1"):format(host))
    t:eq(t:ok(registry.resolve(host .. "/skopeo/archive:1")).digest, image.digest)
    -- ours: from a layout, from an archive in place, from crane's and skopeo's archives
    for name, source in pairs { layout = t:ok(registry.open_layout(dir .. "/l")),
      archive = t:ok(registry.open_archive(dir .. "/x.tar")) } do
      t:eq(t:ok(registry.push(source, ("%s/ours/%s:1"):format(host, name))).digest, image.digest)
    end
    run("crane", "--insecure", "pull", host .. "/ours/layout:1", dir .. "/crane.tar")
    run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", ("docker://%s/ours/layout:1"):format(host),
      ("docker-archive:%s/skopeo.tar:localhost/app:1"):format(dir))
    for _, name in ipairs { "crane", "skopeo" } do
      local source = t:ok(registry.open_archive(("%s/%s.tar"):format(dir, name)))
      local to = ("%s/again/%s:1"):format(host, name)
      t:ok(registry.push(source, to))
      t:eq(t:ok(registry.config(to)).rootfs.diff_ids, image.config.rootfs.diff_ids)
      run("crane", "--insecure", "validate", "--remote", to)
    end
    -- pulled into an archive
    t:ok(registry.pull(ref:gsub("/p/app", "/ours/archive"), { archive = dir .. "/pulled.tar" }))
    t:eq(t:ok(registry.open_archive(dir .. "/pulled.tar", "1")).digest, image.digest)
    run("crane", "validate", "--tarball", dir .. "/pulled.tar")
  end, { timeout = 120 })

  test("a damaged layer does not reach the registry", function(t)
    need(t, "docker-registry")
    local dir = setup(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    local image = t:ok(registry.image { files = { { path = "/app", data = crypto.random_bytes(1 << 20):rep(5) } } })
    t:ok(registry.save(image, { oci = dir .. "/l" }))
    local path = dir .. "/l/blobs/sha256/" .. image.manifest.layers[1].digest:sub(8)
    local bytes = fs.read(path)
    t:ok(fs.write(path, bytes:sub(1, 2000000) .. "!" .. bytes:sub(2000002)))
    t:err("invalid", registry.push(t:ok(registry.open_layout(dir .. "/l")), host .. "/p/app:1"))
    t:err("not_found", registry.resolve(host .. "/p/app:1"))
  end)

  test("wsrun image build pushes", function(t)
    need(t, "docker-registry")
    local dir = setup(t)
    local host = servers.start(t, "registry").WSRUN_TEST_REGISTRY
    t:ok(fs.write(dir .. "/app", "x", { mode = 493 }))
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    local function build_it(...)
      return t:ok(process.run({ wsrun, "image", "build", "--file", "app=/app", "--push", ... }, { cwd = dir,
        env = { WSRUN_STATE_DIR = dir .. "/state" }, timeout = 60 }))
    end
    local r = build_it("--tag", host .. "/p/app:1", "--tag", host .. "/p/app:latest", "--json")
    t:eq(r.code, 0, r.stderr)
    local seen = json.decode(r.stdout)
    t:eq({ #seen.pushed, seen.pushed[1].sent, seen.pushed[2].sent }, { 2, 2, 0 })
    t:eq(t:ok(registry.resolve(host .. "/p/app:latest")).digest, seen.digest)
    t:has(build_it("--tag", host .. "/p/app:1").stderr, "is that image already")
    r = build_it("--tag", host .. "/p/app:1", "--label", "a=b")
    t:eq(r.code, 1, r.stderr)
    t:eq(build_it("--tag", host .. "/p/app:1", "--label", "a=b", "--overwrite").code, 0)
  end)
end
