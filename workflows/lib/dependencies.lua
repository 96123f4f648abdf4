-- What every cluster needs before applications: cert-manager with an issuer, the ingress controller, the Prometheus
-- operator, consul; by Helm, from the charts that the manifest names.
local fs = require "ws.fs"
local helm = require "ws.helm"
local http = require "ws.http"
local project = require "ws.project"
local cluster = require "lib.cluster"

local M = {}

--- Where each dependency comes from unless the manifest says otherwise.
local known = {
  certmanager = { chart = "cert-manager", repository = "https://charts.jetstack.io", namespace = "cert-manager",
    values = { crds = { enabled = true } } },
  ["ingress-controller"] = { chart = "ingress-nginx", repository = "https://kubernetes.github.io/ingress-nginx",
    namespace = "ingress-nginx" },
  ["prometheus-operator"] = { chart = "kube-prometheus-stack", namespace = "monitoring",
    repository = "https://prometheus-community.github.io/helm-charts" },
  consul = { chart = "consul", repository = "https://helm.releases.hashicorp.com", namespace = "consul" },
}

local REPOSITORY_TIMEOUT = 5 -- seconds to find out that a repository cannot be reached

--- The repository to take a chart from: in the sandbox the stand-ins when the public one cannot be reached.
local function reachable_repository(p, repository)
  if not p.w.sandbox then return repository end
  local answer = http.get(repository .. "/index.yaml", { timeout = REPOSITORY_TIMEOUT, sink = function() end })
  if answer and answer.status == 200 then return repository end
  return require "sandbox".charts(), true
end

--- The chart's file, from the project's cache or pulled into it.
---@return string path
---@return boolean stand_in
local function fetch_chart(p, chart, repository, version)
  local folder = project.state_dir() .. "/charts"
  local file = ("%s/%s-%s.tgz"):format(folder, chart, version)
  if not p.w.sandbox and fs.exists(file) then return file, false end
  local source, stand_in = reachable_repository(p, repository)
  if stand_in then folder = folder .. "/stand-ins" end
  assert(fs.mkdir(folder, { parents = true }))
  return assert(helm.pull { repository = source, chart = chart, version = version, dir = folder }), stand_in == true
end

local function issuer_object(name, email)
  local spec = { selfSigned = {} }
  if name:find("^letsencrypt") then
    spec = { acme = {
      server = name == "letsencrypt-staging" and "https://acme-staging-v02.api.letsencrypt.org/directory"
        or "https://acme-v02.api.letsencrypt.org/directory",
      email = email, privateKeySecretRef = { name = name .. "-account" },
      solvers = { { http01 = { ingress = { ingressClassName = "nginx" } } } },
    } }
  else
    spec.selfSigned = require "ws.json".object {}
  end
  return { apiVersion = "cert-manager.io/v1", kind = "ClusterIssuer", metadata = { name = name }, spec = spec }
end

--- A Prometheus server for each namespace that asks for one.
local function install_prometheus(p)
  local changed = 0
  for _, ns in ipairs(p.manifest.infrastructure.namespaces or {}) do
    if type(ns) == "table" and ns.prometheus then
      local object = {
        apiVersion = "monitoring.coreos.com/v1", kind = "Prometheus",
        metadata = { name = ns.prometheus.name, namespace = ns.name },
        spec = { replicas = 1, serviceMonitorSelector = require "ws.json".object {} },
      }
      if cluster.apply(p.api, object) then changed = changed + 1 end
    end
  end
  return changed
end

local after = {
  certmanager = function(p, wanted)
    if not wanted.issuer then return end
    if cluster.apply(p.api, issuer_object(wanted.issuer, wanted.email)) then
      p.w:changed("issuer " .. wanted.issuer)
    end
  end,
  ["prometheus-operator"] = function(p)
    local n = install_prometheus(p)
    if n > 0 then p.w:changed(("%d Prometheus servers"):format(n)) end
  end,
}

local function install_one(p, name, wanted)
  local default = known[name] or {}
  local chart = wanted.chart or default.chart
  local path, stand_in = fetch_chart(p, chart, wanted.repository or default.repository, wanted.version)
  if stand_in then p.w:note(("%s: its repository cannot be reached, the sandbox's stand-in is used"):format(chart)) end
  local result = assert(helm.install_or_upgrade {
    release = wanted.release or chart, chart = path, namespace = wanted.namespace or default.namespace,
    create_namespace = true, values = M.merge(default.values, wanted.values), wait = true, timeout = 600,
    kubeconfig = p.kubeconfig, log = p.w:log_file(),
    on_event = function(event) p.w:progress(event.text) end,
  })
  if result.action == "unchanged" then
    p.w:summary(("%s %s, no change"):format(chart, wanted.version))
  else
    p.w:changed(("%s %s %s"):format(chart, wanted.version, result.action == "install" and "installed" or "upgraded"))
  end
  if after[name] then after[name](p, wanted) end
end

--- `over` laid over `base`, maps merged, everything else replaced.
---@param base? table
---@param over? table
---@return table
function M.merge(base, over)
  if over == nil then return base or {} end
  if type(base) ~= "table" or type(over) ~= "table" or #base > 0 or #over > 0 then return over end
  local merged = {}
  for k, v in pairs(base) do merged[k] = v end
  for k, v in pairs(over) do merged[k] = type(v) == "table" and M.merge(merged[k], v) or v end
  return merged
end

--- Installs or upgrades the dependencies that the manifest enables, side by side.
---@param p Platform
function M.install(p)
  local wanted = p.manifest.infrastructure.dependancies or {}
  local names = {}
  for name, dependency in pairs(wanted) do
    if dependency.enabled then names[#names + 1] = name end
  end
  table.sort(names)
  local functions = {}
  for i, name in ipairs(names) do
    functions[i] = function() p.w:step(name, function() install_one(p, name, wanted[name]) end) end
  end
  p.w:together(functions)
end

return M
