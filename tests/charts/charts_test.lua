-- The charts, rendered by the real helm: what they contain for which values, and which values they refuse.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local yaml = require "ws.yaml"

--- Runs helm; values by a file, as the workflows give them.
local function helm(t, arguments, values)
  local argv = { "helm" }
  for _, a in ipairs(arguments) do argv[#argv + 1] = a end
  if values then
    local file = t:tmpdir() .. "/values.json"
    assert(fs.write(file, json.encode(values)))
    argv[#argv + 1] = "--values"
    argv[#argv + 1] = file
  end
  return assert(process.run(argv, { timeout = 60 }))
end

--- Objects of a rendered chart, by "Kind/name".
local function render(t, chart, values, ...)
  local r = helm(t, { "template", "rel", "charts/" .. chart, "--namespace", "ns", ... }, values)
  if r.code ~= 0 then error(r.stderr, 2) end
  local objects = {}
  for _, object in ipairs(assert(yaml.decode_all(r.stdout))) do
    if type(object) == "table" and object.kind then objects[object.kind .. "/" .. object.metadata.name] = object end
  end
  return objects
end

local function refused(t, chart, values, pattern)
  local r = helm(t, { "template", "rel", "charts/" .. chart }, values)
  t:ok(r.code ~= 0, "was rendered")
  if not r.stderr:find(pattern) then error(("expected %s in %s"):format(pattern, r.stderr), 2) end
end

local function names(objects)
  local list = {}
  for name in pairs(objects) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function container(objects)
  return objects["Deployment/rel"].spec.template.spec.containers[1]
end

--- Environment variables of the application: name → value or secret key.
local function environment(objects)
  local env = {}
  for _, variable in ipairs(container(objects).env) do
    local from = variable.valueFrom and variable.valueFrom.secretKeyRef
    env[variable.name] = from and (from.name .. "/" .. from.key) or variable.value
  end
  return env
end

local function chart_file(chart)
  return assert(yaml.decode(assert(fs.read("charts/" .. chart .. "/Chart.yaml"))))
end

local stand_ins = { "cert-manager", "ingress-nginx", "kube-prometheus-stack", "consul" }

return function(test)
  test("every chart passes helm lint --strict", function(t)
    local charts = { "charts/app-chart", "charts/platform" }
    for _, name in ipairs(stand_ins) do charts[#charts + 1] = "charts/stand-ins/" .. name end
    local r = helm(t, { "lint", "--strict", table.unpack(charts) })
    t:eq(r.code, 0, r.stdout)
  end)

  test("app-chart: what there is by default", function(t)
    local o = render(t, "app-chart")
    t:eq(names(o), {
      "Deployment/rel", "Ingress/rel", "Ingress/rel-grpc", "PodDisruptionBudget/rel", "Service/rel",
      "ServiceAccount/rel",
    })
    local version = chart_file("app-chart").appVersion
    t:eq(container(o).image, "eu.gcr.io/livingpackets-sandbox/app:" .. version)
    t:eq(o["Service/rel"].spec.type, "ClusterIP")
    t:eq(o["Service/rel"].metadata.annotations, nil)
    local pod = o["Deployment/rel"].spec.template.spec
    t:eq(pod.securityContext.runAsNonRoot, true)
    t:eq(container(o).securityContext.readOnlyRootFilesystem, true)
    t:eq(pod.terminationGracePeriodSeconds, 30)
    t:eq(environment(o).DATABASE_HOST, nil)
  end)

  test("app-chart: a service finds the pods and nothing of another release", function(t)
    local o = render(t, "app-chart")
    local selector, labels = o["Service/rel"].spec.selector, o["Deployment/rel"].spec.template.metadata.labels
    for key, value in pairs(selector) do t:eq(labels[key], value, key) end
    t:eq(selector["app.kubernetes.io/instance"], "rel")
    t:eq(selector["app.kubernetes.io/version"], nil)
  end)

  test("app-chart: image by tag and by digest", function(t)
    t:eq(container(render(t, "app-chart", { image = { tag = "1.5.0" } })).image,
      "eu.gcr.io/livingpackets-sandbox/app:1.5.0")
    local digest = "sha256:" .. ("0f"):rep(32)
    local image = { tag = "1.5.0", digest = digest, repository = "r.io/app" }
    t:eq(container(render(t, "app-chart", { image = image })).image, "r.io/app:1.5.0@" .. digest)
  end)

  test("app-chart: the database's secret becomes environment variables", function(t)
    local env = environment(render(t, "app-chart", { database = { secret = "test-app-sql" } }))
    t:eq({ env.DATABASE_HOST, env.DATABASE_PORT, env.DATABASE_NAME, env.DATABASE_USER, env.DATABASE_PASSWORD }, {
      "test-app-sql/host", "test-app-sql/port", "test-app-sql/database", "test-app-sql/username",
      "test-app-sql/password",
    })
  end)

  test("app-chart: the node port is for type NodePort, on the TLS port", function(t)
    local function ports_of(service) return render(t, "app-chart", { service = service })["Service/rel"].spec.ports end
    local ports = ports_of { type = "NodePort", nodePort = 30443 }
    t:eq({ ports[1].nodePort, ports[2].nodePort }, { nil, 30443 })
    t:eq(ports[2].targetPort, "https")
    ports = ports_of { nodePort = 30443 }
    t:eq({ ports[1].nodePort, ports[2].nodePort }, {})
  end)

  test("app-chart: gRPC services get an ingress that speaks gRPC to the pods", function(t)
    local o = render(t, "app-chart", { ingress = { host = "app.example.com", grpcServices = { "a.B" } } })
    local grpc = o["Ingress/rel-grpc"]
    t:eq(grpc.metadata.annotations["nginx.ingress.kubernetes.io/backend-protocol"], "GRPC")
    t:eq(grpc.spec.rules[1].host, "app.example.com")
    t:eq(grpc.spec.rules[1].http.paths[1].path, "/a.B/")
    t:eq(o["Ingress/rel"].spec.rules[1].http.paths[1].path, "/")
    o = render(t, "app-chart", { ingress = { enabled = false } })
    t:eq({ o["Ingress/rel"], o["Ingress/rel-grpc"] }, {})
  end)

  test("app-chart: autoscaling decides the number of pods", function(t)
    local o = render(t, "app-chart", { replicaCount = 1, autoscaling = { enabled = true, minReplicas = 3 } })
    t:eq(o["Deployment/rel"].spec.replicas, nil)
    t:eq(o["HorizontalPodAutoscaler/rel"].spec.minReplicas, 3)
    t:ok(o["PodDisruptionBudget/rel"])
  end)

  test("app-chart: a single pod has no disruption budget, which would keep its node from being drained", function(t)
    t:eq(render(t, "app-chart", { replicaCount = 1 })["PodDisruptionBudget/rel"], nil)
  end)

  test("app-chart: Workload Identity, config map, certificate, monitor, annotations for GKE", function(t)
    local o = render(t, "app-chart", {
      serviceAccount = { googleServiceAccount = "lp-apps@p.iam.gserviceaccount.com" },
      config = { COLOUR = "blue", SIZE = 3 }, certificate = { enabled = true },
      metrics = { serviceMonitor = { enabled = true } }, gke = { neg = true, backendConfig = true },
    })
    t:eq(o["ServiceAccount/rel"].metadata.annotations["iam.gke.io/gcp-service-account"],
      "lp-apps@p.iam.gserviceaccount.com")
    t:eq(o["ConfigMap/rel"].data.SIZE, "3")
    t:eq(o["Certificate/rel"].spec.secretName, o["Deployment/rel"].spec.template.spec.volumes[1].secret.secretName)
    t:eq(o["ServiceMonitor/rel"].spec.endpoints[1].port, "http")
    local annotations = o["Service/rel"].metadata.annotations
    t:eq(json.decode(annotations["cloud.google.com/app-protocols"]).https, "HTTP2")
    t:eq(json.decode(annotations["cloud.google.com/backend-config"]).default, "rel")
    t:eq(o["BackendConfig/rel"].spec.healthCheck.type, "HTTP2")
  end)

  test("app-chart: a changed configuration restarts the pods", function(t)
    local function checksum(config)
      return render(t, "app-chart", { config = config })["Deployment/rel"].spec.template.metadata
        .annotations["checksum/config"]
    end
    t:ok(checksum { A = "1" } ~= checksum { A = "2" })
    t:eq(checksum { A = "1" }, checksum { A = "1" })
  end)

  test("app-chart: misspelt and impossible values are refused", function(t)
    refused(t, "app-chart", { replicas = 2 }, "replicas")
    refused(t, "app-chart", { image = { tags = "1" } }, "tags")
    refused(t, "app-chart", { image = { tag = "has space" } }, "tag")
    refused(t, "app-chart", { image = { digest = "sha256:12" } }, "digest")
    refused(t, "app-chart", { service = { nodePort = 80 } }, "nodePort")
    refused(t, "app-chart", { shutdown = { delay = "5s" } }, "delay")
  end)

  test("app-chart takes the values of both manifests and of the workflow", function(t)
    for _, platform in ipairs { "dev-seb", "prod-eu" } do
      local manifest = assert(yaml.decode(assert(fs.read("manifests/" .. platform .. ".yaml"))))
      for _, app in ipairs(manifest.applications) do
        if not app.paths then
          local values = {}
          for key, value in pairs(app.values or {}) do values[key] = value end
          values.platform = platform
          values.image = { tag = app.version, repository = "eu.gcr.io/livingpackets-sandbox/app" }
          values.service = { nodePort = 30443 }
          values.serviceAccount = { googleServiceAccount = "lp-apps@p.iam.gserviceaccount.com" }
          values.database = { secret = (app.cloudsql or {})["user-secret"] }
          t:eq(environment(render(t, "app-chart", values)).PLATFORM, platform)
        end
      end
    end
  end)

  test("platform: issuers", function(t)
    t:eq(names(render(t, "platform")), {})
    local o = render(t, "platform", { issuer = { name = "selfsigned" } })
    t:ok(o["ClusterIssuer/selfsigned"].spec.selfSigned)
    local acme = render(t, "platform", { issuer = { name = "letsencrypt", email = "a@example.com" } })
    t:eq(acme["ClusterIssuer/letsencrypt"].spec.acme.server, "https://acme-v02.api.letsencrypt.org/directory")
    local staging = render(t, "platform", { issuer = { name = "letsencrypt-staging", email = "a@example.com" } })
    t:eq(staging["ClusterIssuer/letsencrypt-staging"].spec.acme.server,
      "https://acme-staging-v02.api.letsencrypt.org/directory")
    refused(t, "platform", { issuer = { name = "letsencrypt" } }, "needs an e%-mail address")
    refused(t, "platform", { issuer = { name = "mine" } }, "issuer")
  end)

  test("platform: a Prometheus server may read its own namespace only", function(t)
    local o = render(t, "platform", { prometheus = json.array { { name = "one", namespace = "web" } } })
    local server = o["Prometheus/one"]
    t:eq(server.metadata.namespace, "web")
    t:eq(server.spec.serviceAccountName, "prometheus-one")
    t:eq(next(server.spec.serviceMonitorSelector), nil)
    t:eq(server.spec.serviceMonitorNamespaceSelector, nil)
    t:eq(o["RoleBinding/prometheus-one"].subjects[1], {
      kind = "ServiceAccount", name = "prometheus-one", namespace = "web",
    })
    t:eq(o["ClusterRole/prometheus-one"], nil)
  end)

  test("the stand-ins have the versions that the manifests ask for", function(t)
    local of = {
      certmanager = "cert-manager", ["ingress-controller"] = "ingress-nginx",
      ["prometheus-operator"] = "kube-prometheus-stack", consul = "consul",
    }
    for _, platform in ipairs { "dev-seb", "prod-eu" } do
      local manifest = assert(yaml.decode(assert(fs.read("manifests/" .. platform .. ".yaml"))))
      for name, dependency in pairs(manifest.infrastructure.dependancies) do
        local chart = chart_file("stand-ins/" .. of[name])
        t:eq(chart.name, of[name])
        t:eq(chart.version, dependency.version, platform .. " " .. name)
      end
    end
  end)

  test("stand-ins: definitions and classes that other objects rely on", function(t)
    local o = render(t, "stand-ins/cert-manager", { crds = { enabled = true } })
    t:ok(o["CustomResourceDefinition/clusterissuers.cert-manager.io"])
    o = render(t, "stand-ins/cert-manager", { installCRDs = true })
    t:ok(o["CustomResourceDefinition/certificates.cert-manager.io"])
    t:eq(render(t, "stand-ins/cert-manager")["CustomResourceDefinition/certificates.cert-manager.io"], nil)
    o = render(t, "stand-ins/kube-prometheus-stack", nil, "--include-crds")
    for _, plural in ipairs { "servicemonitors", "prometheusrules", "prometheuses", "alertmanagers" } do
      t:ok(o["CustomResourceDefinition/" .. plural .. ".monitoring.coreos.com"], plural)
    end
    o = render(t, "stand-ins/ingress-nginx", {
      controller = { service = { type = "NodePort", nodePorts = { https = 30443 } } },
    })
    t:ok(o["IngressClass/nginx"])
    local service = o["Service/rel-ingress-nginx-controller"].spec
    t:eq(service.type, "NodePort")
    t:eq(service.ports[2].nodePort, 30443)
    t:eq(render(t, "stand-ins/consul", { server = { replicas = 3 } })["StatefulSet/rel-consul-server"].spec.replicas, 3)
  end)

  test("the application of plain YAML uses the image and the secret that the manifest names", function(t)
    local deployment = assert(yaml.decode(assert(fs.read("manifests/apps/parcels/deployment.yaml"))))
    local app = deployment.spec.template.spec.containers[1]
    t:eq(app.image, "eu.gcr.io/livingpackets-sandbox/app:" .. chart_file("app-chart").appVersion)
    local manifest = assert(yaml.decode(assert(fs.read("manifests/dev-seb.yaml"))))
    for _, variable in ipairs(app.env) do
      t:eq(variable.valueFrom.secretKeyRef.name, manifest.applications[2].cloudsql["user-secret"])
    end
  end)
end
