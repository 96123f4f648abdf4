local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local sandbox = require "sandbox"
local task = require "ws.task"

local NETWORKS = "/compute/v1/projects/livingpackets-sandbox/global/networks"

--- Options of a sandbox in a folder of its own, over an empty project, that is ended with the test.
local function options(t, changes)
  local root = t:tmpdir()
  local opts = { dir = root .. "/state", project_root = root, operation_seconds = { 0, 0 }, provider = false }
  for key, value in pairs(changes or {}) do opts[key] = value end
  t:defer(function() sandbox.down { dir = opts.dir } end)
  return opts
end

local function call(status, method, path, body)
  local answer = assert(http.request { method = method, url = status.endpoint .. path, timeout = 10,
    headers = { authorization = "Bearer x" }, body = body and json.encode(body) })
  return answer.status, answer.body
end

return function(test)
  test("up, status, down", function(t)
    local opts = options(t)
    t:err("not_found", sandbox.status { dir = opts.dir })
    local status = t:ok(sandbox.up(opts))
    t:ok(status.endpoint:find "^http://127%.0%.0%.1:%d+$")
    t:eq(status.state, opts.dir)
    t:ok(status.pid > 1)
    t:eq(t:ok(sandbox.up(opts)).pid, status.pid)
    t:eq(t:ok(fs.stat(opts.dir)).mode, tonumber("700", 8))
    t:eq(sandbox.down { dir = opts.dir }, true)
    t:eq(sandbox.down { dir = opts.dir }, false)
    t:err("not_found", sandbox.status { dir = opts.dir })
    t:raises("unknown option 'prt'", sandbox.up, { prt = 1 })
  end)

  test("WSRUN_STATE_DIR may be relative to the project and written in an odd way", function(t)
    local wsrun, root = fs.realpath(os.getenv("WSRUN") or "build/wsrun"), fs.realpath(t:tmpdir())
    assert(fs.write(root .. "/wsrun.yaml", ""))
    assert(fs.mkdir(root .. "/below"))
    for _, name in ipairs { "rel", root .. "//./odd/" } do
      local function run(...)
        return assert(process.run({ wsrun, "sandbox", ... }, { cwd = root .. "/below", timeout = 20,
          env = { WSRUN_STATE_DIR = name } }))
      end
      t:defer(run, "down")
      t:eq(run("up", "--no-provider").code, 0)
      t:has(run("status").stdout, root .. (name == "rel" and "/rel" or "/odd") .. "/sandbox\n")
      t:has(run("down").stdout, "ended")
    end
  end)

  test("two at once start one", function(t)
    local opts = options(t)
    local results = t:ok(task.all {
      function() return assert(sandbox.up(opts)) end,
      function() return assert(sandbox.up(opts)) end,
      function() return assert(sandbox.up(opts)) end,
    })
    t:eq({ results[2].pid, results[3].pid }, { results[1].pid, results[1].pid })
  end)

  test("kill -9 loses nothing that was answered", function(t)
    local opts = options(t)
    local status = t:ok(sandbox.up(opts))
    t:eq(call(status, "POST", NETWORKS, { name = "kept" }), 200)
    t:eq(call(status, "POST", "/storage/v1/b?project=livingpackets-sandbox", { name = "bucket" }), 200)
    t:eq(call(status, "POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=o", { a = 1 }), 200)
    t:ok(process.check { "kill", "-9", tostring(status.pid) })
    local again
    -- The port may be taken for a moment longer by what the kernel still holds.
    again = t:ok(sandbox.up(opts))
    t:ok(again.pid ~= status.pid)
    t:eq(again.endpoint, status.endpoint)
    t:eq(call(again, "GET", NETWORKS .. "/kept"), 200)
    local code, body = call(again, "GET", "/storage/v1/b/bucket/o/o?alt=media")
    t:eq({ code, body }, { 200, '{"a":1}' })
  end)

  test("a record of a process that is gone does not count", function(t)
    local opts = options(t)
    t:ok(fs.mkdir(opts.dir, { parents = true }))
    t:ok(fs.write(opts.dir .. "/daemon.json", '{"endpoint":"http://127.0.0.1:1","pid":1,"port":1}'))
    t:err("not_found", sandbox.status { dir = opts.dir })
    t:ok(sandbox.up(opts))
  end)

  test("reset forgets, and keeps the address", function(t)
    local opts = options(t)
    local status = t:ok(sandbox.up(opts))
    t:eq(call(status, "POST", NETWORKS, { name = "n" }), 200)
    local again = t:ok(sandbox.reset(opts))
    t:eq(again.endpoint, status.endpoint)
    t:eq(call(again, "GET", NETWORKS .. "/n"), 404)
    t:eq(call(again, "GET", NETWORKS), 200)
    t:eq(sandbox.down { dir = opts.dir }, true)
    t:eq(sandbox.reset(opts), true)
    t:err("not_found", sandbox.status { dir = opts.dir })
  end)

  test("a sandbox that cannot start says why", function(t)
    local opts = options(t)
    t:ok(fs.mkdir(opts.dir .. "/journal.ndjson", { parents = true }))
    local err = t:err("failed", sandbox.up(opts))
    t:has(err.message, "journal.ndjson")
    t:has(err.hint, opts.dir .. "/log")
  end)

  test("a taken port", function(t)
    local taken = t:ok(require "ws.server".listen { handler = function() return {} end })
    t:defer(function() taken:close() end)
    local opts = options(t, { port = taken.port })
    local err = t:err("failed", sandbox.up(opts))
    t:has(err.message, tostring(taken.port))
  end)

  test("the environment", function(t)
    local opts = options(t)
    t:err("not_found", sandbox.environment { dir = opts.dir })
    local status = t:ok(sandbox.up(opts))
    local variables = t:ok(sandbox.environment { dir = opts.dir })
    t:eq(variables.GOOGLE_COMPUTE_CUSTOM_ENDPOINT, status.endpoint .. "/compute/v1/")
    t:eq(variables.GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT, status.endpoint .. "/storage/v1/")
    t:eq(variables.STORAGE_EMULATOR_HOST, status.endpoint)
    t:eq(variables.PUBSUB_EMULATOR_HOST, status.registry)
    t:eq(variables.GOOGLE_APPLICATION_CREDENTIALS, false)
    t:eq(variables.WSRUN_REGISTRY_ENDPOINT, status.endpoint)
    local logins = json.decode(t:ok(fs.read(variables.DOCKER_CONFIG .. "/config.json")))
    t:ok(logins.auths[status.registry].auth)
    t:ok(fs.write(variables.REGISTRY_AUTH_FILE, json.encode { auths = { [status.registry] = {}, other = {} } }))
    t:ok(sandbox.environment { dir = opts.dir })
    t:has(t:ok(fs.read(variables.HELM_REGISTRY_CONFIG)), "other") -- what somebody logged in to stays
    for name, value in pairs(variables) do
      -- The provider refuses an endpoint that does not end in a path and a slash.
      if name:find "^GOOGLE_.*_CUSTOM_ENDPOINT$" then t:ok(value:find "^http://[^/]+/.+/$", name) end
    end
    t:eq(t:ok(fs.stat(opts.dir .. "/token")).mode, tonumber("600", 8))
    t:eq(t:ok(sandbox.charts { dir = opts.dir }), status.endpoint .. "/_charts")
    local shell = t:ok(process.run({ os.getenv "WSRUN" or "/proc/self/exe", "sandbox", "shell", "--dir", opts.dir, "--",
      "sh", "-c", "echo $GOOGLE_STORAGE_CUSTOM_ENDPOINT; exit 3" }, { timeout = 30 }))
    t:eq({ shell.code, shell.stdout }, { 3, status.endpoint .. "/storage/v1/\n" })
  end)

  test("the provider is served", function(t)
    local opts = options(t, { provider = true })
    local status = t:ok(sandbox.up(opts))
    t:ok(fs.exists(status.provider.socket))
    local reattach = t:ok(json.decode(status.provider.reattach))
    local entry = reattach["registry.terraform.io/hashicorp/google"]
    t:eq({ entry.ProtocolVersion, entry.Test, entry.Addr.String }, { 6, true, status.provider.socket })
    t:eq(t:ok(sandbox.environment { dir = opts.dir }).TF_REATTACH_PROVIDERS, status.provider.reattach)
  end)

  test("a project's sandbox has what its manifests name", function(t)
    local root = t:tmpdir()
    for path, text in pairs {
      ["manifests/one.yaml"] = "name: one\ngcp-project: some-project\nremote-bucket: states\ncharts-bucket: charts\n"
        .. "images-registry: eu.gcr.io/other\napplications:\n  - {name: a, version: 2.0.0, namespace: a}\n",
      ["manifests/broken.yaml"] = "name: [\n",
      ["charts/app-chart/Chart.yaml"] = "apiVersion: v2\nname: app-chart\nversion: 1.0.0\nappVersion: 1.0.0\n",
      ["charts/app-chart/templates/x.yaml"] = "kind: ConfigMap\n",
      ["charts/stand-ins/dep/Chart.yaml"] = "apiVersion: v2\nname: dep\nversion: v3\n",
    } do
      t:ok(fs.mkdir(fs.dirname(root .. "/" .. path), { parents = true }))
      t:ok(fs.write(root .. "/" .. path, text))
    end
    local opts = options(t, { project_root = root })
    local status = t:ok(sandbox.up(opts))
    t:eq(call(status, "GET", "/storage/v1/b/states"), 200)
    local file = t:tmpdir() .. "/chart.tgz"
    t:ok(http.get(status.endpoint .. "/charts/app-chart/2.0.0/app-chart-2.0.0.tgz", { sink = { file = file } }))
    local names = {}
    for _, entry in ipairs(t:ok(require "ws.archive".list { file = file })) do names[#names + 1] = entry.name end
    t:eq(names, { "app-chart/Chart.yaml", "app-chart/templates/x.yaml" })
    local manifest
    for _, name in ipairs { "some-project/app", "eu.gcr.io/some-project/app", "eu.gcr.io/other/app" } do
      local code, body = call(status, "GET", ("/v2/%s/manifests/2.0.0"):format(name))
      t:eq(code, 200, name)
      manifest = t:ok(json.decode(body))
    end
    local function blob(descriptor, sink)
      return t:ok(http.get(("%s/v2/some-project/app/blobs/%s"):format(status.endpoint, descriptor.digest), sink)).body
    end
    blob(manifest.layers[1], { sink = { file = file } })
    local modes = {}
    for _, entry in ipairs(t:ok(require "ws.archive".list { file = file })) do modes["/" .. entry.name] = entry.mode end
    t:eq(modes[json.decode(blob(manifest.config)).config.Entrypoint[1]], tonumber("755", 8))
    t:has(select(2, call(status, "GET", "/_charts/index.yaml")), "dep-v3.tgz")
    t:eq(call(status, "GET", "/_charts/dep-v3.tgz"), 200)
    -- What was deleted stays deleted.
    t:eq(call(status, "DELETE", "/storage/v1/b/states"), 204)
    t:ok(sandbox.down { dir = opts.dir })
    t:eq(call(t:ok(sandbox.up(opts)), "GET", "/storage/v1/b/states"), 404)
  end)

  test("command line", function(t)
    local opts = options(t)
    local function run(...)
      local result = t:ok(process.run({ os.getenv "WSRUN" or "/proc/self/exe", "sandbox", ... }, { timeout = 60 }))
      return result.code, result.stdout, result.stderr
    end
    t:eq({ run() }, { 64, select(2, run()), "" })
    local code, _, text = run("stauts")
    t:eq(code, 64)
    t:has(text, "did you mean 'status'?")
    code, _, text = run("status", "--dir", opts.dir)
    t:eq(code, 1)
    t:has(text, "wsrun sandbox up")
    code, text = run("up", "--dir", opts.dir, "--project", opts.project_root, "--no-provider", "--json")
    t:eq(code, 0)
    local status = t:ok(json.decode(text))
    for _, field in ipairs { "endpoint", "registry", "kubernetes", "pid", "state" } do t:ok(status[field], field) end
    t:eq(run("faults", "add", "--dir", opts.dir, "api=compute", "status=503"), 0)
    t:eq(call(status, "GET", NETWORKS), 503)
    t:eq(run("faults", "add", "--dir", opts.dir, "stats=503"), 64)
    t:eq(run("faults", "remove", "--dir", opts.dir), 0)
    t:eq(call(status, "GET", NETWORKS), 200)
    code, text = run("resources", "--dir", opts.dir)
    t:eq(code, 0)
    t:has(text, "iam#serviceAccount")
    t:eq(run("up", "--operation-seconds", "x"), 64)
    t:eq(run("serve", "--dir", opts.dir), 75)
    t:eq(run("down", "--dir", opts.dir), 0)
  end)
end
