--- IAM: service accounts with their keys and policies, custom roles, the roles that everybody has.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

--- Predefined roles that lists show. Any other name with the right form can be granted, too.
local ROLES = {
  "roles/owner", "roles/editor", "roles/viewer", "roles/artifactregistry.reader", "roles/artifactregistry.writer",
  "roles/cloudsql.client", "roles/compute.admin", "roles/container.admin", "roles/container.defaultNodeServiceAccount",
  "roles/dns.admin", "roles/iam.serviceAccountUser", "roles/iam.workloadIdentityUser", "roles/logging.logWriter",
  "roles/monitoring.metricWriter", "roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/storage.admin",
  "roles/storage.objectAdmin", "roles/storage.objectViewer",
}

local function account_routes(cloud, s)
  local accounts, keys = cloud.store:collection "iam.accounts", cloud.store:collection "iam.keys"
  local ALL = "/iam/v1/projects/{project}/serviceAccounts"

  local function need(c)
    local wanted = c.params.account
    local account = accounts:get(wanted)
    if not account and wanted:find("^%d+$") then
      for _, candidate in ipairs((accounts:list())) do
        if candidate.uniqueId == wanted then account = candidate end
      end
    end
    if not account or (c.params.project ~= "-" and c.params.project ~= account.projectId) then
      reply.fail(404, "notFound", ("Service account projects/%s/serviceAccounts/%s does not exist."):format(
        c.params.project, wanted))
    end
    return account
  end

  s:on("GET", ALL, function(c)
    local mine = {}
    for _, account in ipairs((accounts:list())) do
      if account.projectId == c.params.project then mine[#mine + 1] = account end
    end
    local page, token = reply.page(mine, function(a) return a.email end, c.query.pageToken, c.query.pageSize)
    return { accounts = page, nextPageToken = token }
  end)
  s:on("POST", ALL, function(c)
    local body = c:json()
    local id, given = body.accountId, body.serviceAccount or {}
    if type(id) ~= "string" or #id < 6 or #id > 30 or not id:find("^[a-z][a-z0-9-]*[a-z0-9]$") then
      reply.fail(400, "badRequest", "Invalid service account id: 6 to 30 lower case letters, digits and dashes, "
        .. "beginning with a letter.")
    end
    local project = c.params.project
    local email = ("%s@%s.iam.gserviceaccount.com"):format(id, project)
    if accounts:get(email) then
      reply.fail(409, "alreadyExists", ("Service account %s already exists within project projects/%s."):format(id,
        project))
    end
    return accounts:put(email, {
      name = ("projects/%s/serviceAccounts/%s"):format(project, email), projectId = project, email = email,
      uniqueId = "1" .. values.id(), oauth2ClientId = "1" .. values.id(), displayName = values.given(given.displayName),
      description = values.given(given.description), etag = crypto.base64_encode(crypto.random_bytes(8)),
    })
  end)
  s:on("GET", ALL .. "/{account}", need)
  local function update(c, fields, mask)
    return accounts:update(need(c).email, function(account)
      for field in mask:gmatch("[^,]+") do
        field = values.camel(field)
        if field ~= "displayName" and field ~= "description" then
          reply.fail(400, "badRequest", ("The field %s cannot be updated."):format(field))
        end
        account[field] = fields[field] ~= json.null and fields[field] or nil
      end
      account.etag = crypto.base64_encode(crypto.random_bytes(8))
    end)
  end
  s:on("PATCH", ALL .. "/{account}", function(c)
    local body = c:json()
    return update(c, body.serviceAccount or {}, body.updateMask or "displayName")
  end)
  s:on("PUT", ALL .. "/{account}", function(c) return update(c, c:json(), "displayName,description") end)
  s:on("DELETE", ALL .. "/{account}", function(c)
    local account = need(c)
    accounts:delete(account.email)
    for _, key in ipairs(select(2, keys:list(account.email .. "/"))) do keys:delete(key) end
    cloud.policies:drop("iam/" .. account.email)
    cloud.policies:account_deleted(account.email, account.uniqueId)
    return {}
  end)
  for verb, disabled in pairs { disable = true, enable = false } do
    s:on("POST", ALL .. "/{account}:" .. verb, function(c)
      accounts:update(need(c).email, function(account) account.disabled = disabled or nil end)
      return {}
    end)
  end
  cloud.policies:routes(s, ALL .. "/{account}", function(c) return "iam/" .. need(c).email end)

  function cloud.policies.account_exists(email)
    local project = email:match("@([^.]+)%.iam%.gserviceaccount%.com$")
    -- Only accounts of the sandbox's own projects are known; workload identities are no accounts.
    if email:find("[", 1, true) or not project or not cloud:project(project) then return true end
    return accounts:get(email) ~= nil
  end

  --- The text of a private key: it is about to be given to whoever asked for it.
  local function opened(key)
    local path = ("%s/key-%s"):format(cloud.dir, crypto.random_hex(8))
    assert(fs.write(path, key, { mode = 384, durable = false })) -- 0600
    local text = assert(fs.read(path))
    assert(fs.remove(path))
    return text
  end

  local function shown(key)
    return { name = key.name, keyAlgorithm = "KEY_ALG_RSA_2048", keyOrigin = "GOOGLE_PROVIDED", keyType = key.type,
      validAfterTime = key.created, validBeforeTime = "9999-12-31T23:59:59Z" }
  end
  s:on("GET", ALL .. "/{account}/keys", function(c)
    return { keys = values.map(keys:list(need(c).email .. "/"), shown) }
  end)
  s:on("POST", ALL .. "/{account}/keys", function(c)
    local account = need(c)
    local id = crypto.random_hex(20)
    local pair = assert(crypto.x509.create { subject = account.uniqueId, days = 3650, key = "rsa" })
    local private, public = opened(pair.key), pair.cert
    local key = keys:put(account.email .. "/" .. id, {
      name = ("%s/keys/%s"):format(account.name, id), public_key = public, created = time.rfc3339(),
      type = "USER_MANAGED",
    })
    local answer = shown(key)
    answer.privateKeyType = "TYPE_GOOGLE_CREDENTIALS_FILE"
    answer.privateKeyData = crypto.base64_encode(json.encode({
      type = "service_account", project_id = account.projectId, private_key_id = id, private_key = private,
      client_email = account.email, client_id = account.oauth2ClientId, auth_uri = c.base .. "/oauth2/auth",
      token_uri = c.base .. "/oauth2/token", universe_domain = "googleapis.com",
    }, { indent = 2 }))
    return answer
  end)
  s:on("GET", ALL .. "/{account}/keys/{key}", function(c)
    local key = keys:get(need(c).email .. "/" .. c.params.key) or reply.fail(404, nil, "The key does not exist.")
    local answer = shown(key)
    if c.query.publicKeyType then answer.publicKeyData = crypto.base64_encode(key.public_key) end
    return answer
  end)
  s:on("DELETE", ALL .. "/{account}/keys/{key}", function(c)
    if not keys:delete(need(c).email .. "/" .. c.params.key) then reply.fail(404, nil, "The key does not exist.") end
    return {}
  end)

  cloud:on_inventory(function(add)
    for _, account in ipairs((accounts:list())) do add("iam#serviceAccount", account.name) end
  end)
end

local function role_routes(cloud, s)
  local roles = cloud.store:collection "iam.roles"
  local ALL = "/iam/v1/projects/{project}/roles"
  s:on("GET", "/iam/v1/roles", function()
    return { roles = values.map(ROLES, function(name) return { name = name, title = name } end) }
  end)
  s:on("GET", "/iam/v1/roles/{role}", function(c)
    return { name = "roles/" .. c.params.role, title = c.params.role, stage = "GA" }
  end)
  local function name_of(c) return ("projects/%s/roles/%s"):format(c.params.project, c.params.role) end
  local function need(c)
    return roles:get(name_of(c)) or reply.fail(404, nil, ("The role named %s was not found."):format(name_of(c)))
  end
  local function stamp(role) role.etag = crypto.base64_encode(crypto.random_bytes(8)) end
  s:on("GET", ALL, function(c)
    return { roles = json.array((roles:list(("projects/%s/roles/"):format(c.params.project)))) }
  end)
  s:on("POST", ALL, function(c)
    local body = c:json()
    c.params.role = tostring(body.roleId)
    if not c.params.role:find("^[%w_.]+$") then reply.fail(400, "badRequest", "Invalid role id.") end
    if roles:get(name_of(c)) then
      reply.fail(409, "alreadyExists", ("A role named %s in projects/%s already exists."):format(c.params.role,
        c.params.project))
    end
    local role = values.clean(body.role or {})
    role.name = name_of(c)
    stamp(role)
    return roles:put(role.name, role)
  end)
  s:on("GET", ALL .. "/{role}", need)
  s:on("PATCH", ALL .. "/{role}", function(c)
    local body, mask = c:json(), c.query.updateMask
    return roles:update(need(c).name, function(role)
      values.apply_mask(role, body, mask or "title,description,includedPermissions,stage")
      stamp(role)
    end)
  end)
  s:on("DELETE", ALL .. "/{role}", function(c)
    return roles:update(need(c).name, function(role) role.deleted = true end)
  end)
  s:on("POST", ALL .. "/{role}:undelete", function(c)
    return roles:update(need(c).name, function(role) role.deleted = nil end)
  end)
  cloud:on_inventory(function(add)
    for _, role in ipairs((roles:list())) do
      if not role.deleted then add("iam#role", role.name) end
    end
  end)
end

return function(cloud)
  local s = cloud:service("iam", { prefixes = { "iam" }, api = "iam.googleapis.com" })
  account_routes(cloud, s)
  role_routes(cloud, s)
end
