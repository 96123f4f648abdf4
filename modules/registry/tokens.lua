--- What a registry asks for before it answers, and the proof: Basic, or a Bearer token of its token server.
---
--- A place is one registry as this process knows it: what it asked for (its challenge) and the tokens that it gave. A
--- token is fetched by one task while others wait for it, renewed before it expires, and once when it is refused.
--- <https://distribution.github.io/distribution/spec/auth/token/>
local errors = require "ws.error"
local http = require "ws.http"
local json = require "ws.json"
local retry = require "ws.gcp.retry"
local secret = require "ws.secret"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local LIFETIME = 60 -- seconds, where the server does not say
local EARLY = 30    -- seconds before its end at which a token is renewed
local TIMEOUT = 30  -- seconds for one request

---@class ws.registry.Place
---@field registry string
---@field base string
---@field challenge? table  scheme "bearer" or "basic", realm, service
---@field found table<string, ws.registry.Credentials|false>  by repository; false: there are none
---@field stale table<string, boolean>  they were refused: looked for anew next time

--- Loaded when a registry asks who we are.
local function credentials() return require "ws.registry.credentials" end

local places = {}

--- What is known of a registry.
---@param registry string
---@param base string  of its URLs
---@return ws.registry.Place
function M.place(registry, base)
  local key = registry .. " " .. base
  places[key] = places[key] or { registry = registry, base = base, tokens = {}, pending = {}, more = {}, found = {},
    stale = {} }
  return places[key]
end

