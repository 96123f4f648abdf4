-- The commands of Helm against a cluster of the sandbox: release life, hooks, definitions, failure and rollback.
local cluster = require "kubernetes_cluster"

local TEMPLATE = [[
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      containers:
      - name: c
        image: {{ .Values.image }}
        ports: [{containerPort: 80}]
        env: [{name: A, value: "1"}]
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec: {type: LoadBalancer, selector: {app: {{ .Release.Name }}}, ports: [{port: 80}]}
---
apiVersion: example.dev/v1
kind: Widget
metadata: {name: {{ .Release.Name }}}
spec: {size: 3}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-hook
  annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: j, image: busybox, command: [sh, -c, "exit {{ .Values.hookExit }}"]}]
]]

local DEFINITION = [[
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.dev}
spec:
  group: example.dev
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
]]

--- The chart that the tests install.
local function chart(c)
  c:file("chart/Chart.yaml", "apiVersion: v2\nname: demo\nversion: 1.0.0\n")
  c:file("chart/values.yaml", "image: nginx:1\nreplicas: 2\nhookExit: 0\n")
  c:file("chart/crds/widgets.yaml", DEFINITION)
  c:file("chart/templates/all.yaml", TEMPLATE)
  return c.dir .. "/chart"
end

return function(test)
  local function helm_test(name, fn)
    test(name, function(t)
      local c = cluster.start(t, "helm", "kubectl")
      fn(t, c, chart(c))
    end, { timeout = 180 })
  end

  helm_test("a release is installed, listed, upgraded, rolled back and removed", function(t, c, path)
    t:has(c:helm("install", "r1", path, "-n", "apps", "--create-namespace", "--wait", "--timeout", "60s"),
      "STATUS: deployed")
    t:has(c:helm("list", "-A"), "demo-1.0.0")
    t:has(c:helm("status", "r1", "-n", "apps"), "REVISION: 1")
    t:eq(c:kubectl("-n", "apps", "get", "deploy", "r1", "-o", "jsonpath={.status.readyReplicas}"), "2")
    t:has(c:kubectl("-n", "apps", "get", "job", "r1-hook"), "Complete")
    t:has(c:helm("upgrade", "r1", path, "-n", "apps", "--set", "image=nginx:2", "--wait", "--timeout", "60s"),
      "REVISION: 2")
    t:eq(c:kubectl("-n", "apps", "get", "pods", "-l", "app=r1", "-o", "jsonpath={.items[*].spec.containers[0].image}"),
      "nginx:2 nginx:2")
    local version = "jsonpath={.metadata.resourceVersion}"
    local before = c:kubectl("-n", "apps", "get", "deploy", "r1", "-o", version)
    c:helm("upgrade", "r1", path, "-n", "apps", "--set", "image=nginx:2", "--wait", "--timeout", "60s")
    t:eq(c:kubectl("-n", "apps", "get", "deploy", "r1", "-o", version), before)
    c:helm("rollback", "r1", "1", "-n", "apps", "--wait", "--timeout", "60s")
    t:eq(c:kubectl("-n", "apps", "get", "deploy", "r1", "-o", "jsonpath={.spec.template.spec.containers[0].image}"),
      "nginx:1")
    local history = c:helm("history", "r1", "-n", "apps")
    t:has(history, "Rollback to 1")
    c:helm("uninstall", "r1", "-n", "apps", "--wait", "--timeout", "60s")
    t:eq(c:kubectl("-n", "apps", "get", "deploy,svc,widgets,secrets", "-o", "name"), "")
  end)

  helm_test("an upgrade to a broken image is taken back, an install of one leaves nothing", function(t, c, path)
    c:helm("install", "r1", path, "--wait", "--timeout", "60s")
    t:has(c:helm_fails("upgrade", "r1", path, "--set", "image=broken:1", "--atomic", "--timeout", "6s"), "rolled back")
    t:has(c:helm("history", "r1"), "Rollback to 1")
    t:eq(c:kubectl("get", "deploy", "r1", "-o", "jsonpath={.spec.template.spec.containers[0].image}"), "nginx:1")
    t:eq(c:kubectl("get", "deploy", "r1", "-o", "jsonpath={.status.readyReplicas}"), "2")
    c:helm("uninstall", "r1", "--wait")
    t:has(c:helm_fails("install", "r2", path, "--set", "image=broken:1", "--atomic", "--timeout", "5s"), "uninstalled")
    t:eq(c:helm("list", "-q", "-a"), "")
    t:eq(c:kubectl("get", "deploy", "-o", "name"), "")
  end)

  helm_test("a hook that fails stops the upgrade", function(t, c, path)
    c:helm("install", "r1", path, "--wait", "--timeout", "60s")
    t:has(c:helm_fails("upgrade", "r1", path, "--set", "hookExit=3,image=nginx:9", "--timeout", "30s"),
      "pre-upgrade hooks failed")
    t:eq(c:kubectl("get", "deploy", "r1", "-o", "jsonpath={.spec.template.spec.containers[0].image}"), "nginx:1")
  end)

  helm_test("nothing is written by a dry run, and values that fit no type are refused", function(t, c, path)
    c:kubectl("apply", "-f", path .. "/crds")
    t:has(c:helm("install", "r1", path, "--dry-run=server"), "STATUS: pending-install")
    t:eq(c:helm("list", "-q", "-a"), "")
    t:has(c:helm("template", "r1", path, "--validate"), "kind: Deployment")
    t:has(c:helm_fails("install", "r1", path, "--set", "replicas=many"), "cannot unmarshal string")
  end)

  helm_test("the charts of the project become ready", function(t, c)
    for _, name in ipairs { "cert-manager", "ingress-nginx", "kube-prometheus-stack", "consul" } do
      c:helm("install", name, "charts/stand-ins/" .. name, "-n", name, "--create-namespace", "--wait",
        "--timeout", "60s", "--set", "crds.enabled=true")
    end
    c:helm("upgrade", "--install", "test-app", "charts/app-chart", "--wait", "--timeout", "60s")
    t:eq(select(2, c:helm("list", "-A"):gsub("deployed", "")), 5)
    t:has(c:kubectl("-n", "ingress-nginx", "get", "svc"), "203.0.113.1")
    t:has(c:kubectl("-n", "consul", "get", "pvc"), "Bound")
    local issuer = c:file("issuer.yaml", "apiVersion: cert-manager.io/v1\nkind: ClusterIssuer\n"
      .. "metadata: {name: local}\nspec: {selfSigned: {}}\n")
    c:kubectl("apply", "-f", issuer)
    c:kubectl("wait", "--for=condition=Ready", "clusterissuer/local", "--timeout=20s")
  end)

  helm_test("install or upgrade, values kept, and releases of several namespaces", function(t, c, path)
    for _, namespace in ipairs { "a", "b" } do
      c:helm("upgrade", "--install", "app-" .. namespace, path, "-n", namespace, "--create-namespace", "--set",
        "replicas=1",
        "--wait", "--timeout", "60s")
    end
    c:helm("upgrade", "--install", "app-a", path, "-n", "a", "--reuse-values", "--set", "image=nginx:5", "--wait",
      "--timeout", "60s")
    t:eq(c:kubectl("-n", "a", "get", "deploy", "app-a", "-o", "jsonpath={.spec.replicas}"), "1")
    t:has(c:helm("get", "values", "app-a", "-n", "a"), "nginx:5")
    t:eq(select(2, c:helm("list", "-A"):gsub("demo%-1%.0%.0", "")), 2)
    c:kubectl("delete", "ns", "a", "--timeout=30s")
    t:eq(select(2, c:helm("list", "-A"):gsub("demo%-1%.0%.0", "")), 1)
  end)
end
