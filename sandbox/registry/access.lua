--- Who may use the registry: tokens (<https://distribution.github.io/distribution/spec/auth/token/>) and challenges.
---
--- Only `auth = "google"` asks for credentials. Then a token counts for what it was asked for: a push needs another
--- scope than a pull, a mount that of both repositories. Tokens of other origin (an OAuth access token as bearer, or
--- with the user oauth2accesstoken) count for everything; nobody's token counts for what is open to everybody.
local answers = require "sandbox.registry.answers"
local crypto = require "ws.crypto"
local json = require "ws.json"
local router = require "sandbox.router"
local time = require "ws.time"
local tokens = require "sandbox.tokens"

local M = {}

local NOBODY = "anonymous"
local READERS = { ["roles/artifactregistry.reader"] = true, ["roles/artifactregistry.writer"] = true,
  ["roles/artifactregistry.repoAdmin"] = true, ["roles/artifactregistry.admin"] = true }
--- What each wanted action is covered by; clients ask for a deletion under different names.
local COVERED = { pull = { pull = true, ["*"] = true }, push = { push = true, ["*"] = true },
  delete = { push = true, delete = true, ["*"] = true } }
local ACTIONS = { GET = "pull", HEAD = "pull", DELETE = "delete" }

local function basic(c)
  local encoded = (c.headers.authorization or ""):match("^[Bb]asic%s+(%S+)$")
  local plain = encoded and crypto.base64_decode(encoded)
  if not plain then return nil end
  return plain:match("^([^:]*):(.*)$")
end

local function check_password(cloud, user, password)
  local known = user == "oauth2accesstoken" and cloud.store:collection("tokens"):get(password)
  if known and known.expires_at < time.now() then
    answers.fail(401, "UNAUTHORIZED", "the access token has ended")
  elseif user == "_json_key" and type(json.decode(password or "")) ~= "table" then
    answers.fail(401, "UNAUTHORIZED", "the password of _json_key must be a key file")
  elseif user == "_json_key_base64" and type(json.decode(crypto.base64_decode(password or "") or "")) ~= "table" then
    answers.fail(401, "UNAUTHORIZED", "the password of _json_key_base64 must be a key file in base64")
  elseif user and (password or "") == "" then
    answers.fail(401, "UNAUTHORIZED", "the password is empty")
  end
end

local function grant(cloud, user, password, scope)
  check_password(cloud, user, password)
  local granted = tokens.grant(cloud, user or NOBODY, "registry " .. scope)
  return { token = granted.access_token, access_token = granted.access_token, expires_in = granted.expires_in,
    issued_at = time.rfc3339() }
end

--- All scopes of a request; a client that mounts asks for two.
local function scopes_of(pairs_list)
  local scopes = {}
  for _, pair in ipairs(pairs_list) do
    if pair[1] == "scope" then scopes[#scopes + 1] = pair[2] end
  end
  return table.concat(scopes, " ")
end

--- Whether a token's scope has the action on the resource, e.g. "pull" on "repository:a/b".
local function covers(scope, resource, action)
  for one in scope:gmatch("%S+") do
    local name, actions = one:match("^(.*):([^:]*)$")
    if name == resource then
      for given in actions:gmatch("[^,]+") do
        if COVERED[action] and COVERED[action][given] or given == action then return true end
      end
    end
  end
  return false
end

--- Whether everybody may pull from a repository of Artifact Registry: LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/...
local function is_public(cloud, name)
  local location, project, repository = name:match("^([%w-]+)%-docker%.pkg%.dev/([^/]+)/([^/]+)/")
  return location ~= nil and cloud.policies:public(("artifactregistry/projects/%s/locations/%s/repositories/%s")
    :format(project, location, repository), READERS)
end

local function challenge(c, resource, action, problem)
  local text = ('Bearer realm="%s/v2/token",service="%s"'):format(c.base, c.headers.host or "127.0.0.1")
  if resource then text = ('%s,scope="%s:%s"'):format(text, resource, action == "pull" and "pull" or "pull,push") end
  if problem then text = ('%s,error="%s"'):format(text, problem) end
  return { ["WWW-Authenticate"] = text }
end

--- The response to a request whose credentials do not suffice.
---@param c sandbox.Context
---@param name? string  repository; nil: the registry itself
---@param problem? string  "invalid_token" or "insufficient_scope"
---@return table response
function M.refusal(c, name, problem)
  return answers.error(401, "UNAUTHORIZED", "authentication required",
    { headers = challenge(c, name and "repository:" .. name, ACTIONS[c.method] or "push", problem) })
end

--- Fails the request unless it may do what it wants.
---@param c sandbox.Context
---@param name? string  repository; nil: the registry itself
---@param action? string  default: what the method does
---@return boolean ok
function M.check(c, name, action)
  if c.cloud.auth ~= "google" then return true end
  action = action or ACTIONS[c.method] or "push"
  local given = (c.headers.authorization or ""):match("^%a+%s+(%S+)$")
  local function refuse(problem) require "sandbox.reply".abort(M.refusal(c, name, problem)) end
  if not given then refuse() end
  local user, password = basic(c)
  if user then check_password(c.cloud, user, password) end
  local known = c.cloud.store:collection("tokens"):get(given)
  if not known then return true end
  if known.expires_at < time.now() then refuse "invalid_token" end
  local scope = (known.scope or ""):match("^registry (.*)$")
  if not scope or not name then return true end
  if known.email == NOBODY and not (action == "pull" and is_public(c.cloud, name)) then
    answers.fail(403, "DENIED", ("Unauthenticated request. Unauthenticated requests do not have permission to %s %s "
      .. "(or it may not exist)"):format(action, name))
  end
  if not covers(scope, "repository:" .. name, action) then refuse "insufficient_scope" end
  return true
end

--- Like `check`, but says no instead of failing: for the second repository of a mount.
---@param c sandbox.Context
---@param name string
---@return boolean
function M.may_pull(c, name)
  local ok, err = pcall(M.check, c, name, "pull")
  if not ok and not require "sandbox.reply".of_failure(err) then error(err, 0) end
  return ok
end

--- Adds the token endpoint.
---@param s sandbox.Service
function M.routes(s)
  s:on("GET", "/v2/token", function(c)
    local user, password = basic(c)
    return grant(c.cloud, user, password, scopes_of(c.req.query_list))
  end)
  s:on("POST", "/v2/token", function(c)
    local form, list = {}, {}
    for pair in (c.req:body() or ""):gmatch("[^&]+") do
      local key, value = pair:match("^([^=]*)=?(.*)$")
      value = router.decode((value:gsub("%+", " ")))
      form[key], list[#list + 1] = value, { key, value }
    end
    if form.grant_type == "refresh_token" then
      return grant(c.cloud, "oauth2accesstoken", form.refresh_token, scopes_of(list))
    end
    return grant(c.cloud, form.username, form.password, scopes_of(list))
  end)
end

return M
