-- What applying objects would change in a cluster: by the API server's own dry run, which stores nothing.
local changes = require "lib.plan.changes"
local platform = require "lib.platform"

local M = {}

local MANAGER = "wsrun" -- as lib/cluster.lua applies

-- What the server keeps for itself, and what controllers write.
local OWN = { managedFields = true, resourceVersion = true, generation = true, uid = true, creationTimestamp = true }

local function without_own(object)
  local copy, meta = {}, {}
  for key, value in pairs(object) do
    if key ~= "status" then copy[key] = value end
  end
  for key, value in pairs(object.metadata or {}) do
    if not OWN[key] then meta[key] = value end
  end
  copy.metadata = meta
  return copy
end

--- "Deployment apps/web".
---@param object table
---@return string
function M.name(object)
  local meta = object.metadata
  return ("%s %s%s"):format(object.kind, meta.namespace and meta.namespace .. "/" or "", meta.name)
end

--- In which attributes an object would differ; the values of secrets are not among them.
---@param before? table
---@param after? table
---@return { name: string, before?: string, after?: string }[]
function M.differences(before, after)
  local kind = (after or before).kind
  local mark = kind == "Secret" and { data = true, stringData = true } or nil
  return changes.attributes { before = before and without_own(before), after = after and without_own(after),
    before_sensitive = mark, after_sensitive = mark }
end

--- What applying an object would change; nil: nothing.
---@async
---@param api? table     nil: there is no cluster yet
---@param object table
---@return ws.Change?
function M.compare(api, object)
  local added = { what = "kubernetes", action = "add", name = M.name(object) }
  if not api then return added end
  local meta = object.metadata
  local before, err = api:get { api_version = object.apiVersion, kind = object.kind, name = meta.name,
    namespace = meta.namespace }
  if not before then
    platform.unless_missing(err)
    return added
  end
  local after = assert(api:apply(object, { manager = MANAGER, force = true, dry_run = true }))
  local attributes = M.differences(before, after)
  if #attributes == 0 then return nil end
  return { what = "kubernetes", action = "change", name = M.name(object), attributes = attributes }
end

--- What applying several objects would change, with the images in them.
---@async
---@param api? table
---@param list table[]
---@return ws.Change[]
function M.compare_all(api, list)
  local all = {}
  for _, object in ipairs(list) do all[#all + 1] = M.compare(api, object) end
  return all
end

--- Images that differ between two objects that run containers, as changes.
---@param before? table
---@param after table
---@return ws.Change[]
function M.images(before, after)
  local function images(object)
    local found = {}
    local function visit(value)
      if type(value) ~= "table" then return end
      for _, list in ipairs { "containers", "initContainers" } do
        for _, container in ipairs(type(value[list]) == "table" and value[list] or {}) do
          if type(container) == "table" and container.name then found[container.name] = container.image end
        end
      end
      for _, inner in pairs(value) do visit(inner) end
    end
    visit(object)
    return found
  end
  local was, list = images(before), {}
  for name, image in pairs(images(after)) do
    if was[name] ~= image then
      list[#list + 1] = { what = "image", action = was[name] and "change" or "add",
        name = ("%s, container %s"):format(M.name(after), name),
        attributes = { { name = "image", before = was[name], after = image } },
        detail = not was[name] and image or nil }
    end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

return M
