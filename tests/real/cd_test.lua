-- Deployments with real servers: kube-apiserver and its controllers, fake-gcs-server for charts and static files,
-- docker-registry for images. The nodes are stood in for: an image whose name contains "broken" never starts.
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local helm = require "ws.helm"
local k8s = require "ws.k8s"
local manifest = require "lib.manifest"
local platform = require "lib.platform"
local process = require "ws.process"
local publish = require "publish"
local release = require "lib.release"
local scratch = require "scratch"
local servers = require "servers"
local static = require "lib.static"

local CHECK = [[
return function(ctx)
  local d = assert(ctx.api:get { api_version = "apps/v1", kind = "Deployment", name = ctx.release,
    namespace = ctx.namespace })
  assert(d.status.readyReplicas == d.spec.replicas, "not every pod is ready")
  if ctx.version == "1.4.4" then error("1.4.4 is not what was wanted") end
end
]]

--- A platform on real servers, and what its run has said.
local function world(t)
  for _, tool in ipairs { "helm", "kubectl", "kube-apiserver", "etcd", "fake-gcs-server", "docker-registry" } do
    if not process.which(tool) then t:skip(tool .. " is not installed") end
  end
  local root = assert(fs.realpath(t:tmpdir()))
  local kubeconfig = servers.start(t, "kubernetes").KUBECONFIG
  local registry = servers.start(t, "registry").WSRUN_TEST_REGISTRY .. "/lp"
  publish.point(t, { STORAGE_EMULATOR_HOST = servers.start(t, "gcs").STORAGE_EMULATOR_HOST,
    WSRUN_STATE_DIR = root .. "/.wsrun", WSRUN_REGISTRY_ENDPOINT = false })
  for _, bucket in ipairs { publish.BUCKET, "lp-static-bucket-dev-seb" } do
    t:ok(gcs.create_bucket(bucket, { project = "p" }))
  end
  local text = assert(fs.read "manifests/dev-seb.yaml"):gsub("images%-registry: [^\n]+",
    "images-registry: " .. registry):gsub("(namespace: test%-app\n)", "%1    verify: check.lua\n", 1)
  assert(fs.mkdir(root .. "/manifests"))
  assert(fs.write(root .. "/manifests/dev-seb.yaml", text))
  local said = {}
  local function say(_, line) said[#said + 1] = line end
  local w = { id = "20261126-130000-abcd", dir = root .. "/run", options = {}, note = say, summary = say,
    saved_plan = function() return nil end,
    changed = say, progress = say, log_file = function(_, suffix) return root .. "/log" .. (suffix or "") end }
  local p = platform.open(w, assert(manifest.load("dev-seb", { root = root })))
  p.api, p.kubeconfig = assert(k8s.from_kubeconfig(kubeconfig)), kubeconfig
  p.outputs.kubernetes = { node_port = 30443, apps_service_account = "apps@p.iam.gserviceaccount.com",
    static_bucket = "lp-static-bucket-dev-seb" }
  local app = p.manifest.applications[1]
  local check = root .. "/check.lua"
  assert(fs.write(check, CHECK))
  -- The check's path counts from the project's root, which is that of the tests.
  app.verify = fs.relative(check, fs.cwd())
  return { p = p, app = app, registry = registry, said = said, root = root }
end

local function deploy(x, version)
  local plan = release.examine(x.p, x.app, version, { allow_downgrade = false })
  release.carry_out(x.p, x.app, plan, { deadline = 60 })
  return plan
end

local function serving(t, x)
  local d = t:ok(x.p.api:get { api_version = "apps/v1", kind = "Deployment", name = "test-app",
    namespace = "test-app" })
  return d.spec.template.spec.containers[1].image, d.status.readyReplicas
end

return function(test)
  test("install, upgrade, nothing to do, failures that are taken back, rollback", function(t)
    local x = world(t)
    for _, version in ipairs { "1.4.1", "1.4.2", "1.4.4" } do publish.version(version, { registry = x.registry }) end
    publish.version("1.4.3", { registry = x.registry, image = "app-broken" })

    t:eq(deploy(x, "1.4.1").why, "it is not installed")
    t:eq(deploy(x, "1.4.2").why, "1.4.1 is deployed")
    local image, ready = serving(t, x)
    t:ok(image:find(x.registry .. "/app:1.4.2@sha256:", 1, true), image)
    t:eq(ready, 1)
    t:eq(deploy(x, "1.4.2").action, "unchanged")
    t:has(table.concat(x.said, "\n"), "test-app 1/1 ready")
    t:raises("1.4.2 is deployed on dev%-seb, and 1.4.1 is older", deploy, x, "1.4.1")

    local started = os.time()
    local err = t:raises("container app: ErrImagePull: image cannot be pulled", deploy, x, "1.4.3")
    t:ok(os.time() - started < 45, "it was not given up early")
    t:has(err.hint, "rolled back to revision 2: 1.4.2 serves")
    local dir = err.hint:match("what was seen is in (%S+)")
    for _, file in ipairs { "summary.txt", "pods.yaml", "deployments.yaml", "manifest.yaml", "objects.yaml" } do
      t:has(fs.read(dir .. "/" .. file), file == "summary.txt" and "ErrImagePull" or "test-app")
    end
    t:eq({ serving(t, x) }, { image, 1 })

    err = t:raises("1.4.4 is not what was wanted", deploy, x, "1.4.4")
    t:has(err.hint, "1.4.2 serves")
    t:eq({ serving(t, x) }, { image, 1 })

    local version, changed = release.rollback(x.p, x.app, nil, { deadline = 60 })
    t:eq({ version, changed }, { "1.4.1", true }, "1.4.3 and 1.4.4 were taken back: they are no targets")
    t:has(serving(t, x), "/app:1.4.1@")
    t:eq(release.examine(x.p, x.app, "1.4.1").action, "unchanged")
    for _, revision in ipairs(t:ok(helm.history { release = "test-app", namespace = "test-app", api = x.p.api })) do
      t:ok(not revision.status:find("pending"), revision.status)
    end
  end, { timeout = 300 })

  test("static files, again, and one whose object somebody changed", function(t)
    local x = world(t)
    local bucket = "gs://lp-static-bucket-dev-seb/"
    static.upload(x.p)
    t:eq(x.said[#x.said], "2 uploaded to gs://lp-static-bucket-dev-seb")
    t:eq(t:ok(gcs.stat(bucket .. "image.svg")).content_type, "image/svg+xml")
    t:eq(t:ok(gcs.stat(bucket .. "index.html")).cache_control, "no-cache")
    static.upload(x.p)
    t:eq(x.said[#x.said], "no change")
    t:ok(gcs.put(bucket .. "image.svg", "<svg/>", { content_type = "image/svg+xml" }))
    static.upload(x.p)
    t:eq(x.said[#x.said], "1 uploaded to gs://lp-static-bucket-dev-seb")
  end, { timeout = 180 })

  test("cd.lua: deploy, a broken version, rollback", function(t)
    environment.set { WSRUN_REGISTRY_ENDPOINT = false }
    local s = scratch.new(t)
    s:expect(t, 0, { "sandbox", "up", "--kubernetes=real" })
    s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
    publish.point_at_sandbox(t, s)
    publish.version("1.4.2")
    publish.version("1.4.3", { image = "app-broken" })
    local function cd(...) return { "--sandbox", "workflows/cd.lua", "dev-seb", "test-app", ... } end
    t:has(s:expect(t, 0, cd("1.4.2")), "1.4.1 → 1.4.2")
    t:has(s:expect(t, 0, cd("1.4.2")), "nothing changed")
    local said = s:expect(t, 1, cd("1.4.3"))
    t:has(said, "rolled back to revision 2: 1.4.2 serves")
    t:ok(fs.exists(said:match("what was seen is in (%S+)") .. "/summary.txt"))
    t:has(s:in_sandbox(t, { "kubectl", "get", "deploy", "test-app", "-n", "test-app", "-o",
      "jsonpath={.spec.template.spec.containers[0].image} {.status.readyReplicas}" }), "app:1.4.2@")
    t:has(s:expect(t, 0, cd("--rollback")), "back to 1.4.1")
    t:has(s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" }), "nothing changed")
  end, { timeout = 400 })
end
