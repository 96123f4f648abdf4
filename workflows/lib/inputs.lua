-- What each Terraform layer is given, worked out from a manifest: the tables that become tfvars.json.
--
-- Pure: no file, no network, no clock; the same manifest always gives the same tables. The manifest has exactly the
-- keys of the YAML (`manifest["gcp-project"]`) and has passed its schema. A key that the manifest leaves out is left
-- out here as well, so that a default stands in one place, the layer's variables.tf. No table is ever empty:
-- encoders could not tell whether a list or a map was meant.

local inputs = {}

--- The layers of a platform, in the order in which they can be applied. The layer project is not among them.
---@type string[]
local order = { "base", "bastion", "kubernetes", "data", "monitoring" }

--- Layers whose outputs a layer reads.
---@type table<string, string[]>
inputs.needs = {
  project = {},
  base = {},
  bastion = { "base" },
  kubernetes = { "base" },
  data = { "base" },
  monitoring = { "kubernetes", "data" },
}

--- A list, or nil when there is nothing in it.
---@generic T
---@param list T[]
---@return T[]?
local function some(list)
  if #list > 0 then return list end
end

--- A map, or nil when there is nothing in it.
---@param map? table
---@return table?
local function some_map(map)
  if map and next(map) ~= nil then return map end
end

--- An address as a range of one; a range as it is.
---@param address string
---@return string range
local function range(address)
  if address:find("/", 1, true) then return address end
  return address .. "/32"
end

