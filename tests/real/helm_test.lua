-- Helm and kubectl against a real API server, whose nodes are stood in for: images whose name contains "broken" never
-- start.
local fs = require "ws.fs"
local helm = require "ws.helm"
local k8s = require "ws.k8s"
local kubectl = require "ws.kubectl"
local process = require "ws.process"
local secret = require "ws.secret"

local files = {
  ["demo/Chart.yaml"] = "apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: \"4.5\"\n",
  ["demo/values.yaml"] = "text: hello\nimage: fine\n",
  ["demo/templates/map.yaml"] = [[
apiVersion: v1
kind: ConfigMap
metadata: { name: "{{ .Release.Name }}-map" }
data: { text: {{ .Values.text | quote }} }
---
apiVersion: v1
kind: Secret
metadata: { name: "{{ .Release.Name }}-secret" }
stringData: { text: {{ .Values.text | quote }} }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: "{{ .Release.Name }}" }
spec:
  replicas: 1
  selector: { matchLabels: { app: demo } }
  template:
    metadata: { labels: { app: demo, app.kubernetes.io/instance: "{{ .Release.Name }}" } }
    spec: { containers: [{ name: main, image: {{ .Values.image | quote }} }] }
]],
}

--- A cluster for one test, with the chart above.
local function cluster(t)
  for _, tool in ipairs { "helm", "kubectl", "kube-apiserver", "etcd" } do
    if not process.which(tool) then t:skip(tool .. " is not installed") end
  end
  local dir = t:tmpdir()
  t:defer(function() process.run({ "tests/real/servers.sh", "stop", dir .. "/servers" }, { timeout = 60 }) end)
  local started = assert(process.check({ "tests/real/servers.sh", "start", "kubernetes", dir .. "/servers" },
    { timeout = 120, linger = 0.5 }))
  for name, text in pairs(files) do
    assert(fs.mkdir(fs.dirname(fs.join(dir, name))))
    assert(fs.write(fs.join(dir, name), text))
  end
  return { dir = dir, kubeconfig = started.stdout:match("KUBECONFIG=(%S+)"), chart = dir .. "/demo" }
end

local function install(c, opts)
  local options = { release = "r", chart = c.chart, namespace = "apps", create_namespace = true, wait = true,
    timeout = 60, kubeconfig = c.kubeconfig }
  for k, v in pairs(opts or {}) do options[k] = v end
  return helm.install_or_upgrade(options)
end

