-- The applications of a platform: charts from the chart bucket, installed or upgraded by Helm, or plain YAML.
local fs = require "ws.fs"
local project = require "ws.project"
local yaml = require "ws.yaml"
local cluster = require "lib.cluster"
local objects = require "lib.plan.objects"
local release = require "lib.release"
local releases = require "lib.plan.releases"
local ws = require "ws"

local M = {}

--- What a step says of an application, with where people read on.
local function say(app, text)
  return app.documentation and ("%s (%s)"):format(text, app.documentation) or text
end

local function deploy_chart(p, app)
  local plan = release.examine(p, app, app.version)
  if plan.action == "unchanged" then return p.w:summary(say(app, app.version .. ", no change")) end
  release.carry_out(p, app, plan)
  p.w:changed(say(app, ("%s %s"):format(app.version, plan.action == "install" and "installed" or "upgraded")))
end

--- The files of a path of an application: the file, or a folder's YAML files in order of their names.
local function yaml_files(p, app, i)
  local path = project.path(app.paths[i])
  local info = fs.stat(path)
  if not info then
    ws.fail(("%s does not exist"):format(app.paths[i]), { kind = "not_found", where = p:where(app, "paths") })
  end
  if info.type ~= "directory" then return { path } end
  local files = assert(fs.glob(path .. "/*.{yaml,yml}"))
  table.sort(files)
  return files
end

--- The objects of an application that is plain YAML.
local function objects_of(p, app)
  local list = {}
  for i in ipairs(app.paths) do
    for _, file in ipairs(yaml_files(p, app, i)) do
      for _, object in ipairs(assert(yaml.decode_all(assert(fs.read(file)), { filename = file, yaml11 = true }))) do
        if type(object) == "table" and object.kind then
          object.metadata.namespace = object.metadata.namespace or app.namespace
          list[#list + 1] = object
        end
      end
    end
  end
  return list
end

local function deploy_paths(p, app)
  local list, changed = objects_of(p, app), 0
  local total = #list
  for _, object in ipairs(list) do
    if cluster.apply(p.api, object) then changed = changed + 1 end
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
      local function changes(step)
        if not app.paths then return releases.plan_application(p, step, app) end
        for _, path in ipairs(app.paths) do assert(p.w.plan:pin(step, { kind = "files", path = path })) end
        return objects.compare_all(p.api, objects_of(p, app))
      end
      p.w:step(app.name, { plan = changes, inputs = app }, function()
        if app.paths then deploy_paths(p, app) else deploy_chart(p, app) end
      end)
    end
  end
  p.w:together(functions)
end

return M
