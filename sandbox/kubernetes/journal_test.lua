local client = require "sandbox.kubernetes.client"
local fs = require "ws.fs"
local kubernetes = require "sandbox.kubernetes"

local MAPS = "/api/v1/namespaces/default/configmaps"

local function open(dir)
  local api = kubernetes.new { name = "test", token = "x", dir = dir, ca = { cert = "", key = "" } }
  return client.new(api, "x"), api
end

--- Like a killed process: nothing is closed in order.
local function drop(api)
  api.journal:close()
end

local function map(name, data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name }, data = data }
end

return function(test)
  test("objects, versions and custom kinds outlive the process", function(t)
    local dir = t:tmpdir() .. "/state"
    local c, api = open(dir)
    c:call("POST", MAPS, map("a", { x = "1" }))
    c:call("POST", MAPS, map "b")
    c:call("DELETE", MAPS .. "/b")
    c:call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", { apiVersion = "apiextensions.k8s.io/v1",
      kind = "CustomResourceDefinition", metadata = { name = "things.example.dev" }, spec = { group = "example.dev",
        scope = "Namespaced", names = { plural = "things", kind = "Thing" },
          versions = { { name = "v1", served = true, storage = true,
          schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } })
    c:call("POST", "/apis/example.dev/v1/namespaces/default/things", { apiVersion = "example.dev/v1", kind = "Thing",
      metadata = { name = "t" }, list = {} })
    local revision = api.store.revision
    drop(api)
    c, api = open(dir)
    t:eq(api.store.revision, revision)
    local _, o = c:call("GET", MAPS .. "/a")
    t:eq(o.data.x, "1")
    t:eq((c:call("GET", MAPS .. "/b")), 404)
    t:eq((c:call("GET", "/apis/example.dev/v1/namespaces/default/things/t")), 200)
    _, o = c:call("POST", MAPS, map "c")
    t:eq(tonumber(o.metadata.resourceVersion), revision + 1)
    drop(api)
  end)

  test("a torn last line is dropped, what was before it stays", function(t)
    local dir = t:tmpdir() .. "/state"
    local c, api = open(dir)
    c:call("POST", MAPS, map "a")
    c:call("POST", MAPS, map "b")
    drop(api)
    local text = assert(fs.read(dir .. "/objects.jsonl"))
    assert(fs.write(dir .. "/objects.jsonl", text:sub(1, -20)))
    c, api = open(dir)
    t:eq((c:call("GET", MAPS .. "/a")), 200)
    t:eq((c:call("GET", MAPS .. "/b")), 404)
    t:eq((c:call("POST", MAPS, map "b")), 201)
    drop(api)
    c, api = open(dir)
    t:eq((c:call("GET", MAPS .. "/b")), 200)
    drop(api)
  end)

  test("a watch from before the restart has to list again", function(t)
    local dir = t:tmpdir() .. "/state"
    local c, api = open(dir)
    local _, first = c:call("POST", MAPS, map "a")
    c:call("POST", MAPS, map "b")
    drop(api)
    _, api = open(dir)
    t:eq(api.store:since("/configmaps", tonumber(first.metadata.resourceVersion)), nil)
    t:eq(api.store:since("/configmaps", api.store.revision), {})
    drop(api)
  end)

  test("history is thrown away when it outweighs the objects, and the file is private", function(t)
    local dir = t:tmpdir() .. "/state"
    local c, api = open(dir)
    c:call("POST", MAPS, map("a", { x = "0" }))
    for i = 1, 4200 do
      api.store:put("/configmaps", { apiVersion = "v1", kind = "ConfigMap", data = { x = tostring(i) },
        metadata = { name = "a", namespace = "default", uid = "u" } })
    end
    t:ok(api.journal.lines < 2500, api.journal.lines)
    drop(api)
    t:eq(assert(fs.stat(dir .. "/objects.jsonl")).mode & 63, 0)
    c, api = open(dir)
    local _, o = c:call("GET", MAPS .. "/a")
    t:eq(o.data.x, "4200")
    drop(api)
  end)

  test("pods that are made after a restart get addresses of their own", function(t)
    local dir = t:tmpdir() .. "/state"
    local function pod(c, name)
      c:call("POST", "/api/v1/namespaces/default/pods", { apiVersion = "v1", kind = "Pod", metadata = { name = name },
        spec = { containers = { { name = "c", image = "i:1" } } } })
    end
    local function address(c, name)
      return select(2, c:call("GET", "/api/v1/namespaces/default/pods/" .. name)).status.podIP
    end
    local c, api = open(dir)
    pod(c, "a")
    api:settle()
    drop(api)
    c, api = open(dir)
    pod(c, "b")
    api:settle()
    t:ok(address(c, "a"))
    t:ok(address(c, "a") ~= address(c, "b"))
    drop(api)
  end)

  test("tokens of service accounts stay valid", function(t)
    local dir = t:tmpdir() .. "/state"
    local c, api = open(dir)
    api:settle()
    local _, answer = c:call("POST", "/api/v1/namespaces/default/serviceaccounts/default/token",
      { apiVersion = "authentication.k8s.io/v1", kind = "TokenRequest", spec = { expirationSeconds = 600 } })
    drop(api)
    c, api = open(dir)
    local account = client.new(api, answer.status.token)
    local status, review = account:call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
      { apiVersion = "authentication.k8s.io/v1", kind = "SelfSubjectReview" })
    t:eq({ status, review.status.userInfo.username }, { 201, "system:serviceaccount:default:default" })
    c:call("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
    t:eq((account:call("GET", MAPS)), 401)
    drop(api)
  end)
end