--- Ranges of several lists of addresses, each once, in the order of first mention.
---@param ... string[]?
---@return string[]? ranges  nil when there are none
local function ranges(...)
  local seen, all = {}, {}
  for i = 1, select("#", ...) do
    for _, address in ipairs((select(i, ...)) or {}) do
      local r = range(address)
      if not seen[r] then
        seen[r] = true
        all[#all + 1] = r
      end
    end
  end
  return some(all)
end

--- The keys of a set in alphabetical order.
---@param set table<string, true>
---@return string[]? names  nil when there are none
local function names(set)
  local all = {}
  for name in pairs(set) do all[#all + 1] = name end
  table.sort(all)
  return some(all)
end

--- What every layer of a platform is given.
---@param m table  manifest
---@return table
local function common(m)
  return {
    gcp_project = m["gcp-project"],
    region = m.region,
    platform_type = m.type,
    infrastructure_version = m.infrastructure.version and tostring(m.infrastructure.version),
  }
end

--- What every layer that reads the outputs of another one is given.
---@param m table  manifest
---@return table
local function reader(m)
  local t = common(m)
  t.remote_bucket = m["remote-bucket"]
  t.remote_prefix = inputs.state_folder(m)
  return t
end

--- Folder of the states in the bucket, without slashes at its ends.
---@param m table  manifest
---@return string folder  empty for the top of the bucket
function inputs.state_folder(m)
  return ((m["prefix-bucket"] or ""):gsub("^/+", ""):gsub("/+$", ""))
end

--- Layers that a platform has, in an order in which they can be applied; reversed, they can be destroyed.
---
--- bastion and monitoring are there when the manifest has their block.
---@param m table  manifest
---@return string[] layers
function inputs.layers(m)
  local wanted = {
    base = true,
    bastion = m.infrastructure.bastion ~= nil,
    kubernetes = true,
    data = true,
    monitoring = m.monitoring ~= nil,
  }
  local layers = {}
  for _, layer in ipairs(order) do
    if wanted[layer] then layers[#layers + 1] = layer end
  end
  return layers
end

--- Where a layer keeps its state: the object is `<prefix>/<workspace>.tfstate`.
---@param m table  manifest
---@param layer string  such as "base"; raises on a name that is not a layer's
---@return {bucket: string, prefix: string}  the keys of -backend-config
function inputs.backend(m, layer)
  if not inputs.needs[layer] then error(("no layer is called %q"):format(tostring(layer)), 2) end
  local folder = inputs.state_folder(m)
  return {
    bucket = m["remote-bucket"],
    prefix = folder == "" and layer or folder .. "/" .. layer,
  }
end

--- The Terraform workspace of a layer: the platform's name; of the layer project, which platforms share, the project's.
---@param m table  manifest
---@param layer string
---@return string
function inputs.workspace(m, layer)
  if layer ~= "project" then return m.name end
  return (m["gcp-project"]:gsub("[^%w-]", "-")) -- the id of an organisation's project may have dots and a colon
end

--- Variables of the layer project.
---@param m table  manifest
---@return table tfvars
function inputs.project(m)
  return { gcp_project = m["gcp-project"] }
end

--- Variables of the layer base.
---@param m table  manifest
---@return table tfvars
function inputs.base(m)
  local infra = m.infrastructure
  local t = common(m)
  t.range_ip = infra["range-ip"]
  t.range_ip_pod = infra["range-ip-pod"]
  t.range_ip_svc = infra["range-ip-svc"]
  t.range_ip_peering = infra["range-ip-peering"]
  return t
end

--- Variables of the layer bastion. Raises for a manifest without a bastion.
---@param m table  manifest
---@return table tfvars
function inputs.bastion(m)
  local bastion = m.infrastructure.bastion or error("the manifest has no infrastructure.bastion", 2)
  local t = reader(m)
  t.instance_type = bastion["instance-type"]
  t.instance_image = bastion.image
  t.preemptible = bastion.preemptible
  t.disk_size = bastion["disk-size"]
  t.public_ip = bastion["public-ip"]
  t.whitelist = ranges(m.ips_whitelist)
  return t
end

--- Kubernetes service accounts of the applications that have a chart, which act as the platform's application account.
---@param m table  manifest
---@return string[]? accounts  as <namespace>/<name>; nil when there are none
local function workload_identities(m)
  local set = {}
  for _, app in ipairs(m.applications or {}) do
    if not app.paths then set[(app.namespace or "default") .. "/" .. app.name] = true end
  end
  return names(set)
end

--- Variables of the layer kubernetes.
---@param m table  manifest
---@return table tfvars
function inputs.kubernetes(m)
  local gke = m.infrastructure.gke
  local balancer = m.infrastructure["load-balancer"] or {}
  local t = reader(m)
  t.kubernetes_version = tostring(gke.version)
  t.release_channel = gke["release-channel"]
  t.maintenance_start = gke["maintenance-start"]
  t.deletion_protection = gke["deletion-protection"]
  t.zones = some(gke.zones or {})
  t.instance_type = gke["instance-type"]
  t.disk_size = gke["disk-size"]
  t.preemptible = gke.preemptible
  t.min_nodes = gke.min
  t.max_nodes = gke.max
  t.range_ip_master = m.infrastructure["range-ip-master"]
  t.range_platform = m.infrastructure["range-plateform"]
  t.whitelist = ranges(m.ips_whitelist, gke.ips_whitelist)
  t.workload_identities = workload_identities(m)
  t.domains = some(balancer.domains or {})
  t.cdn = balancer.cdn
  t.backend_timeout = balancer.timeout
  t.node_port = balancer["node-port"]
  t.health_path = balancer["health-path"]
  return t
end

--- Databases that the applications ask for, in the order of the manifest.
---
--- `secret` is the Kubernetes secret in `namespace` that holds the password and the way to the database.
---@param m table  manifest
---@return {application: string, namespace: string, database: string, user: string, secret: string}[]
function inputs.databases(m)
  local list = {}
  for _, app in ipairs(m.applications or {}) do
    local sql = app.cloudsql
    if sql then
      list[#list + 1] = {
        application = app.name,
        namespace = app.namespace or "default",
        database = sql.database,
        user = sql.user,
        secret = sql["user-secret"],
      }
    end
  end
  return list
end

--- The variable `sql` of the layer data.
---@param sql table  infrastructure.cloudsql
---@param current {disk_size?: integer}
---@return table
local function server(sql, current)
  local backups, maintenance = sql.backups or {}, sql.maintenance or {}
  local disk = sql["disk-size"]
  -- A disk that Google has grown cannot shrink: the smaller size would replace the server.
  if sql["disk-limit"] and current.disk_size then disk = math.max(disk, current.disk_size) end
  return {
    instance_num = sql["instance-num"],
    version = sql.version,
    tier = sql["instance-type"],
    disk_size = disk,
    disk_limit = sql["disk-limit"],
    edition = sql.edition,
    availability = sql.availability,
    replicas = sql.replicas,
    deletion_protection = sql["deletion-protection"],
    flags = some_map(sql.flags),
    backups = some_map {
      enabled = backups.enabled,
      start_time = backups["start-time"],
      retained = backups.retained,
      location = backups.location,
      point_in_time_recovery = backups["point-in-time-recovery"],
      log_retention_days = backups["log-retention-days"],
    },
    maintenance = some_map { day = maintenance.day, hour = maintenance.hour },
  }
end

--- Variables of the layer data.
---
--- Raises when the manifest has a server without `instance-num` (draw one first), when an application asks for a
--- database of a platform without server, and when a user has no password.
---@param m table  manifest
---@param secrets? table<string, any>  passwords by user: secrets or strings, passed on as they are
---@param current? {disk_size?: integer}  what the server has now, in GB; matters only with `disk-limit`
---@return table tfvars
function inputs.data(m, secrets, current)
  local sql = m.infrastructure.cloudsql
  local wanted = inputs.databases(m)
  local t = reader(m)
  if not sql then
    if wanted[1] then
      error(("application %q asks for a database, and the manifest has no infrastructure.cloudsql"):format(
        wanted[1].application), 2)
    end
    return t
  end
  if not sql["instance-num"] then error("infrastructure.cloudsql.instance-num is missing: draw it first", 2) end

  local databases, users, passwords = {}, {}, {}
  for _, db in ipairs(wanted) do
    local password = (secrets or {})[db.user]
    if password == nil then
      error(("no password for the user %q of application %q"):format(db.user, db.application), 2)
    end
    databases[db.database], users[db.user], passwords[db.user] = true, true, password
  end
  t.sql = server(sql, current or {})
  t.databases = names(databases)
  t.users = names(users)
  t.passwords = some_map(passwords)
  return t
end

--- Variables of the layer monitoring. Raises for a manifest without monitoring.
---@param m table  manifest
---@return table tfvars
function inputs.monitoring(m)
  local monitoring = m.monitoring or error("the manifest has no monitoring", 2)
  local t = reader(m)
  t.emails = some(monitoring.emails or {})
  -- An empty block means the check with all its defaults, which an empty map would not say in JSON.
  t.uptime = monitoring.uptime and { path = monitoring.uptime.path or "/healthz", period = monitoring.uptime.period }
  t.alerts = some_map(monitoring.alerts)
  t.dashboard = monitoring.dashboard
  return t
end

return inputs
