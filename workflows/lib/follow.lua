-- cd.lua --watch: follows the registry and deploys the newest version that a policy allows.
--
-- Each deployment is a run of cd.lua of its own, as a child: it has its lock, its evidence and its exit code, and one
-- that fails does not end the watch. A version that the release's history has is never deployed again by itself: it
-- failed, or somebody went back from it.
local approval = require "ws.approval"
local cluster = require "lib.cluster"
local engine = require "ws.engine"
local errors = require "ws.error"
local gcs = require "ws.gcs"
local process = require "ws.process"
local project = require "ws.project"
local publication = require "lib.publication"
local registry = require "ws.registry"
local release = require "lib.release"
local secret = require "ws.secret"
local semver = require "ws.semver"
local task = require "ws.task"

local M = {}

local INTERVAL = 60  -- seconds between two looks
local LONGEST = 600  -- seconds between two looks while something does not answer
local RUN_TIMEOUT = 7200 -- seconds for one deployment
local LOCKED, INTERRUPTED = 75, 130 -- exit codes of a run

local function usage(message, hint)
  error(errors.new { kind = "invalid", exit = 64, message = message, hint = hint }, 0)
end

--- A glob as a Lua pattern: * and ? stand for anything.
local function glob(text)
  local pattern = text:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return "^" .. pattern .. "$"
end

--- The range of a policy's word, from the version that is deployed.
local function relative(word, deployed)
  if word == "all" or not deployed then return "*" end
  if word == "major" then return ">=" .. tostring(deployed) end
  if word == "minor" then return (">=%s <%d.0.0"):format(tostring(deployed), deployed.major + 1) end
  return (">=%s <%d.%d.0"):format(tostring(deployed), deployed.major, deployed.minor + 1)
end

--- Reads a policy: a range of versions, `patch`, `minor`, `major`, `all`, `glob:1.4.*`, or `pattern:` with a Lua
--- pattern. Raises for a text that is none.
---@param text string
---@return fun(version: ws.semver.Version, deployed: ws.semver.Version?): boolean allows
function M.policy(text)
  if text == "patch" or text == "minor" or text == "major" or text == "all" then
    return function(version, deployed)
      if text == "all" then return true end
      return assert(semver.range(relative(text, deployed))):has(version)
    end
  end
  local kind, rest = text:match("^(%a+):(.+)$")
  if kind == "glob" or kind == "pattern" then
    local pattern = kind == "glob" and glob(rest) or rest
    if not pcall(string.find, "", pattern) then usage(("--policy: %q is no pattern"):format(rest)) end
    return function(version) return tostring(version):find(pattern) ~= nil end
  end
  local range, err = semver.range(text)
  if not range then
    usage("--policy: " .. err.message,
      "a range such as ^1.4, one of patch, minor, major, all, or glob:1.4.*, pattern:^1%.4%.")
  end
  return function(version) return range:has(version) end
end

