--- OAuth 2: the token endpoint (service accounts' signed assertions, refresh tokens, token exchange), user and token
--- information, and the credentials API that impersonates accounts.
local json = require "ws.json"
local crypto = require "ws.crypto"
local time = require "ws.time"
local reply = require "sandbox.reply"
local router = require "sandbox.router"
local tokens = require "sandbox.tokens"

--- Errors of the token endpoint have a form of their own, RFC 6749 section 5.2.
local function refuse(code, description)
  reply.abort(reply.json({ error = code, error_description = description }, 400))
end

local function parameters(c)
  local body = c.req:body() or ""
  if (c.headers["content-type"] or ""):find("json", 1, true) then return json.decode(body) or {} end
  local form = {}
  for pair in body:gmatch("[^&]+") do
    local key, value = pair:match("^([^=]*)=?(.*)$")
    form[router.decode((key:gsub("%+", " ")))] = router.decode((value:gsub("%+", " ")))
  end
  return form
end

local function decode_part(text)
  local bytes = crypto.base64url_decode(text)
  local value = bytes and json.decode(bytes)
  return type(value) == "table" and value or nil
end

--- Checks an assertion as <https://developers.google.com/identity/protocols/oauth2/service-account> says. The signature
--- is checked for accounts of the sandbox; of any other account the sandbox has no key.
local function check_assertion(cloud, assertion)
  local head, body, signature = (assertion or ""):match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
  local header, claims = head and decode_part(head), body and decode_part(body)
  if not header or not claims then refuse("invalid_grant", "Bad Request: the assertion is not a JWT.") end
  if header.alg ~= "RS256" then refuse("invalid_grant", "Invalid JWT: the algorithm must be RS256.") end
  local now = time.now()
  if type(claims.exp) ~= "number" or type(claims.iat) ~= "number" or claims.exp < now or claims.iat > now + 300
    or claims.exp - claims.iat > 3600 then
    refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
      .. "timeframe. Check your iat and exp values in the JWT claim.")
  end
  if type(claims.iss) ~= "string" then refuse("invalid_grant", "Invalid JWT: iss is missing.") end
  local account = cloud.store:collection("iam.accounts"):get(claims.iss)
  if account then
    local key = header.kid and cloud.store:collection("iam.keys"):get(claims.iss .. "/" .. header.kid)
    local valid = key and crypto.rsa_verify(key.public_key, head .. "." .. body, crypto.base64url_decode(signature))
    if not valid then refuse("invalid_grant", "Invalid JWT Signature.") end
  elseif claims.iss:match("@([^.]+)%.iam%.gserviceaccount%.com$")
    and cloud:project(claims.iss:match("@([^.]+)%.iam%.gserviceaccount%.com$")) then
    refuse("invalid_grant", "Invalid grant: account not found")
  end
  return claims
end

return function(cloud)
  local s = cloud:service("oauth", {
    prefixes = { "oauth2", "token", "v1beta", "tokeninfo", "iamcredentials", "sts" }, anonymous = true,
  })

  local function token(c)
    local form = parameters(c)
    local grant = form.grant_type
    if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer" then
      local claims = check_assertion(cloud, form.assertion)
      if claims.target_audience then
        refuse("invalid_request", "The sandbox gives no identity tokens.")
      end
      return tokens.grant(cloud, claims.sub or claims.iss, claims.scope)
    elseif grant == "refresh_token" then
      if not form.refresh_token or form.refresh_token == "" or form.refresh_token == "revoked" then
        refuse("invalid_grant", "Token has been expired or revoked.")
      end
      return tokens.grant(cloud, tokens.default_email(cloud), form.scope)
    elseif grant == "urn:ietf:params:oauth:grant-type:token-exchange" then
      if not form.subject_token or form.subject_token == "" then
        refuse("invalid_request", "subject_token is required.")
      end
      local granted = tokens.grant(cloud, tokens.default_email(cloud), form.scope)
      granted.issued_token_type = "urn:ietf:params:oauth:token-type:access_token"
      return granted
    end
    refuse("unsupported_grant_type", "Invalid grant_type: " .. tostring(grant))
  end
  for _, path in ipairs { "/oauth2/token", "/oauth2/v4/token", "/token", "/sts/v1/token" } do
    s:on("POST", path, token)
  end

  local function bearer(c)
    return c.query.access_token or (c.headers.authorization or ""):match("^[Bb]earer%s+(%S+)$")
  end

  local function userinfo(c)
    local given = bearer(c)
    if not given then reply.fail(401, "required", "Login Required.") end
    local email = tokens.identity(cloud, given)
    return { sub = tostring(crypto.crc32c(email)), email = email, email_verified = true }
  end
  for _, path in ipairs { "/oauth2/v1/userinfo", "/oauth2/v2/userinfo", "/oauth2/v3/userinfo" } do
    s:on("GET|POST", path, userinfo)
  end

  local function tokeninfo(c)
    local given = bearer(c)
    local email, record = tokens.identity(cloud, given)
    if not given or (record and record.expires_at < time.now()) then refuse("invalid_token", "Invalid Value") end
    local left = record and math.floor(record.expires_at - time.now()) or tokens.LIFETIME
    return { email = email, email_verified = "true", access_type = "online",
      scope = record and record.scope or "https://www.googleapis.com/auth/cloud-platform",
      expires_in = tostring(left), exp = tostring(math.floor(time.now()) + left) }
  end
  for _, path in ipairs { "/tokeninfo", "/oauth2/v1/tokeninfo", "/oauth2/v3/tokeninfo" } do
    s:on("GET|POST", path, tokeninfo)
  end

  s:on("POST", "/oauth2/revoke", function(c)
    local given = c.query.token or parameters(c).token
    if given then cloud.store:collection("tokens"):delete(given) end
    return {}
  end)

  s:on("POST", "/iamcredentials/v1/projects/-/serviceAccounts/{email}:generateAccessToken", function(c)
    if not bearer(c) then reply.fail(401, "required", "Login Required.") end
    local email = c.params.email
    if not cloud.store:collection("iam.accounts"):get(email) then
      reply.fail(404, "notFound", ("Not found; Gaia id not found for email %s"):format(email))
    end
    local body = c:json()
    local lifetime = tonumber(tostring(body.lifetime or "3600s"):match("^([%d.]+)s$"))
    if not lifetime or lifetime <= 0 or lifetime > 43200 then
      reply.fail(400, "badRequest", "The lifetime must be between 1s and 43200s.")
    end
    local granted = tokens.grant(cloud, email, table.concat(body.scope or {}, " "), lifetime)
    return { accessToken = granted.access_token, expireTime = time.rfc3339(time.now() + lifetime) }
  end)
end
