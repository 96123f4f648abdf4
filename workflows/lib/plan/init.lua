-- Plan functions of a platform's steps: what each would change, for `wsrun plan`.
--
-- Each function here makes one from the platform. They look and compare; the natives refuse everything else.
local cluster = require "lib.cluster"
local inputs = require "lib.inputs"
local layers = require "lib.plan.layers"
local manifest = require "lib.manifest"
local objects = require "lib.plan.objects"
local sql = require "lib.sql"
local static = require "lib.static"

local M = { layer = layers.apply, destroy_layer = layers.destroy }

--- The manifest's file, as people know it.
---@param p Platform
---@return string
function M.file(p)
  return manifest.where(p.manifest, { "infrastructure" }):match("^(.-):%d")
end

--- The number of the database server: drawn, written into the manifest, committed and pushed.
---@param p Platform
function M.sql_number(p)
  return function()
    local server = p.manifest.infrastructure.cloudsql
    if not server or server["instance-num"] then return {} end
    return { { what = "manifest", action = "add", name = M.file(p), unknown = true,
      detail = "infrastructure.cloudsql.instance-num: a number is drawn, committed and pushed" } }
  end
end

--- The layer data: its inputs hold the server's number, and passwords that applications have in the cluster.
---@param p Platform
function M.data(p)
  return layers.apply(p, "data", function()
    local server = p.manifest.infrastructure.cloudsql
    if server and not server["instance-num"] then
      return nil, "its database server's number is drawn by sql-number first"
    end
    return true, sql.passwords(p), sql.current(p)
  end)
end

--- The cluster: its administrators and namespaces. When it runs it is connected to, for the plans of what is in it.
---@param p Platform
function M.cluster(p)
  return function()
    local description = cluster.describe(p)
    if description and description.status == "RUNNING" then cluster.connect(p) end
    local binding, namespaces = cluster.objects(p)
    return objects.compare_all(p.api, table.move(namespaces, 1, #namespaces, binding and 2 or 1, { binding }))
  end
end

--- The secrets in which applications find their databases. Their values are compared and never shown.
---@param p Platform
function M.sql_secrets(p)
  return function()
    local list = {}
    local outputs = p:read_outputs("data")
    for _, db in ipairs(inputs.databases(p.manifest)) do
      local password = p.api and cluster.read_secret(p.api, db.namespace, db.secret, "password")
      local change
      if not password or not outputs.sql_host then
        change = { what = "kubernetes", action = password and "change" or "add", unknown = true,
          name = ("Secret %s/%s"):format(db.namespace, db.secret) }
      else
        change = objects.compare(p.api, cluster.secret(db.namespace, db.secret, { username = db.user,
          password = password, database = db.database, host = outputs.sql_host, port = tostring(outputs.sql_port) }))
      end
      list[#list + 1] = change
    end
    return list
  end
end

--- The static files: what the bucket lacks, has with other bytes or headers, or has too much.
---@param p Platform
function M.static_files(p)
  return function(step)
    local list = {}
    for _, entry in ipairs(p.manifest["static-files"] or {}) do
      assert(p.w.plan:pin(step, { kind = "files", path = entry.source }))
    end
    if not p:read_outputs("kubernetes").static_bucket then
      for _, file in ipairs((static.collect(p))) do
        list[#list + 1] = { what = "bucket", action = "add", name = file.target, unknown = true }
      end
      return list
    end
    return M.files(static.compare(p))
  end
end

--- Files of a bucket as changes.
---@param found StaticPlan
---@return ws.Change[]
function M.files(found)
  local list = {}
  for _, file in ipairs(found.files) do
    list[#list + 1] = { what = "bucket", action = file.generation == 0 and "add" or "change",
      name = ("gs://%s/%s"):format(found.bucket, file.target) }
  end
  for _, object in ipairs(found.stale) do
    list[#list + 1] = { what = "bucket", action = "remove", name = ("gs://%s/%s"):format(found.bucket, object.name) }
  end
  return list
end

--- The version of an application in the manifest, after it was deployed.
---@param p Platform
---@param app table
---@param seen string     the version that the manifest says
---@param version string
function M.version(p, app, seen, version)
  return function()
    if seen == version then return {} end
    return { { what = "manifest", action = "change", name = M.file(p), detail = "committed and pushed",
      attributes = { { name = ("version of %s"):format(app.name), before = seen, after = version } } } }
  end
end

--- The number of the database server: removed after the server is gone.
---@param p Platform
function M.no_sql_number(p)
  return function()
    if not (p.manifest.infrastructure.cloudsql or {})["instance-num"] then return {} end
    return { { what = "manifest", action = "remove", name = M.file(p),
      detail = "infrastructure.cloudsql.instance-num, committed and pushed" } }
  end
end

--- What destroying takes out of the cluster first: what owns things outside it.
---@param p Platform
function M.empty_cluster(p)
  return function()
    local api, list = cluster.existing(p), {}
    for _, object in ipairs(api and cluster.owners(api) or {}) do
      list[#list + 1] = { what = "kubernetes", action = "remove", name = objects.name(object) }
    end
    return list
  end
end

--- What Google made for the cluster and would leave behind; some of it goes with the cluster.
---@param p Platform
function M.no_leftovers(p)
  return function()
    local list = {}
    for i, path in ipairs(cluster.leftovers(p)) do
      list[i] = { what = "compute", action = "remove", name = path:match("^projects/[^/]+/(.*)$") }
    end
    return list
  end
end

--- The states that are removed at the end.
---@param p Platform
function M.no_states(p)
  return function()
    local list = {}
    for _, name in ipairs(inputs.layers(p.manifest)) do
      if layers.state(p, name) then
        local backend = inputs.backend(p.manifest, name)
        list[#list + 1] = { what = "bucket", action = "remove",
          name = ("gs://%s/%s/%s.tfstate"):format(backend.bucket, backend.prefix, p.name) }
      end
    end
    return list
  end
end

return M
