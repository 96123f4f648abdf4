--- Secret Manager: secrets and their versions. Names come back with the project's number.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

return function(cloud)
  local s = cloud:service("secretmanager", { prefixes = { "secretmanager" }, api = "secretmanager.googleapis.com" })
  local secrets, versions = cloud.store:collection "secrets", cloud.store:collection "secrets.versions"
  local ALL = "/secretmanager/v1/projects/{project}/secrets"
  local ONE = ALL .. "/{secret}"

  local function key_of(c) return ("projects/%s/secrets/%s"):format(c.params.project, c.params.secret) end
  local function need(c)
    return secrets:get(key_of(c)) or reply.fail(404, "notFound", ("Secret [%s] not found."):format(key_of(c)))
  end
  local function version_key(c, number) return ("%s/versions/%06d"):format(key_of(c), number) end
  local function need_version(c)
    local number = tonumber(c.params.version)
    if c.params.version == "latest" then
      for _, version in ipairs((versions:list(key_of(c) .. "/versions/"))) do
        if version.state ~= "DESTROYED" then number = version.number end
      end
    end
    local version = number and versions:get(version_key(c, number))
    if not version then
      reply.fail(404, "notFound", ("Secret Version [%s/versions/%s] not found."):format(key_of(c), c.params.version))
    end
    return version
  end
  local function shown(version)
    return { name = version.name, createTime = version.created, state = version.state, etag = version.etag,
      destroyTime = version.destroyed, replicationStatus = { automatic = json.object() } }
  end
  local function etag() return ('"%s"'):format(crypto.random_hex(8)) end

  s:on("GET", ALL, function(c)
    local page, token = reply.page(secrets:list(("projects/%s/secrets/"):format(c.params.project)),
      function(secret) return secret.name end, c.query.pageToken, c.query.pageSize)
    return { secrets = page, nextPageToken = token, totalSize = #page }
  end)
  s:on("POST", ALL, function(c)
    c.params.secret = values.given(c.query.secretId) or reply.fail(400, "badRequest", "The secretId is missing.")
    if not c.params.secret:find("^[%w_-]+$") then reply.fail(400, "badRequest", "Invalid secret id.") end
    if secrets:get(key_of(c)) then
      reply.fail(409, "alreadyExists", ("Secret [%s] already exists."):format(key_of(c)))
    end
    local secret = values.clean(c:json())
    secret.name = ("projects/%s/secrets/%s"):format(cloud:project(c.params.project).projectNumber, c.params.secret)
    secret.createTime, secret.etag = time.rfc3339(), etag()
    return secrets:put(key_of(c), secret)
  end)
  s:on("GET", ONE, need)
  s:on("PATCH", ONE, function(c)
    local name, body = need(c).name, c:json()
    return secrets:update(key_of(c), function(secret)
      values.apply_mask(secret, body, c.query.updateMask or "labels")
      secret.name, secret.etag = name, etag()
    end)
  end)
  s:on("DELETE", ONE, function(c)
    need(c)
    for _, key in ipairs(select(2, versions:list(key_of(c) .. "/versions/"))) do versions:delete(key) end
    secrets:delete(key_of(c))
    cloud.policies:drop("secretmanager/" .. key_of(c))
    return {}
  end)
  s:on("POST", ONE .. ":addVersion", function(c)
    local secret, payload = need(c), c:json().payload
    local data = payload and payload.data and crypto.base64_decode(payload.data)
    if not data then reply.fail(400, "badRequest", "The payload's data is missing or not base64.") end
    if #data > 65536 then reply.fail(400, "badRequest", "The payload is larger than 64 KiB.") end
    local number = #select(2, versions:list(key_of(c) .. "/versions/")) + 1
    local version = versions:put(version_key(c, number), { number = number, data = payload.data, state = "ENABLED",
      name = ("%s/versions/%d"):format(secret.name, number), created = time.rfc3339(), etag = etag() })
    return shown(version)
  end)
  s:on("GET", ONE .. "/versions", function(c)
    need(c)
    return { versions = values.map(versions:list(key_of(c) .. "/versions/"), shown) }
  end)
  s:on("GET", ONE .. "/versions/{version}", function(c) return shown(need_version(c)) end)
  s:on("GET", ONE .. "/versions/{version}:access", function(c)
    local version = need_version(c)
    if version.state ~= "ENABLED" then
      reply.fail(400, "failedPrecondition", ("Secret Version [%s] is in %s state."):format(version.name, version.state),
        "FAILED_PRECONDITION")
    end
    local crc = ("%d"):format(crypto.crc32c(crypto.base64_decode(version.data)))
    return { name = version.name, payload = { data = version.data, dataCrc32c = crc } }
  end)
  for verb, state in pairs { enable = "ENABLED", disable = "DISABLED", destroy = "DESTROYED" } do
    s:on("POST", ONE .. "/versions/{version}:" .. verb, function(c)
      local version = need_version(c)
      if version.state == "DESTROYED" then
        reply.fail(400, "failedPrecondition", "A destroyed version stays destroyed.", "FAILED_PRECONDITION")
      end
      return shown(versions:update(version_key(c, version.number), function(v)
        v.state, v.etag = state, etag()
        if state == "DESTROYED" then v.data, v.destroyed = nil, time.rfc3339() end
      end))
    end)
  end
  cloud.policies:routes(s, ONE, function(c)
    need(c)
    return "secretmanager/" .. key_of(c)
  end)
  cloud:on_inventory(function(add)
    for _, key in ipairs(secrets:keys()) do add("secretmanager#secret", key, secrets:get(key).labels) end
  end)
end
