-- One application's release: what is to be done and why, done under watch, checked, and taken back when it fails.
--
-- cd.lua and create_platform deploy with this. A deployment that fails leaves the evidence in the run's folder and the
-- revision before it in the cluster, as `helm --atomic` does, which keeps no evidence; a first install is removed.
local change = require "lib.release.change"
local dependencies = require "lib.dependencies"
local helm = require "ws.helm"
local publication = require "lib.publication"
local releases = require "lib.plan.releases"
local semver = require "ws.semver"
local task = require "ws.task"
local verify = require "lib.verify"
local ws = require "ws"

local M = {}

local LABEL = "wsrun" -- of revisions: who sets it holds the platform's lock

---@class ReleasePlan
---@field action "install"|"upgrade"|"unchanged"
---@field why string
---@field version string
---@field publication Publication
---@field values table
---@field last? ws.helm.Revision   the last revision, whatever became of it
---@field good? ws.helm.Revision   the one that serves
---@field check? function          the smoke check

local handle, explain = change.handle, change.explain

--- Values of an application's chart: the image, the platform's own facts, then what the manifest says.
local function values_of(p, app, published)
  local outputs = p:read_outputs("kubernetes")
  local image = { repository = published.image.repository, tag = published.image.tag, digest = published.image.digest }
  -- The digest decides in the chart: it must not win over an image that the manifest names.
  if publication.names_image(app) then image.digest = nil end
  local base = {
    image = image, platform = p.name,
    service = { nodePort = outputs.node_port },
    serviceAccount = { googleServiceAccount = outputs.apps_service_account },
  }
  if app.cloudsql then base.database = { secret = app.cloudsql["user-secret"] } end
  return dependencies.merge(base, app.values)
end