--- The versions among tags that a policy allows and that are newer than the deployed one, newest first.
---@param tags string[]
---@param allows fun(version: ws.semver.Version, deployed: ws.semver.Version?): boolean
---@param deployed? ws.semver.Version
---@return string[]
function M.candidates(tags, allows, deployed)
  local found, seen = {}, {}
  for _, tag in ipairs(tags) do
    local version = semver.parse((tag:gsub("^v", "")))
    local text = version and tostring(version)
    if version and not seen[text] and (not deployed or deployed < version) and allows(version, deployed) then
      seen[text] = true
      found[#found + 1] = version
    end
  end
  table.sort(found, function(a, b) return b < a end)
  for i, version in ipairs(found) do found[i] = tostring(version) end
  return found
end

---@class Follower
local Follower = {}
Follower.__index = Follower

--- Says something once, until it changes.
function Follower:once(key, text)
  if self.said[key] == text then return end
  self.said[key] = text
  if text then self.p.w:note(text) end
end

local function command(self, version)
  return ("wsrun %sworkflows/cd.lua %s %s %s"):format(self.p.w.sandbox and "--sandbox " or "", self.p.name,
    self.app.name, version)
end

--- The newest version to deploy, or nil; and the deployed one.
local function look(self)
  local p, app = self.p, self.app
  if not p.api then cluster.connect(p) end
  local history, tags
  local ok, err = task.all {
    function() history = release.history(p, app) end,
    function() tags = assert(registry.tags(publication.repository(p.manifest, app))) end,
  }
  if not ok then
    p.api = nil -- the cluster may have another address or authority when it is back
    error(err, 0)
  end
  local before, deployed = {}, nil
  for _, revision in ipairs(history) do
    before[revision.version or ""] = before[revision.version or ""] or revision
    if revision.status == "deployed" and not deployed then deployed = revision.version end
  end
  local present = deployed and semver.parse((deployed:gsub("^v", "")))
  for _, version in ipairs(M.candidates(tags, self.allows, present)) do
    local was = before[version]
    if was then
      self:once(version, ("%s was revision %d and %s: it is not deployed again by itself; %s does"):format(version,
        was.revision, was.status == "failed" and "failed" or "somebody went back from it", command(self, version)))
    elseif not self.tried[version] then
      local there, problem = gcs.stat(publication.chart_url(p.manifest, app, version))
      if there then return version, deployed end
      if problem.kind ~= "not_found" then error(problem, 0) end
      self:once(version, ("%s has an image and no chart yet"):format(version))
    end
  end
  return nil, deployed
end

--- Whether a version may be deployed. Where there is no terminal the run is parked: `wsrun approve` continues it. A no
--- on the terminal ends a look, and in a watch leaves out the version.
local function approved(self, version, deployed)
  local w = self.p.w
  if not self.args.approve then return true end
  local what = { name = "approve " .. version,
    text = ("deploy %s %s → %s on %s"):format(self.app.name, deployed or "nothing", version, self.p.name) }
  local is_terminal = w.options.input ~= false and engine.native.is_tty(0) and engine.native.is_tty(2)
  if self.args.once or not is_terminal then
    w:approve(what)
    return true
  end
  local ok, err = pcall(approval.ask, w, what)
  if ok then return true end
  if err.kind ~= "denied" then error(err, 0) end
  self.tried[version] = true
  w:note(version .. " is left out")
  return false
end

--- The run of cd.lua that deploys a version.
local function deploy(self, version)
  local p, args = self.p, self.args
  local w, argv = p.w, { engine.native.executable(), "-C", project.root(), "--plain" }
  local function add(...) table.move({ ... }, 1, select("#", ...), #argv + 1, argv) end
  if w.sandbox then add("--sandbox") end
  if w.options.push then add("--push") end
  if w.options["wait-lock"] then add("--wait-lock", ("%ds"):format(math.ceil(w.options["wait-lock"]))) end
  add(project.path("workflows/cd.lua"), p.manifest.path, self.app.name, version)
  if args.deadline then add("--deadline", ("%ds"):format(math.ceil(args.deadline))) end
  if args["tolerate-restarts"] then add("--tolerate-restarts", tostring(args["tolerate-restarts"])) end
  if not args.static then add("--no-static") end
  w:progress("deploying " .. version)
  local result = assert(process.run(argv, { timeout = RUN_TIMEOUT, stop_signal = "INT", grace = 600,
    on_stderr = function(line) w:note(line) end }))
  if result.code == 0 then
    w:changed(version .. " deployed")
  elseif result.code == LOCKED then
    w:note(version .. ": the platform is locked; it is tried again")
  elseif result.code ~= INTERRUPTED then
    self.tried[version] = true
    w:note(("%s was not deployed (exit code %s); it is not tried again"):format(version,
      tostring(result.code or result.signal)))
  end
  return result.code or 1
end

--- One look, and what follows from it. Returns the exit code of a deployment, or nil when there was none.
local function turn(self)
  local version, deployed = look(self)
  self:once("outage", nil)
  if not version then
    self.p.w:progress(("%s is deployed and the newest that %s allows"):format(deployed or "nothing", self.args.policy))
    return nil
  end
  if not approved(self, version, deployed) then return nil end
  return deploy(self, version)
end

local function is_outage(err)
  return errors.is(err) and err.exit == nil and err.kind ~= "cancelled" and err.kind ~= "interrupted"
    and err.kind ~= "internal" and err.kind ~= "invalid"
end

local function watch(self, interval)
  local failures = 0
  while not self.p.w.interrupted do
    local ok, err = xpcall(turn, function(raised) return raised end, self)
    if ok then
      if failures > 0 then self.p.w:note("everything answers again") end
      failures = 0
    else
      if not is_outage(err) then error(err, 0) end
      if failures == 0 then
        self.p.w:note(("a look failed, the watch goes on: %s"):format(secret.redact(tostring(err))))
      end
      failures = failures + 1
    end
    local pause = math.min(interval * 2 ^ math.min(failures, 20), math.max(LONGEST, interval))
    task.sleep(pause * (0.75 + math.random() / 2))
  end
end

local function once(self)
  local code = turn(self)
  if code == nil then
    self.p.w:summary "nothing to deploy"
  elseif code ~= 0 then
    error(errors.new { kind = "failed", exit = code, message = "the deployment failed: see what it said above" }, 0)
  end
end

--- Follows the registry until it is interrupted, or looks once.
---@async
---@param p Platform
---@param app table
---@param args table  the command line
function M.run(p, app, args)
  if args.version or args.rollback then
    usage("--watch takes no " .. (args.version and "version" or "--rollback"), "it deploys what the policy allows")
  end
  args.policy = args.policy or "minor"
  local interval = args.interval or INTERVAL
  if interval < 1 then usage("--interval takes a second or more") end
  local self = setmetatable({ p = p, app = app, args = args, allows = M.policy(args.policy), said = {}, tried = {} },
    Follower)
  if args.once then return p.w:step("look", { always = true }, function() once(self) end) end
  p.w:step("watch", { always = true }, function() watch(self, interval) end)
end

return M
