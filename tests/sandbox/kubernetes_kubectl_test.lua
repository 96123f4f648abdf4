-- The commands of kubectl against a cluster of the sandbox, over TLS.
local cluster = require "kubernetes_cluster"

local DEPLOYMENT = [[
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: IMAGE
        ports: [{containerPort: 80}]
        env: [{name: A, value: "1"}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}
]]

local function manifest(image, replicas)
  return (DEPLOYMENT:gsub("IMAGE", image):gsub("REPLICAS", tostring(replicas)))
end

return function(test)
  local function kubectl_test(name, fn)
    test(name, function(t) fn(t, cluster.start(t, "kubectl")) end, { timeout = 120 })
  end

  kubectl_test("namespaces, secrets and tokens are created in protobuf", function(t, c)
    t:has(c:kubectl("create", "ns", "team"), "namespace/team created")
    c:kubectl("-n", "team", "create", "secret", "generic", "s", "--from-literal=user=root")
    t:eq(c:kubectl("-n", "team", "get", "secret", "s", "-o", "jsonpath={.data.user}"), "cm9vdA==")
    t:ok(#c:kubectl("-n", "team", "create", "token", "default") > 100)
    t:has(c:kubectl_fails("create", "ns", "team"), "already exists")
    t:has(c:kubectl("auth", "can-i", "create", "pods"), "yes")
    t:has(c:kubectl("auth", "can-i", "--list"), "*.*")
    t:has(c:kubectl("auth", "whoami"), "sandbox-admin")
    t:has(c:kubectl("version"), "Server Version: v1.34")
    t:has(c:kubectl("delete", "ns", "team"), "deleted")
    t:has(c:kubectl_fails("get", "ns", "team"), 'namespaces "team" not found')
  end)

  kubectl_test("apply creates, sees no change, shows a difference, changes and deletes", function(t, c)
    local file = c:file("web.yaml", manifest("nginx:1", 2))
    t:has(c:kubectl("apply", "-f", file), "deployment.apps/web created")
    t:eq(c:kubectl("apply", "-f", file), "deployment.apps/web unchanged\nservice/web unchanged\n")
    t:eq(c:kubectl("diff", "-f", file), "")
    c:file("web.yaml", manifest("nginx:2", 3))
    t:has(c:kubectl_fails("diff", "-f", file), "image: nginx:2")
    t:has(c:kubectl("apply", "--dry-run=server", "-f", file), "deployment.apps/web configured (server dry run)")
    t:eq(c:kubectl("apply", "-f", file), "deployment.apps/web configured\nservice/web unchanged\n")
    t:has(c:kubectl("rollout", "status", "deploy/web", "--timeout=30s"), "successfully rolled out")
    t:has(c:kubectl("get", "svc", "web"), "203.0.113.1")
    c:kubectl("delete", "-f", file)
    t:has(c:kubectl_fails("get", "deploy", "web"), "not found")
    c:kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")
    t:eq(c:kubectl("get", "pods", "-o", "name"), "")
  end)

  kubectl_test("a rollout is followed, undone, restarted and paused", function(t, c)
    c:kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=2")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    c:kubectl("set", "image", "deploy/web", "nginx=nginx:2")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    t:has(c:kubectl("rollout", "history", "deploy/web"), "2         <none>")
    c:kubectl("rollout", "undo", "deploy/web")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    t:eq(c:kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"), "nginx:1")
    c:kubectl("rollout", "restart", "deploy/web")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    c:kubectl("set", "image", "deploy/web", "nginx=registry.local/broken:1")
    t:has(c:kubectl_fails("rollout", "status", "deploy/web", "--timeout=3s"), "timed out")
    t:has(c:kubectl("get", "pods"), "ImagePull")
    t:has(c:kubectl("get", "deploy", "web"), "2/2")
  end)

  kubectl_test("patch, label, annotate, scale, wait, describe, logs, events and wide tables", function(t, c)
    c:kubectl("create", "deployment", "web", "--image=nginx:1", "--port=80")
    c:kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    t:has(c:kubectl("patch", "deploy", "web", "-p", '{"spec":{"replicas":2}}'), "patched")
    t:has(c:kubectl("patch", "deploy", "web", "-p", '{"spec":{"replicas":2}}'), "patched (no change)")
    c:kubectl("patch", "deploy", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":1}]')
    c:kubectl("label", "deploy", "web", "team=a")
    c:kubectl("annotate", "deploy", "web", "note=b")
    t:has(c:kubectl("scale", "deploy", "web", "--replicas=3"), "scaled")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    t:has(c:kubectl("get", "deploy", "-l", "team=a"), "3/3")
    t:has(c:kubectl("describe", "deploy", "web"), "NewReplicaSetAvailable")
    t:has(c:kubectl("logs", "deploy/web"), "listening on :80")
    t:has(c:kubectl("get", "pods", "-o", "wide"), "gke-")
    t:has(c:kubectl("get", "events"), "ScalingReplicaSet")
    t:has(c:kubectl("get", "pods", "-w", "--request-timeout=2s"), "Running")
    t:has(c:kubectl_fails("logs", "deploy/web", "-c", "none"), "none")
    t:has(c:kubectl_fails("exec", "deploy/web", "--", "ls"), "simulates its workloads")
  end)

  kubectl_test("server-side apply: conflicts, force, and the way from client-side apply", function(t, c)
    local file = c:file("web.yaml", manifest("nginx:1", 2))
    c:kubectl("apply", "-f", file)
    t:has(c:kubectl("apply", "--server-side", "-f", file), "deployment.apps/web serverside-applied")
    c:kubectl("scale", "deploy", "web", "--replicas=5")
    t:has(c:kubectl_fails("apply", "--server-side", "-f", file), ".spec.replicas")
    c:kubectl("apply", "--server-side", "--force-conflicts", "-f", file)
    t:eq(c:kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"), "2")
    c:file("web.yaml", (manifest("nginx:1", 2):gsub('        env: %[.-%]\n', "")))
    c:kubectl("apply", "--server-side", "-f", file)
    t:eq(c:kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"), "")
    t:has(c:kubectl("get", "deploy", "web", "--show-managed-fields", "-o", "yaml"), "operation: Apply")
  end)

  kubectl_test("the kinds are listed and explained, and wrong fields are refused", function(t, c)
    local kinds = c:kubectl("api-resources")
    for _, kind in ipairs { "Deployment", "HorizontalPodAutoscaler", "Ingress",
      "CustomResourceDefinition" } do t:has(kinds, kind) end
    t:has(c:kubectl("api-versions"), "apps/v1")
    t:has(c:kubectl("explain", "deployment.spec.strategy.rollingUpdate"), "maxSurge")
    t:has(c:kubectl("explain", "pod.spec.containers"), "imagePullPolicy")
    local file = c:file("bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ncolour: red\n")
    t:has(c:kubectl_fails("apply", "-f", file), 'unknown field "colour"')
    c:file("bad.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: many}\n")
    t:has(c:kubectl_fails("apply", "-f", file), "cannot unmarshal string")
  end)

  kubectl_test("what kubectl can create is created", function(t, c)
    for _, words in ipairs {
      "configmap cm --from-literal=a=b", "job j --image=busybox -- echo hi",
        "cronjob cj --image=busybox --schedule=0\t*\t*\t*\t* -- echo hi",
      "service loadbalancer lb --tcp=80:80", "service clusterip none --clusterip=None",
        "role r --verb=get --resource=pods",
      "rolebinding rb --role=r --serviceaccount=default:default", "clusterrole cr --verb=get --resource=pods",
      "clusterrolebinding crb --clusterrole=cluster-admin --user=me", "serviceaccount sa", "quota q --hard=pods=3",
      "poddisruptionbudget p --selector=app=d --min-available=1", "priorityclass pc --value=10",
      "ingress i --rule=a.example.dev/x=lb:80",
        "secret docker-registry dr --docker-server=x --docker-username=u --docker-password=p",
    } do
      local args = { "create" }
      for word in words:gmatch "[^ ]+" do args[#args + 1] = (word:gsub("\t", " ")) end
      t:has(c:kubectl(table.unpack(args)), " created")
    end
    c:kubectl("wait", "--for=condition=Complete", "job/j", "--timeout=30s")
    t:has(c:kubectl("logs", "job/j"), "finished")
    t:has(c:kubectl("get", "all,ing,pdb,quota,sa,role,rolebinding"), "cronjob.batch/cj")
    t:ok(tonumber(c:kubectl("get", "svc", "lb", "-o", "jsonpath={.spec.ports[0].nodePort}")) >= 30000)
    t:has(c:kubectl("delete", "job", "j"), "deleted")
  end)

  kubectl_test("custom resources: defined, listed in their own columns, patched", function(t, c)
    local definition = c:file("crd.yaml", [[
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.dev}
spec:
  group: example.dev
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
]])
    c:kubectl("apply", "-f", definition)
    c:kubectl("wait", "--for=condition=Established", "crd/widgets.example.dev", "--timeout=10s")
    local file = c:file("w.yaml", "apiVersion: example.dev/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n")
    c:kubectl("apply", "-f", file)
    t:has(c:kubectl("get", "wd"), "SIZE")
    c:file("w.yaml", "apiVersion: example.dev/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 4}\n")
    t:has(c:kubectl("apply", "-f", file), "widget.example.dev/w configured")
    t:has(c:kubectl("explain", "widget.spec"), "size")
    t:has(c:kubectl_fails("patch", "wd", "w", "--type=merge", "-p", '{"spec":{"size":"x"}}'), "must be of type integer")
    c:kubectl("delete", "-f", definition)
    t:has(c:kubectl_fails("get", "wd"), "could not find the requested resource")
  end)

  kubectl_test("the cluster is the same after a restart, on the same port", function(t, c)
    c:kubectl("create", "deployment", "web", "--image=nginx:1")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    local before = c.info.endpoint
    c:restart()
    t:eq(c.info.endpoint, before)
    t:has(c:kubectl("get", "deploy", "web"), "1/1")
    c:kubectl("set", "image", "deploy/web", "nginx=nginx:2")
    c:kubectl("rollout", "status", "deploy/web", "--timeout=30s")
  end)

  kubectl_test("a wrong token is refused", function(t, c)
    t:has(c:kubectl_fails("--token=wrong", "get", "ns"), "You must be logged in to the server")
  end)
end
