--- Real tools against a sandbox in a process of its own. A tool that is not installed is skipped.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local process = require "ws.process"
local sandbox = require "sandbox"
local support = dofile "tests/sandbox/support.lua"

local PROJECT = "livingpackets-sandbox"
local need, start = support.tool, support.process

return function(test)
  test("helm: chart repository and registry", function(t)
    local helm = need(t, "helm")
    local run, root, status = start(t, {
      ["charts/stand-ins/dep/Chart.yaml"] = "apiVersion: v2\nname: dep\nversion: 1.2.3\n",
      ["charts/stand-ins/dep/templates/a.yaml"] = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n",
    })
    run(helm, "pull", "dep", "--repo", status.charts, "--version", "1.2.3")
    local sum = crypto.sha256(t:ok(fs.read(root .. "/dep-1.2.3.tgz")))
    local repository = ("oci://%s/%s/charts"):format(status.registry, PROJECT)
    run(helm, "push", "dep-1.2.3.tgz", repository, "--plain-http")
    t:ok(fs.mkdir(root .. "/pulled"))
    run(helm, "pull", repository .. "/dep", "--version", "^1.0.0", "--plain-http", "-d", "pulled")
    t:eq(crypto.sha256(t:ok(fs.read(root .. "/pulled/dep-1.2.3.tgz"))), sum)
    t:has(run(helm, "template", "r", repository .. "/dep", "--plain-http"), "kind: ConfigMap")
  end, { timeout = 300 })

  test("terraform: states of workspaces, and their locks", function(t)
    local terraform = need(t, "terraform")
    local run, root, status, fails = start(t, {
      ["main.tf"] = 'terraform {\n  backend "gcs" {}\n}\noutput "name" {\n  value = terraform.workspace\n}\n',
    })
    local client = function(method, path, body)
      return t:ok(require "ws.http".request { method = method, url = status.endpoint .. path, body = body,
        headers = { authorization = "Bearer x" } })
    end
    t:eq(client("POST", "/storage/v1/b?project=" .. PROJECT, '{"name":"states"}').status, 200)
    run(terraform, "init", "-input=false", "-backend-config=bucket=states", "-backend-config=prefix=layer")
    run(terraform, "workspace", "new", "dev-seb")
    run(terraform, "apply", "-auto-approve", "-input=false")
    t:eq(run(terraform, "output", "-raw", "name"), "dev-seb")
    t:has(run(terraform, "workspace", "list"), "dev-seb")
    t:eq(client("GET", "/storage/v1/b/states/o/layer%2Fdev-seb.tfstate").status, 200)
    -- A lock that somebody holds is respected, and can be broken by its id.
    local lock = client("POST", "/upload/storage/v1/b/states/o?uploadType=media&name=layer/dev-seb.tflock",
      '{"ID":"x","Operation":"apply","Who":"somebody"}')
    local generation = t:ok(lock.body:match('"generation":"(%d+)"'))
    t:has(fails(terraform, "apply", "-auto-approve", "-input=false"), "somebody")
    run(terraform, "force-unlock", "-force", generation)
    run(terraform, "apply", "-auto-approve", "-input=false")
    run(terraform, "workspace", "select", "default")
    run(terraform, "workspace", "delete", "-force", "dev-seb")
    t:eq(client("GET", "/storage/v1/b/states/o/layer%2Fdev-seb.tfstate").status, 404)
    t:ok(root)
  end, { timeout = 300 })

  test("kubectl: the kubeconfig has the cluster", function(t)
    local kubectl = need(t, "kubectl")
    local run, _, status = start(t)
    local json, http = require "ws.json", require "ws.http"
    local function post(path, body)
      local answer = t:ok(http.request { method = "POST", url = status.endpoint .. path, body = json.encode(body),
        headers = { authorization = "Bearer x" }, timeout = 30 })
      t:eq(answer.status, 200, answer.body)
    end
    local compute = "/compute/v1/projects/" .. PROJECT
    post(compute .. "/global/networks", { name = "net", autoCreateSubnetworks = false })
    post(compute .. "/regions/europe-west1/subnetworks", { name = "subnet", ipCidrRange = "10.0.0.0/20",
      network = "global/networks/net" })
    post("/container/v1/projects/" .. PROJECT .. "/locations/europe-west1/clusters",
      { cluster = { name = "c", network = "net", subnetwork = "subnet", initialNodeCount = 1 } })
    t:has(run(kubectl, "get", "nodes", "--no-headers"), "Ready")
    t:eq(run(kubectl, "config", "current-context"), ("gke_%s_europe-west1_c\n"):format(PROJECT))
    run(kubectl, "create", "namespace", "n")
    -- The cluster, its port and its objects outlive the process.
    t:ok(process.check { "kill", "-9", tostring(status.pid) })
    t:ok(sandbox.up { dir = status.state, project_root = status.state, provider = false })
    t:has(run(kubectl, "get", "namespaces", "-o", "name"), "namespace/n\n")
  end, { timeout = 300 })
end
