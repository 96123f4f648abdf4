--- `wsrun doctor`: the tools, the project and the account; every finding says what to do.
local project = require "ws.project"

local M = {}

--- The tools that workflows start: name, least version, how to ask for it, where to get it.
local wanted = {
  { "terraform", least = "1.5", args = { "version" }, pattern = "v(%d+%.%d+%.%d+)", alternative = "tofu",
    get = "https://developer.hashicorp.com/terraform/install, or `make deps` from a checkout" },
  { "helm", least = "3.8", args = { "version", "--short" }, pattern = "v(%d+%.%d+%.%d+)",
    get = "https://helm.sh/docs/intro/install/, or `make deps` from a checkout" },
  { "kubectl", least = "1.25", args = { "version", "--client" }, pattern = "v(%d+%.%d+%.%d+)",
    get = "https://kubernetes.io/docs/tasks/tools/, or `make deps` from a checkout" },
  { "git", least = "2.25", args = { "--version" }, pattern = "(%d+%.%d+%.?%d*)", get = "your distribution's package" },
}

--- Whether a dotted version is at least another.
---@param version string
---@param least string
---@return boolean
function M.at_least(version, least)
  local a, b = version:gmatch("%d+"), least:gmatch("%d+")
  for wanted_part in b do
    local part = tonumber(a() or "0")
    if part ~= tonumber(wanted_part) then return part > tonumber(wanted_part) end
  end
  return true
end

local function version_of(tool, name)
  local result = require "ws.process".run({ name, table.unpack(tool.args) }, { timeout = 20 })
  return result and result.code == 0 and (result.stdout .. result.stderr):match(tool.pattern) or nil
end

--- Every tool with what was found: name, version (nil: missing), ok, hint.
---@async
---@return { name: string, version?: string, ok: boolean, hint?: string }[]
function M.tools()
  local functions = {}
  for i, tool in ipairs(wanted) do
    functions[i] = function()
      local name, version = tool[1], version_of(tool, tool[1])
      if not version and tool.alternative then
        version = version_of(tool, tool.alternative)
        if version then name = tool.alternative end
      end
      local ok = version ~= nil and M.at_least(version, tool.least)
      return { name = name, version = version, ok = ok,
        hint = not ok and ("%s: get it from %s"):format(version and ("%s or newer is needed"):format(tool.least)
          or "not on PATH", tool.get) or nil }
    end
  end
  return assert(require "ws.task".all(functions))
end

local function check_account()
  local identity, err = require "ws.gcp".identity()
  if identity then return { name = "account", version = identity, ok = true } end
  return { name = "account", ok = false, hint = tostring(err.message) .. (err.hint and "; " .. err.hint or "") }
end

local function check_manifests()
  local findings = {}
  table.insert(require "ws.engine".script_folders, project.path("workflows"))
  for _, name in ipairs(require "ws.cli.list".manifests()) do
    local m, err = require "lib.manifest".load(name, { root = project.root() })
    findings[#findings + 1] = { name = "manifests/" .. name .. ".yaml", version = m and "valid" or nil, ok = m ~= nil,
      hint = err and tostring(err.message) }
  end
  return findings
end

function M.main(_, globals)
  if globals.sandbox then
    local ok, err = require "ws.cli.run".prepare_sandbox()
    if not ok then return nil, err end
  end
  local findings = M.tools()
  findings[#findings + 1] = check_account()
  for _, finding in ipairs(check_manifests()) do findings[#findings + 1] = finding end
  local bad = 0
  for _, finding in ipairs(findings) do
    if not finding.ok then bad = bad + 1 end
  end
  if globals.json then
    print(require "ws.json".encode(require "ws.json".array(findings), { indent = 2 }))
  else
    local marks = require "ws.display".marks()
    for _, finding in ipairs(findings) do
      print(("%s %-28s %s"):format(finding.ok and marks.done or marks.failed, finding.name,
        finding.ok and finding.version or finding.hint))
    end
  end
  return bad == 0 and 0 or 3
end

return M
