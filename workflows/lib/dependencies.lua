-- What every cluster needs before applications: cert-manager with an issuer, the ingress controller, the Prometheus
-- operator, consul; by Helm, from the charts that the manifest names. Then the chart "platform", which adds what is
-- this platform's own.
local fs = require "ws.fs"
local helm = require "ws.helm"
local http = require "ws.http"
local json = require "ws.json"
local project = require "ws.project"
local releases = require "lib.plan.releases"

local M = {}

--- Where each dependency comes from, and its values, unless the manifest says otherwise.
local known = {
  certmanager = { chart = "cert-manager", repository = "https://charts.jetstack.io", namespace = "cert-manager",
    values = function() return { crds = { enabled = true } } end },
  ["ingress-controller"] = { chart = "ingress-nginx", repository = "https://kubernetes.github.io/ingress-nginx",
    namespace = "ingress-nginx",
    -- The platform's load balancer sends to this port of every node; a service of type LoadBalancer, the chart's own
    -- default, would make a second one.
    values = function(p)
      return { controller = {
        service = { type = "NodePort", nodePorts = { https = p:read_outputs("kubernetes").node_port } },
        config = { ["use-forwarded-headers"] = "true" },
      } }
    end },
  ["prometheus-operator"] = { chart = "kube-prometheus-stack", namespace = "monitoring",
    repository = "https://prometheus-community.github.io/helm-charts",
    -- Its own server collects every monitor and rule, not only those that carry the release's label.
    values = function()
      return { prometheus = { prometheusSpec = {
        serviceMonitorSelectorNilUsesHelmValues = false, podMonitorSelectorNilUsesHelmValues = false,
        ruleSelectorNilUsesHelmValues = false,
      } } }
    end },
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

--- Installs or upgrades one release in the current step, and says what came of it.
local function release(p, what, options)
  releases.check_unmoved(p, options)
  options.create_namespace, options.wait, options.timeout = true, true, 600
  options.kubeconfig, options.log, options.api = p.kubeconfig, p.w:log_file(), p.api
  options.labels, options.exclusive = { wsrun = p.w.id }, "wsrun" -- all who set it hold the platform's lock
  options.on_event = function(event) p.w:progress(event.text) end
  local result = assert(helm.install_or_upgrade(options))
  if result.action == "unchanged" then
    p.w:summary(what .. ", no change")
  else
    p.w:changed(("%s %s"):format(what, result.action == "install" and "installed" or "upgraded"))
  end
end

--- The chart of a dependency, as people know it, and its release; without a cluster only what needs no chart.
local function describe(p, name, wanted)
  local default = known[name] or {}
  local chart = wanted.chart or default.chart
  local options = { release = wanted.release or chart, namespace = wanted.namespace or default.namespace }
  if p.kubeconfig then
    local stand_in
    options.chart, stand_in = fetch_chart(p, chart, wanted.repository or default.repository, wanted.version)
    options.values = M.merge(chart == default.chart and default.values and default.values(p), wanted.values)
    if stand_in then
      p.w:note(("%s: its repository cannot be reached, the sandbox's stand-in is used"):format(chart))
    end
  end
  return chart .. " " .. wanted.version, options
end

--- One release as a step of its own, installed or upgraded, or planned. `wanted` is what the manifest says of it;
--- `about` gives its title and its options.
local function step(p, name, wanted, about)
  p.w:step(name, { inputs = wanted, plan = function(current) return releases.plan(p, current, about()) end }, function()
    release(p, about())
  end)
end

--- Values of charts/platform: the issuer and the Prometheus servers that the manifest asks for.
---@param m table  manifest
---@return table? values  nil when it asks for neither
function M.platform_values(m)
  local wanted = m.infrastructure.dependancies or {}
  local certmanager, operator = wanted.certmanager or {}, wanted["prometheus-operator"] or {}
  local values, servers = {}, {}
  if certmanager.enabled and certmanager.issuer then
    values.issuer = { name = certmanager.issuer, email = certmanager.email }
  end
  for _, ns in ipairs(operator.enabled and m.infrastructure.namespaces or {}) do
    if type(ns) == "table" and ns.prometheus then
      servers[#servers + 1] = { name = ns.prometheus.name, namespace = ns.name }
    end
  end
  if #servers > 0 then values.prometheus = json.array(servers) end
  if next(values) ~= nil then return values end
end

--- `over` laid over `base`, maps merged, everything else replaced.
---@param base? table|false
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
    functions[i] = function() step(p, name, wanted[name], function() return describe(p, name, wanted[name]) end) end
  end
  p.w:together(functions)
  local values = M.platform_values(p.manifest)
  if not values then return end
  step(p, "platform", values, function()
    return "charts/platform", { release = "platform", chart = project.path("charts/platform"), namespace = "platform",
      values = values }
  end)
end

return M
