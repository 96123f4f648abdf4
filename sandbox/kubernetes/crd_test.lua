local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"

local DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
local WIDGETS = "/apis/example.dev/v1/namespaces/default/widgets"

local function definition()
  return { apiVersion = "apiextensions.k8s.io/v1", kind = "CustomResourceDefinition",
    metadata = { name = "widgets.example.dev" },
    spec = { group = "example.dev", scope = "Namespaced",
      names = { plural = "widgets", kind = "Widget", shortNames = { "wd" }, categories = { "all" } },
      versions = { { name = "v1", served = true, storage = true, subresources = { status = json.object {}, scale = {
          specReplicasPath = ".spec.replicas", statusReplicasPath = ".status.replicas" } },
        additionalPrinterColumns = { { name = "Size", type = "integer", jsonPath = ".spec.size" },
          { name = "Ready", type = "string", jsonPath = '.status.conditions[?(@.type=="Ready")].status' } },
        selectableFields = { { jsonPath = ".spec.color" } },
        schema = { openAPIV3Schema = { type = "object", properties = {
          spec = { type = "object", required = { "size" }, properties = {
            size = { type = "integer", minimum = 1, maximum = 9 }, color = { type = "string", default = "red",
              enum = { "red", "blue" } },
            replicas = { type = "integer", default = 1 }, tags = { type = "array", maxItems = 2,
              items = { type = "string" } },
            parts = { type = "array", ["x-kubernetes-list-type"] = "map", ["x-kubernetes-list-map-keys"] = { "name" },
              items = { type = "object", properties = { name = { type = "string" }, n = { type = "integer" } } } },
            free = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } },
          status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } },
        { name = "v1beta1", served = true, storage = false, schema = { openAPIV3Schema = { type = "object",
          ["x-kubernetes-preserve-unknown-fields"] = true } } } } } }
end

local function cluster()
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "", key = "" } }
  local c = client.new(api, "x")
  return c, api, c:call("POST", DEFINITIONS, definition())
end

local function widget(spec)
  return { apiVersion = "example.dev/v1", kind = "Widget", metadata = { name = "w" }, spec = spec }
end

local function names(list)
  local out = {}
  for i, item in ipairs(list) do out[i] = item.name or item.resource end
  table.sort(out)
  return table.concat(out, " ")
end

