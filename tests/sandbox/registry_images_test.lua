-- What the nodes of the sandbox's clusters find in its registry, and what kubectl says of it.
local crypto = require "ws.crypto"
local http = require "ws.http"
local json = require "ws.json"
local support = dofile "tests/sandbox/support.lua"
local time = require "ws.time"

local MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
local CONFIG = "application/vnd.oci.image.config.v1+json"
local APP = "eu.gcr.io/test-project/app"

local function digest(bytes) return "sha256:" .. crypto.sha256(bytes) end

--- Pushes an image with `client`, which is a sandbox's or one over HTTP; returns its digest.
local function push(client, name, tag, config, config_type)
  local function blob(bytes, media_type)
    client("POST", ("/v2/%s/blobs/uploads/?digest=%s"):format(name, digest(bytes)), bytes, 201)
    return { mediaType = media_type, digest = digest(bytes), size = #bytes }
  end
  local manifest = json.encode { schemaVersion = 2,
    config = blob(json.encode { architecture = "amd64", os = "linux", config = config }, config_type or CONFIG),
    layers = json.array { blob("layer", "application/vnd.oci.image.layer.v1.tar") } }
  client("PUT", ("/v2/%s/manifests/%s"):format(name, tag), manifest, 201, { ["content-type"] = MANIFEST })
  return digest(manifest), #manifest
end

local RUNS = { Entrypoint = json.array { "/app/app" } }

return function(test)
  test("references as nodes read them", function(t)
    local cloud = support.cloud(t)
    local id = push(support.client(t, cloud), APP, "1", RUNS)
    push(support.client(t, cloud), "plain/app", "1", RUNS)
    push(support.client(t, cloud), "docker.io/library/nginx", "latest", RUNS)
    local pull = cloud.registry.pull
    for _, reference in ipairs { APP .. ":1", APP .. "@" .. id, APP .. ":gone@" .. id } do
      t:eq(pull(reference), { id = APP .. "@" .. id, size = 5, config = RUNS })
    end
    t:eq(pull("127.0.0.1:5000/plain/app:1").id, "127.0.0.1:5000/plain/app@" .. id)
    t:eq(pull("localhost:5000/" .. APP .. ":1").id, "localhost:5000/" .. APP .. "@" .. id)
    t:eq(pull("nginx").id, "docker.io/library/nginx@" .. id)
    for _, reference in ipairs { "eu.gcr.io/test-project/other:1", "redis:7", "test-project/app:1", "x/y/z" } do
      t:eq(pull(reference), nil)
    end
  end)

  test("what a pull fails with", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local id, size = push(client, APP, "1", RUNS)
    local function problem(reference, more)
      t:eq(cloud.registry.pull(reference).problem, ('rpc error: code = %s'):format(more))
    end
    problem(APP, ('NotFound desc = failed to pull and unpack image "%s:latest": failed to resolve reference '
      .. '"%s:latest": %s:latest: not found'):format(APP, APP, APP))
    local absent = APP .. "@" .. digest "absent"
    problem(APP .. ":1@" .. digest "absent", ('NotFound desc = failed to pull and unpack image "%s": failed to resolve '
      .. 'reference "%s": %s: not found'):format(absent, absent, absent))
    push(client, APP, "chart", RUNS, "application/vnd.cncf.helm.config.v1+json")
    problem(APP .. ":chart", ('Unknown desc = failed to pull and unpack image "%s:chart": failed to unpack image on '
      .. "snapshotter overlayfs: mismatched image rootfs and manifest layers"):format(APP))
    local function index(tag, architecture)
      client("PUT", ("/v2/%s/manifests/%s"):format(APP, tag), json.encode { schemaVersion = 2, mediaType = INDEX,
        manifests = json.array { { mediaType = MANIFEST, digest = id, size = size,
          platform = { os = "linux", architecture = architecture } } } }, 201, { ["content-type"] = INDEX })
    end
    index("arm", "arm64")
    problem(APP .. ":arm", ('NotFound desc = failed to pull and unpack image "%s:arm": no match for platform in '
      .. "manifest: not found"):format(APP))
    index("all", "amd64")
    local pulled = cloud.registry.pull(APP .. ":all")
    t:eq({ pulled.config, pulled.id ~= APP .. "@" .. id }, { RUNS, true }) -- it is named as the whole
    client("DELETE", ("/v2/%s/blobs/%s"):format(APP, digest "layer"), nil, 202)
    problem(APP .. ":1", ('NotFound desc = failed to pull and unpack image "%s:1": failed to copy: httpReadSeeker: '
      .. "failed open: content at https://eu.gcr.io/v2/test-project/app/blobs/%s not found: not found"):format(APP,
      digest "layer"))
  end)

  test("kubectl: what a Pod's image does is told by status, events and logs", function(t)
    local kubectl = support.tool(t, "kubectl")
    local run, _, status, fails = support.process(t)
    local function client(method, path, body, expected, headers)
      local all = { authorization = "Bearer x" }
      for name, value in pairs(headers or {}) do all[name] = value end
      local answer = t:ok(http.request { method = method, url = status.endpoint .. path, headers = all, timeout = 30,
        body = type(body) == "table" and json.encode(body) or body })
      t:eq(answer.status, expected or 200, answer.body)
    end
    local compute = "/compute/v1/projects/livingpackets-sandbox"
    client("POST", compute .. "/global/networks", { name = "net", autoCreateSubnetworks = false })
    client("POST", compute .. "/regions/europe-west1/subnetworks", { name = "subnet", ipCidrRange = "10.0.0.0/20",
      network = "global/networks/net" })
    client("POST", "/container/v1/projects/livingpackets-sandbox/locations/europe-west1/clusters",
      { cluster = { name = "c", network = "net", subnetwork = "subnet", initialNodeCount = 1 } })
    local id = push(client, APP, "1", RUNS)
    push(client, APP, "crash", { Entrypoint = RUNS.Entrypoint, Labels = { ["dev.wsrun.sandbox.behaviour"] = "crash" } })
    push(client, APP, "empty", {})
    for _, tag in ipairs { "1", "crash", "empty", "gone" } do
      run(kubectl, "run", "p-" .. tag, "--image", APP .. ":" .. tag)
    end
    run(kubectl, "wait", "--for=condition=Ready", "pod/p-1", "--timeout=20s")
    t:has(run(kubectl, "get", "pod", "p-1", "-o", "yaml"), ("imageID: %s@%s"):format(APP, id))
    local deadline, rows = time.monotonic() + 20
    repeat
      rows = run(kubectl, "get", "pods", "--no-headers")
    until rows:find "CrashLoopBackOff" and rows:find "ImagePullBackOff" or time.monotonic() > deadline
    t:ok(rows:find "p%-crash +0/1 +CrashLoopBackOff +[1-9]", rows)
    t:ok(rows:find "p%-gone +0/1 +ImagePullBackOff +0", rows)
    t:ok(rows:find "p%-empty +0/1 +CreateContainerError +0", rows)
    t:has(run(kubectl, "logs", "p-crash"), "fatal: the image's label says dev.wsrun.sandbox.behaviour=crash")
    t:has(run(kubectl, "logs", "p-crash", "--previous"), "failed with exit code 1")
    t:has(fails(kubectl, "logs", "p-gone"), "trying and failing to pull image")
    local told = run(kubectl, "describe", "pod", "p-gone")
    t:has(told, ('failed to resolve reference "%s:gone": %s:gone: not found'):format(APP, APP))
    t:has(told, "Error: ErrImagePull")
    t:has(run(kubectl, "describe", "pod", "p-empty"), "no command specified")
    push(client, APP, "gone", RUNS)
    run(kubectl, "wait", "--for=condition=Ready", "pod/p-gone", "--timeout=30s")
  end, { timeout = 120 })
end
