--- kubectl, for what it does better than the REST client: applying whole files, waiting, rollouts.
---
--- Options that every function takes: `kubeconfig`, `context`, `namespace`, `env`, `timeout` (seconds, default 120).
local errors = require "ws.error"
local json = require "ws.json"
local process = require "ws.process"
local secret = require "ws.secret"

local M = {}

local TIMEOUT = 120
local MARGIN = 30 -- seconds that kubectl may take beyond the time it was told to wait

local common = { kubeconfig = "string", context = "string", namespace = "string", env = "table", timeout = "number" }

local function check(name, opts, needed, known)
  if type(opts) ~= "table" then error(("kubectl.%s: a table expected, got %s"):format(name, type(opts)), 3) end
  for key, value in pairs(opts) do
    local wanted = needed[key] or (known and known[key]) or common[key]
    if not wanted then error(("kubectl.%s: unknown option '%s'"):format(name, tostring(key)), 3) end
    if wanted ~= "any" and type(value) ~= wanted then
      error(("kubectl.%s: %s must be a %s, not a %s"):format(name, key, wanted, type(value)), 3)
    end
  end
  for key in pairs(needed) do
    if opts[key] == nil then error(("kubectl.%s needs %s"):format(name, key), 3) end
  end
end

--- What kubectl's words mean: { pattern, kind, hint }.
local causes = {
  { "%(NotFound%)", "not_found" },
  { "not found", "not_found" },
  { "%(Forbidden%)", "denied" },
  { "%(Conflict%)", "conflict" },
  { "%(AlreadyExists%)", "exists" },
  { "%(Unauthorized%)", "unauthenticated" },
  { "You must be logged in", "unauthenticated" },
  { "timed out waiting", "timeout" },
  { "exceeded its progress deadline", "timeout" },
  { "Unable to connect", "connection" },
  { "connection refused", "connection" },
  { "was refused", "connection" },
  { "%(Invalid%)", "invalid" },
  { "is invalid", "invalid" },
  { "error validating", "invalid" },
  { "error parsing", "parse" },
}

