--- Diagnostics: what Terraform shows to the user, with the place in the configuration where there is one.
local M = {}

local ERROR, WARNING = 1, 2

--- The attribute path of "a.b.0.c": names, and indices of lists counted from 0.
---@param path string
---@return table
function M.path(path)
  local steps = {}
  for part in path:gmatch("[^.]+") do
    local index = part:match("^%d+$")
    steps[#steps + 1] = index and { element_key_int = math.tointeger(tonumber(index)) } or { attribute_name = part }
  end
  return { steps = steps }
end

--- An error.
---@param summary string
---@param detail? string
---@param path? string  see `path`
---@return table
function M.error(summary, detail, path)
  return { severity = ERROR, summary = summary, detail = detail, attribute = path and M.path(path) or nil }
end

--- A warning.
---@param summary string
---@param detail? string
---@param path? string
---@return table
function M.warning(summary, detail, path)
  return { severity = WARNING, summary = summary, detail = detail, attribute = path and M.path(path) or nil }
end

--- The error that an operation failed with.
---@param verb string  "creating"
---@param type_name string
---@param id string?
---@param err ws.Error
---@return table
function M.failure(verb, type_name, id, err)
  local what = type_name:gsub("^google_", ""):gsub("_", " ")
  return M.error(("Error %s %s%s: %s"):format(verb, what, id and (' "%s"'):format(id) or "", err.message), err.hint)
end

return M
