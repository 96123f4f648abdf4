--- Helm 3 and 4: charts and releases.
---
--- Values go by a private file that is removed at the end, so they may hold secrets. Helm's folders are the project's
--- own. Options that every function takes: `kubeconfig`, `namespace`, `env`, `timeout` (seconds), `log` (a file for
--- what helm says, secrets masked), `api` (a ws.k8s client of the same cluster: what is known of a release is then read
--- over REST, which takes no helm).
local command = require "ws.helm.command"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local records = require "ws.helm.records"
local task = require "ws.task"
local upgrade = require "ws.helm.upgrade"

local M = {}

local common = { kubeconfig = "string", namespace = "string", env = "table", timeout = "number", log = "string",
  on_event = "function", api = "table" }

--- Checks the options of a public function; `needed` and `known` are name → type.
local function check(name, opts, needed, known)
  if type(opts) ~= "table" then error(("helm.%s: a table expected, got %s"):format(name, type(opts)), 3) end
  for key, value in pairs(opts) do
    local wanted = needed[key] or (known and known[key]) or common[key]
    if not wanted then error(("helm.%s: unknown option '%s'"):format(name, tostring(key)), 3) end
    if type(value) ~= wanted then
      error(("helm.%s: %s must be a %s, not a %s"):format(name, key, wanted, type(value)), 3)
    end
  end
  for key in pairs(needed) do
    if opts[key] == nil then error(("helm.%s needs %s"):format(name, key), 3) end
  end
end

local function run(args, opts)
  return command.run(args, {
    kubeconfig = opts.kubeconfig, namespace = opts.namespace, env = opts.env, timeout = opts.timeout, log = opts.log,
    on_event = opts.on_event,
  })
end

local function run_json(args, opts)
  args[#args + 1], args[#args + 2] = "--output", "json"
  local text, err = run(args, opts)
  if not text then return nil, err end
  return json.decode(text)
end

--- Calls fn with the path of a file that holds the values as JSON, which is YAML; it is removed afterwards.
local function with_values(values, fn)
  local dir = assert(fs.temp_dir { prefix = "wsrun-helm-" })
  local clean <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    task.shield(fs.remove, dir, { recursive = true, missing_ok = true })
  end })
  local path = dir .. "/values.json"
  local ok, err = fs.write(path, json.encode(json.object(values or {}), { secrets = true }), { durable = false })
  if not ok then return nil, err end
  return fn(path)
end

---@class ws.helm.Tool
---@field path string
---@field version string
---@field major integer

--- Finds helm on PATH.
---@async
---@return ws.helm.Tool? tool
---@return ws.Error? err  kind `missing_tool`: none, or older than 3.8
function M.find()
  return upgrade.find()
end

--- A checksum of a chart: of the package, or of every file of a folder with its name.
---@async
---@param chart string
---@return string? digest
---@return ws.Error? err  kind `not_found`
function M.digest(chart)
  return upgrade.digest(chart)
end

---@class ws.helm.InstallOptions
---@field release string
---@field chart string          a folder or a package
---@field namespace? string     default: the kubeconfig's
---@field create_namespace? boolean
---@field values? table         laid over the chart's; may hold secrets
---@field wait? boolean         until everything is ready
---@field timeout? number       seconds that helm may wait; default 600
---@field atomic? boolean       a failed upgrade is rolled back; default false, so that its state can be looked at
---@field skip_crds? boolean
---@field history_max? integer  revisions kept; default 10
---@field labels? table<string, string>  of the revision's record; not with a Helm older than 3.13
---@field exclusive? string     a label: the caller holds a lock that all hold who set it, so that a pending revision
---  with it is a dead run's; needs `api`
---@field kubeconfig? string
---@field env? table<string, string|false>
---@field log? string
---@field api? ws.k8s.Client
---@field on_event? fun(event: { text: string, applied?: boolean })  applied: helm begins to wait

---@class ws.helm.InstallResult
---@field action "install"|"upgrade"|"unchanged"
---@field release string
---@field namespace? string
---@field revision integer
---@field seconds number

