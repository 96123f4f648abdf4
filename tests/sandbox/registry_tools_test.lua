-- The tools that people use with a registry, against the sandbox's: what one pushes the others pull, byte for byte.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local support = dofile "tests/sandbox/support.lua"

local CONFIGURATION = { architecture = "amd64", os = "linux", config = { Entrypoint = { "/app/app" } } }

--- A registry over HTTP, and `run`, which runs a tool in an empty home folder and fails the test unless it succeeds.
local function start(t)
  local cloud = support.cloud(t)
  local root = t:tmpdir()
  t:ok(fs.write(root .. "/auth.json", "{}"))
  local host = support.serve(t, cloud):match("^http://(.+)$")
  local env = { HOME = root, DOCKER_CONFIG = root .. "/docker", REGISTRY_AUTH_FILE = root .. "/auth.json",
    XDG_RUNTIME_DIR = root, BUILDAH_ISOLATION = "chroot", HELM_REGISTRY_CONFIG = root .. "/helm.json" }
  local function run(argv, stdin)
    return t:ok(process.check(argv, { cwd = root, env = env, timeout = 60, stdin = stdin })).stdout
  end
  local function fails(argv)
    local result = t:ok(process.run(argv, { cwd = root, env = env, timeout = 60 }))
    if result.code == 0 then error("it was expected to fail: " .. table.concat(argv, " "), 2) end
    return result.stdout .. result.stderr
  end
  return { cloud = cloud, root = root, host = host, run = run, fails = fails, client = support.client(t, cloud) }
end

--- A small image as an archive that crane and skopeo read; returns its path.
local function image_archive(s, t)
  local tar = t:ok(archive.tar_create { entries = { { name = "app/app", data = "#!/bin/sh\n", mode = 493 } },
    gzip = false })
  local config = json.encode(require "sandbox.values".merge({ rootfs = { type = "layers",
    diff_ids = json.array { "sha256:" .. crypto.sha256(tar) } } }, CONFIGURATION))
  local name = crypto.sha256(config) .. ".json"
  local path = s.root .. "/image.tar"
  t:ok(fs.write(path, t:ok(archive.tar_create { gzip = false, entries = {
    { name = "layer.tar", data = tar }, { name = name, data = config },
    { name = "manifest.json", data = json.encode(json.array { { Config = name, RepoTags = json.array { "app:1" },
      Layers = json.array { "layer.tar" } } }) },
  } })))
  return path
end

--- The digest of a manifest as the registry has it; its bytes must have that digest.
local function digest_of(s, t, name, reference)
  local _, answer = s.client("GET", ("/v2/%s/manifests/%s"):format(name, reference))
  local digest = answer.headers["docker-content-digest"]
  t:eq("sha256:" .. crypto.sha256(answer.body), digest)
  return digest
end

local function lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

