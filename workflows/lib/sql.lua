-- Cloud SQL beside Terraform: the number that makes the server's name unique, and the users' passwords.
--
-- Google keeps the name of a deleted server for a week, so each gets a number of its own, which stands in the manifest
-- and is committed and pushed before the server is made: whoever runs next knows which server is meant.
-- A password lives in the Kubernetes secret that the application names. It is taken from there when it exists, else
-- generated; it is never shown and never in argv.
local crypto = require "ws.crypto"
local gcp = require "ws.gcp"
local inputs = require "lib.inputs"
local cluster = require "lib.cluster"
local manifest = require "lib.manifest"
local platform = require "lib.platform"
local secret = require "ws.secret"
local ws = require "ws"

local M = {}

local PASSWORD_BYTES = 24

--- Draws the number of the server's name when the manifest has a server without one.
---@param p Platform
function M.draw_number(p)
  local server = p.manifest.infrastructure.cloudsql
  if not server then return p.w:summary("no database server") end
  if server["instance-num"] then return p.w:summary(("number %d"):format(server["instance-num"])) end
  -- Nine digits: two platforms of one name within a week meet once in a billion.
  local bytes = crypto.random_bytes(4)
  local number = 100000000 + string.unpack("<I4", bytes) % 900000000
  number = p:write_manifest({ "infrastructure", "cloudsql", "instance-num" }, number,
    ("manifest: number of %s's database server"):format(p.name))
  server["instance-num"] = number
  p.w:changed(("number %d"):format(number))
end

--- What the server has now. Refuses a manifest that wants its disk smaller: a disk cannot shrink, so Terraform would
--- replace the server, with everything in it.
---@param p Platform
---@return {disk_size: integer}?  in GB; nil when there is no server yet
function M.current(p)
  local m = p.manifest
  local server = m.infrastructure.cloudsql
  if not server or not server["instance-num"] then return nil end
  local found, err = gcp.request { api = "sqladmin",
    path = ("projects/%s/instances/lp-sql-%s-%d"):format(m["gcp-project"], p.name, server["instance-num"]) }
  if not found then
    platform.unless_missing(err)
    return nil
  end
  local size = math.tointeger(tonumber(found.settings.dataDiskSizeGb))
  if size and size > server["disk-size"] and not server["disk-limit"] then
    local text = "disk-size is %d GB and the server's disk has %d: a disk cannot shrink"
    ws.fail(text:format(server["disk-size"], size), {
      kind = "invalid", where = manifest.where(m, { "infrastructure", "cloudsql", "disk-size" }),
      hint = ("write %d, or more"):format(size),
    })
  end
  return { disk_size = size }
end

--- Removes the number after the server is gone.
---@param p Platform
function M.remove_number(p)
  local server = p.manifest.infrastructure.cloudsql
  if not server or not server["instance-num"] then return end
  p:write_manifest({ "infrastructure", "cloudsql", "instance-num" }, nil,
    ("manifest: %s's database server is gone"):format(p.name))
  server["instance-num"] = nil
  p.w:changed("number removed")
end

--- Passwords of the applications' users: from their secrets in the cluster, else generated.
---@param p Platform
---@return table<string, ws.Secret> by_user
function M.passwords(p)
  p.passwords = {}
  local wanted = inputs.databases(p.manifest)
  if #wanted == 0 then return p.passwords end
  local api = cluster.existing(p)
  for _, db in ipairs(wanted) do
    local stored = api and cluster.read_secret(api, db.namespace, db.secret, "password")
    p.passwords_drawn = p.passwords_drawn or not (stored or p.passwords[db.user])
    p.passwords[db.user] = stored or p.passwords[db.user]
      or secret.new(crypto.base64url_encode(crypto.random_bytes(PASSWORD_BYTES)))
  end
  return p.passwords
end

--- Stores what an application needs to reach its database as the secret that its manifest names.
---@param p Platform
function M.store_secrets(p)
  local wanted = inputs.databases(p.manifest)
  if #wanted == 0 then return p.w:summary("no databases") end
  local outputs = p:read_outputs("data")
  local stored = 0
  for _, db in ipairs(wanted) do
    local changed = cluster.write_secret(p.api, db.namespace, db.secret, {
      username = db.user, password = p.passwords[db.user], database = db.database,
      host = outputs.sql_host, port = tostring(outputs.sql_port),
    })
    if changed then stored = stored + 1 end
  end
  if stored > 0 then p.w:changed(("%d stored"):format(stored)) else p.w:summary("no change") end
end

return M