return function(test)
  test("a definition is established at once and its kind is in discovery and OpenAPI", function(t)
    local c, _, status, made = cluster()
    t:eq(status, 201)
    local conditions = {}
    for _, condition in ipairs(made.status.conditions) do conditions[condition.type] = condition.status end
    t:eq(conditions, { NamesAccepted = "True", Established = "True" })
    local _, list = c:call("GET", "/apis/example.dev/v1")
    t:eq(names(list.resources), "widgets widgets/scale widgets/status")
    local _, group = c:call("GET", "/apis/example.dev")
    t:eq(group.preferredVersion.version, "v1")
    local res = c:send("GET", "/apis", nil,
      { accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" })
    t:has(res.headers["Content-Type"], "as=APIGroupDiscoveryList")
    t:has(res.body, '"example.dev"')
    local _, index = c:call("GET", "/openapi/v3")
    t:ok(index.paths["apis/example.dev/v1"])
    local _, document = c:call("GET", "/openapi/v3/apis/example.dev/v1")
    local operation = document.paths["/apis/example.dev/v1/namespaces/{namespace}/widgets/{name}"].patch
    t:eq(operation["x-kubernetes-group-version-kind"].kind, "Widget")
    t:eq(document.components.schemas["dev.example.v1.Widget"].properties.spec.properties.size.minimum, 1)
  end)

  test("instances get defaults, keep their generation, and lose unknown fields", function(t)
    local c = cluster()
    local status, o = c:call("POST", WIDGETS, widget { size = 3, odd = 1, free = { any = { "thing" } } })
    t:eq(status, 201)
    t:eq(o.spec, { size = 3, color = "red", replicas = 1, free = { any = { "thing" } } })
    t:eq(o.metadata.generation, 1)
    t:eq((c:call("POST", WIDGETS .. "?fieldValidation=Strict", widget { size = 3, odd = 1 })), 400)
    o.status = { phase = "x" }
    local _, updated = c:call("PUT", WIDGETS .. "/w/status", o)
    t:eq({ updated.status.phase, updated.metadata.generation }, { "x", 1 })
  end)

  test("values outside the schema are refused, all at once", function(t)
    local c = cluster()
    local status, answer = c:call("POST", WIDGETS, widget { size = 12, color = "green", tags = { "a", "b", "c" } })
    t:eq({ status, answer.reason }, { 422, "Invalid" })
    local fields = {}
    for _, cause in ipairs(answer.details.causes) do fields[cause.field] = cause.reason end
    t:eq(fields, { ["spec.size"] = "FieldValueInvalid", ["spec.color"] = "FieldValueNotSupported",
      ["spec.tags"] = "FieldValueTooMany" })
    status, answer = c:call("POST", WIDGETS, widget { size = "big" })
    t:eq(status, 422)
    t:has(answer.message, 'spec.size in body must be of type integer: "string"')
    status, answer = c:call("POST", WIDGETS, widget { color = "red" })
    t:eq({ status, answer.details.causes[1].field }, { 422, "spec.size" })
  end)

  test("patches: merge and apply by the schema's keys, strategic refused", function(t)
    local c = cluster()
    c:call("POST", WIDGETS, widget { size = 3, parts = { { name = "a", n = 1 } } })
    t:eq((c:call("PATCH", WIDGETS .. "/w", "{}", "application/strategic-merge-patch+json")), 415)
    local _, o = c:call("PATCH", WIDGETS .. "/w", '{"spec":{"size":4}}', "application/merge-patch+json")
    t:eq({ o.spec.size, o.metadata.generation }, { 4, 2 })
    _, o = c:call("PATCH", WIDGETS .. "/w?fieldManager=m",
      '{"apiVersion":"example.dev/v1","kind":"Widget","spec":{"parts":[{"name":"b","n":2}]}}',
        "application/apply-patch+yaml")
    t:eq(o.spec.parts, { { name = "a", n = 1 }, { name = "b", n = 2 } })
  end)

  test("columns, scale and selectable fields", function(t)
    local c = cluster()
    c:call("POST", WIDGETS, widget { size = 3 })
    local res = c:send("GET", WIDGETS, nil, { accept = "application/json;as=Table;v=v1;g=meta.k8s.io" })
    local shown = json.decode(res.body)
    t:eq({ #shown.columnDefinitions, shown.columnDefinitions[2].name, shown.rows[1].cells[2] }, { 3, "Size", 3 })
    local _, scale = c:call("PATCH", WIDGETS .. "/w/scale", '{"spec":{"replicas":4}}', "application/merge-patch+json")
    t:eq({ scale.kind, scale.spec.replicas }, { "Scale", 4 })
    local _, list = c:call("GET", WIDGETS .. "?fieldSelector=spec.color%3Dred")
    t:eq(#list.items, 1)
    t:eq((c:call("GET", WIDGETS .. "?fieldSelector=spec.size%3D3")), 400)
  end)

  test("the other version shows the same object", function(t)
    local c = cluster()
    c:call("POST", WIDGETS, widget { size = 3 })
    local _, o = c:call("GET", "/apis/example.dev/v1beta1/namespaces/default/widgets/w")
    t:eq({ o.apiVersion, o.spec.size }, { "example.dev/v1beta1", 3 })
    t:eq((c:call("POST", WIDGETS, { apiVersion = "example.dev/v1beta1", kind = "Widget", metadata = { name = "x" } })),
      400)
  end)

  test("a definition that contradicts itself is refused", function(t)
    local c = cluster()
    local bad = definition()
    bad.metadata.name = "gadgets.example.dev"
    t:eq((c:call("POST", DEFINITIONS, bad)), 422)
    bad = definition()
    bad.metadata.name, bad.spec.names.plural = "gadgets.example.dev", "gadgets"
    bad.spec.versions[1].storage = false
    local status, answer = c:call("POST", DEFINITIONS, bad)
    t:eq(status, 422)
    t:has(answer.message, "exactly one version marked as storage version")
  end)

  test("instances go with their definition, and so does the kind", function(t)
    local c, api = cluster()
    c:call("POST", WIDGETS, widget { size = 3 })
    c:call("DELETE", DEFINITIONS .. "/widgets.example.dev")
    api:settle()
    t:eq((c:call("GET", WIDGETS)), 404)
    t:eq(api.store:get("example.dev/widgets", "default", "w"), nil)
  end)
end
