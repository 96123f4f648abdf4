--- What a request's path and query ask for.
local resources = require "sandbox.kubernetes.resources"

local M = {}

local function decode(step)
  return (step:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The steps of a path, decoded.
---@param path string
---@return string[]
function M.steps(path)
  local steps = {}
  for step in path:gmatch "[^/]+" do steps[#steps + 1] = decode(step) end
  return steps
end

---@class kubernetes.Target
---@field group string
---@field version string
---@field plural string
---@field namespace? string
---@field name? string
---@field subresource? string
---@field rest? string  what follows a subresource

--- The resource path in a path's steps, nil when it is none.
---@param steps string[]
---@return kubernetes.Target?
function M.target(steps)
  local t, at
  if steps[1] == "api" and steps[2] then
    t, at = { group = "", version = steps[2] }, 3
  elseif steps[1] == "apis" and steps[3] then
    t, at = { group = steps[2], version = steps[3] }, 4
  else
    return nil
  end
  if not steps[at] then return nil end
  if steps[at] == "namespaces" and steps[at + 1] and t.group ~= "" then
    t.namespace, at = steps[at + 1], at + 2
  elseif steps[at] == "namespaces" and steps[at + 2] and steps[at + 2] ~= "status" and steps[at + 2] ~= "finalize" then
    t.namespace, at = steps[at + 1], at + 2
  end
  t.plural, t.name, t.subresource = steps[at], steps[at + 1], steps[at + 2]
  if not t.plural then return nil end
  if steps[at + 3] then t.rest = table.concat(steps, "/", at + 3) end
  return t
end

--- Whether a query parameter says yes.
---@param value? string
---@return boolean
function M.is_true(value)
  return value == "true" or value == "1"
end

--- Who manages the fields that a request writes: `fieldManager`, or the client's name from its user agent.
---@param req table
---@param target kubernetes.Target
---@param now string
---@return kubernetes.Manager
function M.manager(req, target, now)
  local name = req.query.fieldManager
  if not name or name == "" then name = (req.headers["user-agent"] or "unknown"):match "^[^/]*" end
  return {
    name = name, api_version = resources.join(target.group, target.version), subresource = target.subresource,
    time = now, force = M.is_true(req.query.force),
  }
end

return M
