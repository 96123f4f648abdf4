-- The same requests to the sandbox's API and to a real kube-apiserver: the answers have to be the same.
local client = require "sandbox.kubernetes.client"
local crypto = require "ws.crypto"
local http = require "ws.http"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"
local real = require "sandbox.kubernetes.real"

local MERGE, STRATEGIC, JSON_PATCH, APPLY = "application/merge-patch+json", "application/strategic-merge-patch+json",
  "application/json-patch+json", "application/apply-patch+yaml"

local MAPS = "/api/v1/namespaces/default/configmaps"
local DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
local SERVICES = "/api/v1/namespaces/default/services"
local WIDGETS = "/apis/example.dev/v1/namespaces/default/widgets"

local function map(name, data, meta)
  local metadata = { name = name }
  for k, v in pairs(meta or {}) do metadata[k] = v end
  return { apiVersion = "v1", kind = "ConfigMap", metadata = metadata, data = data }
end

local function deployment(name, spec, container)
  local c = { name = "c", image = "nginx:1" }
  for k, v in pairs(container or {}) do c[k] = v end
  local o = { apiVersion = "apps/v1", kind = "Deployment", metadata = { name = name }, spec = {
    selector = { matchLabels = { app = name } }, template = { metadata = { labels = { app = name } },
      spec = { containers = { c } } } } }
  for k, v in pairs(spec or {}) do o.spec[k] = v end
  return o
end

local function pod_patch(spec)
  return { spec = { template = { spec = spec } } }
end

