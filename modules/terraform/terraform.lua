--- Terraform (or OpenTofu): layers applied per platform, each with a workspace and a data folder of its own.
local errors = require "ws.error"
local layer = require "ws.terraform.layer"
local process = require "ws.process"

local M = {}

local LEAST = { 1, 5 } -- the oldest version that works

---@class ws.terraform.Tool
---@field name string     "terraform" or "tofu"
---@field path string
---@field version string

local found

local function read_version(path)
  local result, err = process.run({ path, "version", "-json" }, { timeout = 30, env = { CHECKPOINT_DISABLE = "1" } })
  if not result then return nil, err end
  return (result.stdout or ""):match('"terraform_version"%s*:%s*"([%d.]+)')
end

local function is_new_enough(version)
  local major, minor = version:match("^(%d+)%.(%d+)")
  major, minor = tonumber(major), tonumber(minor)
  return major > LEAST[1] or (major == LEAST[1] and minor >= LEAST[2])
end

--- The terraform or tofu on PATH; looked for once.
---@async
---@return ws.terraform.Tool? tool
---@return ws.Error? err  kind `missing_tool`: none, or too old
function M.find()
  if found then return found end
  local old
  for _, name in ipairs { "terraform", "tofu" } do
    local path = process.which(name)
    local version, refused
    if path then version, refused = read_version(path) end
    if refused and refused.kind == "denied" then return nil, refused end
    if version and is_new_enough(version) then
      found = { name = name, path = path, version = version }
      return found
    end
    old = old or version and ("%s %s is too old"):format(path, version)
  end
  return nil, errors.new { kind = "missing_tool", op = "terraform",
    message = old or "neither terraform nor tofu is on PATH",
    hint = ("version %d.%d or newer is needed: https://developer.hashicorp.com/terraform/install, or `make deps` "
      .. "from a checkout"):format(LEAST[1], LEAST[2]) }
end

--- A layer of a platform: a folder of Terraform files with the platform's workspace, backend and variables.
---
--- `state_dir` is the platform's private folder (Terraform's data goes to a folder in it), `run_dir` the run's (plans
--- and variables, removed when a command has ended; full logs stay). Raises on an unknown or missing option.
---@param dir string
---@param opts ws.terraform.LayerOptions
---@return ws.terraform.Layer
function M.layer(dir, opts)
  return layer.new(dir, opts, M.find)
end

return M
