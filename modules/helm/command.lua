--- One helm command: its environment, its log, what its words mean.
local environment = require "ws.environment"
local errors = require "ws.error"
local fs = require "ws.fs"
local fence = require "ws.fence"
local logfile = require "ws.process.logfile"
local process = require "ws.process"
local project = require "ws.project"
local secret = require "ws.secret"

local M = {}

local TIMEOUT = 300 -- seconds
local GRACE = 30

--- The commands that change a cluster.
local changes = { install = true, upgrade = true, rollback = true, uninstall = true }

--- Helm's own folders are the project's, so that runs do not depend on what a user has configured; logins to registries
--- are the user's.
local function base_environment(opts)
  local home = project.state_dir() .. "/helm"
  local env = {
    HELM_CACHE_HOME = home .. "/cache", HELM_CONFIG_HOME = home .. "/config", HELM_DATA_HOME = home .. "/data",
    HELM_NAMESPACE = false, HELM_DEBUG = false, HELM_KUBECONTEXT = false, HELM_KUBETOKEN = false,
    HELM_KUBEAPISERVER = false, HELM_KUBECAFILE = false, HELM_KUBEASUSER = false, HELM_KUBEASGROUPS = false,
    HELM_KUBEINSECURE_SKIP_TLS_VERIFY = false, HELM_KUBETLS_SERVER_NAME = false,
    HELM_DRIVER = false, -- releases are kept in secrets, which is where records.lua looks
  }
  local user = environment.get("HOME")
  local logins = user and user .. "/.config/helm/registry/config.json"
  if logins and not environment.get("HELM_REGISTRY_CONFIG") and fs.exists(logins) then
    env.HELM_REGISTRY_CONFIG = logins
  end
  if opts.kubeconfig then env.KUBECONFIG = opts.kubeconfig end
  for name, value in pairs(opts.env or {}) do env[name] = value end
  return env
end

--- What helm's words mean: { pattern, kind, hint }.
local causes = {
  { "another operation %(install/upgrade/rollback%) is in progress", "locked" },
  { "release: not found", "not_found" },
  { "release name .* not found", "not_found" },
  { "timed out waiting", "timeout" },
  { "context deadline exceeded", "timeout" },
  { "cluster unreachable", "connection", "is the cluster running, and the kubeconfig current?" },
  { "connection refused", "connection" },
  { "no such host", "connection" },
  { "is forbidden", "denied" },
  { "401 Unauthorized", "unauthenticated" },
  { "403 Forbidden", "denied" },
  { "not found in .* repository", "not_found", "see which versions the repository has" },
  { "404 Not Found", "not_found" },
  { "Chart%.yaml file is missing", "not_found" },
  { "no such file or directory", "not_found" },
  { '^path ".*" not found', "not_found" },
  { "x509:", "tls" },
}

--- The error of a command that failed.
---@param what string  "helm upgrade"
---@param result ws.process.Result
---@return ws.Error
function M.failure(what, result)
  local said = secret.redact((result.stderr or ""):match("^%s*(.-)%s*$"))
  local message = said:match("\nError: (.*)$") or said:match("^Error: (.*)$") or said:match("[^\n]*$")
  if message == "" then
    message = result.signal and "was ended by " .. result.signal or "failed with exit code " .. result.code
  end
  local fields = {
    kind = result.signal and "interrupted" or "failed", op = what, status = result.code,
    message = message:match("^[^\n]*"), result = result,
  }
  if message:find("\n") then fields.detail = message:match("\n(.*)$") end
  for _, cause in ipairs(causes) do
    if message:find(cause[1]) then
      fields.kind, fields.hint = cause[2], cause[3]
      break
    end
  end
  return errors.new(fields)
end

--- What helm tells, with --debug, of its waiting: that it begins (everything is applied then), and for what.
local function progress_of(line)
  local text = line:match("%[debug%] (.*)$") or line:match('msg="(.-)"')
  if not text then return nil end
  if text:find("is not ready") then return { text = secret.redact("waiting: " .. text:match("^[^.]*")) } end
  if text:find("^beginning wait for") or text == "waiting for resources" then
    return { text = "everything is applied, waiting", applied = true }
  end
end

--- Runs helm.
---@param args string[]
---@param opts { kubeconfig?: string, namespace?: string, env?: table, timeout?: number, log?: string,
---  on_event?: fun(event: table), started?: fun(child: ws.process.Child) }
---@return string? stdout
---@return ws.Error? err
function M.run(args, opts)
  if changes[args[1]] then
    local ok, problem = fence.check { long = true }
    if not ok then return nil, problem end
  end
  local argv = table.move(args, 1, #args, 2, { "helm" })
  if opts.namespace then table.move({ "--namespace", opts.namespace }, 1, 2, #argv + 1, argv) end
  local log <close> = logfile.open(opts.log)
  local errs, failed, trace = {}, false, false
  local child, err = process.start(argv, {
    env = base_environment(opts), timeout = opts.timeout or TIMEOUT, grace = GRACE, stop_signal = "INT",
    max_output = 1 << 27, stderr = "discard",
    on_stderr = function(line)
      log:write(line)
      local debug = line:find("[debug]", 1, true) or line:find("level=DEBUG", 1, true)
      if debug then trace = failed elseif not trace then errs[#errs + 1] = line end
      failed = failed or line:find("^Error: ") ~= nil -- with --debug a stack trace of helm's own follows
      local event = opts.on_event and progress_of(line)
      if event then opts.on_event(event) end
    end,
  })
  if not child then
    if err.kind == "missing_tool" then err.hint = "run `make deps`, or install Helm 3 or 4" end
    return nil, err
  end
  local _ <close> = child
  if opts.started then opts.started(child) end
  local result, wait_err = child:wait()
  if not result then return nil, wait_err end
  result.stderr = table.concat(errs, "\n")
  if result.code ~= 0 then return nil, M.failure("helm " .. args[1], result) end
  return result.stdout
end

return M
