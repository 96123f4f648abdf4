--- Where the project is, and where its state is kept.
---
--- The root is the nearest folder upwards that has a wsrun.yaml, or both workflows/ and manifests/, from the working
--- directory, else from the script; else the folder that holds .git; else the working directory. State (runs, the
--- sandbox) lies in the root's .wsrun/, or where WSRUN_STATE_DIR says; a relative one counts from the root.
local cwd = require "ws.engine".native.cwd

local M = {}

local function exists(path)
  local file = io.open(path, "r")
  if file then file:close() end
  return file ~= nil
end

local function parent(path)
  if path == "/" then return nil end
  local up = path:match("^(.*)/[^/]+$")
  return up == "" and "/" or up
end

local root

--- The project that holds the folder, or nil; and the repository that does, or nil.
local function upwards(dir)
  local git
  while dir do
    if exists(dir .. "/wsrun.yaml") or (exists(dir .. "/workflows") and exists(dir .. "/manifests")) then
      return dir, git
    end
    if not git and exists(dir .. "/.git") then git = dir end
    dir = parent(dir)
  end
  return nil, git
end

--- The project's root folder, absolute.
---@return string
function M.root()
  if not root then
    local found, git = upwards(cwd())
    root = found or git or cwd()
  end
  return root
end

--- Says which script is run: outside any project, the project that holds the script is meant. With -C, what is not
--- there from the working directory is looked for in the project.
---@param path string
---@return string path  where the script is
function M.script(path)
  if root then return exists(path) and path or M.path(path) end
  if not upwards(cwd()) then root = upwards(parent(path:sub(1, 1) == "/" and path or cwd() .. "/" .. path)) end
  return path
end

--- Makes `path` the root, for the option -C.
---@param path string
---@return true? ok
---@return ws.Error? err  kind `invalid`: not a folder
function M.set_root(path)
  path = path:sub(1, 1) == "/" and path or cwd() .. "/" .. path
  if not exists(path .. "/.") then
    return nil, require "ws.error".new { kind = "invalid", usage = true,
      message = ("-C: %s is not a folder"):format(path) }
  end
  root = path
  return true
end

--- An absolute path: relative ones count from the project's root.
---@param path string
---@return string
function M.path(path)
  if path:sub(1, 1) == "/" then return path end
  return (M.root() == "/" and "" or M.root()) .. "/" .. path
end

--- The folder that holds journal, runs and sandbox.
---@return string
function M.state_dir()
  local dir = os.getenv("WSRUN_STATE_DIR")
  return M.path(dir and dir ~= "" and dir or ".wsrun")
end

--- Where `make deps` puts the tools that PATH lacks, or nil when the project has no such folder.
---@return string?
function M.tools_dir()
  local dir = (os.getenv("WSRUN_CACHE") or M.path(".cache")) .. "/tools/bin"
  return exists(dir) and dir or nil
end

return M