return function(test)
  test("crane", function(t)
    local crane, s = support.tool(t, "crane"), start(t)
    local app = s.host .. "/eu.gcr.io/p/app"
    s.run { crane, "push", image_archive(s, t), app .. ":1" }
    local digest = digest_of(s, t, "eu.gcr.io/p/app", "1")
    t:eq(lines(s.run { crane, "digest", app .. ":1" }), { digest })
    s.run { crane, "copy", app .. ":1", s.host .. "/other/app:1" } -- by mounts
    t:eq(digest_of(s, t, "other/app", "1"), digest)
    s.run { crane, "tag", app .. "@" .. digest, "2" }
    t:eq(lines(s.run { crane, "ls", app }), { "1", "2" })
    s.run { crane, "index", "append", "-m", app .. ":1", "-t", app .. ":all" }
    t:eq(json.decode(s.run { crane, "manifest", app .. ":all" }).manifests[1].digest, digest)
    t:eq(json.decode(s.run { crane, "config", app .. ":1" }).config, CONFIGURATION.config)
    s.run { crane, "pull", "--format=oci", app .. ":1", "layout" }
    t:eq(json.decode(t:ok(fs.read(s.root .. "/layout/index.json"))).manifests[1].digest, digest)
    s.run { crane, "delete", app .. ":2" }
    t:eq(lines(s.run { crane, "ls", app }), { "1", "all" })
    t:has(s.fails { crane, "digest", app .. ":2" }, "404")
  end, { timeout = 120 })

  test("skopeo", function(t)
    local skopeo, s = support.tool(t, "skopeo"), start(t)
    local app = ("docker://%s/eu.gcr.io/p/app"):format(s.host)
    local function copy(from, to, ...)
      s.run { skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", from, to, ... }
    end
    copy("docker-archive:" .. image_archive(s, t), app .. ":1", "--format=oci")
    local digest = digest_of(s, t, "eu.gcr.io/p/app", "1")
    local seen = json.decode(s.run { skopeo, "inspect", "--tls-verify=false", app .. ":1" })
    t:eq({ seen.Digest, seen.RepoTags }, { digest, { "1" } })
    copy(app .. "@" .. digest, ("docker://%s/other/app:1"):format(s.host))
    t:eq(digest_of(s, t, "other/app", "1"), digest)
    copy(app .. ":1", "oci:layout:1")
    t:eq(json.decode(t:ok(fs.read(s.root .. "/layout/index.json"))).manifests[1].digest, digest)
    copy(app .. ":1", app .. ":docker", "--format=v2s2") -- another manifest of the same contents
    t:eq(select(2, s.client("GET", "/v2/eu.gcr.io/p/app/manifests/docker")).headers["content-type"],
      "application/vnd.docker.distribution.manifest.v2+json")
    s.run { skopeo, "delete", "--tls-verify=false", app .. ":1" }
    t:eq(json.decode(s.run { skopeo, "list-tags", "--tls-verify=false", app }).Tags, { "docker" })
  end, { timeout = 120 })

  test("buildah", function(t)
    local program, s = support.tool(t, "buildah"), start(t)
    local function buildah(command, ...)
      return lines(s.run { program, "--root", s.root .. "/root", "--runroot", s.root .. "/run", "--storage-driver",
        "vfs", command, ... })
    end
    local app = s.host .. "/eu.gcr.io/p/app"
    t:ok(fs.write(s.root .. "/app", "#!/bin/sh\n", { mode = 493 }))
    local container = buildah("from", "scratch")[1]
    buildah("add", container, "app", "/app/app")
    buildah("config", "--entrypoint", '["/app/app"]', container)
    buildah("commit", "--format", "oci", "--timestamp", "0", container, "built")
    buildah("push", "--tls-verify=false", "--digestfile", "digest", "built", "docker://" .. app .. ":1")
    local digest = digest_of(s, t, "eu.gcr.io/p/app", "1")
    t:eq(t:ok(fs.read(s.root .. "/digest")), digest)
    buildah("rm", "--all")
    buildah("rmi", "--all")
    buildah("pull", "--tls-verify=false", app .. "@" .. digest)
    local image = json.decode(table.concat(buildah("inspect", "--type", "image", app .. "@" .. digest), "\n"))
    t:eq({ image.FromImageDigest, image.OCIv1.config.Entrypoint }, { digest, { "/app/app" } })
  end, { timeout = 120 })

  test("helm", function(t)
    local helm, s = support.tool(t, "helm"), start(t)
    t:ok(fs.mkdir(s.root .. "/dep"))
    t:ok(fs.write(s.root .. "/dep/Chart.yaml", "apiVersion: v2\nname: dep\nversion: 1.2.3\n"))
    s.run { helm, "package", "dep" }
    local charts = ("oci://%s/p/charts"):format(s.host)
    s.run { helm, "push", "dep-1.2.3.tgz", charts, "--plain-http" }
    local manifest = s.client("GET", "/v2/p/charts/dep/manifests/1.2.3")
    local bytes = t:ok(fs.read(s.root .. "/dep-1.2.3.tgz"))
    t:eq(manifest.layers[1].digest, "sha256:" .. crypto.sha256(bytes))
    t:ok(fs.mkdir(s.root .. "/pulled"))
    s.run { helm, "pull", charts .. "/dep", "--version", "1.2.3", "--plain-http", "-d", "pulled" }
    t:eq(t:ok(fs.read(s.root .. "/pulled/dep-1.2.3.tgz")) == bytes, true)
  end, { timeout = 120 })

  test("with credentials, as Google asks for them", function(t)
    local crane, skopeo, helm = support.tool(t, "crane"), support.tool(t, "skopeo"), support.tool(t, "helm")
    local s = start(t)
    s.cloud.auth = "google"
    local app = s.host .. "/eu.gcr.io/p/app"
    local archived = image_archive(s, t)
    t:has(s.fails { crane, "push", archived, app .. ":1" }, "403")
    t:has(s.fails { skopeo, "inspect", "--tls-verify=false", "docker://" .. app .. ":1" }, "Unauthenticated request")
    local login = { "login", s.host, "-u", "oauth2accesstoken", "--password-stdin" }
    s.run({ crane, "auth", table.unpack(login) }, "ya29.token")
    s.run { crane, "push", archived, app .. ":1" }
    s.run { crane, "copy", app .. ":1", s.host .. "/other/app:1" } -- a mount: a token for both repositories
    t:eq(lines(s.run { crane, "ls", s.host .. "/other/app" }), { "1" })
    s.run({ skopeo, "login", "--tls-verify=false", "-u", "_json_key", "--password-stdin", s.host }, '{"type":"x"}')
    s.run { skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
      "docker://" .. app .. ":1", "docker://" .. app .. ":2" }
    t:eq(digest_of(s, t, "eu.gcr.io/p/app", "2"), digest_of(s, t, "eu.gcr.io/p/app", "1"))
    s.run { skopeo, "delete", "--tls-verify=false", ("docker://%s/other/app:1"):format(s.host) }
    s.run({ helm, "registry", "login", s.host, "--plain-http", "-u", "oauth2accesstoken", "--password-stdin" }, "token")
    t:ok(fs.mkdir(s.root .. "/dep"))
    t:ok(fs.write(s.root .. "/dep/Chart.yaml", "apiVersion: v2\nname: dep\nversion: 1.2.3\n"))
    s.run { helm, "package", "dep" }
    s.run { helm, "push", "dep-1.2.3.tgz", ("oci://%s/p/charts"):format(s.host), "--plain-http" }
    s.run { helm, "pull", ("oci://%s/p/charts/dep"):format(s.host), "--version", "1.2.3", "--plain-http" }
  end, { timeout = 120 })
end
