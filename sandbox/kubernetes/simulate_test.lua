local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"

local CORE, APPS, BATCH = "/api/v1/namespaces/default/", "/apis/apps/v1/namespaces/default/",
  "/apis/batch/v1/namespaces/default/"

local function cluster()
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "CA", key = "" } }
  return client.new(api, "x"), api
end

local function workload(kind, name, image, more)
  local spec = { selector = { matchLabels = { app = name } }, template = { metadata = { labels = { app = name } },
    spec = { containers = { { name = "c", image = image, ports = { { containerPort = 8080, name = "http" } } } } } } }
  for k, v in pairs(more or {}) do spec[k] = v end
  return { apiVersion = "apps/v1", kind = kind, metadata = { name = name }, spec = spec }
end

local function condition(object, kind)
  for _, c in ipairs((object.status or {}).conditions or {}) do
    if c.type == kind then return c end
  end
  return {}
end

local function merge(c, path, change)
  return c:call("PATCH", path, json.encode(change), "application/merge-patch+json")
end

local function set_image(c, path, image)
  return c:call("PATCH", path, json.encode { spec = { template = { spec = { containers = { { name = "c",
    image = image } } } } } },
    "application/strategic-merge-patch+json")
end

local function list(c, path)
  return select(2, c:call("GET", path)).items
end

