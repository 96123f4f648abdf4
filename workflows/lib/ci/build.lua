-- One build of an application in the hands of ci.lua: what it is made of, where it goes, and what the steps found out.
local errors = require "ws.error"
local fs = require "ws.fs"
local git = require "ws.git"
local golang = require "lib.ci.golang"
local manifest = require "lib.manifest"
local nearest = require "ws.nearest"
local project = require "ws.project"
local settings = require "ws.settings"
local task = require "ws.task"
local version = require "lib.ci.version"
local ws = require "ws"
local yaml = require "ws.yaml"

local M = {}

---@class ci.Build
---@field w ws.Run
---@field app string
---@field dir string          of the sources; `shown` from the project's root
---@field shown string
---@field arch string         "amd64"
---@field platform string     "linux/amd64"
---@field chart string        the chart's name; `chart_dir`, `chart_shown`: its folder
---@field is_go boolean       the sources are a Go program
---@field dockerfile? string  its text
---@field registry string     "eu.gcr.io/p"
---@field repository string   of the image: "eu.gcr.io/p/app"
---@field charts string       bucket
---@field archive string      bucket
---@field wanted_builder string
---@field version string
---@field tag string          of the image
---@field commit? string      of git
---@field created integer     seconds since 1970: of the commit, 0 without one
---@field dirty string[]      files of the build that differ from the commit
---@field manifest? table     of the platform in whose cluster the installation is rehearsed
---@field temp string         a folder for what is not kept
local Build = {}
Build.__index = Build

--- The applications of the project: folders with src/, whose chart is in charts/.
local function applications()
  local list = {}
  for _, path in ipairs(fs.glob("*/src", { dir = project.root() }) or {}) do
    local name = path:match("^([^/]+)/src$")
    if fs.exists(project.path(("charts/%s-chart/Chart.yaml"):format(name))) then list[#list + 1] = name end
  end
  return list
end

local function unknown_application(name)
  local list = applications()
  local near = nearest(name, list)
  ws.fail(("there is no application %q: %s/src and charts/%s-chart are looked for"):format(name, name, name), {
    kind = "invalid", usage = true, hint = #list == 0 and "the project has none"
      or ("%sthere is %s"):format(near and ("did you mean %s? "):format(near) or "", table.concat(list, ", ")) })
end

local function setting(name, given)
  return assert(settings.get("ci", name, given))
end

local function load_manifest(name)
  local found, err = manifest.load(name)
  if found then return found end
  err.exit = 65
  error(err, 0)
end

--- Reads what the command line and the settings say. Raises for what cannot be built, before anything is started.
---@param w ws.Run
---@param args table  of ci.lua
---@return ci.Build
function M.open(w, args)
  local app = args.app
  local self = setmetatable({ w = w, app = app, arch = "amd64", platform = "linux/amd64", dirty = {}, created = 0 },
    Build)
  self.version = args.version and version.read(args.version)
  self.shown, self.chart_shown = app .. "/src", ("charts/%s-chart"):format(app)
  self.dir, self.chart_dir = project.path(self.shown), project.path(self.chart_shown)
  if not app:find("^[a-z0-9][a-z0-9-]*$") or not fs.exists(self.dir) or not fs.exists(self.chart_dir) then
    unknown_application(app)
  end
  local archive, err = settings.get("ci", "archive-bucket", args["archive-bucket"])
  if not archive and err.kind ~= "not_found" then error(err, 0) end
  self.registry, self.charts = setting("registry", args.registry), setting("charts-bucket", args["charts-bucket"])
  self.archive, self.wanted_builder = archive or self.charts, setting("builder", args.builder)
  self.repository = ("%s/%s"):format(self.registry, app)
  self.is_go = golang.is_program(self.dir)
  self.dockerfile = fs.read(self.dir .. "/Dockerfile")
  if not self.is_go and not self.dockerfile then
    ws.fail(("%s has neither a Dockerfile nor a Go program (go.mod and package main)"):format(self.shown), {
      kind = "invalid", exit = 65, hint = "an image is built by a Dockerfile, or made of the compiled program" })
  end
  local text = assert(fs.read(self.chart_dir .. "/Chart.yaml"))
  local metadata = assert(yaml.decode(text, { filename = self.chart_shown .. "/Chart.yaml" }))
  self.chart = type(metadata) == "table" and metadata.name
  if type(self.chart) ~= "string" then
    ws.fail(self.chart_shown .. "/Chart.yaml has no name", { kind = "invalid", exit = 65 })
  end
  if args.platform then self.manifest = load_manifest(args.platform) end
  self.temp = assert(fs.temp_dir { prefix = "wsrun-ci-" })
  return self
end

--- Removes what was not to be kept.
function Build:__close()
  task.shield(fs.remove, self.temp, { recursive = true, missing_ok = true })
end

--- What git knows of the sources; the commit is nil outside a repository and before the first commit.
local function look_at_git(self)
  local root = project.root()
  local results, err = task.all {
    function()
      local commit, problem = git.commit(root)
      if not commit and problem.kind ~= "not_found" then error(problem, 0) end
      return commit or false
    end,
    function()
      local changes, problem = git.status(root, { paths = { self.shown, self.chart_shown } })
      if not changes and problem.kind ~= "not_found" then error(problem, 0) end
      return changes or {}
    end,
  }
  if not results then error(err, 0) end
  local commit, changes = results[1], results[2]
  if commit then self.commit, self.created = commit.commit, commit.time end
  for i, change in ipairs(changes) do self.dirty[i] = change.path end
end

--- Settles which version this is, by what was said or by git, and tells of files that are in no commit.
function Build:find_version()
  local why = "as asked"
  look_at_git(self)
  if not self.version then
    if not self.commit then
      ws.fail("there is no VERSION, and no git repository with a commit that could tell one", { kind = "invalid",
        usage = true, hint = "say which version this is: wsrun workflows/ci.lua 1.4.2" })
    end
    self.version, why = version.of_git(assert(git.describe(project.root())), #self.dirty > 0)
  end
  self.tag = version.tag(self.version)
  if #self.dirty > 0 then
    self.w:note(("%s in no commit: %s%s"):format(#self.dirty == 1 and "a file of the build is"
      or ("%d files of the build are"):format(#self.dirty),
      table.concat(self.dirty, ", ", 1, math.min(3, #self.dirty)), #self.dirty > 3 and ", ..." or ""))
  end
  self.w:summary(("%s (%s)%s"):format(self.version, why, self.commit and ", commit " .. self.commit:sub(1, 12) or ""))
end

--- Raises an error about a published thing that would change.
---@param what string
---@param message string
function M.refuse_change(what, message)
  error(errors.new { kind = "exists", op = what, message = message,
    hint = "a published version never changes: publish a higher one" }, 0)
end

return M
