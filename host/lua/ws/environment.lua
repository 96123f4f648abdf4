--- The environment that scripts and children see: the process's own, and values laid over it (a sandbox's endpoints).
---
--- The process's environment itself never changes. `os.getenv` looks here as well.
local M = {}

local overlay = {}
local process_getenv = os.getenv

--- Lays values over the environment; `false` hides a variable.
---@param values table<string, string|false>
function M.set(values)
  for name, value in pairs(values) do overlay[name] = value end
end

--- Gives values that belong to the current task, for its children only; set by what traces a run.
---@type (fun(): table<string, string>)?
M.of_task = nil

--- The values laid over, for whoever starts a child.
---@return table<string, string|false>
function M.overlay()
  if not M.of_task then return overlay end
  local all = M.of_task()
  for name, value in pairs(overlay) do all[name] = value end
  return all
end

--- The value of a variable, or nil.
---@param name string
---@return string?
function M.get(name)
  local value = overlay[name]
  if value ~= nil then return value or nil end
  return process_getenv(name)
end

os.getenv = M.get

return M
