--- Credentials: who we are to Google, and the access token that proves it.
---
--- Searched as Application Default Credentials are
--- (https://cloud.google.com/docs/authentication/application-default-credentials): a plain token in
--- GOOGLE_OAUTH_ACCESS_TOKEN or CLOUDSDK_AUTH_ACCESS_TOKEN; the file that GOOGLE_APPLICATION_CREDENTIALS names;
--- gcloud's own file; the metadata server. Tokens are secrets, kept in memory, fetched by one task while the others
--- wait, and renewed before they expire.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local federation = require "ws.gcp.federation"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local secret = require "ws.secret"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local SCOPE = federation.SCOPE
local EARLY = 225    -- seconds before its end at which a token is renewed, as Google's client libraries do
local LIFETIME = 3600 -- seconds that an assertion is valid
local TIMEOUT = 30   -- seconds for one request

---@class ws.gcp.Credentials
---@field source string    where they came from, for people
---@field identity string? e-mail of the account when it is known
---@field fetch fun(): ws.Secret?, number|ws.Error  a token and the seconds it lives

local function unauthenticated(message, hint)
  return nil, errors.new { kind = "unauthenticated", op = "gcp.token", message = message, hint = hint }
end

--- Asks a token endpoint (RFC 6749) with a form; the answer's token and lifetime.
local function ask_token(url, form)
  local answer, err = http.post(url, { body = http.query(form), timeout = TIMEOUT, reads = true,
    headers = { ["content-type"] = "application/x-www-form-urlencoded" } })
  if not answer then return nil, err end
  local body = json.decode(answer.body)
  if answer.status ~= 200 or type(body) ~= "table" or not body.access_token then
    local detail = type(body) == "table" and (body.error_description or body.error) or ("status " .. answer.status)
    return unauthenticated(("%s refused the credentials: %s"):format(url, tostring(detail)),
      "the key may be deleted, or the clock wrong; gcloud auth application-default login makes new ones")
  end
  return secret.new(body.access_token), tonumber(body.expires_in) or LIFETIME
end

--- A signed assertion, RFC 7523.
local function assertion(key)
  local now = math.floor(time.now())
  local function part(value) return crypto.base64url_encode(json.encode(value)) end
  local claims = part { alg = "RS256", typ = "JWT", kid = key.private_key_id } .. "." .. part {
    iss = key.client_email, scope = SCOPE, aud = key.token_uri, iat = now, exp = now + LIFETIME,
  }
  local signature, err = crypto.rsa_sign(secret.new(key.private_key), claims)
  if not signature then return nil, err end
  return claims .. "." .. crypto.base64url_encode(signature)
end

local readers = {
  service_account = function(key)
    return {
      identity = key.client_email,
      fetch = function()
        local signed, err = assertion(key)
        if not signed then return nil, err end
        return ask_token(key.token_uri,
          { grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion = signed })
      end,
    }
  end,
  authorized_user = function(key)
    secret.new(key.refresh_token)
    secret.new(key.client_secret)
    return {
      identity = key.account ~= "" and key.account or nil,
      fetch = function()
        return ask_token(key.token_uri or "https://oauth2.googleapis.com/token", {
          grant_type = "refresh_token", refresh_token = key.refresh_token,
          client_id = key.client_id, client_secret = key.client_secret,
        })
      end,
    }
  end,
  external_account = function(key, path) return federation.read(key, path, ask_token) end,
}

local needed_fields = {
  service_account = { "client_email", "private_key", "token_uri" },
  authorized_user = { "client_id", "client_secret", "refresh_token" },
}

--- Reads a credentials file.
---@async
---@param path string
---@return ws.gcp.Credentials? credentials
---@return ws.Error? err  kind `unauthenticated`
function M.from_file(path)
  local text, err = fs.read(path)
  if not text then return unauthenticated(("cannot read the credentials file: %s"):format(err.message)) end
  local key = json.decode(text)
  if type(key) ~= "table" then return unauthenticated(("%s holds no JSON credentials"):format(path)) end
  local reader = readers[key.type]
  if not reader then
    return unauthenticated(("%s: credentials of type %s cannot be used"):format(path, tostring(key.type)),
      "service_account, authorized_user and external_account can")
  end
  for _, field in ipairs(needed_fields[key.type] or {}) do
    if type(key[field]) ~= "string" then return unauthenticated(("%s has no %s"):format(path, field)) end
  end
  local credentials, problem = reader(key, path)
  if not credentials then return nil, problem end
  credentials.source = path
  return credentials
end

--- Credentials of a plain access token.
---@param token string|ws.Secret
---@param source string
---@return ws.gcp.Credentials
function M.from_token(token, source)
  local value = secret.new(token)
  return { source = source, identity = os.getenv("WSRUN_ACCOUNT"), fetch = function() return value, LIFETIME end }
end

local function metadata_get(path)
  local host = os.getenv("GCE_METADATA_HOST") or "metadata.google.internal"
  local answer, err = http.get("http://" .. host .. "/computeMetadata/v1/" .. path, {
    headers = { ["metadata-flavor"] = "Google" }, timeout = 5, connect_timeout = 3 })
  if not answer then return nil, err end
  if answer.status ~= 200 then return unauthenticated(("the metadata server answered %d"):format(answer.status)) end
  return answer.body
end

--- Credentials of the machine we run on.
---@async
---@return ws.gcp.Credentials? credentials
---@return ws.Error? err
function M.from_metadata()
  local email, err = metadata_get "instance/service-accounts/default/email"
  if not email then return nil, err end
  return {
    source = "metadata server", identity = email,
    fetch = function()
      local body, problem = metadata_get "instance/service-accounts/default/token"
      if not body then return nil, problem end
      local token = json.decode(body)
      if type(token) ~= "table" or not token.access_token then
        return unauthenticated "the metadata server's token cannot be read"
      end
      return secret.new(token.access_token), tonumber(token.expires_in) or LIFETIME
    end,
  }
end

--- Finds the credentials, in the order of the introduction.
---@async
---@return ws.gcp.Credentials? credentials
---@return ws.Error? err  kind `unauthenticated` with what to do
function M.find()
  for _, name in ipairs { "GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN" } do
    local token = os.getenv(name)
    if token and token ~= "" then return M.from_token(token, name) end
  end
  local named = os.getenv("GOOGLE_APPLICATION_CREDENTIALS")
  if named and named ~= "" then return M.from_file(named) end
  local folder = os.getenv("CLOUDSDK_CONFIG") or (os.getenv("HOME") or "") .. "/.config/gcloud"
  local well_known = folder .. "/application_default_credentials.json"
  if fs.exists(well_known) then return M.from_file(well_known) end
  local found = M.from_metadata()
  if found then return found end
  return unauthenticated("no Google credentials were found",
    "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run gcloud auth application-default login")
end

local current, pending

--- The credentials of this process, found once.
---@async
---@return ws.gcp.Credentials? credentials
---@return ws.Error? err
function M.current()
  if not current then
    local found, err = M.find()
    if not found then return nil, err end
    current = current or found -- another task may have been faster: all share one, and its token
  end
  return current
end

--- Uses these credentials from now on; nil looks for them again.
---@param credentials ws.gcp.Credentials?
function M.use(credentials)
  current, pending = credentials, nil
end

--- An access token that is valid for a while yet. Many tasks that ask at once cause one request.
---@async
---@param opts? { fresh?: boolean }  fresh: not the cached one, it was refused
---@return ws.Secret? token
---@return ws.Error? err  kind `unauthenticated` or what the network gave
function M.token(opts)
  local credentials, err = M.current()
  if not credentials then return nil, err end
  if opts and opts.fresh then credentials.token = nil end
  if credentials.token and time.monotonic() < credentials.renew_at then return credentials.token end
  if not pending then
    pending = task.spawn(function()
      local token, lifetime = credentials.fetch()
      if not token then return nil, lifetime end
      credentials.token = token
      credentials.renew_at = time.monotonic() + math.max(lifetime - EARLY, lifetime / 2)
      return token
    end)
  end
  local waited = pending
  local ok, token, problem = waited:join()
  if pending == waited then pending = nil end
  if not ok then return nil, token end
  if not token then return nil, problem end
  return token
end

return M
