--- Kubeconfig files: which cluster, and as whom.
---
--- https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/ and, for programs that make
--- credentials, https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local secret = require "ws.secret"
local time = require "ws.time"
local yaml = require "ws.yaml"

local M = {}

local EARLY = 30         -- seconds before its end at which a plugin's token is made anew
local PLUGIN_TIMEOUT = 60 -- seconds

local function refuse(kind, message, hint)
  return nil, errors.new { kind = kind, op = "k8s.kubeconfig", message = message, hint = hint }
end

local function named(list, name, part)
  for _, entry in ipairs(list or {}) do
    if entry.name == name then return entry[part] or {} end
  end
end

--- `KEY-data` in base64, or the file that `KEY` names; nil when there is neither.
local function pem(entry, key, folder)
  local data = entry[key .. "-data"]
  if data then
    local text, err = crypto.base64_decode(data)
    if not text then return nil, err end
    return text
  end
  local path = entry[key]
  if not path then return nil end
  return fs.read(path:find("^/") and path or fs.join(folder, path))
end

--- A function that asks a credential plugin for a token and keeps it until shortly before its end.
local function plugin(exec)
  local token, expires
  return function()
    if token and (not expires or time.now() < expires - EARLY) then return token end
    local argv, env = { exec.command }, {}
    for _, arg in ipairs(exec.args or {}) do argv[#argv + 1] = arg end
    for _, pair in ipairs(exec.env or {}) do env[pair.name] = pair.value end
    env.KUBERNETES_EXEC_INFO = json.encode { apiVersion = exec.apiVersion, kind = "ExecCredential",
      spec = { interactive = false } }
    local result, err = process.run(argv, { env = env, timeout = PLUGIN_TIMEOUT })
    if not result then return nil, err end
    local answer = result.code == 0 and json.decode(result.stdout)
    local status = type(answer) == "table" and answer.status
    if type(status) ~= "table" or type(status.token) ~= "string" then
      local why = result.code == 0 and "its answer has no status.token" or secret.redact(result.stderr):sub(-300)
      return refuse("unauthenticated", ("%s gave no token: %s"):format(exec.command, why), exec.installHint)
    end
    token = secret.new(status.token)
    expires = status.expirationTimestamp and time.parse_rfc3339(status.expirationTimestamp)
    return token
  end
end

local function token_of(user, folder)
  if user.token then return secret.new(user.token) end
  if user.tokenFile then
    local path = user.tokenFile:find("^/") and user.tokenFile or fs.join(folder, user.tokenFile)
    return function() -- read each time: a pod's token is renewed in its file
      local text, err = fs.read(path)
      if not text then return nil, err end
      return secret.new((text:gsub("%s+$", "")))
    end
  end
  if user.exec then return plugin(user.exec) end
  return nil
end

local function read(source)
  if type(source) == "table" then return source, "." end
  local text, err = fs.read(source)
  if not text then return nil, err end
  local config, problem = yaml.decode(text, { filename = source })
  if type(config) ~= "table" then return nil, problem or select(2, refuse("invalid", source .. " is no kubeconfig")) end
  return config, fs.dirname(source)
end

--- The options of `k8s.client` that a kubeconfig says.
---@async
---@param source string|table  path of the file, or what it contains
---@param context? string  default: its current-context
---@return table? options
---@return ws.Error? err  kinds `not_found`, `parse`, `invalid`, `unsupported`
function M.options(source, context)
  local config, folder = read(source)
  if not config then return nil, folder end
  context = context or config["current-context"]
  local what = named(config.contexts, context, "context")
  if not what then return refuse("not_found", ("the kubeconfig has no context '%s'"):format(tostring(context))) end
  local cluster = named(config.clusters, what.cluster, "cluster")
  if not cluster or not cluster.server then
    return refuse("invalid", ("context '%s' names no cluster with a server"):format(context))
  end
  if cluster["insecure-skip-tls-verify"] then
    return refuse("unsupported", ("cluster '%s' asks not to verify its certificate"):format(what.cluster),
      "put the authority's certificate into certificate-authority-data")
  end
  local user = named(config.users, what.user, "user") or {}
  if user.username or user["auth-provider"] then
    return refuse("unsupported", ("user '%s': passwords and auth providers are not used"):format(what.user),
      "use a token, a client certificate or an exec plugin")
  end
  local options = { server = cluster.server, token = token_of(user, folder) }
  for option, part in pairs { ca_data = { cluster, "certificate-authority" },
    cert_data = { user, "client-certificate" }, key_data = { user, "client-key" } } do
    local text, err = pem(part[1], part[2], folder)
    if err then return nil, err end
    options[option] = text
  end
  if options.key_data then options.key_data = secret.new(options.key_data) end
  return options
end

return M
