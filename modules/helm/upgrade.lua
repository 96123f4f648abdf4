--- helm.install_or_upgrade: nothing when nothing differs, recovery of what a dead run left, and why pods are not ready.
---
--- Chart and values are remembered by their checksum in the release's description, in the cluster: any machine can tell
--- that nothing differs, with one command.
local command = require "ws.helm.command"
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
local project = require "ws.project"
local record = require "ws.process.record"
local records = require "ws.helm.records"
local task = require "ws.task"
local time = require "ws.time"

local M = {}

local POLL = 1          -- seconds
local MARGIN = 60       -- seconds that a helm may take beyond its own timeout
local MARK = "inputs %s, by wsrun"
local LABELS_SINCE = 13 -- Helm 3.13 keeps labels of its own users in a revision's record

--- A checksum of a chart: of the package, or of every file of a folder with its name.
---@param chart string
---@return string? digest
---@return ws.Error? err
function M.digest(chart)
  local stat, err = fs.stat(chart)
  if not stat then return nil, err end
  if stat.type ~= "directory" then return crypto.sha256_file(chart) end
  local parts = {}
  for file, entry in fs.walk(chart) do
    if entry.type == "file" then
      local sum, sum_err = crypto.sha256_file(file)
      if not sum then return nil, sum_err end
      parts[#parts + 1] = fs.relative(file, chart) .. " " .. sum
    end
  end
  return crypto.sha256(table.concat(parts, "\n"))
end

--- The last revision of a release, or nil when there is none.
---@return table? revision  revision, status, updated, description, chart
---@return ws.Error? err
function M.last_revision(opts)
  if opts.api then return records.last(opts) end
  local text, err = command.run({ "history", opts.release, "--max", "1", "--output", "json" }, {
    kubeconfig = opts.kubeconfig, namespace = opts.namespace, env = opts.env,
  })
  if not text then
    if err.kind == "not_found" then return nil end
    return nil, err
  end
  local list, parse_err = json.decode(text)
  if not list then return nil, parse_err end
  return list[#list]
end

local function record_path(opts)
  local dir = project.state_dir() .. "/helm/running"
  assert(fs.mkdir(dir, { mode = 448 })) -- 0700
  local place = opts.kubeconfig and fs.absolute(opts.kubeconfig) or ""
  return ("%s/%s.json"):format(dir, crypto.sha256(table.concat({ place, opts.namespace or "", opts.release }, "\n")))
end

--- Waits for a helm of an earlier run of ours that still works on this release.
local function wait_for_previous(path, opts)
  local deadline = time.monotonic() + opts.timeout + MARGIN
  local previous = record.read(path)
  while previous and previous.runs do
    if time.monotonic() > deadline then
      return nil, errors.new {
        kind = "locked", op = "helm",
        message = ("%s of an earlier run still runs as process %d"):format(previous.what, previous.pid),
        hint = "end it: kill -INT " .. previous.pid,
      }
    end
    if opts.on_event then
      opts.on_event { text = ("waiting for the %s of an earlier run (process %d)"):format(previous.what, previous.pid) }
    end
    task.sleep(POLL)
    previous = record.read(path)
  end
  return true, previous ~= nil
end

local function age(revision)
  local text = (revision.updated or ""):gsub("^(%d+%-%d+%-%d+) (%d+:%d+:%d+%.?%d*) %+0000 UTC$", "%1T%2Z")
  local updated = time.parse_rfc3339(text)
  return updated and time.now() - updated or 0
end

--- Ends a revision that never came to its end: over REST it is recorded as failed, else its record is removed. What it
--- made in the cluster stays and is taken over by the next upgrade; the revision before it is still the deployed one.
function M.forget(opts, revision)
  if opts.on_event then
    opts.on_event { text = ("revision %d is %s and its helm is gone: it is given up"):format(revision.revision,
      revision.status) }
  end
  if opts.api then return records.give_up(opts, revision.revision) end
  return require "ws.kubectl".delete {
    kubeconfig = opts.kubeconfig, namespace = opts.namespace, kind = "secret", env = opts.env,
    name = ("sh.helm.release.v1.%s.v%d"):format(opts.release, revision.revision),
  }
end

--- Whether a pending revision was made by a run of wsrun that has ended: every such run holds the caller's lock.
local function is_abandoned(opts, revision)
  return opts.exclusive ~= nil and (revision.labels or {})[opts.exclusive] ~= nil
end

--- The last revision that is not in the middle of something, and whether one was given up that a dead helm left; one
--- that somebody works on is waited for.
local function settled_revision(opts, ours)
  local deadline, given_up = time.monotonic() + opts.timeout + MARGIN, false
  while true do
    local last, err = M.last_revision(opts)
    if err then return nil, err end
    if not last or not (last.status or ""):find("^pending%-") then return last, nil, given_up end
    if ours or is_abandoned(opts, last) or age(last) > opts.timeout + MARGIN then
      local ok, forget_err = M.forget(opts, last)
      if not ok then return nil, forget_err end
      given_up = true
    elseif time.monotonic() > deadline then
      return nil, errors.new {
        kind = "locked", op = "helm upgrade",
        message = ("release %s: revision %d is %s since %s"):format(opts.release, last.revision, last.status,
          last.updated),
        hint = "somebody else works on it; when no helm runs any more, call helm.recover for it, or helm rollback",
      }
    else
      if opts.on_event then
        opts.on_event { text = ("waiting: revision %d is %s"):format(last.revision, last.status) }
      end
      task.sleep(POLL)
    end
  end
end

--- See helm.settle. `opts.timeout` is set.
function M.settle(opts)
  local ok, left = wait_for_previous(record_path(opts), opts)
  if not ok then return nil, left end
  return settled_revision(opts, left)
end

--- Why the pods of a release are not ready, from the cluster; nil when nothing is to be seen.
---@return string? text
function M.diagnose(opts)
  local kubectl = require "ws.kubectl"
  local pods = kubectl.get {
    kubeconfig = opts.kubeconfig, namespace = opts.namespace, kind = "pods", env = opts.env,
    selector = "app.kubernetes.io/instance=" .. opts.release,
  }
  local lines = {}
  for _, pod in ipairs(pods and pods.items or {}) do
    local said = false
    for _, list in ipairs { "initContainerStatuses", "containerStatuses" } do
      for _, status in ipairs(pod.status[list] or {}) do
        local state = status.state or {}
        local why = state.waiting or state.terminated
        if why and not status.ready and why.reason ~= "Completed" then
          said = true
          lines[#lines + 1] = ("pod %s, container %s: %s%s"):format(pod.metadata.name, status.name,
            why.reason or "not ready", why.message and ": " .. why.message or "")
        end
      end
    end
    for _, condition in ipairs(not said and pod.status.conditions or {}) do
      if condition.status == "False" and condition.type ~= "PodReadyToStartContainers" then
        lines[#lines + 1] = ("pod %s: %s: %s"):format(pod.metadata.name, condition.type,
          condition.message or condition.reason or "no reason given")
        break
      end
    end
  end
  return #lines > 0 and require "ws.secret".redact(table.concat(lines, "\n")) or nil
end

local function upgrade_arguments(opts, values, inputs)
  -- Without --reset-values helm takes the last revision's values when ours are empty.
  local args = { "upgrade", opts.release, opts.chart, "--install", "--reset-values", "--debug", "--values", values,
    "--timeout", ("%ds"):format(math.ceil(opts.timeout)), "--description", MARK:format(inputs),
    "--history-max", tostring(opts.history_max or 10) }
  local function add(wanted, ...)
    if wanted then table.move({ ... }, 1, select("#", ...), #args + 1, args) end
  end
  add(opts.create_namespace, "--create-namespace")
  add(opts.wait, "--wait")
  add(opts.atomic, opts.major >= 4 and "--rollback-on-failure" or "--atomic")
  add(opts.skip_crds, "--skip-crds")
  if opts.labels and (opts.major > 3 or opts.minor >= LABELS_SINCE) then
    local pairs_of = {}
    for key, value in pairs(opts.labels) do pairs_of[#pairs_of + 1] = key .. "=" .. value end
    table.sort(pairs_of)
    add(true, "--labels", table.concat(pairs_of, ","))
  end
  return args
end

local function run_upgrade(opts, action, values, inputs, path)
  local what = "helm " .. action
  local text, err = command.run(upgrade_arguments(opts, values, inputs), {
    kubeconfig = opts.kubeconfig, namespace = opts.namespace, env = opts.env, log = opts.log,
    on_event = opts.on_event, timeout = opts.timeout + MARGIN,
    started = function(child) record.write(path, child, what) end,
  })
  if text or (err.result and err.result.code) then fs.remove(path, { missing_ok = true }) end
  if text then return math.tointeger(tonumber(text:match("REVISION: (%d+)"))) end
  err.op = what
  if err.kind == "timeout" or err.kind == "failed" then
    local why = M.diagnose(opts)
    if why then err.detail = why .. (err.detail and "\n" .. err.detail or "") end
  end
  return nil, err
end

--- The checksum of the inputs that a revision was made from, or nil; of one that a rollback made, those of the revision
--- that it went back to.
local function inputs_of(opts, revision)
  while revision and revision.description do
    local back = opts.api and math.tointeger(tonumber(revision.description:match("^Rollback to (%d+)$")))
    if not back or back >= revision.revision then return revision.description:match("^inputs (%x+), by wsrun$") end
    revision = records.read(opts, back)
  end
end

--- Chart and values as one checksum.
---@param chart string
---@param values string|ws.Secret  as JSON
---@return string? inputs
---@return ws.Error? err
local function checksum(chart, values)
  local digest, err = M.digest(chart)
  if not digest then return nil, err end
  return crypto.sha256(digest .. "\n" .. crypto.sha256(values))
end

local function values_text(opts)
  return json.encode(json.object(opts.values or {}), { secrets = true })
end

--- See helm.is_current.
function M.is_current(opts)
  local last, err = opts.last, nil
  if last == nil then last, err = M.last_revision(opts) end
  if err then return nil, err end
  local inputs
  inputs, err = checksum(opts.chart, values_text(opts))
  if not inputs then return nil, err end
  return last ~= nil and last.status == "deployed" and inputs_of(opts, last) == inputs
end

--- See helm.install_or_upgrade. `opts.timeout`, `opts.major` and `opts.minor` are set.
function M.run(opts)
  local started = time.monotonic()
  local dir = assert(fs.temp_dir { prefix = "wsrun-helm-" })
  local clean <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    task.shield(fs.remove, dir, { recursive = true, missing_ok = true })
  end })
  local values, text = dir .. "/values.json", values_text(opts)
  local ok, err = fs.write(values, text, { durable = false })
  if not ok then return nil, err end
  local inputs
  inputs, err = checksum(opts.chart, text)
  if not inputs then return nil, err end
  local last, given_up
  last, err, given_up = M.settle(opts)
  if err then return nil, err end
  local result = { release = opts.release, namespace = opts.namespace }
  -- After one that was given up the cluster is not what the last record says.
  if not given_up and last and last.status == "deployed" and inputs_of(opts, last) == inputs then
    result.action, result.revision = "unchanged", last.revision
  else
    result.action = (not last or last.status == "uninstalled") and "install" or "upgrade"
    result.revision, err = run_upgrade(opts, result.action, values, inputs, record_path(opts))
    if not result.revision then return nil, err end
  end
  result.seconds = time.monotonic() - started
  return result
end

--- See helm.recover.
function M.recover(opts)
  local last, err = M.last_revision(opts)
  if err then return nil, err end
  if not last or not (last.status or ""):find("^pending%-") then return { recovered = false } end
  local ok
  ok, err = M.forget(opts, last)
  if not ok then return nil, err end
  return { recovered = true, revision = last.revision, status = last.status }
end

--- The version that a helm says, remembered for as long as its file is the same.
local function version_of(path)
  local stat, err = fs.stat(path)
  if not stat then return nil, err end
  local file = project.state_dir() .. "/helm/tool.json"
  local known = json.decode(fs.read(file) or "")
  local key = ("%s %d %s"):format(path, stat.size, stat.mtime)
  if type(known) == "table" and known.key == key and type(known.version) == "string" then return known.version end
  local text
  text, err = command.run({ "version", "--template", "{{.Version}}" }, { timeout = 60 })
  if not text then return nil, err end
  text = text:match("%S*")
  if fs.mkdir(fs.dirname(file), { parents = true }) then
    fs.write(file, json.encode { key = key, version = text }, { durable = false })
  end
  return text
end

--- Whether helm itself is too old or missing.
---@return { path: string, version: string, major: integer }? tool
---@return ws.Error? err
function M.find()
  local path, err = process.which("helm")
  if not path then
    err.hint = "run `make deps`, or install Helm 3.8 or later"
    return nil, err
  end
  if M.tool and M.tool.path == path then return M.tool end
  local text
  text, err = version_of(path)
  if not text then return nil, err end
  local major, minor = text:match("v?(%d+)%.(%d+)")
  major, minor = math.tointeger(tonumber(major)), math.tointeger(tonumber(minor))
  if not major or major < 3 or (major == 3 and minor < 8) then
    return nil, errors.new {
      kind = "missing_tool", op = "helm", message = ("%s is version %s; 3.8 or later is needed"):format(path, text),
      hint = "run `make deps`, or install a later Helm",
    }
  end
  M.tool = { path = path, version = text:match("^v?(.*)$"), major = major, minor = minor }
  return M.tool
end

return M