-- { method, path, body, content type }
local STORIES = {
  ["objects"] = {
    { "POST", MAPS, map("a", { x = "1" }) }, { "POST", MAPS, map("a") }, { "GET", MAPS .. "/a" },
    { "PUT", MAPS .. "/a", map("a", { x = "2" }) }, { "PUT", MAPS .. "/a", map("b", { x = "2" }) },
    { "PUT", MAPS .. "/a", map("a", { x = "3" }, { resourceVersion = "1" }) },
    { "PUT", MAPS .. "/none", map("none") }, { "POST", MAPS, map("Bad_Name") },
    { "POST", MAPS, { apiVersion = "v1", kind = "Secret", metadata = { name = "x" } } },
    { "POST", "/api/v1/namespaces/none/configmaps", map("a") }, { "POST", MAPS,
      map("v", nil, { resourceVersion = "7" }) },
    { "POST", MAPS .. "?dryRun=All", map("dry", { x = "1" }) }, { "GET", MAPS .. "/dry" },
    { "POST", MAPS, map("labels", nil, { labels = { ["bad key!"] = "x" } }) },
    { "POST", MAPS, map("labels", nil, { labels = { ok = "not ok" } }) },
    { "POST", MAPS, map("keys", { ["a/b"] = "x" }) }, { "DELETE", MAPS .. "/a" }, { "DELETE", MAPS .. "/a" },
    { "POST", MAPS, { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "i" }, data = { a = "1" },
      immutable = true } },
    { "PATCH", MAPS .. "/i", { data = { a = "2" } }, MERGE },
  },
  ["types and unknown fields"] = {
    { "POST", MAPS, map("t", { x = 1 }) }, { "POST", DEPLOYMENTS, deployment("t", { replicas = "many" }) },
    { "POST", DEPLOYMENTS .. "?fieldValidation=Strict", deployment("t", { replica = 1 }, { imag = "x" }) },
    { "POST", DEPLOYMENTS .. "?fieldValidation=Ignore", deployment("t", { replica = 1 }) },
    { "POST", "/api/v1/namespaces/default/secrets",
      { apiVersion = "v1", kind = "Secret", metadata = { name = "s" }, stringData = { a = "b" } } },
    { "POST", "/api/v1/namespaces/default/secrets",
      { apiVersion = "v1", kind = "Secret", metadata = { name = "tls" }, type = "kubernetes.io/tls" } },
  },
  ["defaults and validation"] = {
    { "POST", DEPLOYMENTS, deployment("d", nil, { ports = { { containerPort = 80 } },
      livenessProbe = { httpGet = { port = 80 } },
      resources = { limits = { cpu = "1" } }, env = { { name = "N",
        valueFrom = { fieldRef = { fieldPath = "metadata.name" } } } } }) },
    { "POST", DEPLOYMENTS, deployment("e", { selector = { matchLabels = { other = "x" } } }) },
    { "POST", DEPLOYMENTS, deployment("e", nil, { image = "" }) },
    { "POST", DEPLOYMENTS, deployment("e", nil, { name = "Not_Good" }) },
    { "POST", DEPLOYMENTS, deployment("e", nil, { volumeMounts = { { name = "v", mountPath = "/v" } } }) },
    { "PATCH", DEPLOYMENTS .. "/d", { spec = { selector = { matchLabels = { app = "new" } } } }, MERGE },
    { "POST", SERVICES, { apiVersion = "v1", kind = "Service", metadata = { name = "s" },
      spec = { clusterIP = "10.96.7.7",
      selector = { app = "d" }, ports = { { port = 80 } } } } },
    { "POST", SERVICES, { apiVersion = "v1", kind = "Service", metadata = { name = "h" }, spec = { clusterIP = "None",
      ports = { { port = 80, name = "a" }, { port = 81, name = "b", targetPort = "web" } } } } },
    { "POST", SERVICES, { apiVersion = "v1", kind = "Service", metadata = { name = "n" }, spec = { ports = {} } } },
    { "POST", SERVICES, { apiVersion = "v1", kind = "Service", metadata = { name = "x" },
      spec = { type = "ExternalName",
      externalName = "example.dev" } } },
    { "POST", SERVICES, { apiVersion = "v1", kind = "Service", metadata = { name = "1bad" },
      spec = { ports = { { port = 80 } } } } },
    { "PUT", SERVICES .. "/s", { apiVersion = "v1", kind = "Service", metadata = { name = "s" },
      spec = { selector = { app = "e" },
      ports = { { port = 81 } } } } },
    { "POST", "/apis/apps/v1/namespaces/default/statefulsets", { apiVersion = "apps/v1", kind = "StatefulSet",
      metadata = { name = "db" }, spec = { serviceName = "db", selector = { matchLabels = { app = "db" } },
        template = { metadata = { labels = { app = "db" } }, spec = { containers = { { name = "c", image = "i:1",
          volumeMounts = { { name = "data", mountPath = "/d" } } } } } },
        volumeClaimTemplates = { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" },
          resources = { requests = { storage = "1Gi" } } } } } } } },
    { "POST", "/apis/apps/v1/namespaces/default/daemonsets", { apiVersion = "apps/v1", kind = "DaemonSet",
      metadata = { name = "ds" }, spec = { selector = { matchLabels = { app = "ds" } },
        template = { metadata = { labels = { app = "ds" } }, spec = { containers = { { name = "c", image = "i" } },
          volumes = { { name = "e" }, { name = "s", secret = { secretName = "s" } } } } } } } },
    { "POST", "/apis/batch/v1/namespaces/default/cronjobs", { apiVersion = "batch/v1", kind = "CronJob",
      metadata = { name = "cj" },
      spec = { schedule = "0 * * * *", jobTemplate = { spec = { template = { spec = { restartPolicy = "Never",
        containers = { { name = "c", image = "i:1" } } } } } } } } },
    { "POST", "/apis/batch/v1/namespaces/default/jobs", { apiVersion = "batch/v1", kind = "Job",
      metadata = { name = "bad" },
      spec = { template = { spec = { containers = { { name = "c", image = "i:1" } } } } } } },
    { "POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", { apiVersion = "networking.k8s.io/v1",
      kind = "Ingress",
      metadata = { name = "i" }, spec = { rules = { { http = { paths = { { path = "/", pathType = "Prefix",
        backend = { service = { name = "s", port = { number = 80 } } } } } } } } } } },
    { "POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", { apiVersion = "networking.k8s.io/v1",
      kind = "NetworkPolicy", metadata = { name = "np" }, spec = { podSelector = json.object {},
        ingress = { { ports = { { port = 80 } } } } } } },
    { "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", { apiVersion = "rbac.authorization.k8s.io/v1",
      kind = "ClusterRoleBinding", metadata = { name = "crb" }, roleRef = { kind = "ClusterRole",
        name = "cluster-admin" },
      subjects = { { kind = "User", name = "me" } } } },
    { "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/crb",
      { roleRef = { kind = "ClusterRole", name = "view",
      apiGroup = "rbac.authorization.k8s.io" } }, MERGE },
    { "POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", { apiVersion = "autoscaling/v2",
      kind = "HorizontalPodAutoscaler", metadata = { name = "h" }, spec = { maxReplicas = 3,
        scaleTargetRef = { apiVersion = "apps/v1", kind = "Deployment", name = "d" } } } },
    { "GET", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h" },
  },
  ["patches"] = {
    { "POST", DEPLOYMENTS, deployment("p", nil, { env = { { name = "A", value = "1" },
      { name = "B", value = "2" } } }) },
    { "PATCH", DEPLOYMENTS .. "/p", pod_patch { containers = { { name = "side", image = "s:1" } } }, STRATEGIC },
    { "PATCH", DEPLOYMENTS .. "/p", pod_patch { ["$setElementOrder/containers"] = { { name = "side" }, { name = "c" } },
      containers = { { name = "c", env = { { name = "A", value = "9" }, { ["$patch"] = "delete", name = "B" } } } } },
        STRATEGIC },
    { "PATCH", DEPLOYMENTS .. "/p", pod_patch { containers = { { image = "x" } } }, STRATEGIC },
    { "PATCH", DEPLOYMENTS .. "/p", { spec = { strategy = { ["$retainKeys"] = { "type" }, type = "Recreate" } } },
      STRATEGIC },
    { "PATCH", DEPLOYMENTS .. "/p", pod_patch { containers = { { name = "only", image = "o:1" } } }, MERGE },
    { "PATCH", DEPLOYMENTS .. "/p", { metadata = { labels = { a = "b" } } }, MERGE },
    { "PATCH", DEPLOYMENTS .. "/p", { metadata = { labels = json.null } }, MERGE },
    { "PATCH", DEPLOYMENTS .. "/p", { { op = "replace", path = "/spec/replicas", value = 4 } }, JSON_PATCH },
    { "PATCH", DEPLOYMENTS .. "/p", { { op = "test", path = "/spec/replicas", value = 5 } }, JSON_PATCH },
    { "PATCH", DEPLOYMENTS .. "/p", { { op = "remove", path = "/spec/nothing" } }, JSON_PATCH },
    { "PATCH", DEPLOYMENTS .. "/p/scale", { spec = { replicas = 2 } }, MERGE },
    { "GET", DEPLOYMENTS .. "/p/scale" }, { "PATCH", DEPLOYMENTS .. "/p/scale", { spec = { replicas = -1 } }, MERGE },
    { "PATCH", DEPLOYMENTS .. "/p", { spec = { replicas = "x" } }, MERGE }, { "GET", DEPLOYMENTS .. "/p" },
    { "PATCH", DEPLOYMENTS .. "/p", { spec = { replicas = 1 } }, "application/json" },
  },
  ["changes of workloads"] = {
    { "POST", "/apis/apps/v1/namespaces/default/statefulsets", { apiVersion = "apps/v1", kind = "StatefulSet",
      metadata = { name = "set" }, spec = { serviceName = "set", selector = { matchLabels = { app = "set" } },
        template = { metadata = { labels = { app = "set" } }, spec = { containers = { { name = "c",
          image = "i:1" } } } },
        volumeClaimTemplates = { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" },
          resources = { requests = { storage = "1Gi" } } } } } } } },
    { "PATCH", "/apis/apps/v1/namespaces/default/statefulsets/set?fieldValidation=Strict",
      pod_patch { containers = { { name = "c", image = "i:2" } } }, STRATEGIC },
    { "PATCH", "/apis/apps/v1/namespaces/default/statefulsets/set", { spec = { serviceName = "other" } }, MERGE },
    { "PATCH", "/apis/apps/v1/namespaces/default/statefulsets/set", { spec = { updateStrategy = json.null } }, MERGE },
    { "POST", "/apis/batch/v1/namespaces/default/cronjobs", { apiVersion = "batch/v1", kind = "CronJob",
      metadata = { name = "c" }, spec = { schedule = "0 0 * * *", jobTemplate = { spec = { template = { spec = {
        restartPolicy = "OnFailure", containers = { { name = "c", image = "i:1" } } } } } } } } },
    { "PATCH", "/apis/batch/v1/namespaces/default/cronjobs/c?fieldValidation=Strict", { spec = { suspend = true } },
      STRATEGIC },
    { "POST", "/apis/batch/v1/namespaces/default/cronjobs", { apiVersion = "batch/v1", kind = "CronJob",
      metadata = { name = "d" }, spec = { schedule = "often", jobTemplate = { spec = { template = { spec = {
        restartPolicy = "OnFailure", containers = { { name = "c", image = "i:1" } } } } } } } } },
    { "POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", { apiVersion = "policy/v1",
      kind = "PodDisruptionBudget", metadata = { name = "p" }, spec = { minAvailable = "50%",
        selector = { matchLabels = { app = "x" } } } } },
    { "POST", "/api/v1/namespaces/default/pods", { apiVersion = "v1", kind = "Pod", metadata = { name = "pod" },
      spec = { containers = { { name = "c", image = "i:1", resources = { limits = { cpu = "1" } } } } } },
        ignore = true },
    { "PATCH", "/api/v1/namespaces/default/pods/pod", { spec = { restartPolicy = "Never" } }, MERGE },
    { "PATCH", "/api/v1/namespaces/default/pods/pod?fieldValidation=Strict", { metadata = { labels = { a = "b" } } },
      STRATEGIC,
      ignore = true },
    { "GET", "/api/v1/namespaces/default/pods/none/log" },
      { "GET", "/api/v1/namespaces/default/pods?fieldSelector=a%3Db" },
    { "GET", "/api/v1/namespaces/default/pods?labelSelector=a%20b" },
    { "DELETE", "/apis/apps/v1/namespaces/default/statefulsets/set", { kind = "DeleteOptions", apiVersion = "v1",
      preconditions = { uid = "wrong" } } },
    { "DELETE", "/apis/apps/v1/namespaces/default/statefulsets/set?dryRun=All" },
    { "GET", "/apis/apps/v1/namespaces/default/statefulsets/set" },
    { "POST", "/apis/apps/v1/namespaces/default/statefulsets/set", { kind = "StatefulSet" } },
    { "GET", "/apis/apps/v1/nothing" }, { "GET", "/apis/none/v1/things" },
    { "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", { apiVersion = "authorization.k8s.io/v1",
      kind = "SelfSubjectAccessReview", spec = { resourceAttributes = { verb = "get", resource = "pods" } } },
        ignore = true },
    { "POST", "/api/v1/namespaces", { apiVersion = "v1", kind = "Namespace", metadata = { name = "team" } } },
    { "PATCH", "/api/v1/namespaces/team", { metadata = { labels = { a = "b" } } }, MERGE },
    { "POST", "/api/v1/namespaces", { apiVersion = "v1", kind = "Namespace", metadata = { name = "Not.Good" } } },
    { "DELETE", "/api/v1/namespaces/team" }, { "POST", "/api/v1/namespaces/team/configmaps", map("late") },
  },
  ["server-side apply"] = {
    { "PATCH", MAPS .. "/s?fieldManager=one", map("s", { x = "1", y = "1" }), APPLY },
    { "PATCH", MAPS .. "/s?fieldManager=two", map("s", { x = "2" }), APPLY },
    { "PATCH", MAPS .. "/s?fieldManager=two", map("s", { x = "1", z = "3" }), APPLY },
    { "PATCH", MAPS .. "/s?fieldManager=one", map("s", { x = "1" }), APPLY },
    { "PATCH", MAPS .. "/s?fieldManager=two&force=true", map("s", { x = "2" }), APPLY },
    { "PATCH", MAPS .. "/s", map("s", { x = "2" }), APPLY },
    { "PATCH", DEPLOYMENTS .. "/s?fieldManager=one", deployment("s", { replicas = 3 },
      { ports = { { containerPort = 80 } }, env = { { name = "A", value = "1" } },
        livenessProbe = { httpGet = { port = 80 } } }), APPLY },
    { "PATCH", DEPLOYMENTS .. "/s/scale?fieldManager=hand", { spec = { replicas = 5 } }, MERGE },
    { "PATCH", DEPLOYMENTS .. "/s?fieldManager=one", deployment("s", { replicas = 3 }), APPLY },
    { "PATCH", DEPLOYMENTS .. "/s?fieldManager=one", deployment("s"), APPLY },
    { "PATCH", DEPLOYMENTS .. "/s?fieldManager=other", { apiVersion = "apps/v1", kind = "Deployment",
      metadata = { name = "s",
      labels = { team = "x" } }, spec = { template = { spec = { containers = { { name = "side",
        image = "s:1" } } } } } }, APPLY },
    { "PATCH", DEPLOYMENTS .. "/s?fieldManager=other", { apiVersion = "apps/v1", kind = "Deployment",
      metadata = { name = "s" } }, APPLY },
    { "GET", DEPLOYMENTS .. "/s" },
  },
  ["custom resources"] = {
    { "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", { apiVersion = "apiextensions.k8s.io/v1",
      kind = "CustomResourceDefinition", metadata = { name = "widgets.example.dev" }, spec = { group = "example.dev",
        scope = "Namespaced", names = { plural = "widgets", kind = "Widget" },
          versions = { { name = "v1", served = true,
          storage = true, subresources = { status = json.object {} }, schema = { openAPIV3Schema = { type = "object",
            properties = {
            spec = { type = "object", required = { "size" }, properties = { size = { type = "integer", minimum = 1,
              maximum = 9 },
              color = { type = "string", default = "red", enum = { "red", "blue" } } } },
            status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } } } },
              ignore = true },
    { wait = "/apis/example.dev/v1" },
    { "POST", WIDGETS, { apiVersion = "example.dev/v1", kind = "Widget", metadata = { name = "w" },
      spec = { size = 3, odd = 1 } } },
    { "POST", WIDGETS, { apiVersion = "example.dev/v1", kind = "Widget", metadata = { name = "x" },
      spec = { size = 12 } } },
    { "POST", WIDGETS, { apiVersion = "example.dev/v1", kind = "Widget", metadata = { name = "x" },
      spec = { size = "big" } } },
    { "POST", WIDGETS, { apiVersion = "example.dev/v1", kind = "Widget", metadata = { name = "x" },
      spec = { color = "green" } } },
    { "PATCH", WIDGETS .. "/w", { spec = { size = 4 } }, MERGE }, { "PATCH", WIDGETS .. "/w", { spec = { size = 4 } },
      STRATEGIC },
    { "PATCH", WIDGETS .. "/w/status", { status = { phase = "ok" }, spec = { size = 5 } }, MERGE },
    { "PATCH", WIDGETS .. "/w?fieldManager=m", { apiVersion = "example.dev/v1", kind = "Widget",
      spec = { color = "blue" } }, APPLY },
    { "GET", WIDGETS .. "/w" }, { "GET", WIDGETS .. "/none" }, { "DELETE", WIDGETS .. "/w" },
  },
}

local VOLATILE = { uid = true, resourceVersion = true, creationTimestamp = true, time = true, lastTransitionTime = true,
  lastUpdateTime = true, clusterIP = true, clusterIPs = true, hash = true }

--- An answer without what differs from run to run. In the sets of owned fields `.` says that a manager made the
--- container itself, which the sandbox notes for items of lists only; empty structures are not compared there either.
local function stable(v, in_set)
  if type(v) ~= "table" then return v end
  local out = {}
  for k, item in pairs(v) do
    local skipped = in_set and (k == "." or ((k == "f:metadata" or k == "f:podSelector") and next(item) == nil))
    if not VOLATILE[k] and item ~= json.null and not skipped then
      local inner = stable(item, in_set or k == "fieldsV1")
      if not (in_set and k ~= "." and type(item) == "table" and next(item) ~= nil and next(inner) == nil
        and item["."] == nil) then out[k] = inner end
    end
  end
  if v.managedFields then -- in the order of times, which are not compared
    table.sort(out.managedFields, function(a, b)
      return a.operation .. a.manager .. (a.subresource or "") < b.operation .. b.manager .. (b.subresource or "")
    end)
  end
  return out
end

--- What both servers say of an error: the words of messages may differ, what clients decide by may not.
local function essence(body)
  if type(body) ~= "table" then return { text = true } end
  if body.kind ~= "Status" then return stable(body) end
  local causes = {}
  for i, cause in ipairs((body.details or {}).causes or {}) do causes[i] = { field = cause.field,
    reason = cause.reason } end
  table.sort(causes, function(a, b) return tostring(a.field) < tostring(b.field) end)
  return { status = body.status, reason = body.reason, code = body.code, name = (body.details or {}).name,
    causes = causes }
end

local function lines_of(value, path, out)
  if type(value) ~= "table" then
    out[#out + 1] = path .. " = " .. tostring(value)
    return out
  end
  local keys = {}
  for k in pairs(value) do keys[#keys + 1] = k end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  if #keys == 0 then out[#out + 1] = path .. " = {}" end
  for _, k in ipairs(keys) do lines_of(value[k], path .. "." .. tostring(k), out) end
  return out
end

--- The lines that only one of two values has.
local function differences(ours, theirs)
  local sets, out = { {}, {} }, {}
  for i, value in ipairs { ours, theirs } do
    for _, line in ipairs(lines_of(value, "", {})) do sets[i][line] = true end
  end
  for line in pairs(sets[1]) do
    if not sets[2][line] then out[#out + 1] = "  sandbox only: " .. line end
  end
  for line in pairs(sets[2]) do
    if not sets[1][line] then out[#out + 1] = "  real only:    " .. line end
  end
  table.sort(out)
  return out
end

return function(test)
  test("answers are those of a real kube-apiserver", function(t)
    for _, name in ipairs { "etcd", "kube-apiserver" } do
      if not real.find(name) then t:skip(name .. " is not installed") end
    end
    local authority = assert(crypto.x509.create { subject = "test CA", ca = true })
    local server = real.new { name = "t", dir = t:tmpdir() .. "/real", token = "x", ca = authority,
      controllers = false }
    local info = assert(server:start())
    t:defer(function() server:stop() end)
    local ours = client.new(kubernetes.new { name = "t", token = "x", ca = { cert = authority.cert, key = "" } }, "x")
    local function theirs(method, path, body, content_type)
      local res = assert(http.request { method = method, url = info.endpoint .. path, ca = authority.cert, timeout = 30,
        headers = { authorization = "Bearer x", ["content-type"] = content_type or "application/json",
          ["user-agent"] = "wsrun/1" },
        body = body and json.encode(body) })
      return res.status, json.decode(res.body) or res.body
    end
    local found = {}
    for name, steps in pairs(STORIES) do
      for i, step in ipairs(steps) do
        if step.wait then
          for _ = 1, 100 do
            if theirs("GET", step.wait) == 200 then break end
            require "ws.task".sleep(0.1)
          end
        else
          local status, body = ours:call(step[1], step[2], step[3], step[4])
          local real_status, real_body = theirs(step[1], step[2], step[3], step[4])
          local list = differences({ http = status, body = essence(body) },
            { http = real_status, body = essence(real_body) })
          if #list > 0 and not step.ignore then
            found[#found + 1] = ("%s, step %d: %s %s\n%s\n    sandbox: %s\n    real:    %s"):format(name, i, step[1],
              step[2],
              table.concat(list, "\n"), tostring(body.message), tostring(real_body.message))
          end
        end
      end
    end
    t:ok(#found == 0, ("%d answers differ:\n%s"):format(#found, table.concat(found, "\n")))
  end, { timeout = 180 })
end
