--- Cloud SQL: instances, databases, users.
local json = require "ws.json"
local values = require "sandbox.provider.values"

local INSTANCE = "projects/{project}/instances/{instance}"
local SELF = "projects/{project}/instances/{name}"

--- The settings block of the API has the version that was read last; a stale one is refused with 412.
local function put_settings(context, body)
  for attempt = 1, 5 do
    local now, err = context.call("GET", "sql", context.fill(SELF))
    if not now then return nil, err end
    body.settings = body.settings or json.object()
    body.settings.settingsVersion = (now.settings or {}).settingsVersion
    local done
    done, err = context.run("PUT", "sql", context.fill(SELF), { body = body })
    if done or err.status ~= 412 or attempt == 5 then return done, err end
  end
end

--- A new MySQL server has a root user that anybody may log in as.
local function drop_default_users(context, planned)
  if not (planned.database_version or ""):find("^MYSQL") or planned.master_instance_name then return true end
  local list, err = context.call("GET", "sql", context.fill(SELF .. "/users"))
  if not list then return nil, err end
  for _, user in ipairs(list.items or {}) do
    if user.name == "root" and user.host == "%" then
      local ok
      ok, err = context.run("DELETE", "sql", context.fill(SELF .. "/users"), { query = { name = "root", host = "%" } })
      if not ok then return nil, err end
    end
  end
  return true
end

local function address_of(object, kind)
  for _, address in ipairs(object.ipAddresses or {}) do
    if not kind or address.type == kind then return address.ipAddress end
  end
  return ""
end

local instance = {
  service = "sql",
  id = SELF,
  collection = "projects/{project}/instances",
  sent = { "region" },
  immutable = { "name", "project", "region", "master_instance_name", "encryption_key_name", "settings.collation",
    "settings.time_zone", "clone" },
  client = { "deletion_protection", "root_password", "root_password_wo", "root_password_wo_version", "clone",
    "restore_backup_context", "point_in_time_restore_context", "backupdr_backup", "final_backup_description",
    "include_replicas_for_major_version_upgrade" },
  names = {
    ["settings.disk_size"] = "dataDiskSizeGb", ["settings.disk_type"] = "dataDiskType",
    ["settings.disk_autoresize"] = "storageAutoResize", ["settings.disk_autoresize_limit"] = "storageAutoResizeLimit",
    ["settings.version"] = "settingsVersion", ip_address = "ipAddresses",
    ["settings.active_directory_config.admin_credential_secret_name"] = "adminCredentialSecretName",
    ["settings.deny_maintenance_period"] = "denyMaintenancePeriods",
    ["settings.location_preference.follow_gae_application"] = "followGaeApplication",
    encryption_key_name = "diskEncryptionConfiguration.kmsKeyName",
    ["settings.insights_config.query_plans_per_minute"] = "queryPlansPerMinute",
    replica_configuration = "replicaConfiguration", first_ip_address = false, private_ip_address = false,
    public_ip_address = false,
  },
  arrays = { "settings.deny_maintenance_period" },
  links = { ["settings.ip_configuration.private_network"] = "global/networks" },
  defaults = {
    deletion_protection = true, ["settings.activation_policy"] = "ALWAYS", ["settings.availability_type"] = "ZONAL",
    ["settings.disk_autoresize"] = true, ["settings.disk_autoresize_limit"] = 0, ["settings.pricing_plan"] = "PER_USE",
    ["settings.ip_configuration.ipv4_enabled"] = true, ["settings.deletion_protection_enabled"] = false,
  },
  computed_blocks = { "settings.backup_configuration", "settings.ip_configuration", "settings.location_preference" },
  enums = {
    ["settings.availability_type"] = { "REGIONAL", "ZONAL" },
    ["settings.activation_policy"] = { "ALWAYS", "NEVER", "ON_DEMAND" },
    ["settings.ip_configuration.ssl_mode"] = { "ALLOW_UNENCRYPTED_AND_ENCRYPTED", "ENCRYPTED_ONLY",
      "TRUSTED_CLIENT_CERTIFICATE_REQUIRED" },
    ["settings.maintenance_window.update_track"] = { "canary", "stable", "week5" },
  },
  patterns = { database_version = { "^[A-Z]+_[%w_]+$", "such as POSTGRES_16 or MYSQL_8_0" } },
  replace_when = function(planned, prior)
    local old, new = (prior.settings or {})[1], type(planned.settings) == "table" and planned.settings[1]
    if old and new and tonumber(old.disk_size) and tonumber(new.disk_size) and new.disk_size < old.disk_size then
      return { "settings.0.disk_size" }
    end
  end,
  body = function(body, planned)
    if type(planned.name) ~= "string" then
      planned.name = ("terraform-%s%06d"):format(os.date("!%Y%m%d%H%M%S"), math.random(0, 999999))
    end
    body.name = planned.name
    body.rootPassword = planned.root_password
    if body.settings then body.settings.settingsVersion = nil end
  end,
  after_create = drop_default_users,
  actions = { { fields = { "database_version" }, run = function(context, planned)
    return context.run("PATCH", "sql", context.fill(SELF), { body = { databaseVersion = planned.database_version } })
  end } },
  update = function(context, planned)
    local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
    return put_settings(context, mapping.body(resource.get "google_sql_database_instance", planned, context))
  end,
  state = function(state, object)
    state.first_ip_address = address_of(object)
    state.private_ip_address = address_of(object, "PRIVATE")
    state.public_ip_address = address_of(object, "PRIMARY")
    if type(object.masterInstanceName) == "string" then
      state.master_instance_name = object.masterInstanceName:match("[^:]+$")
    end
    if state.deletion_protection == nil then state.deletion_protection = true end
    for _, settings in ipairs(state.settings or {}) do
      settings.version = tonumber((object.settings or {}).settingsVersion)
    end
  end,
}