--- The last revision, and the one that serves: what is deployed, else what was last.
local function read_state(p, app)
  local list, err = helm.history(handle(p, app))
  if not list then
    if err.kind == "not_found" then return nil, nil end
    error(explain(p, err), 0)
  end
  local good
  for _, status in ipairs { "deployed", "superseded" } do
    for _, revision in ipairs(list) do
      if revision.status == status then good = revision end
    end
    if good then break end
  end
  local function whole(revision)
    if not revision then return nil end
    local found, problem = helm.revision(handle(p, app, { revision = revision.revision }))
    return found or error(explain(p, problem), 0)
  end
  local last = whole(list[#list])
  return last, good and (good.revision == last.revision and last or whole(good))
end

--- Waits for who is at work on the release, and removes what a dead run left in the middle.
local function settle(p, app, last)
  if not last or p.w.plan or not last.status:find("^pending%-") then return last end
  p.w:progress(("revision %d is %s"):format(last.revision, last.status))
  local settled, err, given_up = helm.settle(handle(p, app, { exclusive = LABEL, kubeconfig = p.kubeconfig,
    on_event = function(event) p.w:progress(event.text) end }))
  if err then error(explain(p, err), 0) end
  if given_up then
    p.w:note(("%s: revision %d was left %s by a run that is gone: it counts as failed"):format(app.name,
      last.revision, last.status))
  end
  return settled
end

--- Refuses to go back to an older version unless that was asked for.
local function check_order(p, app, good, version, opts)
  if opts.allow_downgrade ~= false or not good then return end
  local deployed, wanted = semver.parse((good.version or ""):gsub("^v", "")), semver.parse((version:gsub("^v", "")))
  if not deployed or not wanted or wanted >= deployed then return end
  local hint = "wsrun workflows/cd.lua %s %s --rollback goes back to what was deployed before; "
    .. "--allow-downgrade deploys %s"
  ws.fail(("%s %s is deployed on %s, and %s is older"):format(app.name, good.version, p.name, version), {
    kind = "invalid", exit = 64, hint = hint:format(p.name, app.name, version) })
end

local function reason(plan)
  local good, last, version = plan.good, plan.last, plan.version
  if plan.action == "unchanged" then
    return ("%s with these values is deployed as revision %d"):format(version, last.revision)
  elseif not last or last.status == "uninstalled" then
    return "it is not installed"
  elseif last.status ~= "deployed" then
    return ("the last attempt, revision %d (%s), is %s%s"):format(last.revision, tostring(last.version), last.status,
      good and (", %s serves"):format(tostring(good.version)) or "")
  elseif good.version ~= version then
    return ("%s is deployed"):format(tostring(good.version))
  end
  return ("%s is deployed with other values, or from another package"):format(version)
end

--- What there is to do for a version of an application, and why; everything that can be read is read and checked
--- before anything is changed. p.api is connected. Raises when it cannot be done.
---@async
---@param p Platform
---@param app table  of the manifest
---@param version string
---@param opts? ReleaseOptions
---@return ReleasePlan
function M.examine(p, app, version, opts)
  opts = opts or {}
  local plan = { version = version, check = verify.load(p, app) }
  local ok, err = task.all {
    function() plan.last, plan.good = read_state(p, app) end,
    function() plan.publication = publication.fetch(p, app, version) end,
    function() p:read_outputs("kubernetes") end,
    function() assert(helm.find()) end,
  }
  if not ok then error(err, 0) end
  check_order(p, app, plan.good, version, opts)
  plan.last = settle(p, app, plan.last)
  plan.values = values_of(p, app, plan.publication)
  local current
  current, err = helm.is_current(handle(p, app, { chart = plan.publication.chart, values = plan.values,
    last = plan.last }))
  if err then error(explain(p, err), 0) end
  local new = not plan.last or plan.last.status == "uninstalled"
  plan.action = current and "unchanged" or new and "install" or "upgrade"
  plan.why = reason(plan)
  if not plan.publication.verified and not current then
    p.w:note(("%s has no artifacts.json: nothing vouches for the chart, and the image is taken by its tag"):format(
      plan.publication.url:match("^(.*)/")))
  end
  return plan
end

--- Carries a plan out: installs or upgrades, waits until everything is ready, checks. When that fails, the evidence is
--- kept, the revision before serves again, and the failure is raised.
---@async
---@param p Platform
---@param app table
---@param plan ReleasePlan
---@param opts? ReleaseOptions
function M.carry_out(p, app, plan, opts)
  releases.check_unmoved(p, { release = app.name, namespace = app.namespace or "default",
    chart = plan.publication.chart })
  if plan.action == "unchanged" then return end
  change.run(p, app, plan, opts or {}, function(on_event, timeout)
    return helm.install_or_upgrade(handle(p, app, {
      chart = plan.publication.chart, values = plan.values, wait = true, timeout = timeout, create_namespace = true,
      kubeconfig = p.kubeconfig, log = p.w:log_file(), on_event = on_event, labels = { [LABEL] = p.w.id },
      exclusive = LABEL,
    }))
  end)
end

--- The revisions of a release as wholes, newest first; each with `taken_back` when the next one rolled it back.
---@async
---@param p Platform
---@param app table
---@return ws.helm.Revision[]
function M.history(p, app)
  local list, err = helm.history(handle(p, app))
  if not list then
    if err.kind == "not_found" then return {} end
    error(explain(p, err), 0)
  end
  local whole = assert(task.all((function()
    local functions = {}
    for i, revision in ipairs(list) do
      functions[#list + 1 - i] = function()
        return assert(helm.revision(handle(p, app, { revision = revision.revision })))
      end
    end
    return functions
  end)(), { jobs = 4 }))
  for i = 2, #whole do
    whole[i].taken_back = (whole[i - 1].description or ""):find("^Rollback to ") ~= nil or whole[i].status == "failed"
  end
  return whole
end

--- The revision that a rollback goes to: the newest with the version, or the newest that served with another version
--- than the present one and was not taken back itself; nil, why there is none, and what to do.
local function find_target(p, app, good, version)
  local seen = {}
  for _, revision in ipairs(M.history(p, app)) do
    if revision.revision < good.revision and revision.status == "superseded" then
      if revision.version == version then return revision end
      if not version and revision.version ~= good.version and not revision.taken_back then return revision end
      seen[#seen + 1] = tostring(revision.version)
    end
  end
  if version then
    return nil, ("version %s is not in the history of %s; it has %s"):format(version, app.name,
      #seen > 0 and table.concat(seen, ", ") or "no other"),
      ("wsrun workflows/cd.lua %s %s %s --allow-downgrade deploys it from the chart bucket"):format(p.name, app.name,
        version)
  end
  return nil, ("%s has no other version on %s to go back to than %s"):format(app.name, p.name, tostring(good.version)),
    "name a version to deploy, with --allow-downgrade"
end

--- Goes back to an earlier revision: the newest one of the version, or the one that served before.
---@async
---@param p Platform
---@param app table
---@param version? string
---@param opts? ReleaseOptions
---@return string version  that serves now
---@return boolean changed
function M.rollback(p, app, version, opts)
  local last, good = read_state(p, app)
  if not good then
    ws.fail(("%s is not deployed on %s: there is nothing to go back from"):format(app.name, p.name),
      { kind = "not_found" })
  end
  last = settle(p, app, last)
  if version and good.version == version and last and last.status == "deployed" then return version, false end
  local target, why, hint = find_target(p, app, good, version)
  if not target then ws.fail(why, { kind = "not_found", hint = hint }) end
  p.w:progress(("%s serves as revision %d; going back to revision %d, %s"):format(tostring(good.version),
    good.revision, target.revision, tostring(target.version)))
  local plan = { version = target.version, last = last, good = good, check = verify.load(p, app) }
  change.run(p, app, plan, opts or {}, function(on_event, timeout)
    return helm.rollback(handle(p, app, { revision = target.revision, wait = true, timeout = timeout,
      kubeconfig = p.kubeconfig, log = p.w:log_file(), on_event = on_event }))
  end)
  return target.version, true
end

--- Writes the version that serves now to the manifest, unless somebody has changed it there meanwhile.
---@async
---@param p Platform
---@param app table
---@param seen string  what the manifest said when this began
---@param version string
function M.write_back(p, app, seen, version)
  if seen == version then return p.w:summary("says " .. version .. " already") end
  local there = p:replace_in_manifest({ "applications", { name = app.name }, "version" }, seen, version,
    ("manifest: %s %s on %s"):format(app.name, version, p.name))
  if there == version then return p.w:changed(("%s → %s"):format(seen, version)) end
  p.w:summary("left alone")
  p.w:note(there and ("%s says %s for %s, which somebody has written meanwhile (it said %s): it is left alone")
    :format(p.manifest.path, tostring(there), app.name, seen)
    or ("%s has no %s any more: it is left alone"):format(p.manifest.path, app.name))
end

return M
