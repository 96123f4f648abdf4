-- What installing or upgrading a release of Helm would change: the rendered chart against what is deployed.
local helm = require "ws.helm"
local objects = require "lib.plan.objects"
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
function M.changes(p, title, options, current)
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

--- What a step that installs or upgrades a release would change. The plan rests on the chart's bytes.
---@async
---@param p Platform
---@param step ws.Step
---@param title string
---@param options ws.helm.InstallOptions
---@return ws.Change[]
function M.plan(p, step, title, options)
  if options.chart then assert(p.w.plan:pin(step, { kind = "chart", path = options.chart })) end
  return M.changes(p, title, options)
end

--- What deploying an application would change. Without a cluster it is looked whether its version was published.
---@async
---@param p Platform
---@param step ws.Step
---@param app table  of the manifest
---@return ws.Change[]
function M.plan_application(p, step, app)
  local namespace = app.namespace or "default"
  local title = ("%s %s"):format(publication.chart_name(app), app.version)
  if not p.kubeconfig then
    publication.fetch(p, app, app.version)
    return M.changes(p, title, { release = app.name, namespace = namespace })
  end
  local found = require "lib.release".examine(p, app, app.version)
  assert(p.w.plan:pin(step, { kind = "chart", path = found.publication.chart }))
  local list = M.changes(p, title, { release = app.name, namespace = namespace, chart = found.publication.chart,
    values = found.values }, found.action == "unchanged")
  list.note = #list > 0 and found.why or nil
  return list
end

return M
