local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"

local APPLY = "application/apply-patch+yaml"

local function cluster()
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "", key = "" } }
  return client.new(api, "x")
end

local function apply(c, manager, path, object, more)
  return c:call("PATCH", ("%s?fieldManager=%s%s"):format(path, manager, more or ""), json.encode(object), APPLY)
end

local MAP = "/api/v1/namespaces/default/configmaps/a"
local DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/web"

local function map(data)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "a" }, data = data }
end

local function deployment(spec, containers)
  spec.selector = { matchLabels = { app = "web" } }
  spec.template = { metadata = { labels = { app = "web" } }, spec = { containers = containers } }
  return { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" }, spec = spec }
end

return function(test)
  test("an apply creates, then changes, then changes nothing", function(t)
    local c = cluster()
    local status, made = apply(c, "one", MAP, map { x = "1" })
    t:eq(status, 201)
    t:eq({ made.metadata.managedFields[1].manager, made.metadata.managedFields[1].operation }, { "one", "Apply" })
    t:eq(made.metadata.managedFields[1].fieldsV1, { ["f:data"] = { ["f:x"] = {} } })
    local changed
    status, changed = apply(c, "one", MAP, map { x = "2" })
    t:eq({ status, changed.data.x }, { 200, "2" })
    local _, same = apply(c, "one", MAP, map { x = "2" })
    t:eq(same.metadata.resourceVersion, changed.metadata.resourceVersion)
  end)

  test("a field that is no longer applied goes, one that another manager set stays", function(t)
    local c = cluster()
    apply(c, "one", MAP, map { x = "1", y = "1" })
    c:call("PATCH", MAP, '{"data":{"z":"1"}}', "application/merge-patch+json")
    local _, o = apply(c, "one", MAP, map { x = "1" })
    t:eq(o.data, { x = "1", z = "1" })
  end)

  test("another manager's value is a conflict that names the field, and force takes it", function(t)
    local c = cluster()
    apply(c, "one", MAP, map { x = "1" })
    local status, answer = apply(c, "two", MAP, map { x = "2" })
    t:eq({ status, answer.reason }, { 409, "Conflict" })
    t:eq(answer.details.causes[1], { reason = "FieldManagerConflict", message = 'conflict with "one"',
      field = ".data.x" })
    local _, forced = apply(c, "two", MAP, map { x = "2" }, "&force=true")
    t:eq(forced.data.x, "2")
    t:eq(#forced.metadata.managedFields, 1)
    t:eq(forced.metadata.managedFields[1].manager, "two")
  end)

  test("the same value is shared, and stays until its last owner drops it", function(t)
    local c = cluster()
    apply(c, "one", MAP, map { x = "1", own = "1" })
    t:eq((apply(c, "two", MAP, map { x = "1" })), 200)
    local _, o = apply(c, "one", MAP, map { own = "1" })
    t:eq(o.data.x, "1")
    _, o = apply(c, "two", MAP, map())
    t:eq(o.data, { own = "1" })
  end)

  test("lists with keys merge by item", function(t)
    local c = cluster()
    apply(c, "one", DEPLOYMENT, deployment({ replicas = 1 }, { { name = "a", image = "a:1",
      env = { { name = "X", value = "1" } } } }))
    local side = { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = "web" },
      spec = { template = { spec = {
      containers = { { name = "side", image = "s:1" } } } } } }
    local status, o, _ = apply(c, "two", DEPLOYMENT, side)
    t:eq(status, 200)
    t:eq(#o.spec.template.spec.containers, 2)
    _, o = apply(c, "one", DEPLOYMENT, deployment({}, { { name = "a", image = "a:2" } }))
    t:eq(o.spec.template.spec.containers[1].image, "a:2")
    t:eq(o.spec.template.spec.containers[1].env, nil)
    t:eq(o.spec.template.spec.containers[2].name, "side")
    -- What is given up by all comes back as its default.
    t:eq(o.spec.replicas, 1)
    local entry
    for _, e in ipairs(o.metadata.managedFields) do entry = e.manager == "two" and e or entry end
    t:ok(entry.fieldsV1["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"side"}']["f:image"])
    side.spec.template.spec.containers = nil
    _, o = apply(c, "two", DEPLOYMENT, side)
    t:eq(#o.spec.template.spec.containers, 1)
  end)

  test("a structure goes as a whole with what was defaulted in it", function(t)
    local c = cluster()
    local probe = { httpGet = { port = 80 } }
    apply(c, "one", DEPLOYMENT, deployment({}, { { name = "a", image = "a:1", livenessProbe = probe } }))
    local _, o = apply(c, "one", DEPLOYMENT, deployment({}, { { name = "a", image = "a:1" } }))
    t:eq(o.spec.template.spec.containers[1].livenessProbe, nil)
  end)

  test("updates take over what they change", function(t)
    local c = cluster()
    apply(c, "one", DEPLOYMENT, deployment({ replicas = 2 }, { { name = "a", image = "a:1" } }))
    c:call("PATCH", DEPLOYMENT .. "/scale?fieldManager=hand", '{"spec":{"replicas":5}}', "application/merge-patch+json")
    local status, answer = apply(c, "one", DEPLOYMENT, deployment({ replicas = 2 }, { { name = "a", image = "a:1" } }))
    t:eq(status, 409)
    t:has(answer.message, 'conflict with "hand" with subresource "scale" using apps/v1: .spec.replicas')
    local _, o = apply(c, "one", DEPLOYMENT, deployment({}, { { name = "a", image = "a:1" } }))
    t:eq(o.spec.replicas, 5)
  end)

  test("a client may rewrite the list of managers", function(t)
    local c = cluster()
    c:call("POST", "/api/v1/namespaces/default/configmaps?fieldManager=old", map { x = "1" })
    local _, o = c:call("GET", MAP)
    t:eq(o.metadata.managedFields[1].operation, "Update")
    local operations = { { op = "replace", path = "/metadata/managedFields", value = { {
      manager = "new", operation = "Apply", apiVersion = "v1", time = "2026-01-01T00:00:00Z", fieldsType = "FieldsV1",
      fieldsV1 = { ["f:data"] = { ["f:x"] = json.object {} } } } } } }
    _, o = c:call("PATCH", MAP, json.encode(operations), "application/json-patch+json")
    t:eq({ #o.metadata.managedFields, o.metadata.managedFields[1].manager }, { 1, "new" })
    _, o = apply(c, "new", MAP, map())
    t:eq(o.data, nil)
  end)

  test("an apply without a manager, with managedFields, or of another object is refused", function(t)
    local c = cluster()
    t:eq((c:call("PATCH", MAP, json.encode(map { x = "1" }), APPLY)), 422)
    local object = map { x = "1" }
    object.metadata.managedFields = { { manager = "x" } }
    t:eq((apply(c, "one", MAP, object)), 400)
    object = map { x = "1" }
    object.metadata.name = "b"
    t:eq((apply(c, "one", MAP, object)), 400)
    object = map { x = "1" }
    object.metadata.resourceVersion = "7"
    t:eq((apply(c, "one", MAP, object)), 409)
    t:eq((apply(c, "one", MAP, map { x = 1 })), 400)
    t:eq((c:call("GET", MAP)), 404)
  end)

  test("dryRun=All shows the result and stores nothing", function(t)
    local c = cluster()
    local status, o = apply(c, "one", MAP, map { x = "1" }, "&dryRun=All")
    t:eq({ status, o.data.x }, { 201, "1" })
    t:eq((c:call("GET", MAP)), 404)
  end)
end
