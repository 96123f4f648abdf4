--- Who we are to a registry: what docker and podman have stored, their credential helpers, Google's credentials.
---
--- Looked at in this order: docker's config.json (DOCKER_CONFIG, else ~/.docker), podman's auth.json
--- (REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR/containers, ~/.config/containers), for Google's hosts ws.gcp. A helper is the
--- program docker-credential-NAME (https://github.com/docker/docker-credential-helpers): the host on its stdin, the
--- secret on its stdout. Gcloud's own helpers are passed over where they are not installed.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local secret = require "ws.secret"

local M = {}

local HELPER_TIMEOUT = 30 -- seconds

---@class ws.registry.Credentials
---@field username? string
---@field password? ws.Secret
---@field identity? ws.Secret  a refresh token instead of a password
---@field google? boolean      the password is an access token of ws.gcp
---@field source string        where they came from, for people

--- Whether a host is Container Registry or Artifact Registry.
---@param registry string
---@return boolean
function M.is_google(registry)
  return registry == "gcr.io" or registry:find("%.gcr%.io$") ~= nil or registry:find("%.pkg%.dev$") ~= nil
end

local function home(rest)
  local folder = os.getenv("HOME")
  return folder and folder ~= "" and folder .. rest or nil
end

local function in_folder(variable, rest)
  local folder = os.getenv(variable)
  return folder and folder ~= "" and folder .. rest or nil
end

--- The files that may hold credentials, first come first served.
local function config_files()
  local found = {}
  local named = os.getenv("REGISTRY_AUTH_FILE")
  local candidates = table.pack(in_folder("DOCKER_CONFIG", "/config.json") or home("/.docker/config.json"),
    named ~= "" and named or in_folder("XDG_RUNTIME_DIR", "/containers/auth.json"),
    home("/.config/containers/auth.json"))
  for i = 1, candidates.n do
    if candidates[i] and fs.exists(candidates[i]) then found[#found + 1] = candidates[i] end
  end
  return found
end

local function read_config(path)
  local text, err = fs.read(path)
  if not text then return nil, err end
  local config, problem = json.decode(text, { filename = path })
  if type(config) ~= "table" then
    return nil, errors.new { kind = "parse", op = "registry", hint = "docker login writes this file",
      message = problem and problem.message or path .. " is not a JSON object" }
  end
  return config
end

--- What an entry's name stands for: tools write hosts, URLs, and paths below a host.
local function plain(name)
  return (name:gsub("^https?://", ""):gsub("/+$", ""):gsub("/v[12]$", ""))
end

--- The names under which a repository may be found: its own, those above it, its host.
local function names_of(registry, repository)
  local names, path = {}, registry .. "/" .. repository
  while path do
    names[#names + 1] = path
    path = path:match("^(.*)/[^/]*$")
  end
  if registry == "docker.io" then names[#names + 1] = "index.docker.io" end
  return names
end

local function entry_of(map, names)
  if type(map) ~= "table" then return nil end
  local by_name = {}
  for name, value in pairs(map) do by_name[plain(name)] = value end
  for _, name in ipairs(names) do
    if by_name[name] ~= nil then return by_name[name], name end
  end
end

local function invalid(path, message)
  return nil, errors.new { kind = "invalid", op = "registry", message = ("%s: %s"):format(path, message),
    hint = "docker login writes this entry" }
end

local function from_auth(entry, source, name)
  if type(entry) ~= "table" then return nil end
  if type(entry.identitytoken) == "string" and entry.identitytoken ~= "" then
    return { identity = secret.new(entry.identitytoken), source = source }
  end
  local username, password = entry.username, entry.password
  if type(entry.auth) == "string" and entry.auth ~= "" then
    local text = crypto.base64_decode(entry.auth)
    username, password = (text or ""):match("^([^:]*):(.*)$")
    if not username then return invalid(source, ("the entry for %s is not base64 of USER:PASSWORD"):format(name)) end
    password = password:gsub("%z+$", "")
  end
  if type(username) ~= "string" or username == "" or type(password) ~= "string" then return nil end
  return { username = username, password = secret.new(password), source = source }
end

local helper_of_google = { gcloud = true, gcr = true, ["gcp-secretmanager"] = true }

--- Asks docker-credential-NAME; nil without an error when it knows nothing of the host.
local function ask_helper(name, host, config, google)
  if type(name) ~= "string" or not name:find("^[%w._-]+$") then
    return invalid(config, ("'%s' is not a credential helper's name"):format(tostring(name)))
  end
  local program = "docker-credential-" .. name
  local result, err = require "ws.process".run({ program, "get" }, { stdin = host .. "\n", timeout = HELPER_TIMEOUT })
  if not result then
    if err.kind == "missing_tool" and google and helper_of_google[name] then return nil end
    return nil, errors.new { kind = err.kind, op = "registry", message = err.message, cause = err,
      hint = ("%s names this credential helper for %s"):format(config, host) }
  end
  local said = (result.stdout ~= "" and result.stdout or result.stderr):match("^%s*(.-)%s*$")
  if result.code ~= 0 then
    if said:find("credentials not found", 1, true) then return nil end
    return nil, errors.new { kind = "unauthenticated", op = "registry", status = result.code,
      message = ("%s failed: %s"):format(program, secret.redact(said:sub(1, 300))),
      hint = ("%s names this credential helper for %s"):format(config, host) }
  end
  local answer = json.decode(result.stdout)
  if type(answer) ~= "table" or type(answer.Secret) ~= "string" or type(answer.Username) ~= "string" then
    return nil, errors.new { kind = "parse", op = "registry",
      message = program .. " answered with something else than JSON with Username and Secret" }
  end
  if answer.Secret == "" then return nil end
  if answer.Username == "<token>" then return { identity = secret.new(answer.Secret), source = program } end
  return { username = answer.Username, password = secret.new(answer.Secret), source = program }
end

--- What one file says; nil without an error when it says nothing.
local function from_config(path, registry, repository)
  local config, err = read_config(path)
  if not config then return nil, err end
  local names, google = names_of(registry, repository), M.is_google(registry)
  local host = registry == "docker.io" and "https://index.docker.io/v1/" or registry
  local helper = entry_of(config.credHelpers, names)
  local entry, name = entry_of(config.auths, names)
  if not helper and type(config.credsStore) == "string" and config.credsStore ~= "" then helper = config.credsStore end
  if helper then
    local found, problem = ask_helper(helper, host, path, google)
    if found or problem then return found, problem end
  end
  return from_auth(entry, path, name)
end

local function from_google()
  local gcp = require "ws.gcp"
  if not gcp.identity() then return nil end -- none: a public image is still to be had
  return { username = "oauth2accesstoken", google = true, source = "Google credentials" }
end

--- The credentials for a repository; nil without an error when there are none.
---@async
---@param registry string
---@param repository string
---@return ws.registry.Credentials? credentials
---@return ws.Error? err  kinds `parse`, `invalid` (a file), `unauthenticated` (a helper), `timeout`, `missing_tool`, …
function M.find(registry, repository)
  for _, path in ipairs(config_files()) do
    local found, err = from_config(path, registry, repository)
    if found or err then return found, err end
  end
  return M.is_google(registry) and from_google() or nil
end

--- The password to send now: an access token of Google's is renewed when it is about to expire.
---@async
---@param credentials ws.registry.Credentials
---@param fresh? boolean  the last one was refused
---@return ws.Secret? password
---@return ws.Error? err
function M.password(credentials, fresh)
  if credentials.google then return require "ws.gcp".token { fresh = fresh } end
  return credentials.password
end

return M