local database = {
  service = "sql",
  id = INSTANCE .. "/databases/{name}",
  collection = INSTANCE .. "/databases",
  mutable = { "charset", "collation" },
  body = function(body, planned) body.instance = values.last(planned.instance) end,
}

-- ---- users ---------------------------------------------------------------------------------------------------------

local function user_query(v)
  return { name = v.name, host = v.host and v.host ~= values.unknown and v.host or "" }
end

local function find_user(context, v)
  local list, err = context.call("GET", "sql", context.fill(INSTANCE .. "/users"))
  if not list then
    if err.status == 403 then return false end -- the instance is gone
    return nil, err
  end
  local host = user_query(v).host
  for _, user in ipairs(list.items or {}) do
    local theirs = user.host or ""
    if user.name == v.name and (theirs == host or (host == "" and theirs == "%")) then return user end
  end
  return false
end

local user = {
  service = "sql",
  collection = INSTANCE .. "/users",
  mutable = { "password", "password_policy", "password_wo_version", "password_wo", "database_roles" },
  client = { "password", "password_wo", "password_wo_version", "instance" },
  body = function(body, planned)
    body.password = planned.password
    body.instance = values.last(planned.instance)
  end,
  read_with = find_user,
  update = function(context, planned)
    local query = user_query(planned)
    query.revokeExistingRoles = false
    return context.run("PUT", "sql", context.fill(INSTANCE .. "/users"),
      { query = query, body = { name = planned.name, password = planned.password, host = query.host } })
  end,
  delete_with = function(context, prior)
    return context.run("DELETE", "sql", context.fill(INSTANCE .. "/users"), { query = user_query(prior) })
  end,
  state = function(state, object)
    if state.host == nil then state.host = object.host or "" end
    state.id = ("%s/%s/%s"):format(state.name, state.host, values.last(state.instance))
  end,
  import_form = "{project}/{instance}/{name} or {project}/{instance}/{host}/{name}",
  import = function(id)
    local parts = {}
    for part in id:gmatch("[^/]+") do parts[#parts + 1] = part end
    if #parts == 3 then return { project = parts[1], instance = parts[2], name = parts[3] } end
    if #parts == 4 then return { project = parts[1], instance = parts[2], host = parts[3], name = parts[4] } end
    if #parts == 2 then return { instance = parts[1], name = parts[2] } end
  end,
}


return { google_sql_database_instance = instance, google_sql_database = database, google_sql_user = user }