return function(test)
  test("a release from its install to its end", function(t)
    local c = cluster(t)
    local release = { release = "r", namespace = "apps", kubeconfig = c.kubeconfig }
    local log, events = c.dir .. "/log", {}
    t:err("not_found", helm.status(release))
    local first = t:ok(install(c, { log = log, on_event = function(e) events[#events + 1] = e.text end }))
    t:eq({ first.action, first.revision }, { "install", 1 })
    local told, logged = table.concat(events, "\n"), fs.read(log)
    t:has(told, "everything is applied, waiting")
    -- On a slow machine the pods are ready before helm looks for the first time.
    t:eq(told:find("waiting: %u%w+ is not ready") ~= nil, logged:find("is not ready", 1, true) ~= nil, logged)

    local again = t:ok(install(c))
    t:eq({ again.action, again.revision }, { "unchanged", 1 })

    local password = "correct-horse-battery"
    local values = { text = secret.new(password) }
    local second = t:ok(install(c, { values = values, log = log }))
    t:eq({ second.action, second.revision }, { "upgrade", 2 })
    t:eq(t:ok(install(c, { values = values })).action, "unchanged")
    t:ok(not fs.read(log):find(password, 1, true), "the secret is in the log")
    local map = t:ok(kubectl.get { kind = "configmap", name = "r-map", namespace = "apps", kubeconfig = c.kubeconfig })
    t:eq(map.data.text, password)

    t:ok(fs.write(c.chart .. "/values.yaml", "text: changed\nimage: fine\n"))
    local changes = t:ok(helm.diff { release = "r", chart = c.chart, namespace = "apps", kubeconfig = c.kubeconfig })
    t:eq(#changes, 2)
    for _, change in ipairs(changes) do
      t:eq(change.action, "change")
      if change.kind == "Secret" then t:eq({ change.before, change.after }, {}) end
      if change.kind == "ConfigMap" then t:eq(change.after.data.text, "changed") end
    end
    t:eq(t:ok(install(c)).revision, 3, "another chart is an upgrade")
    t:eq(#t:ok(helm.history(release)), 3)
    t:eq(t:ok(helm.list { kubeconfig = c.kubeconfig })[1].name, "r")

    t:ok(helm.rollback { release = "r", revision = 1, wait = true, namespace = "apps", kubeconfig = c.kubeconfig })
    t:eq(t:ok(helm.status(release)).revision, 4)
    t:eq(t:ok(install(c)).action, "upgrade", "after a rollback nothing is taken for granted")

    t:eq(t:ok(helm.uninstall(release)).removed, true)
    t:eq(t:ok(helm.uninstall(release)).removed, false)
    t:eq(#t:ok(helm.diff { release = "r", chart = c.chart, namespace = "apps", kubeconfig = c.kubeconfig }), 3)
  end, { timeout = 240 })

  test("a failed upgrade says why, and the next one comes through", function(t)
    local c = cluster(t)
    local err = t:err("timeout", install(c, { values = { image = "registry.example/broken:1" }, timeout = 8 }))
    t:has(err.op, "helm install")
    t:has(err.detail, "container main")
    t:eq(t:ok(install(c)).action, "upgrade")
    err = t:err("failed", install(c, { values = { image = "" } }))
    t:has(err.message .. (err.detail or ""), "image: Required value")
    t:eq(t:ok(install(c)).action, "upgrade")
  end, { timeout = 240 })

  test("a helm that was killed is recovered from", function(t)
    local c = cluster(t)
    t:ok(install(c))
    -- a run of our own that is killed together with its helm while it waits
    local script = c.dir .. "/run.lua"
    t:ok(fs.write(script, ([[
      require "ws.helm".install_or_upgrade { release = "r", chart = %q, namespace = "apps", wait = true, timeout = 300,
        kubeconfig = %q, values = { image = "registry.example/broken:2" } }
    ]]):format(c.chart, c.kubeconfig)))
    local run = t:ok(process.start({ os.getenv("WSRUN") or fs.readlink("/proc/self/exe"), script }))
    local status
    for _ = 1, 300 do
      require "ws.task".sleep(0.1)
      status = helm.status { release = "r", namespace = "apps", kubeconfig = c.kubeconfig }
      if status and status.status == "pending-upgrade" then break end
    end
    t:eq(status.status, "pending-upgrade")
    local children = fs.read(("/proc/%d/task/%d/children"):format(run.pid, run.pid))
    run:kill("KILL")
    run:wait(10)
    for pid in children:gmatch("%d+") do process.run { "kill", "-KILL", pid } end
    local events = {}
    local api = t:ok(k8s.from_kubeconfig(c.kubeconfig))
    local result = t:ok(install(c, { values = { text = "after" }, api = api, on_event = function(event)
      events[#events + 1] = event.text
    end }))
    t:eq(result.action, "upgrade")
    t:has(table.concat(events, "\n"), "pending-upgrade and its helm is gone")
    t:eq(t:ok(helm.status { release = "r", namespace = "apps", kubeconfig = c.kubeconfig }).status, "deployed")
    local known = {}
    for i, r in ipairs(t:ok(helm.history { release = "r", namespace = "apps", kubeconfig = c.kubeconfig })) do
      known[i] = r.status
    end
    t:eq(known, { "superseded", "failed", "deployed" }, "helm reads the record that was written over REST")
  end, { timeout = 240 })

  test("kubectl applies, reads, waits and deletes", function(t)
    local c = cluster(t)
    local function call(fn, opts)
      opts.kubeconfig = c.kubeconfig
      return fn(opts)
    end
    t:ok(kubectl.version():find("^%d+%.%d+"))
    local changes = t:ok(call(kubectl.apply, { objects = {
      { apiVersion = "v1", kind = "Namespace", metadata = { name = "demo" } },
      { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "demo" },
        stringData = { password = secret.new("battery-staple") } },
    } }))
    t:eq(#changes, 2)
    local object = t:ok(call(kubectl.get, { kind = "secret", name = "s", namespace = "demo" }))
    t:eq(object.data.password, "YmF0dGVyeS1zdGFwbGU=")
    t:err("not_found", call(kubectl.get, { kind = "secret", name = "none", namespace = "demo" }))
    t:err("not_found", call(kubectl.apply, { text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
      namespace = "nowhere" }))
    t:err("parse", call(kubectl.apply, { text = "kind: [", namespace = "demo" }))
    t:ok(call(kubectl.apply, { text = [[
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: main, image: fine }] } }
]], namespace = "demo" }))
    t:ok(call(kubectl.rollout_status, { name = "web", namespace = "demo", timeout = 60 }))
    t:ok(call(kubectl.wait, { kind = "deployment", name = "web", condition = "condition=Available",
      namespace = "demo" }))
    t:err("timeout", call(kubectl.wait, { kind = "deployment", name = "web", condition = "condition=Never",
      namespace = "demo", timeout = 1 }))
    t:eq(#t:ok(call(kubectl.get, { kind = "pods", selector = "app=web", namespace = "demo" })).items, 1)
    t:eq(t:ok(call(kubectl.delete, { kind = "deployment", name = "web", namespace = "demo" })).removed, true)
    t:eq(t:ok(call(kubectl.delete, { kind = "deployment", name = "web", namespace = "demo" })).removed, false)
  end, { timeout = 180 })
end
