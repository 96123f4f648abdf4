-- Plan functions of a platform's steps: what each would change, for `wsrun plan`.
--
-- Each function here makes one from the platform. They look and compare; the natives refuse everything else.
local layers = require "lib.plan.layers"
local manifest = require "lib.manifest"
local sql = require "lib.sql"

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

return M