--- The challenges of a WWW-Authenticate header (RFC 9110 section 11.6.1).
---@param text string
---@return { scheme: string, [string]: string }[]
function M.parse_challenges(text)
  local list, at = {}, 1
  while true do
    at = text:match("^[%s,]*()", at)
    local name, after = text:match("^([%w!#$%%&'*+.^_`|~-]+)()", at)
    if not name then return list end
    local value_at = #list > 0 and text:match("^%s*=%s*()", after)
    if value_at then
      local value, next_at = text:match('^"([^"]*)"()', value_at)
      if not value then value, next_at = text:match('^"?([^%s,"]*)()', value_at) end
      list[#list][name:lower()], at = value, next_at
    else
      list[#list + 1], at = { scheme = name:lower() }, after
    end
  end
end

local function choose(header)
  local basic
  for _, challenge in ipairs(M.parse_challenges(header or "")) do
    if challenge.scheme == "bearer" and challenge.realm then return challenge end
    if challenge.scheme == "basic" then basic = challenge end
  end
  return basic
end

local function credentials_of(place, repository)
  local found = place.found[repository]
  if found == nil or place.stale[repository] then
    local err
    found, err = credentials().find(place.registry, repository)
    if err then return nil, err end
    place.found[repository], place.stale[repository] = found or false, nil
  end
  return found or nil
end

local function basic(found, fresh)
  local password, err = credentials().password(found, fresh)
  if not password then return nil, err end
  return secret.join("Basic ", require "ws.crypto".base64_encode(secret.join(found.username, ":", password)))
end

--- A password may go where the registry is reached in the same way: never over plain HTTP for one that has TLS.
local function check_realm(place, realm)
  local parsed, err = http.parse_url(realm)
  if not parsed then return nil, err end
  if parsed.scheme == "https" or (parsed.scheme == "http" and place.base:find("^http://")) then return true end
  return nil, errors.new { kind = "denied", op = "registry",
    message = ("%s asks for credentials to be sent to %s, without TLS"):format(place.registry, realm) }
end

--- One request for a token: the HTTP answer.
local function request_token(place, found, scopes, fresh)
  local challenge = place.challenge
  local query = { service = challenge.service, scope = #scopes > 0 and scopes or nil }
  if found and found.identity then
    query.grant_type, query.client_id = "refresh_token", "wsrun"
    local parts = { http.query(query), "&refresh_token=", found.identity }
    return http.post(challenge.realm, { body = secret.join(table.unpack(parts)), timeout = TIMEOUT, reads = true,
      headers = { ["content-type"] = "application/x-www-form-urlencoded" } })
  end
  local headers = {}
  if found then
    local value, err = basic(found, fresh)
    if not value then return nil, err end
    headers.authorization = value
  end
  local url = challenge.realm
  if next(query) then url = url .. (url:find("?", 1, true) and "&" or "?") .. http.query(query) end
  return http.get(url, { headers = headers, timeout = TIMEOUT })
end

--- Who was refused, and what helps.
local function refused(place, found, answer)
  local body = json.decode(answer.body or "")
  local first = type(body) == "table" and type(body.errors) == "table" and body.errors[1]
  local said = first and (first.message or first.code) or type(body) == "table" and (body.details or body.error)
  local kind = answer.status == 403 and "denied" or "unauthenticated"
  return errors.new { kind = kind, op = "registry", status = answer.status,
    message = ("%s gives no token: %d%s"):format(place.registry, answer.status, said and " " .. tostring(said) or ""),
    hint = M.hint(place.registry, found), retryable = retry.is_retryable_status(answer.status) }
end

--- What to do when a registry does not know us, or knows us and refuses.
---@param registry string
---@param found? ws.registry.Credentials  those that were used
---@return string
function M.hint(registry, found)
  if found and found.google then
    return ("%s came from ws.gcp: wsrun auth status says whose they are; the account needs "
      .. "roles/artifactregistry.writer to push, reader to pull"):format(found.source)
  end
  if found then
    return ("the credentials are those of %s: docker login %s renews them"):format(found.source, registry)
  end
  if credentials().is_google(registry) then
    return "no Google credentials were found: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run gcloud auth "
      .. "application-default login"
  end
  return ("no credentials for this registry were found: docker login %s"):format(registry)
end

--- A token and the seconds that it lives.
local function fetch(place, repository, scopes)
  local found, problem = credentials_of(place, repository)
  if problem then return nil, problem end
  if found then
    local ok, err = check_realm(place, place.challenge.realm)
    if not ok then return nil, err end
  end
  local fresh = false
  return retry.run(function()
    local answer, err = request_token(place, found, scopes, fresh)
    if not answer then return retry.failed(err) end
    if answer.status == 200 then
      local body = json.decode(answer.body)
      local token = type(body) == "table" and (body.token or body.access_token)
      if type(token) == "string" and token ~= "" then return true, secret.new(token), tonumber(body.expires_in) end
      return true, nil, errors.new { kind = "protocol", op = "registry",
        message = place.registry .. "'s token server answered without a token" }
    end
    local failure = refused(place, found, answer)
    if answer.status == 401 then
      place.stale[repository] = true
      if found and found.google and not fresh then
        fresh = true
        return false, 0, nil, failure
      end
    end
    return retry.failed(failure, retry.retry_after(answer.headers["retry-after"]))
  end)
end

--- The scopes of a request, one for each resource and in one order: what it needs, and what the registry said that
--- such requests need.
local function scopes_of(place, scopes)
  local resources = {}
  for _, list in ipairs { scopes, place.more[table.concat(scopes, " ")] or {} } do
    for _, scope in ipairs(list) do
      local resource, actions = scope:match("^(.*):([^:]*)$")
      if resource then
        resources[resource] = resources[resource] or {}
        for action in actions:gmatch("[^,]+") do resources[resource][action] = true end
      end
    end
  end
  local all = {}
  for resource, actions in pairs(resources) do
    local names = {}
    for action in pairs(actions) do names[#names + 1] = action end
    table.sort(names)
    all[#all + 1] = resource .. ":" .. table.concat(names, ",")
  end
  table.sort(all)
  return all, table.concat(all, " ")
end

local function bearer(place, repository, scopes)
  local all, key = scopes_of(place, scopes)
  local known = place.tokens[key]
  if known and time.monotonic() < known.renew_at then return known.header end
  if not place.pending[key] then
    place.pending[key] = task.spawn(function()
      local token, lifetime = fetch(place, repository, all)
      if not token then return nil, lifetime end
      lifetime = lifetime or LIFETIME
      local header = secret.join("Bearer ", token)
      place.tokens[key] = { header = header, renew_at = time.monotonic() + math.max(lifetime - EARLY, lifetime / 2) }
      return header
    end)
  end
  local waited = place.pending[key]
  local ok, header, err = waited:join()
  if place.pending[key] == waited then place.pending[key] = nil end
  if not ok then return nil, header end
  return header, err
end

--- The Authorization header of a request; nil without an error when nothing was asked for yet, or we have nothing.
---@async
---@param place ws.registry.Place
---@param repository string
---@param scopes string[]  such as "repository:p/app:pull"
---@return ws.Secret? value
---@return ws.Error? err
function M.header(place, repository, scopes)
  if not place.challenge then return nil end
  if place.challenge.scheme == "basic" then
    local found, problem = credentials_of(place, repository)
    if not found then return nil, problem end
    return basic(found)
  end
  return bearer(place, repository, scopes)
end

--- Learns from a 401. Returns whether another try makes sense.
---@param place ws.registry.Place
---@param repository string
---@param scopes string[]
---@param header? string   WWW-Authenticate
---@param used? ws.Secret  the Authorization that was refused
---@param renewed boolean  a token was renewed for this request already
---@return boolean again
---@return boolean? renewed  because the token may have expired
function M.refuse(place, repository, scopes, header, used, renewed)
  local challenge = choose(header)
  if not challenge then return false end
  local _, before = scopes_of(place, scopes)
  local first = not place.challenge or place.challenge.scheme ~= challenge.scheme
  if challenge.scheme == "bearer" and challenge.scope then
    local more = {}
    for scope in challenge.scope:gmatch("%S+") do more[#more + 1] = scope end
    place.more[table.concat(scopes, " ")] = more
  end
  place.challenge = challenge
  if challenge.scheme == "basic" then
    if first then return true end
    local none = place.found[repository] == false
    place.stale[repository] = true
    if not used then return not none end
    return not renewed, true -- the password may have been changed
  end
  if first or not used then return true end
  local _, after = scopes_of(place, scopes)
  if after ~= before then return true end
  local known = place.tokens[before]
  if known and known.header == used then place.tokens[before] = nil end -- else another task has renewed it already
  return not renewed, true
end

return M
