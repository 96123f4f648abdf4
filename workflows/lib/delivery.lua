-- What cd.lua is asked for, checked: which platform, which application, which version; and its steps in words.
local errors = require "ws.error"
local nearest = require "ws.nearest"
local release = require "lib.release"
local semver = require "ws.semver"
local static = require "lib.static"

local M = {}

local function usage(message, hint)
  error(errors.new { kind = "invalid", exit = 64, message = message, hint = hint }, 0)
end

--- Refuses options that name another project or cluster than the manifest: it alone decides where this goes.
---@param p Platform
---@param args table
function M.check_context(p, args)
  local own = { project = p.manifest["gcp-project"], cluster = "lp-cluster-" .. p.name }
  for _, what in ipairs { "project", "cluster" } do
    if args[what] and args[what] ~= own[what] then
      usage(("--%s says %s, and %s is in the %s %s"):format(what, args[what], p.name, what, own[what]),
        ("the manifest decides: %s"):format(p.manifest.path))
    end
  end
end

--- The application of a name. Raises with the nearest name for one that the manifest has not, or that has no chart.
---@param p Platform
---@param name string
---@return table app
function M.application(p, name)
  local names = {}
  for _, app in ipairs(p.manifest.applications or {}) do
    if app.name == name then
      if app.version then return app end
      usage(("%s is deployed from plain YAML (%s): it has no versions"):format(name, table.concat(app.paths, ", ")),
        ("wsrun workflows/create_platform.lua %s applies it"):format(p.name))
    end
    if app.version then names[#names + 1] = app.name end
  end
  local near = nearest(name, names)
  usage(("%s has no application called %s%s"):format(p.name, name,
    #names > 0 and "; there are " .. table.concat(names, ", ") or ""), near and ("did you mean %s?"):format(near))
end

--- The version that was asked for. Raises for a text that is none.
---@param p Platform
---@param app table
---@param args table
---@return string? version  nil: a rollback to the version before
function M.version(p, app, args)
  local text = args.version
  for _, option in ipairs { "policy", "once", "approve", "interval" } do
    if args[option] then usage(("--%s goes with --watch"):format(option)) end
  end
  if not text then
    if args.rollback then return nil end
    usage("argument VERSION is missing",
      ("wsrun workflows/cd.lua %s %s 1.4.2, or --rollback, or --watch"):format(p.name, app.name))
  end
  local plain = text:gsub("^v", "")
  local version, err = semver.parse(plain)
  if not version then usage(err.message, "versions look like 1.4.2 or 1.4.2-rc.1") end
  return plain
end

--- The limits that the command line names.
---@param args table
---@return ReleaseOptions
function M.options(args)
  if args["tolerate-restarts"] and args["tolerate-restarts"] < 0 then
    usage("--tolerate-restarts takes 0 or more, not " .. args["tolerate-restarts"])
  end
  if args.deadline and args.deadline < 1 then usage("--deadline takes a second or more") end
  return { allow_downgrade = args["allow-downgrade"] == true, deadline = args.deadline,
    tolerate_restarts = args["tolerate-restarts"] }
end

--- The plan for a version, said with its reason.
---@async
---@param p Platform
---@param app table
---@param version string
---@param options ReleaseOptions
---@return ReleasePlan
function M.examine(p, app, version, options)
  local plan = release.examine(p, app, version, options)
  local what = plan.action == "unchanged" and "nothing to do" or plan.action .. " " .. version
  p.w:summary(("%s: %s"):format(what, plan.why))
  return plan
end

--- What the static files' bucket lacks, said.
---@async
---@param p Platform
---@return StaticPlan
function M.compare(p)
  local files = static.compare(p)
  p.w:summary(#files.files + #files.stale == 0 and ("%d, no change"):format(files.total)
    or ("%d, %d to upload, %d to remove"):format(files.total, #files.files, #files.stale))
  return files
end

--- Carries a plan out, and says what came of it.
---@async
---@param p Platform
---@param app table
---@param plan ReleasePlan
---@param options ReleaseOptions
function M.deploy(p, app, plan, options)
  release.carry_out(p, app, plan, options)
  local checked = plan.check and ", checked" or ""
  if plan.action == "unchanged" then return p.w:summary(plan.version .. ", no change") end
  p.w:changed(("%s %s%s"):format(plan.version, plan.action == "install" and "installed" or "upgraded", checked))
end

--- Goes back, and says from where to where, and what is not taken back.
---@async
---@param p Platform
---@param app table
---@param version? string
---@param options ReleaseOptions
---@return string version  that serves now
function M.rollback(p, app, version, options)
  local now, changed = release.rollback(p, app, version, options)
  if not changed then
    p.w:summary(now .. " serves already")
    return now
  end
  p.w:changed("back to " .. now)
  p.w:note("static files and databases are as they were: a rollback takes back the release only")
  return now
end

return M
