--- What a run may do: programs, hosts, files and variables; `permissions` in wsrun.yaml and --allow-…, --deny-….
---
--- Without either, a script may do what the user may. With a section, or one --allow option, it may do what is listed
--- and what the program itself needs (docs/security.md); with --deny options alone, everything but that. The host
--- enforces it where the call is made, and for children by the kernel. `ws.permissions.policy` does the work: it is
--- loaded only when there is a policy.
local project = require "ws.project"

local M = {}

--- The lists, in the order in which they are written.
M.lists = { "run", "net", "read", "write", "env" }

--- Whether the project's wsrun.yaml may have a section; costs one open() when there is no such file.
local function has_section()
  local file = io.open(project.path("wsrun.yaml"), "rb")
  if not file then return false end
  local text = file:read("a")
  file:close()
  return text ~= nil and text:find("permissions", 1, true) ~= nil
end

local function has_flags(globals)
  if globals.audit then return true end
  for _, list in ipairs(M.lists) do
    if globals["allow-" .. list] or globals["deny-" .. list] then return true end
  end
  return false
end

--- Sets the policy that the command line and wsrun.yaml ask for. From then on nothing in this process loosens it.
---@async
---@param globals table  options of the command line
---@param script string  path of the script that will run
---@param make_id fun(): string?, ws.Error?  gives the run its name; its folder gets the audit log
---@return boolean? set  false when there is no policy
---@return string|ws.Error|nil id  what make_id gave; or the error: kinds `invalid`, `parse`: an entry is not understood
function M.begin(globals, script, make_id)
  if not has_flags(globals) and not has_section() then return false end
  return require "ws.permissions.policy".begin(globals, script, make_id)
end

return M