local function run(args, opts, extra)
  local argv = table.move(args, 1, #args, 2, { "kubectl" })
  local function add(flag, value)
    if value then argv[#argv + 1], argv[#argv + 2] = flag, value end
  end
  add("--kubeconfig", opts.kubeconfig)
  add("--context", opts.context)
  add("--namespace", opts.namespace)
  extra = extra or {}
  local result, err = process.run(argv, {
    env = opts.env, stdin = extra.stdin, timeout = extra.timeout or opts.timeout or TIMEOUT, max_output = 1 << 28,
  })
  if not result then
    if err.kind == "missing_tool" then err.hint = "run `make deps`, or install kubectl" end
    return nil, err
  end
  if result.code == 0 then return result.stdout end
  local said = secret.redact(result.stderr:match("^%s*(.-)%s*$"))
  local message = said:match("[^\n]*$"):gsub("^[Ee]rror: ", "")
  local fields = {
    kind = result.signal and "interrupted" or "failed", op = "kubectl " .. args[1], status = result.code,
    message = message ~= "" and message or "failed", detail = said:find("\n") and said or nil, result = result,
  }
  for _, cause in ipairs(causes) do
    if said:find(cause[1]) then
      fields.kind, fields.hint = cause[2], cause[3]
      break
    end
  end
  return nil, errors.new(fields)
end

--- The client's version.
---@async
---@return string? version  "1.34.2"
---@return ws.Error? err  kind `missing_tool`
function M.version()
  local text, err = run({ "version", "--client", "--output", "json" }, {})
  if not text then return nil, err end
  local answer, parse_err = json.decode(text)
  if not answer then return nil, parse_err end
  return (answer.clientVersion.gitVersion:gsub("^v", ""))
end

--- Applies objects: server-side, so that fields which others own are not touched.
---@async
---@param opts { file?: string, text?: string|ws.Secret, objects?: table[], server_side?: boolean, force?: boolean,
---  kubeconfig?: string, namespace?: string }  one of `file` (or folder), `text` (YAML) and `objects` (may hold
---  secrets); `force` takes over fields that another manager owns
---@return { name: string, action: string }[]? changes  "deployment.apps/x", and "created", "configured", "unchanged"
---  or "serverside-applied"
---@return ws.Error? err  kinds: `invalid`, `conflict`, `denied`, `not_found` (the namespace), `connection`
function M.apply(opts)
  check("apply", opts, {}, { file = "string", text = "any", objects = "table", server_side = "boolean",
    force = "boolean" })
  if (opts.file and 1 or 0) + (opts.text and 1 or 0) + (opts.objects and 1 or 0) ~= 1 then
    error("kubectl.apply needs one of file, text and objects", 2)
  end
  local stdin = opts.text
  if opts.objects then
    stdin = json.encode({ apiVersion = "v1", kind = "List", items = json.array(opts.objects) }, { secrets = true })
  end
  local args = { "apply", "--filename", opts.file or "-" }
  if opts.server_side ~= false then args[#args + 1] = "--server-side" end
  if opts.force then args[#args + 1] = "--force-conflicts" end
  local text, err = run(args, opts, { stdin = stdin })
  if not text then return nil, err end
  local changes = {}
  for name, action in text:gmatch("(%S+) ([%w-]+)[^\n]*\n") do
    changes[#changes + 1] = { name = name, action = action }
  end
  return changes
end

--- Reads an object, or a list of them.
---@async
---@param opts { kind: string, name?: string, selector?: string, all_namespaces?: boolean, kubeconfig?: string,
---  namespace?: string }
---@return table? object  a list has `items`
---@return ws.Error? err  kind `not_found`
function M.get(opts)
  check("get", opts, { kind = "string" }, { name = "string", selector = "string", all_namespaces = "boolean" })
  local args = { "get", opts.kind, "--output", "json" }
  if opts.name then table.insert(args, 3, opts.name) end
  if opts.selector then args[#args + 1], args[#args + 2] = "--selector", opts.selector end
  if opts.all_namespaces then args[#args + 1] = "--all-namespaces" end
  local text, err = run(args, opts)
  if not text then return nil, err end
  return json.decode(text)
end

--- Deletes an object. One that is not there is no error.
---@async
---@param opts { kind: string, name: string, wait?: boolean, kubeconfig?: string, namespace?: string }  waits for the
---  end unless `wait` is false
---@return { removed: boolean }? result
---@return ws.Error? err
function M.delete(opts)
  check("delete", opts, { kind = "string", name = "string" }, { wait = "boolean" })
  local text, err = run({ "delete", opts.kind, opts.name, "--ignore-not-found", "--output", "name",
    "--wait=" .. tostring(opts.wait ~= false) }, opts)
  if not text then return nil, err end
  return { removed = text:find("%S") ~= nil }
end

--- Waits for a condition.
---@async
---@param opts { kind: string, name?: string, selector?: string, condition: string, kubeconfig?: string,
---  namespace?: string, timeout?: number }  condition: as `kubectl wait --for`: "condition=Ready", "delete",
---  "jsonpath={.status.phase}=Running"
---@return true? ok
---@return ws.Error? err  kinds: `timeout`, `not_found`
function M.wait(opts)
  check("wait", opts, { kind = "string", condition = "string" }, { name = "string", selector = "string" })
  local timeout = opts.timeout or TIMEOUT
  local args = { "wait", opts.name and opts.kind .. "/" .. opts.name or opts.kind, "--for=" .. opts.condition,
    ("--timeout=%ds"):format(math.ceil(timeout)) }
  if opts.selector then args[#args + 1], args[#args + 2] = "--selector", opts.selector end
  local text, err = run(args, opts, { timeout = timeout + MARGIN })
  if not text then return nil, err end
  return true
end

--- Waits until a Deployment, StatefulSet or DaemonSet has rolled out.
---@async
---@param opts { kind?: string, name: string, kubeconfig?: string, namespace?: string, timeout?: number }  kind: default
---  "deployment"
---@return true? ok
---@return ws.Error? err  kinds: `timeout`, `not_found`
function M.rollout_status(opts)
  check("rollout_status", opts, { name = "string" }, { kind = "string" })
  local timeout = opts.timeout or TIMEOUT
  local text, err = run({ "rollout", "status", (opts.kind or "deployment") .. "/" .. opts.name,
    ("--timeout=%ds"):format(math.ceil(timeout)) }, opts, { timeout = timeout + MARGIN })
  if not text then return nil, err end
  return true
end

return M
