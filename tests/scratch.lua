-- A scratch project for end-to-end tests: a copy of what a team has, a bare git remote, a sandbox of its own.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"

local M = {}

local TIMEOUT = 300 -- seconds for one command

---@class Scratch
---@field dir string     the project
---@field remote string  the bare repository
local Scratch = {}
Scratch.__index = Scratch

--- Makes a scratch project; its sandbox is ended and the folder removed when the test ends.
---@param t table  the test
---@return Scratch
function M.new(t)
  local base = assert(fs.realpath(t:tmpdir()))
  local self = setmetatable({ dir = base .. "/project", remote = base .. "/remote.git", base = base,
    wsrun = require "ws.engine".native.executable() }, Scratch)
  self.env = { GIT_CONFIG_GLOBAL = "/dev/null", GIT_CONFIG_NOSYSTEM = "1", KUBECONFIG = false,
    WSRUN_STATE_DIR = false, WSRUN_CACHE = os.getenv("WSRUN_CACHE") or fs.cwd() .. "/.cache" }
  t:defer(function() self:wsrun_command { "sandbox", "down" } end)
  local made = assert(process.run({ "tests/scratch-project.sh", base }))
  assert(made.code == 0, made.stderr)
  return self
end

--- Runs wsrun in the project.
---@param argv string[]
---@param opts? table  as for process.run
---@return ws.process.Result
function Scratch:wsrun_command(argv, opts)
  local options = { cwd = self.dir, env = self.env, timeout = TIMEOUT }
  for key, value in pairs(opts or {}) do options[key] = value end
  return assert(process.run({ self.wsrun, table.unpack(argv) }, options))
end

--- Runs wsrun and fails the test unless it ends with this code; returns what it said.
---@param t table
---@param code integer
---@param argv string[]
---@param opts? table
---@return string stderr
---@return string stdout
function Scratch:expect(t, code, argv, opts)
  local r = self:wsrun_command(argv, opts)
  if r.code ~= code then
    t:eq({ r.code, r.signal }, { code }, table.concat(argv, " ") .. "\n" .. r.stdout .. r.stderr)
  end
  return r.stderr, r.stdout
end

--- Runs git in the project and returns what it printed.
---@param argv string[]
---@param dir? string
---@return string
function Scratch:git(argv, dir)
  local r = assert(process.run({ "git", table.unpack(argv) }, { cwd = dir or self.dir, env = self.env, timeout = 60 }))
  assert(r.code == 0, r.stderr)
  return r.stdout
end

--- Runs a command with the sandbox's environment and returns what it printed.
---@param t table
---@param argv string[]
---@return string
function Scratch:in_sandbox(t, argv)
  local _, out = self:expect(t, 0, { "sandbox", "shell", "--", table.unpack(argv) })
  return out
end

--- The sandbox's status.
---@param t table
---@return table
function Scratch:sandbox(t)
  local _, out = self:expect(t, 0, { "sandbox", "status", "--json" })
  return assert(json.decode(out))
end

--- Replaces text in a file of the project, once; the text must be there.
---@param path string
---@param from string  plain
---@param to string
function Scratch:replace(path, from, to)
  local file = self.dir .. "/" .. path
  local text = assert(fs.read(file))
  local at, last = text:find(from, 1, true)
  assert(at, ("%s has no %q"):format(path, from))
  assert(fs.write(file, text:sub(1, at - 1) .. to .. text:sub(last + 1)))
end

return M
