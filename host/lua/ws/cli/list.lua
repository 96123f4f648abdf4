--- `wsrun list`: the workflows and manifests of this project.
local fs = require "ws.fs"
local project = require "ws.project"

local M = {}

--- Names of the files of a folder that match a pattern, sorted; its capture is the name.
---@param folder string
---@param pattern string
---@return string[]
local function names(folder, pattern)
  local found = {}
  for _, entry in ipairs(fs.list(folder) or {}) do
    local name = (type(entry) == "table" and entry.name or entry):match(pattern)
    if name then found[#found + 1] = name end
  end
  table.sort(found)
  return found
end

--- The names of the project's workflows.
---@return string[]
function M.workflows()
  return names(project.path("workflows"), "^(.*)%.lua$")
end

--- The names of the project's manifests.
---@return string[]
function M.manifests()
  return names(project.path("manifests"), "^(.*)%.yaml$")
end

--- A workflow's summary, by its file: read, not run.
local function summary(name)
  local text = fs.read(project.path("workflows/" .. name .. ".lua"))
  return text and text:match('summary%s*=%s*"([^"]*)"') or ""
end

function M.main(_, globals)
  local workflows, manifests = M.workflows(), M.manifests()
  if globals.json then
    local json = require "ws.json"
    print(json.encode { workflows = json.array(workflows), manifests = json.array(manifests) })
    return 0
  end
  print("Workflows")
  for _, name in ipairs(workflows) do print(("  %-18s %s"):format(name, summary(name))) end
  print("\nManifests")
  for _, name in ipairs(manifests) do print("  " .. name) end
  return 0
end

return M