--- Installs a chart, upgrades its release, or does nothing when the same chart and values are deployed already.
---
--- A release that a dead run left in the middle of an operation (`pending-…`) is recovered first; one that somebody
--- works on is waited for.
---@async
---@param opts ws.helm.InstallOptions
---@return ws.helm.InstallResult? result
---@return ws.Error? err  kinds: `timeout` and `failed` (with the reasons of pods that are not ready in `detail`),
---  `not_found` (the chart), `locked`, `connection`, `denied`, `missing_tool`
function M.install_or_upgrade(opts)
  check("install_or_upgrade", opts, { release = "string", chart = "string" }, {
    create_namespace = "boolean", values = "table", wait = "boolean", atomic = "boolean", skip_crds = "boolean",
    history_max = "number", labels = "table", exclusive = "string",
  })
  local tool, err = upgrade.find()
  if not tool then return nil, err end
  local all = { timeout = 600, major = tool.major, minor = tool.minor }
  for key, value in pairs(opts) do all[key] = value end
  return upgrade.run(all)
end

--- Whether the release is deployed from this chart with these values: install_or_upgrade would do nothing then.
---@async
---@param opts { release: string, chart: string, values?: table, last?: ws.helm.Revision, namespace?: string,
---  kubeconfig?: string, api?: ws.k8s.Client }  last: the last revision, when it is known already
---@return boolean? current
---@return ws.Error? err
function M.is_current(opts)
  check("is_current", opts, { release = "string", chart = "string" }, { values = "table", last = "table" })
  return upgrade.is_current(opts)
end

--- Waits until nobody is in the middle of an operation on a release, and gives up the pending revision of a helm that
--- is proven dead: one of ours whose process is gone, one that has the label `exclusive`, or one that is older than a
--- helm may take.
---@async
---@param opts { release: string, timeout?: number, exclusive?: string, namespace?: string, kubeconfig?: string,
---  api?: ws.k8s.Client, on_event?: fun(event: { text: string }) }  timeout: seconds, default 600
---@return table? last  the last revision, as `status`; nil without an error: there is none
---@return ws.Error? err  kind `locked`: somebody else works on it
---@return boolean? given_up  a revision was: the cluster is not what the last one says
function M.settle(opts)
  check("settle", opts, { release = "string" }, { exclusive = "string" })
  return upgrade.settle(setmetatable({ timeout = opts.timeout or 600 }, { __index = opts }))
end

--- Gives up the last revision of a release when it is stuck in the middle of an operation (`pending-…`), so that the
--- next upgrade can begin: with `api` it is recorded as failed, else its record is removed. What it made in the cluster
--- stays. Call it only when no helm works on the release.
---@async
---@param opts { release: string, namespace?: string, kubeconfig?: string }
---@return { recovered: boolean, revision?: integer, status?: string }? result
---@return ws.Error? err
function M.recover(opts)
  check("recover", opts, { release = "string" })
  return upgrade.recover(opts)
end

