--- Objects as the rows of a Table, for `kubectl get`.
local age = require "sandbox.kubernetes.age"
local columns = require "sandbox.kubernetes.columns"
local jsonpath = require "sandbox.kubernetes.jsonpath"
local json = require "ws.json"
local values = require "sandbox.kubernetes.values"

local M = {}

local NAME = { name = "Name", type = "string", format = "name", description = "Name of the object", priority = 0 }
local AGE = { name = "Age", type = "string", format = "", description = "Time since the object was created",
  priority = 0 }

local function custom(resource, version)
  local printed = resource.columns and resource.columns[version]
  if not printed then return { { AGE, function(o) return age(o.metadata.creationTimestamp) end } } end
  local out = {}
  for i, c in ipairs(printed) do
    out[i] = {
      { name = c.name, type = c.type, format = c.format or "", description = c.description or "", priority = c.priority
        or 0 },
      function(o)
        local v = jsonpath.first(o, c.jsonPath)
        if v == nil then return c.type == "string" and "" or nil end
        if c.type == "date" then return age(v) end
        if type(v) == "table" then return values.canonical(v) end
        return v
      end,
    }
  end
  return out
end

local function built_in(resource)
  local out = {}
  for i, c in ipairs(columns.of(resource.id)
    or { { "Age", function(o) return age(o.metadata.creationTimestamp) end } }) do
    out[i] = { { name = c[1], type = c.type or "string", format = "", description = c[1], priority = c.wide and 1
      or 0 }, c[2] }
  end
  return out
end

--- A Table of objects.
---@param ctx kubernetes.Context
---@param objects table[]  in the version that is shown
---@param revision string
---@param include? string  what each row carries of its object: "Object", "None", or its metadata
---@return table
function M.of(ctx, objects, revision, include)
  local resource = ctx.resource
  local shown = resource.crd and custom(resource, ctx.version) or built_in(resource)
  local definitions, rows = values.array { NAME }, values.array()
  for i, c in ipairs(shown) do definitions[i + 1] = c[1] end
  for i, o in ipairs(objects) do
    local cells = values.array { o.metadata.name }
    for j, c in ipairs(shown) do
      local v = c[2](o)
      cells[j + 1] = v == nil and json.null or v
    end
    local object = { kind = "PartialObjectMetadata", apiVersion = "meta.k8s.io/v1", metadata = o.metadata }
    if include == "Object" then object = o elseif include == "None" then object = nil end
    rows[i] = { cells = cells, object = object }
  end
  return { kind = "Table", apiVersion = "meta.k8s.io/v1", metadata = { resourceVersion = revision },
    columnDefinitions = definitions, rows = rows }
end

return M
