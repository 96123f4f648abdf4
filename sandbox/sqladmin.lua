--- Cloud SQL Admin: instances with replicas, databases, users.
---
--- An instance's name stays taken for a week after its deletion, as in the real service.
local addresses = require "sandbox.addresses"
local crypto = require "ws.crypto"
local json = require "ws.json"
local operations = require "sandbox.operations"
local reply = require "sandbox.reply"
local time = require "ws.time"
local values = require "sandbox.values"

local NAME_SECONDS = 7 * 86400
local CREATE_FACTOR = 3
local OUTPUT_ONLY = { "kind", "state", "selfLink", "connectionName", "ipAddresses", "serverCaCert", "etag",
  "createTime", "project", "serviceAccountEmailAddress", "gceZone", "backendType", "replicaNames", "rootPassword", }

return function(cloud)
  local s = cloud:service("sqladmin", { prefixes = { "sql" }, api = "sqladmin.googleapis.com" })
  local instances, databases = cloud.store:collection "sql.instances", cloud.store:collection "sql.databases"
  local users, graves = cloud.store:collection "sql.users", cloud.store:collection "sql.deleted"
  local ALL = "/sql/v1beta4/projects/{project}/instances"
  local ONE = ALL .. "/{instance}"

  function cloud.sql_instances() return (instances:list()) end

  local function key_of(c) return ("%s/%s"):format(c.params.project, c.params.instance) end
  local function need(c)
    return instances:get(key_of(c))
      or reply.fail(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
  end
  local function shown(c, instance)
    local copy = values.copy(instance)
    copy._ready_at = nil
    if instance._ready_at > time.now() then copy.state = "PENDING_CREATE" end
    copy.selfLink = ("https://sqladmin.googleapis.com/sql/v1beta4/projects/%s/instances/%s"):format(instance.project,
      instance.name)
    local replicas = json.array {}
    for _, other in ipairs((instances:list(c.params.project .. "/"))) do
      if other.masterInstanceName == instance.project .. ":" .. instance.name then
        replicas[#replicas + 1] = other.name
      end
    end
    copy.replicaNames = #replicas > 0 and replicas or nil
    return copy
  end

  local function render(record)
    local done = operations.done(record)
    return { kind = "sql#operation", name = record.name, operationType = record.type, targetId = record.target,
      targetProject = record.project, status = done and "DONE" or "RUNNING", user = "sandbox@example.com",
      insertTime = time.rfc3339(record.started_at, 3), startTime = time.rfc3339(record.started_at, 3),
      endTime = done and time.rfc3339(record.done_at, 3) or nil, error = done and record.error or nil,
      selfLink = ("https://sqladmin.googleapis.com/sql/v1beta4/projects/%s/operations/%s"):format(record.project,
        record.name) }
  end
  local function start(c, kind, target, factor)
    local name = crypto.uuid()
    return cloud.operations:start(("sql/%s/%s"):format(c.params.project, name),
      { name = name, type = kind, target = target, project = c.params.project, factor = factor })
  end

  s:on("GET", "/sql/v1beta4/projects/{project}/operations/{operation}", function(c)
    local record = cloud.operations:get(("sql/%s/%s"):format(c.params.project, c.params.operation), true)
    return render(record or reply.fail(404, "operationDoesNotExist", "The Cloud SQL operation does not exist."))
  end)
  s:on("GET", "/sql/v1beta4/projects/{project}/operations", function(c)
    local list = values.map(cloud.operations:list(("sql/%s/"):format(c.params.project)), render)
    return { kind = "sql#operationsList", items = list }
  end)

  local function accepted(body)
    local instance = values.clean(body)
    for _, field in ipairs(OUTPUT_ONLY) do instance[field] = nil end
    return instance
  end

  --- Completes settings; `version` is what clients send back to prove that they saw the last change.
  local function complete(instance, version)
    local settings = instance.settings or {}
    settings.kind, settings.settingsVersion = "sql#settings", tostring(version)
    settings.activationPolicy = settings.activationPolicy or "ALWAYS"
    settings.pricingPlan = settings.pricingPlan or "PER_USE"
    settings.edition = settings.edition or "ENTERPRISE"
    settings.availabilityType = settings.availabilityType or "ZONAL"
    settings.dataDiskType = settings.dataDiskType or "PD_SSD"
    settings.dataDiskSizeGb = tostring(settings.dataDiskSizeGb or 10)
    if settings.storageAutoResize == nil then settings.storageAutoResize = true end
    settings.storageAutoResizeLimit = tostring(settings.storageAutoResizeLimit or 0)
    instance.settings = settings
    instance.etag = crypto.hex_encode(crypto.random_bytes(32))
  end

  local function used_addresses()
    local used = {}
    for _, instance in ipairs((instances:list())) do
      for _, address in ipairs(instance.ipAddresses or {}) do used[address.ipAddress] = true end
    end
    return used
  end

  --- Gives the instance its addresses; a private one needs the peering of its network.
  local function assign_addresses(c, instance)
    local configuration, list = instance.settings.ipConfiguration or {}, json.array {}
    if configuration.privateNetwork then
      local connection = cloud.peering_of(configuration.privateNetwork)
      if not connection then
        reply.fail(400, "badRequest", ("Failed to create subnetwork. Please create Service Networking connection with "
          .. "service 'servicenetworking.googleapis.com' from consumer project '%s' network '%s' again. "
          .. "(NETWORK_NOT_PEERED)"):format(c.params.project, values.last(configuration.privateNetwork)))
      end
      local wanted = configuration.allocatedIpRange
      for _, range in ipairs(connection.reservedPeeringRanges) do
        local name = values.last(range)
        local address = cloud.compute:find(("projects/%s/global/addresses/%s"):format(c.params.project, name))
        if address and (not wanted or wanted == name) and #list == 0 then
          local free = addresses.free(("%s/%d"):format(address.address, address.prefixLength), used_addresses(), 3)
          list[1] = { type = "PRIVATE", ipAddress = free }
        end
      end
      if #list == 0 then
        reply.fail(400, "badRequest", "The allocated range has no free address, or the connection does not have it.")
      end
    end
    if configuration.ipv4Enabled or not configuration.privateNetwork then
      table.insert(list, 1, { type = "PRIMARY",
        ipAddress = require "sandbox.compute.collections".external_address(cloud.compute) })
    end
    instance.ipAddresses = list
  end

  local function add_builtins(c, instance)
    local mysql = instance.databaseVersion:find("^MYSQL")
    local server = instance.databaseVersion:find("^SQLSERVER")
    local names = mysql and { "information_schema", "mysql", "performance_schema", "sys" }
      or server and { "master", "tempdb", "model", "msdb" } or { "postgres" }
    for _, name in ipairs(names) do
      databases:put(("%s/%s"):format(key_of(c), name), { kind = "sql#database", name = name, instance = instance.name,
        project = instance.project, charset = mysql and "utf8mb4" or "UTF8", _builtin = true,
        collation = mysql and "utf8mb4_0900_ai_ci" or "en_US.UTF8" })
    end
    local admin = mysql and "root" or server and "sqlserver" or "postgres"
    local host = mysql and "%" or ""
    users:put(("%s/%s@%s"):format(key_of(c), admin, host), { kind = "sql#user", name = admin, instance = instance.name,
      project = instance.project, host = mysql and host or nil, type = "BUILT_IN", _builtin = true })
  end

  s:on("GET", ALL, function(c)
    local page, token = reply.page(instances:list(c.params.project .. "/"), function(i) return i.name end,
      c.query.pageToken, c.query.maxResults)
    return { kind = "sql#instancesList", items = values.map(page, function(i) return shown(c, i) end),
      nextPageToken = token }
  end)

  s:on("POST", ALL, function(c)
    local body = c:json()
    local instance = accepted(body)
    if type(instance.name) ~= "string" or not instance.name:find("^[a-z][a-z0-9-]*$") or #instance.name > 97 then
      reply.fail(400, "invalidInstanceName", "Invalid instance name.")
    end
    c.params.instance = instance.name
    local grave = graves:get(key_of(c))
    if instances:get(key_of(c)) or (grave and grave.deleted_at + NAME_SECONDS > time.now()) then
      reply.fail(409, "instanceAlreadyExists", "The Cloud SQL instance already exists. When you delete an instance, "
        .. "you can't reuse the name of the deleted instance until one week from the deletion date.")
    end
    if not instance.settings or not instance.settings.tier then
      reply.fail(400, "missingParameter", "Missing parameter: settings.tier.")
    end
    local project = c.params.project
    instance.project, instance.kind, instance.state = project, "sql#instance", "RUNNABLE"
    instance.region = instance.region or "us-central1"
    instance.backendType, instance.createTime = "SECOND_GEN", time.rfc3339(time.now(), 3)
    local master = values.given(instance.masterInstanceName)
    if master then
      local parent = instances:get(project .. "/" .. master:match("([^:]*)$"))
      if not parent then reply.fail(400, "invalid", "The master instance does not exist.") end
      instance.masterInstanceName = project .. ":" .. parent.name
      instance.instanceType = "READ_REPLICA_INSTANCE"
      instance.databaseVersion = instance.databaseVersion or parent.databaseVersion
    else
      instance.instanceType = "CLOUD_SQL_INSTANCE"
    end
    instance.databaseVersion = instance.databaseVersion or "MYSQL_8_0"
    instance.connectionName = ("%s:%s:%s"):format(project, instance.region, instance.name)
    instance.gceZone = instance.region .. "-b"
    instance.serviceAccountEmailAddress = ("p%s-%s@gcp-sa-cloud-sql.iam.gserviceaccount.com"):format(
      cloud:project(project).projectNumber, crypto.random_hex(3))
    complete(instance, 1)
    assign_addresses(c, instance)
    instance.serverCaCert = { kind = "sql#sslCert", instance = instance.name, certSerialNumber = "0",
      cert = cloud.ca and cloud.ca.cert or "", commonName = "C=US,O=Google\\, Inc,CN=Google Cloud SQL Server CA",
      sha1Fingerprint = crypto.sha1(instance.name), createTime = instance.createTime,
      expirationTime = time.rfc3339(time.now() + 10 * 365 * 86400, 3) }
    local record = start(c, "CREATE", instance.name, CREATE_FACTOR)
    instance._ready_at = record.done_at
    instances:put(key_of(c), instance)
    if not master then add_builtins(c, instance) end
    return render(record)
  end)

  s:on("GET", ONE, function(c) return shown(c, need(c)) end)

  local function update(c, replace)
    local instance, body = need(c), c:json()
    local given = body.settings and body.settings.settingsVersion
    if given and tostring(given) ~= instance.settings.settingsVersion then
      reply.fail(412, "staleData", "The settings version does not match the current one.")
    end
    local new = accepted(body)
    new.name, new.region, new.instanceType, new.masterInstanceName = nil, nil, nil, nil
    instances:update(key_of(c), function(i)
      local version = math.tointeger(tonumber(i.settings.settingsVersion)) + 1
      if replace and new.settings then i.settings = {} end
      values.merge(i, new)
      complete(i, version)
      local before, after = instance.settings.ipConfiguration or {}, i.settings.ipConfiguration or {}
      if before.privateNetwork ~= after.privateNetwork or before.ipv4Enabled ~= after.ipv4Enabled then
        assign_addresses(c, i)
      end
    end)
    return render(start(c, "UPDATE", instance.name))
  end
  s:on("PUT", ONE, function(c) return update(c, true) end)
  s:on("PATCH", ONE, function(c) return update(c, false) end)

  local function drop_children(prefix)
    for _, collection in ipairs { databases, users } do
      for _, key in ipairs(select(2, collection:list(prefix))) do collection:delete(key) end
    end
  end
  s:on("DELETE", ONE, function(c)
    local instance = need(c)
    if instance.settings.deletionProtectionEnabled then
      reply.fail(400, "deletionProtectionEnabled",
        "The instance is protected. Please disable the deletion protection and try again.")
    elseif shown(c, instance).replicaNames then
      reply.fail(400, "invalidOperation", "The instance has replicas; delete them first.")
    end
    instances:delete(key_of(c))
    drop_children(key_of(c) .. "/")
    graves:put(key_of(c), { deleted_at = time.now() })
    return render(start(c, "DELETE", instance.name, CREATE_FACTOR))
  end)
  s:on("POST", ONE .. "/restart", function(c) return render(start(c, "RESTART", need(c).name)) end)

  local function public(record)
    local copy = values.copy(record)
    copy._builtin, copy.password = nil, nil
    return copy
  end

  s:on("GET", ONE .. "/databases", function(c)
    need(c)
    return { kind = "sql#databasesList", items = values.map(databases:list(key_of(c) .. "/"), public) }
  end)
  s:on("POST", ONE .. "/databases", function(c)
    local instance, body = need(c), c:json()
    local key = ("%s/%s"):format(key_of(c), tostring(body.name))
    if type(body.name) ~= "string" or body.name == "" then
      reply.fail(400, "missingParameter", "Missing parameter: name.")
    elseif databases:get(key) then
      reply.fail(400, "invalid", ("Invalid request: database \"%s\" already exists."):format(body.name))
    end
    databases:put(key, { kind = "sql#database", name = body.name, instance = instance.name, project = instance.project,
      charset = values.given(body.charset) or "UTF8", collation = values.given(body.collation) or "en_US.UTF8",
      selfLink = ("https://sqladmin.googleapis.com/sql/v1beta4/projects/%s/instances/%s/databases/%s"):format(
        instance.project, instance.name, body.name) })
    return render(start(c, "CREATE_DATABASE", instance.name))
  end)
  local function need_database(c)
    need(c)
    return databases:get(("%s/%s"):format(key_of(c), c.params.database))
      or reply.fail(404, "databaseDoesNotExist", "The database does not exist.")
  end
  s:on("GET", ONE .. "/databases/{database}", function(c) return public(need_database(c)) end)
  s:on("PATCH|PUT", ONE .. "/databases/{database}", function(c)
    local database, body = need_database(c), c:json()
    databases:update(("%s/%s"):format(key_of(c), database.name), function(d)
      d.charset, d.collation = body.charset or d.charset, body.collation or d.collation
    end)
    return render(start(c, "UPDATE_DATABASE", c.params.instance))
  end)
  s:on("DELETE", ONE .. "/databases/{database}", function(c)
    databases:delete(("%s/%s"):format(key_of(c), need_database(c).name))
    return render(start(c, "DELETE_DATABASE", c.params.instance))
  end)

  local function user_key(c, name, host) return ("%s/%s@%s"):format(key_of(c), name, values.given(host) or "") end
  s:on("GET", ONE .. "/users", function(c)
    need(c)
    return { kind = "sql#usersList", items = values.map(users:list(key_of(c) .. "/"), public) }
  end)
  s:on("GET", ONE .. "/users/{user}", function(c)
    need(c)
    return public(users:get(user_key(c, c.params.user, c.query.host))
      or reply.fail(404, "userDoesNotExist", "The user does not exist."))
  end)
  s:on("POST", ONE .. "/users", function(c)
    local instance, body = need(c), c:json()
    if type(body.name) ~= "string" or body.name == "" then
      reply.fail(400, "missingParameter", "Missing parameter: name.")
    end
    -- A password is checked for by nobody here, so none is kept.
    users:put(user_key(c, body.name, body.host), { kind = "sql#user", name = body.name, host = values.given(body.host),
      instance = instance.name, project = instance.project, type = values.given(body.type) or "BUILT_IN" })
    return render(start(c, "CREATE_USER", instance.name))
  end)
  s:on("PUT", ONE .. "/users", function(c)
    need(c)
    if not users:get(user_key(c, c.query.name or "", c.query.host)) then
      reply.fail(404, "userDoesNotExist", "The user does not exist.")
    end
    return render(start(c, "UPDATE_USER", c.params.instance))
  end)
  s:on("DELETE", ONE .. "/users", function(c)
    need(c)
    if not users:delete(user_key(c, c.query.name or "", c.query.host)) then
      reply.fail(404, "userDoesNotExist", "The user does not exist.")
    end
    return render(start(c, "DELETE_USER", c.params.instance))
  end)

  cloud:on_inventory(function(add)
    for _, instance in ipairs((instances:list())) do
      add("sql#instance", ("projects/%s/instances/%s"):format(instance.project, instance.name),
        instance.settings.userLabels)
    end
  end)
end
