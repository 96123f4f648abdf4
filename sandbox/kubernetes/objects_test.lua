local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"

local function cluster()
  local api = kubernetes.new { name = "test", token = "secret", ca = { cert = "", key = "" } }
  return client.new(api, "secret"), api
end

local function config_map(name, data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = name }, data = data }
end

local MAPS = "/api/v1/namespaces/default/configmaps"

return function(test)
  test("an object is created, read, replaced and deleted", function(t)
    local c = cluster()
    local status, made = c:call("POST", MAPS, config_map("a", { x = "1" }))
    t:eq(status, 201)
    t:ok(made.metadata.uid)
    t:eq(made.metadata.namespace, "default")
    local _, read = c:call("GET", MAPS .. "/a")
    t:eq(read.data.x, "1")
    read.data.x = "2"
    local updated
    status, updated = c:call("PUT", MAPS .. "/a", read)
    t:eq(status, 200)
    t:ok(tonumber(updated.metadata.resourceVersion) > tonumber(made.metadata.resourceVersion))
    local gone
    status, gone = c:call("DELETE", MAPS .. "/a")
    t:eq({ status, gone.status, gone.details.name }, { 200, "Success", "a" })
    status, gone = c:call("GET", MAPS .. "/a")
    t:eq({ status, gone.reason, gone.message }, { 404, "NotFound", 'configmaps "a" not found' })
  end)

  test("an update that changes nothing keeps the version", function(t)
    local c = cluster()
    local _, made = c:call("POST", MAPS, config_map("a", { x = "1" }))
    local _, same = c:call("PUT", MAPS .. "/a", made)
    t:eq(same.metadata.resourceVersion, made.metadata.resourceVersion)
  end)

  test("the second of two writers loses, and one without a version wins", function(t)
    local c = cluster()
    local _, first = c:call("POST", MAPS, config_map("a", { x = "1" }))
    local second = json.decode(json.encode(first))
    first.data.x = "first"
    t:eq((c:call("PUT", MAPS .. "/a", first)), 200)
    second.data.x = "second"
    local status, answer = c:call("PUT", MAPS .. "/a", second)
    t:eq({ status, answer.reason }, { 409, "Conflict" })
    second.metadata.resourceVersion = nil
    t:eq((c:call("PUT", MAPS .. "/a", second)), 200)
  end)

  test("creating twice is refused with AlreadyExists", function(t)
    local c = cluster()
    c:call("POST", MAPS, config_map("a"))
    local status, answer = c:call("POST", MAPS, config_map("a"))
    t:eq({ status, answer.reason, answer.message }, { 409, "AlreadyExists", 'configmaps "a" already exists' })
  end)

  test("a missing namespace, a wrong kind, a wrong name and no name are refused", function(t)
    local c = cluster()
    local status, answer = c:call("POST", "/api/v1/namespaces/none/configmaps", config_map("a"))
    t:eq({ status, answer.message }, { 404, 'namespaces "none" not found' })
    status = c:call("POST", MAPS, { apiVersion = "v1", kind = "Secret", metadata = { name = "a" } })
    t:eq(status, 400)
    status, answer = c:call("POST", MAPS, config_map("Not_A_Name"))
    t:eq({ status, answer.reason, answer.details.causes[1].field }, { 422, "Invalid", "metadata.name" })
    status, answer = c:call("POST", MAPS, { apiVersion = "v1", kind = "ConfigMap" })
    t:eq({ status, answer.details.causes[1].reason }, { 422, "FieldValueRequired" })
  end)

  test("names are generated", function(t)
    local c = cluster()
    local object = config_map(nil)
    object.metadata.generateName = "run-"
    local _, made = c:call("POST", MAPS, object)
    t:ok(made.metadata.name:find "^run%-%w%w%w%w%w$")
  end)

  test("a wrong type is refused, an unknown field as fieldValidation says", function(t)
    local c = cluster()
    local wrong = config_map("a", { x = 1 })
    local status, answer = c:call("POST", MAPS, wrong)
    t:eq(status, 400)
    t:has(answer.message, "cannot unmarshal number into Go struct field ConfigMap.data.x of type string")
    local odd = config_map("a", { x = "1" })
    odd.colour = "red"
    status, answer = c:call("POST", MAPS .. "?fieldValidation=Strict", odd)
    t:eq(status, 400)
    t:has(answer.message, 'strict decoding error: unknown field "colour"')
    local res = c:send("POST", MAPS .. "?fieldValidation=Warn", odd)
    t:eq(res.status, 201)
    t:has(res.headers.Warning, 'unknown field \\"colour\\"')
    t:eq(json.decode(res.body).colour, nil)
  end)

  test("nothing is stored with dryRun=All", function(t)
    local c = cluster()
    t:eq((c:call("POST", MAPS .. "?dryRun=All", config_map("a"))), 201)
    t:eq((c:call("GET", MAPS .. "/a")), 404)
  end)

  test("status is written through its own path only", function(t)
    local c = cluster()
    local path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    c:call("POST", path, { apiVersion = "policy/v1", kind = "PodDisruptionBudget", metadata = { name = "b" },
      spec = { minAvailable = 1, selector = { matchLabels = { a = "b" } } },
      status = { currentHealthy = 7, desiredHealthy = 7, expectedPods = 7, disruptionsAllowed = 7 } })
    local _, made = c:call("GET", path .. "/b")
    t:eq(made.status.currentHealthy, 0)
    made.status = { currentHealthy = 3, desiredHealthy = 1, expectedPods = 3, disruptionsAllowed = 2 }
    made.spec.minAvailable = 9
    local status, written = c:call("PUT", path .. "/b/status", made)
    t:eq({ status, written.spec.minAvailable, written.status.currentHealthy }, { 200, 1, 3 })
    written.status.currentHealthy = 99
    written.spec.minAvailable = 2
    local _, main = c:call("PUT", path .. "/b", written)
    t:eq({ main.spec.minAvailable, main.status.currentHealthy, main.metadata.generation }, { 2, 3, 2 })
  end)

  test("secrets fold stringData, services get and keep an address", function(t)
    local c = cluster()
    local _, secret = c:call("POST", "/api/v1/namespaces/default/secrets",
      { apiVersion = "v1", kind = "Secret", metadata = { name = "s" }, stringData = { user = "root" } })
    t:eq({ secret.data.user, secret.stringData, secret.type }, { "cm9vdA==", nil, "Opaque" })
    local path = "/api/v1/namespaces/default/services"
    local service = { apiVersion = "v1", kind = "Service", metadata = { name = "web" },
      spec = { ports = { { port = 80 } } } }
    local _, made = c:call("POST", path, service)
    t:ok(made.spec.clusterIP:find "^10%.96%.")
    t:eq(made.spec.ports[1].targetPort, 80)
    local _, replaced = c:call("PUT", path .. "/web", service)
    t:eq(replaced.spec.clusterIP, made.spec.clusterIP)
    service.spec.clusterIP = "10.96.9.9"
    t:eq((c:call("PUT", path .. "/web", service)), 422)
  end)

  test("a deployment whose selector misses its labels, or changes, is refused", function(t)
    local c = cluster()
    local path = "/apis/apps/v1/namespaces/default/deployments"
    local deployment = { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" }, spec = {
      selector = { matchLabels = { app = "web" } },
      template = { metadata = { labels = { app = "other" } }, spec = { containers = { { name = "c",
        image = "i:1" } } } } } }
    local status, answer = c:call("POST", path, deployment)
    t:eq(status, 422)
    t:has(answer.message, "`selector` does not match template `labels`")
    deployment.spec.template.metadata.labels.app = "web"
    t:eq((c:call("POST", path, deployment)), 201)
    deployment.spec.template.metadata.labels.app = "new"
    deployment.spec.selector.matchLabels.app = "new"
    status, answer = c:call("PUT", path .. "/web", deployment)
    t:eq(status, 422)
    t:has(answer.message, "field is immutable")
  end)

  test("finalizers hold a deleted object until they are gone", function(t)
    local c = cluster()
    local object = config_map("a")
    object.metadata.finalizers = json.array { "example.dev/wait" }
    c:call("POST", MAPS, object)
    local status, held = c:call("DELETE", MAPS .. "/a")
    t:eq(status, 200)
    t:ok(held.metadata.deletionTimestamp)
    t:eq((c:call("GET", MAPS .. "/a")), 200)
    c:call("PATCH", MAPS .. "/a", { metadata = { finalizers = json.null } }, "application/merge-patch+json")
    t:eq((c:call("GET", MAPS .. "/a")), 404)
  end)

  test("what an owner leaves behind is collected, or orphaned", function(t)
    local c, api = cluster()
    local function dependant(name, owner)
      local object = config_map(name)
      object.metadata.ownerReferences = json.array { { apiVersion = "v1", kind = "ConfigMap",
        name = owner.metadata.name,
        uid = owner.metadata.uid } }
      c:call("POST", MAPS, object)
    end
    local _, first = c:call("POST", MAPS, config_map("first"))
    local _, second = c:call("POST", MAPS, config_map("second"))
    dependant("child-1", first)
    dependant("child-2", second)
    c:call("DELETE", MAPS .. "/first", { kind = "DeleteOptions", apiVersion = "v1", propagationPolicy = "Background" })
    c:call("DELETE", MAPS .. "/second", { kind = "DeleteOptions", apiVersion = "v1", propagationPolicy = "Orphan" })
    api:settle()
    t:eq((c:call("GET", MAPS .. "/child-1")), 404)
    local status, orphan = c:call("GET", MAPS .. "/child-2")
    t:eq({ status, orphan.metadata.ownerReferences }, { 200, nil })
  end)

  test("a foreground deletion waits for dependants", function(t)
    local c, api = cluster()
    local path = "/apis/apps/v1/namespaces/default/deployments"
    c:call("POST", path, { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" }, spec = {
      selector = { matchLabels = { app = "web" } },
      template = { metadata = { labels = { app = "web" } }, spec = { containers = { { name = "c",
        image = "i:1" } } } } } })
    api:settle()
    c:call("DELETE", path .. "/web", { propagationPolicy = "Foreground" })
    local status, held = c:call("GET", path .. "/web")
    t:eq({ status, held.metadata.finalizers[1] }, { 200, "foregroundDeletion" })
    api:settle()
    t:eq((c:call("GET", path .. "/web")), 404)
    local _, pods = c:call("GET", "/api/v1/namespaces/default/pods")
    t:eq(#pods.items, 0)
  end)

  test("a namespace gets an account, refuses writes while it goes, and takes everything with it", function(t)
    local c, api = cluster()
    c:call("POST", "/api/v1/namespaces", { apiVersion = "v1", kind = "Namespace", metadata = { name = "team" } })
    api:settle()
    t:eq((c:call("GET", "/api/v1/namespaces/team/serviceaccounts/default")), 200)
    c:call("POST", "/api/v1/namespaces/team/configmaps", config_map("a"))
    local _, going = c:call("DELETE", "/api/v1/namespaces/team")
    t:eq(going.status.phase, "Terminating")
    local status, answer = c:call("POST", "/api/v1/namespaces/team/configmaps", config_map("b"))
    t:eq({ status, answer.reason }, { 403, "Forbidden" })
    api:settle()
    t:eq((c:call("GET", "/api/v1/namespaces/team")), 404)
    t:eq((c:call("GET", "/api/v1/namespaces/team/configmaps/a")), 404)
  end)

  test("a wrong token is refused, the version is public, unknown paths are plain 404", function(t)
    local c, api = cluster()
    local stranger = client.new(api, "wrong")
    local status, answer = stranger:call("GET", MAPS)
    t:eq({ status, answer.reason }, { 401, "Unauthorized" })
    t:eq((stranger:call("GET", "/version")), 200)
    status, answer = c:call("GET", "/nowhere")
    t:eq({ status, answer }, { 404, "404 page not found\n" })
    t:eq((c:call("POST", MAPS .. "/a", {})), 405)
  end)

  test("a body that is not an object of the kind gets one clear error", function(t)
    local c = cluster()
    for _, text in ipairs { "{", "[]", "3", '{"apiVersion":"v1","kind":"ConfigMap","metadata":3}' } do
      local status, answer = c:call("POST", MAPS, text)
      t:eq({ status, answer.reason, text }, { 400, "BadRequest", text })
    end
    t:eq((c:call("POST", MAPS, "x", "application/cbor")), 415)
    t:eq((c:call("POST", MAPS, "")), 400)
  end)

  test("yaml bodies are read", function(t)
    local c = cluster()
    local status, made = c:call("POST", MAPS, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: b\n",
      "application/yaml")
    t:eq({ status, made.data.a }, { 201, "b" })
  end)
end
