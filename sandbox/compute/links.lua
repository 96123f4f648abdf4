--- Links between Compute resources.
---
--- Requests spell them in many ways; stored is the one canonical form, which clients parse:
--- https://www.googleapis.com/compute/v1/projects/P/zones/Z/disks/D. A resource's key is the part from "projects/" on.
local values = require "sandbox.values"
local json = require "ws.json"

local M = {}

M.PREFIX = "https://www.googleapis.com/compute/v1/"

--- Fields whose text is the user's own, whatever it looks like.
local FREE_TEXT = {
  description = true, metadata = true, labels = true, name = true, paths = true, hosts = true, tags = true,
  pathPrefixRewrite = true, params = true, requestPath = true,
}

local function has_scope(rest)
  return rest:find("^global/") or rest:find("^regions/[^/]+") or rest:find("^zones/[^/]+")
end

--- The canonical form of one text; texts that are no link come back as they are.
---@param cloud sandbox.Cloud
---@param project string  id, for relative links
---@param text string
---@return string
function M.canonical(cloud, project, text)
  if has_scope(text) then return M.PREFIX .. "projects/" .. project .. "/" .. text end
  if not (text:find("^projects/") or text:find("^https?://.*/compute/[%w]+/projects/")) then return text end
  local id, rest = text:match(".*projects/([^/]+)/(.+)$")
  if not id or not has_scope(rest) then return text end
  local known = cloud:project(id)
  return M.PREFIX .. "projects/" .. (known and known.projectId or id) .. "/" .. rest
end

--- A copy of a body with every link in canonical form and without nulls.
---@param cloud sandbox.Cloud
---@param project string
---@param body any
---@return any
function M.normalize(cloud, project, body)
  if type(body) == "string" then return M.canonical(cloud, project, body) end
  if type(body) ~= "table" then return body end
  if values.is_array(body) then
    return values.map(body, function(item) return M.normalize(cloud, project, item) end)
  end
  local copy = {}
  for key, value in pairs(body) do
    if value == json.null then
      copy[key] = json.null
    elseif FREE_TEXT[key] then
      copy[key] = values.copy(value)
    else
      copy[key] = M.normalize(cloud, project, value)
    end
  end
  return next(copy) == nil and json.object(copy) or copy
end

--- The key of a link, nil for a text that is no canonical link.
---@param link any
---@return string?
function M.key(link)
  if type(link) ~= "string" or link:sub(1, #M.PREFIX) ~= M.PREFIX then return nil end
  return link:sub(#M.PREFIX + 1)
end

--- Calls `fn(text)` for every text in a value that a client can see, until it returns something true-ish; returns that.
---@param value any
---@param fn fun(text: string): any
---@return any
function M.each(value, fn)
  if type(value) == "string" then return fn(value) end
  if type(value) ~= "table" then return nil end
  for key, item in pairs(value) do
    if not (type(key) == "string" and (FREE_TEXT[key] or key == "selfLink" or key:sub(1, 1) == "_")) then
      local found = M.each(item, fn)
      if found then return found end
    end
  end
end

return M