return function(test)
  test("a deployment becomes ready through a replica set and pods", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1", { replicas = 2 }))
    api:settle()
    local _, d = c:call("GET", APPS .. "deployments/web")
    t:eq({ d.status.observedGeneration, d.status.replicas, d.status.updatedReplicas, d.status.readyReplicas,
      d.status.availableReplicas },
      { 1, 2, 2, 2, 2 })
    t:eq({ condition(d, "Available").status, condition(d, "Progressing").reason }, { "True", "NewReplicaSetAvailable" })
    local sets = list(c, APPS .. "replicasets?labelSelector=app%3Dweb")
    t:eq({ #sets, sets[1].status.readyReplicas, sets[1].metadata.annotations["deployment.kubernetes.io/revision"] },
      { 1, 2, "1" })
    t:ok(sets[1].spec.template.metadata.labels["pod-template-hash"])
    local pods = list(c, CORE .. "pods")
    t:eq({ #pods, pods[1].status.phase, condition(pods[1], "Ready").status }, { 2, "Running", "True" })
    t:ok(pods[1].status.podIP ~= pods[2].status.podIP)
  end)

  test("an update keeps old pods until new ones are ready, and undo brings the old set back", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1", { replicas = 3 }))
    api:settle()
    local least = 3
    api.store:listen(function(change)
      if change.id == "apps/deployments" then least = math.min(least, change.object.status.availableReplicas or 0) end
    end)
    set_image(c, APPS .. "deployments/web", "nginx:2")
    api:settle()
    t:eq(least, 3)
    local _, d = c:call("GET", APPS .. "deployments/web")
    t:eq({ d.status.observedGeneration, d.status.replicas,
      d.metadata.annotations["deployment.kubernetes.io/revision"] }, { 2, 3, "2" })
    t:eq(#list(c, APPS .. "replicasets"), 2)
    set_image(c, APPS .. "deployments/web", "nginx:1")
    api:settle()
    t:eq(#list(c, APPS .. "replicasets"), 2)
    _, d = c:call("GET", APPS .. "deployments/web")
    t:eq({ d.metadata.annotations["deployment.kubernetes.io/revision"], #list(c, CORE .. "pods") }, { "3", 3 })
  end)

  test("a broken image never becomes ready and says why; a good one repairs it", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1", { progressDeadlineSeconds = 60 }))
    api:settle()
    set_image(c, APPS .. "deployments/web", "registry.local/broken:2")
    api:settle()
    local _, d = c:call("GET", APPS .. "deployments/web")
    t:eq({ d.status.availableReplicas, d.status.updatedReplicas, condition(d, "Available").status }, { 1, 1, "True" })
    t:eq(condition(d, "Progressing").reason ~= "NewReplicaSetAvailable", true)
    local waiting, reasons = nil, {}
    for _, p in ipairs(list(c, CORE .. "pods")) do
      waiting = p.status.containerStatuses[1].state.waiting or waiting
    end
    t:eq(waiting.reason, "ImagePullBackOff")
    for _, e in ipairs(list(c, CORE .. "events?fieldSelector=type%3DWarning")) do reasons[e.reason] = true end
    t:eq(reasons, { Failed = true })
    set_image(c, APPS .. "deployments/web", "nginx:3")
    api:settle()
    _, d = c:call("GET", APPS .. "deployments/web")
    t:eq({ d.status.replicas, d.status.readyReplicas, condition(d, "Progressing").reason },
      { 1, 1, "NewReplicaSetAvailable" })
  end)

  test("scaling, pausing and recreating", function(t)
    local c, api = cluster()
    local path = APPS .. "deployments/web"
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1",
      { strategy = { type = "Recreate" }, replicas = 2 }))
    api:settle()
    merge(c, path .. "/scale", { spec = { replicas = 4 } })
    api:settle()
    t:eq(#list(c, CORE .. "pods"), 4)
    local most = 0
    api.store:listen(function(change)
      if change.id == "/pods" then most = math.max(most, #api.store:list "/pods") end
    end)
    set_image(c, path, "nginx:2")
    api:settle()
    t:eq(most, 4)
    merge(c, path, { spec = { paused = true } })
    set_image(c, path, "nginx:3")
    api:settle()
    t:eq(list(c, CORE .. "pods")[1].spec.containers[1].image, "nginx:2")
    merge(c, path, { spec = { paused = json.null } })
    api:settle()
    t:eq(list(c, CORE .. "pods")[1].spec.containers[1].image, "nginx:3")
    merge(c, path, { spec = { replicas = 0 } })
    api:settle()
    t:eq(#list(c, CORE .. "pods"), 0)
  end)

  test("stateful sets go in order, with claims, and update from the last", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "statefulsets", workload("StatefulSet", "db", "pg:1", { replicas = 2, serviceName = "db",
      volumeClaimTemplates = { { metadata = { name = "data" }, spec = { accessModes = { "ReadWriteOnce" },
        resources = { requests = { storage = "1Gi" } } } } } }))
    api:settle()
    local _, s = c:call("GET", APPS .. "statefulsets/db")
    t:eq({ s.status.readyReplicas, s.status.updatedReplicas, s.status.currentRevision == s.status.updateRevision,
      s.status.observedGeneration },
      { 2, 2, true, 1 })
    local _, claim = c:call("GET", CORE .. "persistentvolumeclaims/data-db-1")
    t:eq(claim.status.phase, "Bound")
    local _, volume = c:call("GET", "/api/v1/persistentvolumes/" .. claim.spec.volumeName)
    t:eq({ volume.status.phase, volume.spec.claimRef.name }, { "Bound", "data-db-1" })
    local order = {}
    api.store:listen(function(change)
      if change.id == "/pods" and change.type == "DELETED" then order[#order + 1] = change.object.metadata.name end
    end)
    set_image(c, APPS .. "statefulsets/db", "pg:2")
    api:settle()
    t:eq(order, { "db-1", "db-0" })
    _, s = c:call("GET", APPS .. "statefulsets/db")
    t:eq({ s.status.updatedReplicas, s.status.currentRevision == s.status.updateRevision }, { 2, true })
    t:eq(#list(c, APPS .. "controllerrevisions"), 2)
    merge(c, APPS .. "statefulsets/db", { spec = { replicas = 1 } })
    api:settle()
    t:eq(#list(c, CORE .. "pods"), 1)
  end)

  test("daemon sets run on every node", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "daemonsets", workload("DaemonSet", "agent", "a:1"))
    api:settle()
    local _, d = c:call("GET", APPS .. "daemonsets/agent")
    t:eq({ d.status.desiredNumberScheduled, d.status.numberAvailable, d.status.updatedNumberScheduled }, { 2, 2, 2 })
    set_image(c, APPS .. "daemonsets/agent", "a:2")
    api:settle()
    for _, p in ipairs(list(c, CORE .. "pods")) do t:eq(p.spec.containers[1].image, "a:2") end
  end)

  test("jobs complete, fail after their limit, and fail at their deadline", function(t)
    local c, api = cluster()
    local function job(name, container, more)
      local spec = { template = { spec = { restartPolicy = "Never", containers = { container } } } }
      for k, v in pairs(more or {}) do spec[k] = v end
      t:eq((c:call("POST", BATCH .. "jobs", { apiVersion = "batch/v1", kind = "Job", metadata = { name = name },
        spec = spec })), 201)
    end
    job("good", { name = "c", image = "busybox", command = { "echo", "hi" } }, { completions = 3, parallelism = 2 })
    job("bad", { name = "c", image = "busybox", command = { "sh", "-c", "echo no; exit 3" } }, { backoffLimit = 1 })
    job("stuck", { name = "c", image = "broken" }, { activeDeadlineSeconds = 1 })
    api:settle(30)
    require "ws.task".sleep(1.2)
    api:settle(5)
    local _, good = c:call("GET", BATCH .. "jobs/good")
    t:eq({ condition(good, "Complete").status, good.status.succeeded, good.status.active }, { "True", 3, nil })
    t:ok(good.status.completionTime)
    local _, bad = c:call("GET", BATCH .. "jobs/bad")
    t:eq({ condition(bad, "Failed").reason, bad.status.failed }, { "BackoffLimitExceeded", 2 })
    local _, stuck = c:call("GET", BATCH .. "jobs/stuck")
    t:eq(condition(stuck, "Failed").reason, "DeadlineExceeded")
    local status = c:call("PATCH", BATCH .. "jobs/good", '{"spec":{"template":{"spec":{"restartPolicy":"OnFailure"}}}}',
      "application/merge-patch+json")
    t:eq(status, 422)
  end)

  test("services have endpoints, load balancers and ingresses an address", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1", { replicas = 2 }))
    c:call("POST", CORE .. "services", { apiVersion = "v1", kind = "Service", metadata = { name = "web" },
      spec = { type = "LoadBalancer", selector = { app = "web" }, ports = { { port = 80, targetPort = "http" } } } })
    local ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
    c:call("POST", ingresses, { apiVersion = "networking.k8s.io/v1", kind = "Ingress", metadata = { name = "web" },
      spec = { defaultBackend = { service = { name = "web", port = { number = 80 } } } } })
    api:settle()
    local _, service = c:call("GET", CORE .. "services/web")
    local _, ingress = c:call("GET", ingresses .. "/web")
    local first, second = service.status.loadBalancer.ingress[1].ip, ingress.status.loadBalancer.ingress[1].ip
    t:ok(first and second and first ~= second)
    local _, endpoints = c:call("GET", CORE .. "endpoints/web")
    t:eq({ #endpoints.subsets[1].addresses, endpoints.subsets[1].ports[1].port }, { 2, 8080 })
    local slices = list(c, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
      .. "?labelSelector=kubernetes.io/service-name%3Dweb")
    t:eq({ #slices, #slices[1].endpoints }, { 1, 2 })
    c:call("DELETE", CORE .. "services/web")
    api:settle()
    t:eq((c:call("GET", CORE .. "endpoints/web")), 404)
  end)

  test("a pod waits for the secret it needs", function(t)
    local c, api = cluster()
    local d = workload("Deployment", "web", "nginx:1")
    d.spec.template.spec.containers[1].env = { { name = "P", valueFrom = { secretKeyRef = { name = "late",
      key = "p" } } } }
    c:call("POST", APPS .. "deployments", d)
    api:settle(5)
    local pod = list(c, CORE .. "pods")[1]
    t:eq(pod.status.containerStatuses[1].state.waiting.reason, "CreateContainerConfigError")
    c:call("POST", CORE .. "secrets", { apiVersion = "v1", kind = "Secret", metadata = { name = "late" },
      stringData = { p = "1" } })
    api:settle(5)
    t:eq(list(c, CORE .. "pods")[1].status.phase, "Running")
  end)

  test("a pod without its service account is refused, and made when the account is there", function(t)
    local c, api = cluster()
    local function with_account(kind)
      local o = workload(kind, kind:lower(), "nginx:1")
      o.spec.template.spec.serviceAccountName = "runner"
      t:eq((c:call("POST", APPS .. kind:lower() .. "s", o)), 201)
    end
    for _, kind in ipairs { "Deployment", "StatefulSet", "DaemonSet" } do with_account(kind) end
    api:settle(5)
    t:eq(#list(c, CORE .. "pods"), 0)
    local events = list(c, CORE .. "events?fieldSelector=reason%3DFailedCreate")
    t:eq(#events, 3)
    t:has(events[1].message, 'serviceaccount "runner" not found')
    c:call("POST", CORE .. "serviceaccounts", { apiVersion = "v1", kind = "ServiceAccount",
      metadata = { name = "runner" } })
    api:settle(5)
    t:eq(#list(c, CORE .. "pods"), 4)
  end)

  test("logs: what a container said, why one has not begun, which one is meant", function(t)
    local c, api = cluster()
    c:call("POST", CORE .. "pods", { apiVersion = "v1", kind = "Pod", metadata = { name = "p" }, spec = { containers = {
      { name = "a", image = "i:1", ports = { { containerPort = 80 } } }, { name = "b", image = "i:1" } } } })
    local status, answer = c:call("GET", CORE .. "pods/p/log?container=a")
    t:eq(status, 400)
    t:has(answer.message, "waiting to start")
    api:settle()
    status, answer = c:call("GET", CORE .. "pods/p/log")
    t:eq(status, 400)
    t:has(answer.message, "choose one of: [a b]")
    status, answer = c:call("GET", CORE .. "pods/p/log?container=a")
    t:eq({ status, answer }, { 200, "starting a (image i:1)\nlistening on :80\nready\n" })
    status, answer = c:call("GET", CORE .. "pods/p/log?container=a&tailLines=1")
    t:eq({ status, answer }, { 200, "ready\n" })
    t:eq((c:call("GET", CORE .. "pods/p/log?container=z")), 400)
    t:eq((c:call("GET", CORE .. "pods/q/log")), 404)
  end)

  test("an autoscaler keeps its target within the limits, a budget counts", function(t)
    local c, api = cluster()
    c:call("POST", APPS .. "deployments", workload("Deployment", "web", "nginx:1", { replicas = 1 }))
    c:call("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", { apiVersion = "autoscaling/v2",
      kind = "HorizontalPodAutoscaler", metadata = { name = "web" }, spec = { minReplicas = 3, maxReplicas = 5,
        scaleTargetRef = { apiVersion = "apps/v1", kind = "Deployment", name = "web" } } })
    c:call("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
      { apiVersion = "policy/v1", kind = "PodDisruptionBudget",
      metadata = { name = "web" }, spec = { minAvailable = "50%", selector = { matchLabels = { app = "web" } } } })
    api:settle()
    t:eq(#list(c, CORE .. "pods"), 3)
    local _, v1 = c:call("GET", "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/web")
    t:eq({ v1.spec.targetCPUUtilizationPercentage, v1.spec.metrics, v1.status.currentReplicas }, { 80, nil, 3 })
    local _, budget = c:call("GET", "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web")
    t:eq({ budget.status.desiredHealthy, budget.status.currentHealthy, budget.status.disruptionsAllowed }, { 2, 3, 1 })
  end)

  test("issuers and certificates of cert-manager become ready, with a secret", function(t)
    local c, api = cluster()
    for _, names in ipairs { { "certificates", "Certificate", "Namespaced" },
      { "clusterissuers", "ClusterIssuer", "Cluster" } } do
      c:call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        { apiVersion = "apiextensions.k8s.io/v1",
        kind = "CustomResourceDefinition", metadata = { name = names[1] .. ".cert-manager.io" }, spec = {
          group = "cert-manager.io", scope = names[3], names = { plural = names[1], kind = names[2] },
          versions = { { name = "v1", served = true, storage = true, subresources = { status = json.object {} },
            schema = { openAPIV3Schema = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true } } } } } })
    end
    c:call("POST", "/apis/cert-manager.io/v1/clusterissuers", { apiVersion = "cert-manager.io/v1",
      kind = "ClusterIssuer",
      metadata = { name = "local" }, spec = { selfSigned = json.object {} } })
    c:call("POST", "/apis/cert-manager.io/v1/namespaces/default/certificates", { apiVersion = "cert-manager.io/v1",
      kind = "Certificate", metadata = { name = "web" }, spec = { secretName = "web-tls",
        dnsNames = { "web.example.dev" } } })
    api:settle()
    local _, issuer = c:call("GET", "/apis/cert-manager.io/v1/clusterissuers/local")
    t:eq(condition(issuer, "Ready").status, "True")
    local _, certificate = c:call("GET", "/apis/cert-manager.io/v1/namespaces/default/certificates/web")
    t:eq(condition(certificate, "Ready").status, "True")
    local status, secret = c:call("GET", CORE .. "secrets/web-tls")
    t:eq({ status, secret.type }, { 200, "kubernetes.io/tls" })
    local crypto = require "ws.crypto"
    t:has(crypto.base64_decode(secret.data["tls.crt"]), "BEGIN CERTIFICATE")
    t:has(crypto.base64_decode(secret.data["tls.key"]), "BEGIN PRIVATE KEY")
  end)

  test("schedules are read", function(t)
    local due = require "sandbox.kubernetes.simulate.cronjob".due
    local monday_0930 = 1750066200 -- 2025-06-16T09:30:00Z
    for schedule, expected in pairs {
      ["* * * * *"] = true, ["30 9 * * *"] = true, ["30 9 * * 1-5"] = true, ["*/15 * * * *"] = true,
        ["*/7 * * * *"] = false,
      ["0 9 * * *"] = false, ["30 9 16 6 *"] = true, ["30 9 * * 0"] = false, ["0,30 8-10/2 * * *"] = false,
        ["@hourly"] = false,
      ["30 9-17/4 * * *"] = true,
    } do
      t:eq(due(schedule, monday_0930), expected, schedule)
    end
  end)
end
