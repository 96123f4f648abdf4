local fs = require "ws.fs"
local helm = require "ws.helm"
local secret = require "ws.secret"

local function write(dir, files)
  for name, text in pairs(files) do
    local path = fs.join(dir, name)
    assert(fs.mkdir(fs.dirname(path)))
    assert(fs.write(path, text, { mode = name:find("^bin/") and 493 or nil, durable = false }))
  end
end

local function make_chart(t, template)
  local dir = t:tmpdir()
  write(dir, {
    ["demo/Chart.yaml"] = "apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: \"4.5\"\n",
    ["demo/values.yaml"] = "text: hello\n",
    ["demo/templates/map.yaml"] = template or [[
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-map
data:
  text: {{ .Values.text | quote }}
]],
  })
  return dir .. "/demo", dir
end

--- Puts a program called helm, which is a shell script, first on PATH.
local function fake_helm(t, script)
  local dir = t:tmpdir()
  write(dir, { ["bin/helm"] = "#!/bin/sh\n" .. script })
  local environment = require "ws.environment"
  local path = environment.get("PATH")
  environment.set { PATH = dir .. "/bin:/usr/bin:/bin" }
  t:defer(function() environment.set { PATH = path } end)
  return dir
end

return function(test)
  test("the README's example is true", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    t:examples "modules/helm/README.md"
  end)

  test("find tells the version; a missing or old helm is an error with a hint", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local tool = t:ok(helm.find())
    t:ok(tool.version:find("^%d+%.%d+%.%d+"), tool.version)
    t:ok(tool.major >= 3)
    fake_helm(t, "echo v3.2.1")
    local err = t:err("missing_tool", helm.find())
    t:has(err.message, "v3.2.1; 3.8 or later is needed")
    t:ok(err.hint)
    local environment = require "ws.environment"
    environment.set { PATH = "/nowhere" }
    err = t:err("missing_tool", helm.find())
    t:ok(err.hint)
    t:err("missing_tool", helm.template { chart = "x" })
  end)

  test("template, lint and package", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local chart, dir = make_chart(t)
    local text = t:ok(helm.template { chart = chart, release = "r", values = { text = "a \"b\"" } })
    t:has(text, "name: r-map")
    t:has(text, [[text: "a \"b\""]])
    local err = t:err("not_found", helm.template { chart = dir .. "/none" })
    t:eq(err.op, "helm template")
    t:eq(t:ok(helm.lint { chart = chart }).ok, true)
    local broken = make_chart(t, "a: {{ .Values.nothing.below }}\n")
    local result = t:ok(helm.lint { chart = broken })
    t:eq(result.ok, false)
    t:ok(table.concat(result.messages, "\n"):find("ERROR"), "no message")
    t:err("failed", helm.template { chart = broken })
    local path = t:ok(helm.package { chart = chart, dir = dir, version = "2.0.0", app_version = "9" })
    t:eq(fs.basename(path), "demo-2.0.0.tgz")
    t:has(t:ok(helm.template { chart = path }), "text: \"hello\"")
    t:raises("unknown option 'value'", helm.template, { chart = chart, value = {} })
  end)

  test("a dry run: on this side as an upgrade, with a kubeconfig against the cluster", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local chart, dir = make_chart(t, "kind: ConfigMap\napiVersion: v1\nmetadata: {name: up-{{ .Release.IsUpgrade }}}\n")
    t:has(t:ok(helm.dry_run { chart = chart, release = "r" }), "up-true")
    assert(fs.write(dir .. "/kubeconfig", [[{"apiVersion":"v1","kind":"Config","current-context":"c","users":[],
      "clusters":[{"name":"c","cluster":{"server":"https://127.0.0.1:1"}}],
      "contexts":[{"name":"c","context":{"cluster":"c"}}]}]]))
    t:err("connection", helm.dry_run { chart = chart, release = "r", kubeconfig = dir .. "/kubeconfig" })
    t:err("failed", helm.dry_run { chart = make_chart(t, "a: {{ .Values.nothing.below }}\n"), release = "r" })
    t:raises("needs chart", helm.template, {})
    t:raises("chart must be a string", helm.lint, { chart = 5 })
  end)

  test("values may be secrets, and are gone afterwards", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local chart = make_chart(t)
    local before = #fs.temp_left()
    local text = t:ok(helm.template { chart = chart, values = { text = secret.new("open-sesame") } })
    t:has(text, "open-sesame")
    t:eq(#fs.temp_left(), before)
  end)

  test("pull takes a chart from a repository, whole or not at all", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local chart, dir = make_chart(t)
    local package = t:ok(helm.package { chart = chart, dir = dir })
    local server = require "ws.server"
    local s = t:ok(server.listen { handler = function(req)
      if req.path == "/index.yaml" then
        return { status = 200, body = [[
apiVersion: v1
entries:
  demo:
    - {name: demo, version: 1.2.3, urls: [demo-1.2.3.tgz]}
    - {name: demo, version: 1.0.0, urls: [gone-1.0.0.tgz]}
]] }
      elseif req.path == "/demo-1.2.3.tgz" then
        return { status = 200, body = assert(fs.read(package)) }
      end
      return { status = 404, body = "not here" }
    end })
    t:defer(function() s:close() end)
    local url = "http://127.0.0.1:" .. s.port
    local path = t:ok(helm.pull { repository = url, chart = "demo", version = "1.2.3", dir = dir .. "/cache" })
    t:eq(path, dir .. "/cache/demo-1.2.3.tgz")
    t:ok(fs.read(path) == fs.read(package), "the package differs")
    t:err("not_found", helm.pull { repository = url, chart = "demo", version = "1.0.0", dir = dir .. "/cache" })
    t:err("not_found", helm.pull { repository = url, chart = "demo", version = "9.9.9", dir = dir .. "/cache" })
    t:eq(fs.list(dir .. "/cache"), { "demo-1.2.3.tgz" })
    s:close()
    t:err("connection", helm.pull { repository = url, chart = "demo", version = "1.2.3", dir = dir .. "/cache" })
  end)

  test("a cluster that does not answer is a connection error", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local chart, dir = make_chart(t)
    write(dir, { kubeconfig = [[
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: x}}]
current-context: c
]] })
    local err = t:err("connection", helm.install_or_upgrade {
      release = "r", chart = chart, kubeconfig = dir .. "/kubeconfig", timeout = 5,
    })
    t:has(err.message, "127.0.0.1:1")
    t:ok(err.hint)
  end)

  test("a release that somebody works on is waited for, and given up on with a hint", function(t)
    local chart = make_chart(t)
    local dir = fake_helm(t, [[
case $1 in
version) echo v3.18.0 ;;
history) echo '[{"revision":4,"status":"pending-upgrade","updated":"2999-01-01T00:00:00Z","description":"x"}]' ;;
*) echo unexpected "$@" >&2; exit 1 ;;
esac
]])
    t:ok(dir)
    local upgrade = require "ws.helm.upgrade"
    local waited = 0
    local err = t:err("locked", upgrade.run { release = "r", chart = chart, major = 3, timeout = -58,
      on_event = function(event) waited = waited + (event.text:find("pending%-upgrade") and 1 or 0) end })
    t:has(err.message, "revision 4 is pending-upgrade")
    t:ok(err.hint)
    t:ok(waited > 0, "no event")
  end)
end
