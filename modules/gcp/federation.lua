--- Credentials of type external_account: a CI's own identity token is exchanged for one of Google (workload identity
--- federation), which then may stand for a service account. No key exists anywhere.
---
--- The identity token is read from a file (GitLab, Kubernetes) or asked of a URL (GitHub), each time anew, since it
--- lives for minutes. https://google.aip.dev/auth/4117
local errors = require "ws.error"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local secret = require "ws.secret"
local time = require "ws.time"

local M = { SCOPE = "https://www.googleapis.com/auth/cloud-platform" }

local TIMEOUT = 30 -- seconds for one request
local LIFETIME = 3600 -- seconds of a service account's token

local function refused(message, hint)
  return nil, errors.new { kind = "unauthenticated", op = "gcp.token", message = message, hint = hint }
end

--- The token in what a source gave, which is the token itself or JSON with a field that holds it.
local function read_subject(text, source, where)
  local format = source.format or {}
  if format.type == "json" then
    local body, field = json.decode(text), format.subject_token_field_name
    text = type(body) == "table" and body[field] or nil
    if type(text) ~= "string" then return refused(("%s holds no JSON with %s"):format(where, tostring(field))) end
  end
  text = text:match("^%s*(.-)%s*$")
  if text == "" then return refused(where .. " holds no identity token", "has the CI job asked for one?") end
  secret.new(text) -- so that it is masked wherever it turns up
  return text
end

local function subject_token(source)
  if source.file then
    local text, err = fs.read(source.file)
    if not text then return refused("cannot read the identity token: " .. err.message) end
    return read_subject(text, source, source.file)
  end
  local headers = {}
  for name, value in pairs(source.headers or {}) do headers[name] = secret.new(value) end
  local answer, err = http.get(source.url, { headers = headers, timeout = TIMEOUT })
  if not answer then return nil, err end
  if answer.status ~= 200 then
    return refused(("the CI gave no identity token: status %d"):format(answer.status),
      "does the job have the permission for it? GitHub: permissions: id-token: write")
  end
  return read_subject(answer.body, source, "the CI's answer")
end

--- Exchanges a token of Google's security token service for one of a service account.
local function impersonate(key, token)
  local lifetime = (key.service_account_impersonation or {}).token_lifetime_seconds or LIFETIME
  local answer, err = http.post(key.service_account_impersonation_url, { timeout = TIMEOUT, reads = true,
    headers = { ["content-type"] = "application/json", authorization = secret.join("Bearer ", token) },
    body = json.encode { scope = json.array { M.SCOPE }, lifetime = ("%ds"):format(lifetime) } })
  if not answer then return nil, err end
  local body = json.decode(answer.body)
  if answer.status ~= 200 or type(body) ~= "table" or type(body.accessToken) ~= "string" then
    local failure = type(body) == "table" and type(body.error) == "table" and body.error.message
    return refused(("the service account was refused: %s"):format(failure or "status " .. answer.status),
      "the CI's identity needs roles/iam.workloadIdentityUser on it")
  end
  local ends = body.expireTime and time.parse_rfc3339(body.expireTime)
  return secret.new(body.accessToken), ends and math.max(ends - time.now(), 1) or lifetime
end

local function check(key, path)
  for _, field in ipairs { "audience", "subject_token_type", "token_url" } do
    if type(key[field]) ~= "string" then return refused(("%s has no %s"):format(path, field)) end
  end
  local source = key.credential_source
  if type(source) ~= "table" or not (source.file or source.url) or source.environment_id then
    return refused(("%s: its credential_source is neither a file nor a URL"):format(path),
      "AWS and executable sources are not read")
  end
  for name, value in pairs(source.headers or {}) do
    if type(value) ~= "string" then return refused(("%s: the header %s is no text"):format(path, name)) end
  end
  return true
end

--- The credentials of a configuration that `gcloud iam workload-identity-pools create-cred-config` wrote.
---@param key table
---@param path string
---@param ask_token fun(url: string, form: table): ws.Secret?, number|ws.Error
---@return ws.gcp.Credentials? credentials
---@return ws.Error? err
function M.read(key, path, ask_token)
  local ok, err = check(key, path)
  if not ok then return nil, err end
  local account = key.service_account_impersonation_url
  return {
    identity = account and account:match("/serviceAccounts/([^:/]+):"),
    fetch = function()
      local subject, problem = subject_token(key.credential_source)
      if not subject then return nil, problem end
      local token, lifetime = ask_token(key.token_url, {
        grant_type = "urn:ietf:params:oauth:grant-type:token-exchange", audience = key.audience, scope = M.SCOPE,
        requested_token_type = "urn:ietf:params:oauth:token-type:access_token",
        subject_token = subject, subject_token_type = key.subject_token_type,
      })
      if not token or not account then return token, lifetime end
      return impersonate(key, token)
    end,
  }
end

return M
