-- The platform's Kubernetes cluster: waiting for it, reaching it without gcloud, its namespaces, and emptying it.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local json = require "ws.json"
local k8s = require "ws.k8s"
local platform = require "lib.platform"
local secret = require "ws.secret"
local task = require "ws.task"
local yaml = require "ws.yaml"

local M = {}

local RUNNING_TIMEOUT = 1800 -- seconds; GKE takes 5 to 10 minutes, repairs longer
local POLL = 2               -- seconds
local MANAGER = "wsrun"

local function cluster_url(p)
  local m = p.manifest
  return ("projects/%s/locations/%s/clusters/lp-cluster-%s"):format(m["gcp-project"], m.region, p.name)
end

--- The cluster as Google describes it, or nil when there is none.
---@param p Platform
---@return table?
function M.describe(p)
  local found, err = gcp.request { api = "container", path = cluster_url(p) }
  if not found then platform.unless_missing(err) end
  return found
end

--- The name that an endpoint's requests go to: the sandbox's clusters have a port, Google's do not.
local function server_url(description)
  return "https://" .. description.endpoint
end

local function client(p, description)
  return assert(k8s.client {
    server = server_url(description),
    ca_data = crypto.base64_decode(description.masterAuth.clusterCaCertificate),
    token = function() return gcp.token() end,
    project = p.manifest["gcp-project"],
  })
end

--- A client of the cluster when it runs already, else nil.
---@param p Platform
function M.existing(p)
  if p.api then return p.api end
  local description = M.describe(p)
  if not description or description.status ~= "RUNNING" then return nil end
  return client(p, description)
end

--- Waits until the cluster is RUNNING.
local function wait_until_running(p)
  local deadline = os.time() + RUNNING_TIMEOUT
  while true do
    local description = M.describe(p)
    local status = description and description.status or "missing"
    if status == "RUNNING" then return description end
    if status == "ERROR" or status == "DEGRADED" or os.time() >= deadline then
      error(errors.new {
        kind = status == "ERROR" and "failed" or "timeout",
        message = ("cluster lp-cluster-%s is %s%s, not RUNNING"):format(p.name, status,
          description and description.statusMessage and (" (" .. description.statusMessage .. ")") or ""),
        hint = "the Kubernetes Engine page of the project says why; run this again when it is RUNNING",
      })
    end
    p.w:progress("cluster is " .. status)
    task.sleep(POLL)
  end
end

local function no_cluster(p, description)
  local m = p.manifest
  local name = ("cluster lp-cluster-%s of project %s"):format(p.name, m["gcp-project"])
  local why = description and ("is %s, not RUNNING"):format(description.status) or "does not exist"
  error(errors.new { kind = description and "unavailable" or "not_found", message = ("%s %s"):format(name, why),
    hint = ("wsrun workflows/create_platform.lua %s makes it, and waits for it"):format(p.name) })
end

--- Writes the platform's kubeconfig. It holds no credential: kubectl and helm ask `wsrun auth kube`.
local function write_kubeconfig(p, description)
  local path = p.dir .. "/kubeconfig"
  local name = "lp-cluster-" .. p.name
  assert(fs.write(path, yaml.encode {
    apiVersion = "v1", kind = "Config", ["current-context"] = name,
    clusters = { { name = name, cluster = {
      server = server_url(description),
      ["certificate-authority-data"] = description.masterAuth.clusterCaCertificate,
    } } },
    contexts = { { name = name, context = { cluster = name, user = name } } },
    users = { { name = name, user = { exec = {
      apiVersion = "client.authentication.k8s.io/v1", command = require "ws.engine".native.executable(),
      args = { "auth", "kube" }, interactiveMode = "Never", provideClusterInfo = false,
    } } } },
  }, { mode = 384 }))
  return path
end