--- Downloads a chart's package from a repository.
---@async
---@param opts { repository: string, chart: string, version?: string, dir: string }  repository: an http(s) or oci URL
---@return string? path  of the package in `dir`
---@return ws.Error? err  kinds: `not_found`, `connection`, `unauthenticated`, `tls`
function M.pull(opts)
  check("pull", opts, { repository = "string", chart = "string", dir = "string" }, { version = "string" })
  local ok, err = fs.mkdir(opts.dir)
  if not ok then return nil, err end
  local scratch
  scratch, err = fs.temp_dir { dir = opts.dir, prefix = ".pull-" }
  if not scratch then return nil, err end
  local clean <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    task.shield(fs.remove, scratch, { recursive = true, missing_ok = true })
  end })
  local args = { "pull", opts.chart, "--repo", opts.repository, "--destination", scratch }
  if opts.repository:find("^oci://") then
    args = { "pull", opts.repository:gsub("/+$", "") .. "/" .. opts.chart, "--destination", scratch }
  end
  if opts.version then args[#args + 1], args[#args + 2] = "--version", opts.version end
  ok, err = run(args, opts)
  if not ok then return nil, err end
  local names = assert(fs.glob("*.tgz", { dir = scratch }))
  if #names ~= 1 then
    return nil, errors.new { kind = "protocol", op = "helm pull", message = "helm pull left no package" }
  end
  local path = fs.join(opts.dir, names[1])
  ok, err = fs.rename(fs.join(scratch, names[1]), path)
  if not ok then return nil, err end
  return path
end

--- Looks for mistakes in a chart.
---@async
---@param opts { chart: string, values?: table, strict?: boolean }
---@return { ok: boolean, messages: string[] }? result
---@return ws.Error? err  helm could not be run
function M.lint(opts)
  check("lint", opts, { chart = "string" }, { values = "table", strict = "boolean" })
  return with_values(opts.values, function(values)
    local args = { "lint", opts.chart, "--values", values }
    if opts.strict then args[#args + 1] = "--strict" end
    local text, err = run(args, opts)
    if not text and not (err.result and err.result.code) then return nil, err end
    local result = { ok = text ~= nil, messages = {} }
    for line in (text or err.result.stdout .. "\n" .. err.result.stderr):gmatch("[^\n]+") do
      if line:find("^%[%u+%]") then result.messages[#result.messages + 1] = line end
    end
    return result
  end)
end

--- Renders a chart without a cluster.
---@async
---@param opts { chart: string, release?: string, values?: table, namespace?: string, include_crds?: boolean }
---@return string? yaml
---@return ws.Error? err
function M.template(opts)
  check("template", opts, { chart = "string" }, { release = "string", values = "table", include_crds = "boolean" })
  return with_values(opts.values, function(values)
    local args = { "template", opts.release or "release-name", opts.chart, "--values", values }
    if opts.include_crds then args[#args + 1] = "--include-crds" end
    return run(args, opts)
  end)
end

--- Rehearses an installation, as `helm install --dry-run --debug`: with a kubeconfig the cluster checks every object
--- and answers the chart's lookups, and since Helm 3.15 secrets are left out of the text; without one nothing is asked
--- of any cluster, and the chart is rendered as for an upgrade, which `template` does not do.
---@async
---@param opts { chart: string, release: string, values?: table, namespace?: string, kubeconfig?: string }
---@return string? text  what helm says: values, hooks, manifest
---@return ws.Error? err  kinds: `connection` (the cluster), `failed`, `not_found`
function M.dry_run(opts)
  check("dry_run", opts, { chart = "string", release = "string" }, { values = "table" })
  local tool, err = upgrade.find()
  if not tool then return nil, err end
  return with_values(opts.values, function(values)
    local args
    if opts.kubeconfig then
      local minor = tonumber(tool.version:match("^%d+%.(%d+)"))
      local dry = (tool.major >= 4 or minor >= 13) and "--dry-run=server" or "--dry-run"
      args = { "install", opts.release, opts.chart, dry, "--debug", "--values", values }
      if tool.major >= 4 or minor >= 15 then args[#args + 1] = "--hide-secret" end
    else
      args = { "template", opts.release, opts.chart, "--is-upgrade", "--debug", "--values", values }
    end
    return run(args, opts)
  end)
end

--- Makes a chart's package.
---@async
---@param opts { chart: string, dir: string, version?: string, app_version?: string }
---@return string? path
---@return ws.Error? err
function M.package(opts)
  check("package", opts, { chart = "string", dir = "string" }, { version = "string", app_version = "string" })
  local args = { "package", opts.chart, "--destination", opts.dir }
  if opts.version then args[#args + 1], args[#args + 2] = "--version", opts.version end
  if opts.app_version then args[#args + 1], args[#args + 2] = "--app-version", opts.app_version end
  local text, err = run(args, opts)
  if not text then return nil, err end
  return text:match("saved it to: ([^\n]+)")
end

--- The state of a release.
---@async
---@param opts { release: string, namespace?: string, kubeconfig?: string }
---@return { revision: integer, status: string, chart: string, app_version: string, updated: string }? status
---@return ws.Error? err  kind `not_found`
function M.status(opts)
  check("status", opts, { release = "string" })
  local last, err = upgrade.last_revision(opts)
  if last or err then return last, err end
  return nil, errors.new { kind = "not_found", op = "helm status", message = "no release " .. opts.release }
end

--- The revisions of a release, oldest first; with `api` each with revision, status and labels only, see `revision`.
---@async
---@param opts { release: string, namespace?: string, kubeconfig?: string, max?: integer, api?: ws.k8s.Client }
---@return table[]? revisions  as `status`
---@return ws.Error? err  kind `not_found`
function M.history(opts)
  check("history", opts, { release = "string" }, { max = "number" })
  if opts.api then
    local list, err = records.list(opts)
    if not list or #list > 0 then return list, err end
    return nil, errors.new { kind = "not_found", op = "helm history", message = "no release " .. opts.release }
  end
  return run_json({ "history", opts.release, "--max", ("%d"):format(opts.max or 256) }, opts)
end

--- One revision of a release as Helm keeps it: chart, version, description, and the objects that were applied.
---@async
---@param opts { release: string, revision: integer, api: ws.k8s.Client, namespace?: string }
---@return ws.helm.Revision? revision
---@return ws.Error? err  kinds `not_found`, `parse`, ...
function M.revision(opts)
  check("revision", opts, { release = "string", revision = "number", api = "table" })
  return records.read(opts, opts.revision)
end

--- The releases of a namespace, or of all.
---@async
---@param opts? { namespace?: string, kubeconfig?: string }  default: all namespaces
---@return { name: string, namespace: string, revision: string, status: string, chart: string }[]? releases
---@return ws.Error? err
function M.list(opts)
  opts = opts or {}
  check("list", opts, {})
  local args = { "list", "--all", "--max", "10000" }
  if not opts.namespace then args[#args + 1] = "--all-namespaces" end
  return run_json(args, opts)
end

--- Goes back to an earlier revision.
---@async
---@param opts { release: string, revision?: integer, wait?: boolean, namespace?: string, kubeconfig?: string }
---  revision: default the one before
---@return true? ok
---@return ws.Error? err  kinds as install_or_upgrade
function M.rollback(opts)
  check("rollback", opts, { release = "string" }, { revision = "number", wait = "boolean" })
  local timeout = opts.timeout or 600
  local args = { "rollback", opts.release, "--timeout", ("%ds"):format(math.ceil(timeout)) }
  if opts.revision then table.insert(args, 3, ("%d"):format(opts.revision)) end
  if opts.wait then args[#args + 1] = "--wait" end
  if opts.on_event then args[#args + 1] = "--debug" end
  local text, err = run(args, setmetatable({ timeout = timeout + 60 }, { __index = opts }))
  if not text then return nil, err end
  return true
end

--- Removes a release and what it made.
---@async
---@param opts { release: string, wait?: boolean, namespace?: string, kubeconfig?: string }
---@return { removed: boolean }? result  false: there was no such release
---@return ws.Error? err
function M.uninstall(opts)
  check("uninstall", opts, { release = "string" }, { wait = "boolean" })
  local timeout = opts.timeout or 600
  local args = { "uninstall", opts.release, "--timeout", ("%ds"):format(math.ceil(timeout)) }
  if opts.wait then args[#args + 1] = "--wait" end
  local text, err = run(args, setmetatable({ timeout = timeout + 60 }, { __index = opts }))
  if text then return { removed = true } end
  if err.kind == "not_found" then return { removed = false } end
  return nil, err
end

--- What an upgrade would change: the objects of the deployed release against the rendered chart. Contents of secrets
--- are compared and not shown.
---@async
---@param opts { release: string, chart: string, values?: table, namespace?: string, kubeconfig?: string }
---@return { action: "add"|"change"|"remove", kind: string, namespace?: string, name: string, before?: table,
---  after?: table }[]? changes
---@return ws.Error? err
function M.diff(opts)
  check("diff", opts, { release = "string", chart = "string" }, { values = "table" })
  return require "ws.helm.diff".run(M, run, opts)
end

return M
