-- ws.k8s against a real kube-apiserver.
local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local k8s = require "ws.k8s"
local process = require "ws.process"
local secret = require "ws.secret"
local servers = require "servers"
local task = require "ws.task"
local yaml = require "ws.yaml"

--- A client with an administrator's token, which kubectl makes.
local function client(t)
  local env = servers.start(t, "kubernetes")
  local config = assert(yaml.decode(assert(fs.read(env.KUBECONFIG))))
  local cluster = config.clusters[1].cluster
  local function kubectl(...)
    local r = assert(process.run({ "kubectl", ... }, { env = env }))
    t:eq(r.code, 0, r.stderr)
    return r.stdout
  end
  kubectl("create", "serviceaccount", "tester", "-n", "default")
  kubectl("create", "clusterrolebinding", "tester", "--clusterrole=cluster-admin", "--serviceaccount=default:tester")
  local token = kubectl("create", "token", "tester", "-n", "default"):match("%S+")
  local api = t:ok(k8s.client { server = cluster.server, token = secret.new(token),
    ca_data = crypto.base64_decode(cluster["certificate-authority-data"]) })
  local by_certificate = t:ok(k8s.from_kubeconfig(env.KUBECONFIG))
  t:ok(by_certificate:get { api_version = "v1", kind = "Namespace", name = "default" })
  environment.set { KUBECONFIG = env.KUBECONFIG }
  t:defer(function() environment.set { KUBECONFIG = false } end)
  t:examples "modules/k8s/README.md"
  return api
end

local function config_map(data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "c", namespace = "default" }, data = data }
end

local cases = {}

--- Objects: create, get, apply, patch, list, delete.
cases[#cases + 1] = function(t, api)
  t:ok(api:wait_ready { timeout = 60 })
  local ref = { api_version = "v1", kind = "ConfigMap", name = "c", namespace = "default" }
  t:err("not_found", api:get(ref))
  t:ok(api:create(config_map { a = "1" }))
  t:err("exists", api:create(config_map { a = "1" }))
  t:eq(t:ok(api:get(ref)).data, { a = "1" })
  local first = t:ok(api:apply(config_map { b = "2" }))
  t:eq(t:ok(api:apply(config_map { b = "2" })).metadata.resourceVersion, first.metadata.resourceVersion)
  t:err("conflict", api:apply(config_map { b = "3" }, { manager = "other" }))
  t:eq(t:ok(api:apply(config_map { b = "3" }, { manager = "other", force = true })).data.b, "3")
  t:eq(t:ok(api:patch(ref, { data = { z = "26" } })).data.z, "26")
  t:ok(#t:ok(api:list { api_version = "v1", kind = "ConfigMap" }).items >= 1)
  t:eq(#t:ok(api:list { api_version = "v1", kind = "ConfigMap", fields = "metadata.name=c" }).items, 1)
  t:eq(api:delete(ref), true)
  t:err("not_found", api:delete(ref))
  t:err("not_found", api:get { api_version = "none.example/v1", kind = "Nothing", name = "x" })
  t:raises("needs apiVersion", api.apply, api, {})
end

--- Secrets are stored and never shown.
cases[#cases + 1] = function(t, api)
  local cluster = require "lib.cluster"
  local values = { password = secret.new "s3cret-password", username = "ann" }
  t:eq(cluster.write_secret(api, "default", "db", values), true)
  t:eq(cluster.write_secret(api, "default", "db", values), false)
  local read = cluster.read_secret(api, "default", "db", "password")
  t:eq(tostring(read), "***")
  t:eq(read == values.password, true)
  t:eq(cluster.read_secret(api, "default", "db", "none"), nil)
  t:eq(cluster.read_secret(api, "default", "none", "password"), nil)
end

--- A watch sees what is there and what changes, and ends in time.
cases[#cases + 1] = function(t, api)
  local seen = {}
  t:ok(api:create(config_map { a = "1" }))
  local watching = task.spawn(function()
    return api:watch({ api_version = "v1", kind = "ConfigMap", namespace = "default", fields = "metadata.name=c",
      timeout = 60 }, function(kind, object)
      seen[#seen + 1] = kind .. " " .. (object.data.a or "")
      return kind == "DELETED"
    end)
  end)
  while #seen == 0 do task.sleep(0.01) end
  t:ok(api:patch({ api_version = "v1", kind = "ConfigMap", name = "c" }, { data = { a = "2" } }))
  t:ok(api:delete { api_version = "v1", kind = "ConfigMap", name = "c" })
  t:eq({ watching:join(30) }, { true, true })
  t:eq(seen, { "ADDED 1", "MODIFIED 2", "DELETED 2" })
  t:err("timeout", api:watch({ api_version = "v1", kind = "Secret", timeout = 1 }, function() end))
end

--- A wrong token, a wrong authority, nobody there.
cases[#cases + 1] = function(t, api)
  local other = t:ok(k8s.client { server = api.server, ca_file = api.ca, token = "wrong-token" })
  t:err("unauthenticated", other:get { api_version = "v1", kind = "Namespace", name = "default" })
  local untrusting = t:ok(k8s.client { server = api.server, token = "wrong-token" })
  t:err("tls", untrusting:request { path = "/readyz", method = "POST" })
  local nobody = t:ok(k8s.client { server = "https://127.0.0.1:9", token = "wrong-token" })
  t:err("connection", nobody:request { path = "/readyz", method = "POST" })
end

return function(test)
  test("a client of a real API server", function(t) -- one test: the server takes long to start
    local api = client(t)
    for _, case in ipairs(cases) do case(t, api) end
  end, { timeout = 240 })
end