--- The account that runs this gets the role cluster-admin, and so do those that the manifest names; nil when there is
--- nobody.
local function admin_binding(p)
  local subjects = {}
  local identity = gcp.identity()
  local wanted = { identity and "user:" .. identity }
  for _, member in ipairs(p.manifest.infrastructure.gke.admins or {}) do wanted[#wanted + 1] = member end
  for _, member in ipairs(wanted) do
    local kind, name = member:match("^(%w+):(.+)$")
    subjects[#subjects + 1] = { kind = kind == "group" and "Group" or "User", name = name or member,
      apiGroup = "rbac.authorization.k8s.io" }
  end
  if #subjects == 0 then return nil end
  return {
    apiVersion = "rbac.authorization.k8s.io/v1", kind = "ClusterRoleBinding", metadata = { name = "wsrun-admins" },
    roleRef = { apiGroup = "rbac.authorization.k8s.io", kind = "ClusterRole", name = "cluster-admin" },
    subjects = json.array(subjects),
  }
end

--- Applies an object with server-side apply; returns whether it changed.
---@param api table
---@param object table
---@return boolean changed
function M.apply(api, object)
  local meta = object.metadata
  local before, err = api:get { api_version = object.apiVersion, kind = object.kind, name = meta.name,
    namespace = meta.namespace }
  if not before then platform.unless_missing(err) end
  local after = assert(api:apply(object, { manager = MANAGER, force = true }))
  return not before or before.metadata.resourceVersion ~= after.metadata.resourceVersion
end

local function namespace_names(m)
  local names, seen = {}, { default = true }
  local function add(name)
    if name and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  for _, ns in ipairs(m.infrastructure.namespaces or {}) do add(type(ns) == "table" and ns.name or ns) end
  for _, app in ipairs(m.applications or {}) do add(app.namespace) end
  return names
end

--- What every cluster of the platform holds: who may administer it, and the namespaces.
---@param p Platform
---@return table? binding
---@return table[] namespaces
function M.objects(p)
  local namespaces = {}
  for i, name in ipairs(namespace_names(p.manifest)) do
    namespaces[i] = { apiVersion = "v1", kind = "Namespace", metadata = { name = name,
      labels = { ["wsrun.platform"] = p.name } } }
  end
  return admin_binding(p), namespaces
end

--- Waits for the cluster and prepares it: kubeconfig, admins, namespaces. Sets p.api and p.kubeconfig.
---@param p Platform
function M.prepare(p)
  local description = wait_until_running(p)
  p.api = client(p, description)
  p.kubeconfig = write_kubeconfig(p, description)
  assert(p.api:wait_ready { timeout = 300 })
  local changed = {}
  local binding, namespaces = M.objects(p)
  if binding and M.apply(p.api, binding) then changed[#changed + 1] = "admins bound" end
  local made = 0
  for _, namespace in ipairs(namespaces) do
    if M.apply(p.api, namespace) then made = made + 1 end
  end
  if made > 0 then changed[#changed + 1] = ("%d namespaces"):format(made) end
  if #changed > 0 then p.w:changed(table.concat(changed, ", ")) else p.w:summary("no change") end
end

--- Connects to the cluster that the manifest means, and to no other: what KUBECONFIG or gcloud's configuration point to
--- has no part in it. Sets p.api and p.kubeconfig. Raises when it does not run.
---@param p Platform
function M.connect(p)
  local description = M.describe(p)
  if not description or (description.status ~= "RUNNING" and description.status ~= "RECONCILING") then
    no_cluster(p, description)
  end
  assert(fs.mkdir(p.dir, { parents = true, mode = 448 })) -- 0700
  p.api = client(p, description)
  p.kubeconfig = write_kubeconfig(p, description)
end

--- One value of a Kubernetes secret; nil when there is none.
---@param api table
---@param namespace string
---@param name string
---@param key string
---@return ws.Secret?
function M.read_secret(api, namespace, name, key)
  local object, err = api:get { api_version = "v1", kind = "Secret", name = name, namespace = namespace }
  if not object then
    platform.unless_missing(err)
    return nil
  end
  local encoded = (object.data or {})[key]
  return encoded and secret.new(crypto.base64_decode(encoded))
end

--- Stores a secret; values may be ws.Secret. Returns whether anything changed.
---@param api table
---@param namespace string
---@param name string
---@param values table<string, string|ws.Secret>
---@return boolean changed
function M.write_secret(api, namespace, name, values)
  return M.apply(api, M.secret(namespace, name, values))
end

--- A secret as an object.
---@param namespace string
---@param name string
---@param values table<string, string|ws.Secret>
---@return table object
function M.secret(namespace, name, values)
  local data = {}
  for key, value in pairs(values) do data[key] = crypto.base64_encode(value) end
  return { apiVersion = "v1", kind = "Secret", type = "Opaque", metadata = { name = name, namespace = namespace },
    data = data }
end

--- What in the cluster owns things outside it: services and ingresses with load balancers, volumes with disks.
---@param api table
---@return table[] objects
function M.owners(api)
  local found = {}
  local kinds = { { "networking.k8s.io/v1", "Ingress" }, { "v1", "Service" }, { "v1", "PersistentVolumeClaim" } }
  for _, what in ipairs(kinds) do
    local list, err = api:list { api_version = what[1], kind = what[2] }
    if not list then error(err, 0) end
    for _, object in ipairs(list.items) do
      object.apiVersion, object.kind = what[1], what[2] -- lists leave them out
      if what[2] ~= "Service" or object.spec.type == "LoadBalancer" then found[#found + 1] = object end
    end
  end
  return found
end

--- Deletes what in the cluster owns things outside it.
---@param p Platform
function M.empty(p)
  local api = M.existing(p)
  if not api then return p.w:summary("not there") end
  p.api = api
  local removed = 0
  for _, object in ipairs(M.owners(api)) do
    local ok, problem = api:delete { api_version = object.apiVersion, kind = object.kind,
      name = object.metadata.name, namespace = object.metadata.namespace, propagation = "Foreground" }
    if not ok then platform.unless_missing(problem) end
    removed = removed + 1
  end
  if removed > 0 then p.w:changed(("%d objects with load balancers or disks removed"):format(removed))
  else p.w:summary("nothing outside the cluster") end
end

--- What Google made for the cluster on its own: disks of volumes, firewall rules, network endpoint groups. They may be
--- there without it.
---@async
---@param p Platform
---@return string[] paths  of the Compute Engine API
function M.leftovers(p)
  local found = {}
  local base = "projects/" .. p.manifest["gcp-project"] .. "/"
  local name = "lp-cluster-" .. p.name
  -- GKE's own objects are named gke-<cluster>-<8 hex digits>-...; the digits keep dev-seb apart from dev-seb-2.
  local pattern = "^gke%-" .. name:gsub("%-", "%%-") .. "%-%x%x%x%x%x%x%x%x%-"
  local function of_cluster(object)
    return (object.labels or {})["goog-k8s-cluster-name"] == name or object.name:find(pattern) ~= nil
  end
  local function sweep(collection)
    for object in gcp.pages { api = "compute", path = base .. collection } do
      if of_cluster(object) then found[#found + 1] = base .. collection .. "/" .. object.name end
    end
  end
  sweep "global/firewalls"
  for _, zone in ipairs(M.zones(p)) do
    sweep("zones/" .. zone .. "/disks")
    sweep("zones/" .. zone .. "/networkEndpointGroups")
  end
  return found
end

--- Deletes what Google made for the cluster and left behind.
---@param p Platform
function M.remove_leftovers(p)
  local found = M.leftovers(p)
  for _, path in ipairs(found) do
    assert(gcp.wait(assert(gcp.request { api = "compute", method = "DELETE", path = path })))
  end
  if #found > 0 then p.w:changed(("%d removed"):format(#found)) else p.w:summary("none") end
end

--- The zones of the platform's region.
---@param p Platform
---@return string[]
function M.zones(p)
  local m, names = p.manifest, {}
  for zone in gcp.pages { api = "compute", path = "projects/" .. m["gcp-project"] .. "/zones" } do
    if zone.region:match("[^/]+$") == m.region then names[#names + 1] = zone.name end
  end
  return names
end


return M
