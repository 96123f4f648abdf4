-- What installing or upgrading a release of Helm would change: the rendered chart against what is deployed.
local errors = require "ws.error"
local helm = require "ws.helm"
local objects = require "lib.plan.objects"
local project = require "ws.project"
local publication = require "lib.publication"

local M = {}

local function of_object(change)
  local object = { kind = change.kind, metadata = { name = change.name, namespace = change.namespace } }
  local attributes
  if change.before and change.after then attributes = objects.differences(change.before, change.after) end
  return { what = "kubernetes", action = change.action, name = objects.name(object), attributes = attributes,
    detail = change.kind == "Secret" and change.action == "change" and "its contents are not shown" or nil }
end

--- The changes of a release: the release itself, its objects, and the images in them.
---@async
---@param p Platform
---@param title string                     what people know the chart by: "cert-manager v1.18.2"
---@param options ws.helm.InstallOptions   release, chart, namespace, values
---@param current? boolean                 when it is known: the same chart and values are deployed
---@return ws.Change[]
local function changes(p, title, options, current)
  local name = ("%s/%s"):format(options.namespace or "default", options.release)
  if not p.kubeconfig then
    return { { what = "helm", action = "add", name = name, detail = title, unknown = true } }
  end
  local handle = { release = options.release, namespace = options.namespace, kubeconfig = p.kubeconfig }
  local status, err = helm.status(handle)
  if not status and err.kind ~= "not_found" then error(err, 0) end
  if current == nil then
    current, err = helm.is_current { release = options.release, namespace = options.namespace,
      kubeconfig = p.kubeconfig, chart = options.chart, values = options.values, api = p.api }
    if err then error(err, 0) end
  end
  if current then return {} end
  handle.chart, handle.values = options.chart, options.values
  local list = { { what = "helm", action = status and "change" or "add", name = name, detail = title } }
  for _, change in ipairs(assert(helm.diff(handle))) do
    list[#list + 1] = of_object(change)
    if change.after then table.move(objects.images(change.before, change.after), 1, 64, #list + 1, list) end
  end
  if status and #list == 1 then list[1].detail = title .. ": other values or another package, the same objects" end
  return list
end

--- The bytes of a chart, and the last revision of its release: 0 when there is none.
local function facts(p, options)
  local revision = 0
  if p.kubeconfig then
    local status, err = helm.status { release = options.release, namespace = options.namespace,
      kubeconfig = p.kubeconfig }
    if not status and err.kind ~= "not_found" then error(err, 0) end
    revision = status and status.revision or 0
  end
  return { revision = revision, chart = options.chart and assert(helm.digest(options.chart)) or nil }
end

--- The plan rests on the chart's bytes and on the release as it is.
local function rest_on(p, step, options)
  local cache = project.state_dir() .. "/" -- of this machine; what is fetched is compared when it is used
  if options.chart and options.chart:sub(1, #cache) ~= cache then
    assert(p.w.plan:pin(step, { kind = "files", path = options.chart }))
  end
  p.w.plan:keep(step, facts(p, options))
end

--- In a run that applies a saved plan: refuses when the chart or the release is not what was planned with.
---@async
---@param p Platform
---@param options { release: string, namespace?: string, chart: string }
function M.check_unmoved(p, options)
  local saved = p.w:saved_plan()
  if not saved or saved.begun then return end
  local now, moved = facts(p, options), nil
  if saved.revision ~= now.revision then
    moved = ("its last revision is %d, it was %d when it was planned"):format(now.revision, saved.revision)
  elseif saved.chart and saved.chart ~= now.chart then
    moved = ("its chart %s is another package than when it was planned"):format(options.chart:match("[^/]+$"))
  end
  if not moved then return end
  error(errors.new { kind = "conflict", op = "apply", message = ("release %s: %s"):format(options.release, moved),
    hint = "plan again, look at what would change now, and apply that" }, 0)
end

--- What a step that installs or upgrades a release would change. The plan rests on the chart's bytes.
---@async
---@param p Platform
---@param step ws.Step
---@param title string
---@param options ws.helm.InstallOptions
---@return ws.Change[]
function M.plan(p, step, title, options)
  rest_on(p, step, options)
  return changes(p, title, options)
end

--- What deploying an application would change. Without a cluster it is looked whether its version was published.
---@async
---@param p Platform
---@param step ws.Step
---@param app table  of the manifest
---@return ws.Change[]
function M.plan_application(p, step, app)
  if p.kubeconfig then return M.plan_release(p, step, app, require "lib.release".examine(p, app, app.version)) end
  return M.plan_release(p, step, app, { version = app.version, publication = publication.fetch(p, app, app.version) })
end

--- What carrying out a release's plan would change.
---@async
---@param p Platform
---@param step ws.Step
---@param app table
---@param found ReleasePlan
---@return ws.Change[]
function M.plan_release(p, step, app, found)
  local published = found.publication
  local options = { release = app.name, namespace = app.namespace or "default", chart = published.chart,
    values = found.values }
  rest_on(p, step, options)
  assert(p.w.plan:pin(step, { kind = "object", url = published.url }))
  local list = changes(p, ("%s %s"):format(publication.chart_name(app), found.version), options,
    found.action == "unchanged")
  if #list > 0 then list.note = found.why end
  return list
end

return M
