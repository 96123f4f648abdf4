-- The applications of a platform: charts from the chart bucket, installed or upgraded by Helm, or plain YAML.
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local helm = require "ws.helm"
local project = require "ws.project"
local yaml = require "ws.yaml"
local cluster = require "lib.cluster"
local dependencies = require "lib.dependencies"
local manifest = require "lib.manifest"
local ws = require "ws"

local M = {}

local DEFAULT_CHART = "app-chart"

--- The path of an application's chart in this project's cache, fetched from the chart bucket.
local function fetch_chart(p, app)
  local chart = app.chart or DEFAULT_CHART
  local bucket = p.manifest["charts-bucket"]
  local url = ("gs://%s/%s/%s/%s-%s.tgz"):format(bucket, chart, app.version, chart, app.version)
  local folder = ("%s/charts/%s"):format(project.state_dir(), bucket)
  assert(fs.mkdir(folder, { parents = true }))
  local path = ("%s/%s-%s.tgz"):format(folder, chart, app.version)
  local got, err = gcs.get(url, { file = path })
  if got then return path end
  if err.kind == "not_found" then
    ws.fail(("%s is not there: version %s of %s was never published"):format(url, app.version, chart), {
      kind = "not_found", where = M.where(p, app, "version"),
      hint = ("publish it with wsrun workflows/ci.lua %s, or name a version that gs://%s/%s/ has"):format(
        app.version, bucket, chart) })
  end
  error(err, 0)
end

--- "manifests/dev-seb.yaml:99:5" of a key of an application.
---@param p Platform
---@param app table
---@param key string
---@return string?
function M.where(p, app, key)
  for i, other in ipairs(p.manifest.applications) do
    if other == app then return manifest.where(p.manifest, { "applications", i, key }) end
  end
end

--- Values of an application's chart: the image by version, the platform's own facts, then what the manifest says.
local function values(p, app)
  local m = p.manifest
  local outputs = p:read_outputs("kubernetes")
  local base = {
    image = { tag = app.version, repository = m["images-registry"]
      and ("%s/%s"):format(m["images-registry"], "app") or ("eu.gcr.io/%s/app"):format(m["gcp-project"]) },
    platform = p.name,
    service = { nodePort = outputs.node_port },
    serviceAccount = { googleServiceAccount = outputs.apps_service_account },
  }
  if app.cloudsql then base.database = { secret = app.cloudsql["user-secret"] } end
  return dependencies.merge(base, app.values)
end

--- What a step says of an application, with where people read on.
local function say(app, text)
  return app.documentation and ("%s (%s)"):format(text, app.documentation) or text
end

local function deploy_chart(p, app)
  local result = assert(helm.install_or_upgrade {
    release = app.name, chart = fetch_chart(p, app), namespace = app.namespace or "default",
    values = values(p, app), wait = true, timeout = 600, kubeconfig = p.kubeconfig, log = p.w:log_file(),
    on_event = function(event) p.w:progress(event.text) end,
  })
  if result.action == "unchanged" then
    p.w:summary(say(app, app.version .. ", no change"))
  else
    p.w:changed(say(app, ("%s %s"):format(app.version, result.action == "install" and "installed" or "upgraded")))
  end
end

--- The files of a path of an application: the file, or a folder's YAML files in order of their names.
local function yaml_files(p, app, i)
  local path = project.path(app.paths[i])
  local info = fs.stat(path)
  if not info then
    ws.fail(("%s does not exist"):format(app.paths[i]), { kind = "not_found", where = M.where(p, app, "paths") })
  end
  if info.type ~= "directory" then return { path } end
  local files = assert(fs.glob(path .. "/*.{yaml,yml}"))
  table.sort(files)
  return files
end

local function deploy_paths(p, app)
  local changed, total = 0, 0
  for i in ipairs(app.paths) do
    for _, file in ipairs(yaml_files(p, app, i)) do
      for _, object in ipairs(assert(yaml.decode_all(assert(fs.read(file)), { filename = file, yaml11 = true }))) do
        if type(object) == "table" and object.kind then
          object.metadata.namespace = object.metadata.namespace or app.namespace
          if cluster.apply(p.api, object) then changed = changed + 1 end
          total = total + 1
        end
      end
    end
  end
  if changed > 0 then
    p.w:changed(say(app, ("%d of %d objects applied"):format(changed, total)))
  else
    p.w:summary(say(app, ("%d objects, no change"):format(total)))
  end
end

--- Installs or upgrades the applications side by side.
---@param p Platform
function M.deploy(p)
  local functions = {}
  for i, app in ipairs(p.manifest.applications or {}) do
    functions[i] = function()
      p.w:step(app.name, function()
        if app.paths then deploy_paths(p, app) else deploy_chart(p, app) end
      end)
    end
  end
  p.w:together(functions)
end

return M
