--- The CI system that runs us, told by the variables that it documents, and how it wants to be spoken to.
---
--- Invariants
--- - Only what a dialect's own functions make is a command to the CI. Whatever else is written goes through `harmless`,
---   so that a child's words, a file's content or an error's text never become one.
--- - A dialect's `group` is made whole and written at once: those of parallel steps do not mix.
local M = {}

---@class ws.ci.Dialect
---@field name string   "github", "gitlab", "jenkins", "cloudbuild"
---@field harmless? fun(text: string): string          the text without what the CI would take for a command
---@field group? fun(title: string, lines: string[], step: ws.Step): string  lines that can be folded
---@field annotation? fun(a: ws.ci.Place): string      a mark on a file and line
---@field summary? fun(run: ws.Run, card: string): boolean?, string?  a page of its own; nil and a message: not written

---@class ws.ci.Place
---@field level? "error"|"warning"
---@field file? string
---@field line? integer
---@field col? integer
---@field title? string
---@field text string

local function set(name)
  local value = os.getenv(name)
  return value ~= nil and value ~= ""
end

--- The name of the CI system whose variables are set, or nil. Jenkins and Cloud Build both set BUILD_ID.
---@return string?
function M.detect()
  if os.getenv("GITHUB_ACTIONS") == "true" then return "github" end
  if set "GITLAB_CI" then return "gitlab" end
  if set "JENKINS_URL" then return "jenkins" end
  if set "BUILDER_OUTPUT" or (set "BUILD_ID" and set "PROJECT_ID") then return "cloudbuild" end
end

local current

--- The dialect of the CI system that runs us, or nil. Jenkins and Cloud Build have no words of their own.
---@return ws.ci.Dialect?
function M.current()
  if current == nil then
    local name = M.detect()
    if name == "github" or name == "gitlab" then
      current = require("ws.ci." .. name)
    else
      current = name and { name = name } or false
    end
  end
  return current or nil
end

--- The text as it may be written to the CI's log.
---@param text string
---@return string
function M.harmless(text)
  local ci = M.current()
  if ci and ci.harmless then return ci.harmless(text) end
  return text
end

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

--- An absolute path of a file that messages name: they count from the project's root, scripts' own from the working
--- directory.
local function locate(file)
  if file:sub(1, 1) == "/" then return exists(file) and file or nil end
  local path = require "ws.project".path(file)
  if exists(path) then return path end
  path = require "ws.engine".native.cwd() .. "/" .. file
  return exists(path) and path or nil
end

--- "file:12:7" or "file:12", with more words after it, as a place; nil when there is no such file.
local function read_place(where)
  local file, line, rest = where:match("^([^:%c]+):(%d+)(.*)$")
  if not file or not locate(file) then return nil end
  return { file = file, line = math.tointeger(tonumber(line)), col = math.tointeger(tonumber(rest:match("^:(%d+)"))) }
end

--- The files and lines that an error belongs to: those it carries (`places`, `where`), else those that the lines of its
--- message begin with, as the manifest's and Lua's own do, else the step's line in the workflow.
---@param err ws.Error
---@param step? ws.Step
---@return ws.ci.Place[]
function M.places(err, step)
  local message = tostring(err.message)
  if err.places then return err.places end
  local place = err.where and read_place(err.where)
  if place then
    place.text = message
    return { place }
  end
  local found = {}
  for line in message:gmatch("[^\n]+") do
    place = read_place(line)
    if place then
      place.text = line:match("^[^:]+:%d+:?%d*:%s*(.+)$") or line
      found[#found + 1] = place
    end
  end
  if #found > 0 then return found end
  place = step and step.line and read_place(step.line) or {}
  place.text = message
  return { place }
end

--- A file's path as the CI's checkout has it: relative to its folder, when it lies there.
---@param file string
---@param workspace? string
---@return string
function M.in_workspace(file, workspace)
  local path = locate(file)
  local top = workspace and workspace:gsub("/+$", "") .. "/"
  if path and top and path:sub(1, #top) == top then return path:sub(#top + 1) end
  return file
end

return M
