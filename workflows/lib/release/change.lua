-- A change of a release, done under watch and taken back when it fails: the part that deployments and rollbacks share.
local errors = require "ws.error"
local evidence = require "lib.evidence"
local helm = require "ws.helm"
local secret = require "ws.secret"
local supervise = require "lib.supervise"
local task = require "ws.task"
local verify = require "lib.verify"

local M = {}

local DEADLINE = 600        -- seconds until a release is ready
local TOLERATE_RESTARTS = 2 -- of a container: what needs another service crashes until that one is there
local UNDO_TIMEOUT = 300    -- seconds for a rollback

---@class ReleaseOptions
---@field allow_downgrade? boolean     default true
---@field deadline? number             seconds; default: the manifest's, else 600
---@field tolerate_restarts? integer   default: the manifest's, else 2

--- Options of ws.helm that name a release.
---@param p Platform
---@param app table
---@param more? table
---@return table
function M.handle(p, app, more)
  local options = { release = app.name, namespace = app.namespace or "default", api = p.api }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

--- An error of talking to the cluster, with what people forget most.
---@param p Platform
---@param err ws.Error
---@return ws.Error
function M.explain(p, err)
  if errors.is(err) and (err.kind == "connection" or err.kind == "timeout") and not err.of_cluster then
    err.of_cluster = true
    err.message = ("lp-cluster-%s cannot be reached: %s"):format(p.name, err.message)
    err.hint = (err.hint and err.hint .. "\n" or "") .. "is this machine's address in the manifest's ips_whitelist?"
  end
  return err
end

--- Goes back to the revision that served before, or removes a first install. Returns what was done, for people.
local function take_back(p, app, plan, wait)
  local list, err = helm.history(M.handle(p, app))
  if not list then
    if err.kind == "not_found" then return "nothing was installed" end
    return nil, err
  end
  local last = list[#list]
  if plan.last and last.revision <= plan.last.revision then return "nothing was changed" end
  if last.status:find("^pending%-") then
    local ok
    ok, err = helm.recover(M.handle(p, app, { kubeconfig = p.kubeconfig }))
    if not ok then return nil, err end
  end
  local options = { kubeconfig = p.kubeconfig, timeout = UNDO_TIMEOUT, wait = wait, log = p.w:log_file(".undo.log"),
    on_event = function(event) p.w:progress("taking it back: " .. event.text) end }
  if plan.good then
    p.w:progress(("rolling back to revision %d (%s)"):format(plan.good.revision, tostring(plan.good.version)))
    options.revision = plan.good.revision
    local ok, problem = helm.rollback(M.handle(p, app, options))
    if not ok then return nil, problem end
    return ("rolled back to revision %d: %s serves"):format(plan.good.revision, tostring(plan.good.version))
  end
  p.w:progress("removing the first install")
  local ok, problem = helm.uninstall(M.handle(p, app, options))
  if not ok then return nil, problem end
  return "the first install was removed again"
end

--- The manifest of the revision that failed, for the evidence.
local function failed_manifest(p, app, plan)
  local list = helm.history(M.handle(p, app))
  local last = list and list[#list]
  if not last or (plan.last and last.revision <= plan.last.revision) then return nil end
  local found = helm.revision(M.handle(p, app, { revision = last.revision }))
  return found and found.manifest
end

--- Keeps the evidence of a failed change, takes it back, and raises what failed with what became of it.
local function fail(p, app, plan, err)
  local interrupted = p.w.interrupted or err.kind == "cancelled"
  local text, kept = ("%s %s: %s"):format(app.name, plan.version, secret.redact(tostring(err.message))), nil
  if not interrupted then
    p.w:progress("it failed: keeping logs, events and manifests")
    local ok, dir = pcall(function()
      return evidence.keep(p, { release = app.name, namespace = app.namespace or "default", version = plan.version,
        err = err, manifest = failed_manifest(p, app, plan) })
    end)
    if ok then kept = dir else p.w:note("not everything could be kept: " .. secret.redact(tostring(dir))) end
  end
  local done, problem = take_back(p, app, plan, not interrupted)
  local outcome = done
    or ("and it could not be taken back: %s"):format(secret.redact(tostring(problem.message)))
  p.w:note(("%s: %s%s"):format(app.name, outcome, kept and "; what was seen is in " .. kept or ""))
  error(errors.new {
    kind = interrupted and "interrupted" or err.kind == "timeout" and "timeout" or "failed", cause = err,
    message = text, detail = err.detail, retryable = false,
    hint = outcome .. (kept and "\nwhat was seen is in " .. kept or "")
      .. (not done and ("\nby hand: helm rollback %s %s --namespace %s"):format(app.name,
        plan.good and plan.good.revision or "", app.namespace or "default") or ""),
  }, 0)
end

--- Takes a change back when the task is cancelled in the middle of it (Ctrl-C): nothing stays half done.
local function guard(p, app, plan)
  return setmetatable({}, { __close = function(self, err)
    if self.settled or not (errors.is(err) and err.kind == "cancelled") then return end
    task.shield(function()
      local done, problem = take_back(p, app, plan, false)
      p.w:note(("%s: interrupted; %s"):format(app.name, done or "and it could not be taken back: "
        .. secret.redact(tostring(problem.message))))
    end)
  end })
end

local function limits(app, opts)
  return opts.deadline or app.deadline or DEADLINE,
    opts.tolerate_restarts or app["tolerate-restarts"] or TOLERATE_RESTARTS
end

--- Runs a helm that changes the release, and the smoke check after it; a failure is taken back and raised.
---@async
---@param p Platform
---@param app table
---@param plan ReleasePlan
---@param opts ReleaseOptions
---@param run fun(on_event: fun(event: table), timeout: number): any, ws.Error?
function M.run(p, app, plan, opts, run)
  local undo <close> = guard(p, app, plan)
  local deadline, tolerated = limits(app, opts)
  local ok, err = supervise.run(p, { release = app.name, namespace = app.namespace or "default",
    revision = (plan.last and plan.last.revision or 0) + 1, deadline = deadline, tolerate_restarts = tolerated }, run)
  if ok and p.w.interrupted then
    ok, err = nil, errors.new { kind = "interrupted", message = "the run was interrupted" }
  end
  if ok and plan.check then
    p.w:progress("checking with " .. app.verify)
    ok, err = verify.run(p, app, plan.check, plan.version)
  end
  undo.settled = true
  if not ok then task.shield(fail, p, app, plan, err) end
end

return M
