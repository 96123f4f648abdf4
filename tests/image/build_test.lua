-- `wsrun image build` as people call it.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local registry = require "ws.registry"

local function setup(t)
  local dir = t:tmpdir()
  t:ok(fs.write(dir .. "/app", "#!/app/sh\n", { mode = 493 }))
  t:ok(fs.write(dir .. "/sh", "", { mode = 493 }))
  local function build(...)
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    return t:ok(process.run({ wsrun, "image", "build", ... }, { cwd = dir, timeout = 30,
      env = { WSRUN_STATE_DIR = dir .. "/state", SOURCE_DATE_EPOCH = false } }))
  end
  return dir, build
end

local function config_of(t, dir)
  local source = t:ok(registry.open_layout(dir))
  local manifest = json.decode(source:read(source.root))
  return json.decode(source:read(manifest.config)), manifest, source
end

return function(test)
  test("options make the image that the module makes", function(t)
    local dir, build = setup(t)
    local r = build("--file", "app=/app/app:555", "--file=sh=/app/sh", "--entrypoint", '["/app/app", "serve"]', "--cmd",
      "a", "--cmd=-v", "--env", "A=1=2", "--env", "B=", "--user", "7", "--workdir", "/app", "--port", "8080", "--port",
      "53/udp", "--label", "l=v", "--annotation", "note=n", "--platform", "linux/arm64/v8", "--created",
      "2024-05-01T12:00:00Z", "--tag", "eu.gcr.io/p/app:1.0", "--oci", "l", "--archive", "x.tar")
    t:eq({ r.code, r.stderr }, { 0, "" })
    local config, manifest, source = config_of(t, dir .. "/l")
    t:eq(r.stdout, source.digest .. "\n")
    t:eq(config.config, { Entrypoint = { "/app/app", "serve" }, Cmd = { "a", "-v" }, Env = { "A=1=2", "B=" },
      User = "7", WorkingDir = "/app", ExposedPorts = { ["8080/tcp"] = {}, ["53/udp"] = {} }, Labels = { l = "v" } })
    t:eq({ config.architecture, config.variant, config.created }, { "arm64", "v8", "2024-05-01T12:00:00Z" })
    t:eq(manifest.annotations, { note = "n" })
    t:eq(t:ok(registry.open_layout(dir .. "/l", "1.0")).digest, source.digest)
    t:eq(t:ok(registry.open_archive(dir .. "/x.tar", "eu.gcr.io/p/app:1.0")).digest, source.digest)
    for _, entry in ipairs(t:ok(require "ws.archive".list { data = source:read(manifest.layers[1]) })) do
      if entry.name == "app/app" then t:eq(entry.mode, 365) end
    end
    local seen = json.decode(build("--file", "sh=/sh", "--json").stdout)
    t:ok(seen.digest:find("^sha256:%x+$") and seen.size > 0 and #seen.layers == 1)
    t:eq({ seen.tags, seen.pushed, seen.platform }, { {}, {}, { os = "linux", architecture = "amd64" } })
  end)

  test("a YAML file says the same, options win", function(t)
    local dir, build = setup(t)
    t:ok(fs.mkdir(dir .. "/sub"))
    t:ok(fs.write(dir .. "/sub/image.yaml", [[
files:
  - { path: /app/app, file: ../app, mode: 0755 }
  - { path: /app/sh, file: ../sh }
  - { path: /etc/motd, data: "hello" }
  - { path: /bin, link: app }
  - { path: /tmp/, mode: 1777 }
entrypoint: [/app/app]
cmd: [serve, 8080]
env: { A: 1.10 }
user: 65532
workdir: /app
exposed_ports: [8080]
labels: { version: 1.10 }
created: 1714564800
]]))
    t:eq(build("-f", "sub/image.yaml", "--oci", "l").code, 0)
    local config = config_of(t, dir .. "/l")
    t:eq(config.config, { Entrypoint = { "/app/app" }, Cmd = { "serve", "8080" }, Env = { "A=1.10" }, User = "65532",
      WorkingDir = "/app", ExposedPorts = { ["8080/tcp"] = {} }, Labels = { version = "1.10" } })
    t:eq(config.created, "2024-05-01T12:00:00Z")
    t:eq(build("-f", "sub/image.yaml", "--oci", "m", "--user", "1", "--env", "B=2", "--file", "sh=/more").code, 0)
    config = config_of(t, dir .. "/m")
    t:eq({ config.config.User, config.config.Env, config.config.Cmd },
      { "1", { "A=1.10", "B=2" }, { "serve", "8080" } })
  end)

  test("SOURCE_DATE_EPOCH is the time when no other is said", function(t)
    local dir = setup(t)
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    local r = t:ok(process.run({ wsrun, "image", "build", "--file", "sh=/sh", "--oci", "l" }, { cwd = dir,
      env = { WSRUN_STATE_DIR = dir .. "/state", SOURCE_DATE_EPOCH = "86400" } }))
    t:eq(r.code, 0, r.stderr)
    t:eq(config_of(t, dir .. "/l").created, "1970-01-02T00:00:00Z")
  end)

  test("wrong input gets one clear error", function(t)
    local dir, build = setup(t)
    local spec = { ["not a map"] = "[1]", ["no yaml"] = "files: [", ["unknown key"] = "file: x",
      twice = "user: 1\nuser: 2", mode = "files: [{ path: /x, data: x, mode: 9 }]",
      none = "files: [{ path: /x }]", relative = "workdir: app", port = "exposed_ports: [http]" }
    for name, text in pairs(spec) do t:ok(fs.write(("%s/%s.yaml"):format(dir, name), text .. "\n")) end
    for _, case in ipairs {
      { 64, "--file takes LOCAL=/PATH or LOCAL=/PATH:MODE, not 'app'", "--file", "app" },
      { 64, "--file takes LOCAL=/PATH", "--file", "app=app" },
      { 64, "999 is no mode in octal", "--file", "app=/app:999" },
      { 64, "is not a JSON list of texts", "--entrypoint", "[1]" },
      { 64, "is not a JSON list of texts", "--cmd", "[" },
      { 64, "--env takes NAME=VALUE, not 'A'", "--env", "A" },
      { 64, "--label takes NAME=VALUE", "--label", "=x" },
      { 64, "--port takes a port such as 8080 or 53/udp, not '70000'", "--port", "70000" },
      { 64, "--workdir takes an absolute path", "--workdir", "app" },
      { 64, "--platform takes OS/ARCH", "--platform", "amd64" },
      { 64, "--created takes a time", "--created", "yesterday" },
      { 64, "--push needs --tag", "--push", "--file", "sh=/sh" },
      { 64, "--tag takes REGISTRY/NAME:TAG", "--tag", "eu.gcr.io/p/app" },
      { 1, "is not an image's reference", "--tag", "app:1" },
      { 64, "image build takes options only", "word" },
      { 64, "did you mean --entrypoint?", "--entrypiont", "x" },
      { 1, "/x: its file none cannot be read", "--file", "none=/x" },
      { 1, "/x is given twice: app, and sh", "--file", "app=/x", "--file", "sh=/x" },
      { 1, "would be empty" },
      { 1, "the entry point /app is not in the image", "--file", "sh=/sh", "--entrypoint", "/app" },
      { 1, "/app needs /app/sh, which is not in the image", "--file", "app=/app", "--entrypoint", "/app" },
      { 1, "missing.yaml: No such file", "-f", "missing.yaml" },
      { 1, "not a map.yaml:1:1: a map with files", "-f", "not a map.yaml" },
      { 65, "no yaml.yaml:2:1", "-f", "no yaml.yaml" },
      { 1, "unknown key.yaml:1:1: file: no such key, did you mean \"files\"?", "-f", "unknown key.yaml" },
      { 65, "twice.yaml:2:1", "-f", "twice.yaml" },
      { 1, "mode.yaml:1:36: files[1].mode: found \"9\"", "-f", "mode.yaml" },
      { 1, "none.yaml:1:9: /x needs one of file, data and link", "-f", "none.yaml" },
      { 1, "relative.yaml:1:10: workdir: found \"app\" (string), allowed: absolute path", "-f", "relative.yaml" },
      { 1, "port.yaml:1:17", "-f", "port.yaml" },
      { 1, "is no OCI image layout, and not empty", "--file", "sh=/sh", "--oci", "." },
    } do
      local r = build(table.unpack(case, 3))
      t:has(r.stderr, case[2])
      t:eq({ r.code, r.stdout }, { case[1], "" }, case[2])
      t:ok(not r.stderr:find("traceback", 1, true), r.stderr)
    end
  end)

  test("Ctrl-C in the middle leaves nothing behind", function(t)
    local dir = setup(t)
    local wsrun = os.getenv("WSRUN") or fs.readlink("/proc/self/exe")
    local cache, task = dir .. "/state/cache/blobs", require "ws.task"
    -- while it reads for the first time, and while it compresses into a file of the cache
    for _, case in ipairs { { "40G", function() return fs.exists(cache) end },
      { "400M", function() return #fs.list(cache) > 0 end } } do
      local size, reached = table.unpack(case)
      t:eq(process.run({ "truncate", "-s", size, dir .. "/huge" }).code, 0)
      local child <close> = t:ok(process.start({ wsrun, "image", "build", "--file", "huge=/huge", "--oci", "l" },
        { cwd = dir, stderr = "pipe", env = { WSRUN_STATE_DIR = dir .. "/state" } }))
      for _ = 1, 2000 do
        if reached() or child:finished() then break end
        task.sleep(0.01)
      end
      child:kill("INT")
      t:eq(t:ok(child:wait(20)).code, 130)
      t:eq(fs.list(cache), {})
    end
    t:eq(fs.exists(dir .. "/l"), false)
  end)

  test("twenty builds at once share a cache", function(t)
    local dir, build = setup(t)
    t:ok(fs.write(dir .. "/data", require "ws.crypto".random_bytes(1 << 20)))
    local digests, builds = {}, {}
    for i = 1, 20 do
      builds[i] = function()
        digests[i] = build("--file", "data=/data", "--oci", "l" .. i % 2, "--label", "n=" .. i % 4).stdout
      end
    end
    require "ws.task".all(builds)
    for i = 5, 20 do t:eq(digests[i], digests[i - 4]) end
    t:eq(#t:ok(fs.list(dir .. "/state/cache/blobs")), 2)
  end)
end
