--- Access tokens that the sandbox gives out. A token it does not know is accepted wherever one is needed; one that it
--- gave out is accepted until it ends.
local crypto = require "ws.crypto"
local time = require "ws.time"

local M = {}

M.LIFETIME = 3599 -- seconds

--- Who a sandbox is by default: the account of the metadata server and of tokens that it does not know.
M.DEFAULT_ACCOUNT = "sandbox"

--- The token that environments and kubeconfigs carry. Not an ordinary word: it is a secret to wsrun, which masks it
--- wherever it stands.
M.FIXED = "ya29.local-access-token"

--- Gives out a token.
---@param cloud sandbox.Cloud
---@param email string
---@param scope? string
---@param lifetime? number  seconds; default: the sandbox's setting `token_seconds`, or an hour
---@return table grant  as OAuth 2 token endpoints answer
function M.grant(cloud, email, scope, lifetime)
  lifetime = lifetime or cloud.token_seconds or M.LIFETIME
  local tokens = cloud.store:collection "tokens"
  for _, key in ipairs { table.unpack(tokens:keys()) } do
    if tokens:get(key).expires_at < time.now() - 86400 then tokens:delete(key) end
  end
  local token = "ya29.sandbox." .. crypto.random_hex(24)
  tokens:put(token, { email = email, scope = scope, expires_at = time.now() + lifetime })
  return { access_token = token, token_type = "Bearer", expires_in = math.floor(lifetime) }
end

--- The project that is meant when no other is said.
---@param cloud sandbox.Cloud
---@return table? project
function M.default_project(cloud)
  local setting = cloud.store:collection("settings"):get "default-project"
  return setting and cloud:project(setting.id) or (cloud.store:collection("projects"):list())[1]
end

--- The e-mail address of the sandbox's own account.
---@param cloud sandbox.Cloud
---@return string
function M.default_email(cloud)
  local project = M.default_project(cloud)
  return ("%s@%s.iam.gserviceaccount.com"):format(M.DEFAULT_ACCOUNT, project and project.projectId or "sandbox")
end

--- Who the bearer of a token is.
---@param cloud sandbox.Cloud
---@param token? string
---@return string email
---@return table? record  for a token that was given out here
function M.identity(cloud, token)
  local record = token and cloud.store:collection("tokens"):get(token)
  return record and record.email or M.default_email(cloud), record
end

return M
