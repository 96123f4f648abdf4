--- OpenAPI v3 documents, made from the same schema that requests are checked against; and a version 2 document that
--- says
--- nothing, for clients that insist on fetching one.
local crypto = require "ws.crypto"
local json = require "ws.json"
local respond = require "sandbox.kubernetes.respond"
local objects = require "sandbox.kubernetes.objects"
local values = require "sandbox.kubernetes.values"

local M = {}

--- GET /openapi/v2 as protobuf: swagger "2.0", info with an empty title and version.
---@return table res
function M.v2()
  return { status = 200, body = "\10\3" .. "2.0" .. "\18\6" .. "\10\1a\18\1v",
    headers = { ["Content-Type"] = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" } }
end

local function path_of(group, version)
  return group == "" and "api/" .. version or "apis/" .. group .. "/" .. version
end

local function hash_of(api, group, version)
  local parts = { "2" } -- the format of these documents
  for _, resource in ipairs(api.resources:in_version(group, version)) do
    parts[#parts + 1] = resource.plural .. "@" .. (resource.crd and resource.crd.metadata.resourceVersion or "")
  end
  return crypto.sha256(table.concat(parts, ",")):upper()
end

--- GET /openapi/v3.
---@param api kubernetes.Api
---@return table res
function M.index(api)
  local paths = values.object()
  for _, g in ipairs(api.resources:groups()) do
    for _, version in ipairs(g.versions) do
      local path = path_of(g.group, version)
      paths[path] = { serverRelativeURL = ("/openapi/v3/%s?hash=%s"):format(path, hash_of(api, g.group, version)) }
    end
  end
  return respond.json(200, { paths = paths })
end

local SCALARS = {
  string = { type = "string" }, int = { type = "integer", format = "int32" }, bool = { type = "boolean" },
  number = { type = "number", format = "double" }, bytes = { type = "string", format = "byte" },
  time = { type = "string", format = "date-time" }, microtime = { type = "string", format = "date-time" },
  quantity = { type = "string" }, intstr = { ["x-kubernetes-int-or-string"] = true },
  raw = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true },
  any = { ["x-kubernetes-preserve-unknown-fields"] = true },
}

local component

local function reference(doc, node)
  local name = "io.k8s.api." .. node.name:gsub("/", ".")
  component(doc, name, node)
  return { ["$ref"] = "#/components/schemas/" .. name }
end

local function property(doc, node)
  if SCALARS[node.type] then return SCALARS[node.type] end
  if node.type == "object" then
    if node.name then return { allOf = values.array { reference(doc, node) }, default = values.object() } end
    return { type = "object" }
  elseif node.type == "map" then
    return { type = "object", additionalProperties = property(doc, node.elem) }
  end
  local out = { type = "array", items = property(doc, node.elem) }
  if node.keys then
    out["x-kubernetes-list-type"] = "map"
    out["x-kubernetes-list-map-keys"] = values.array(node.keys)
  else
    out["x-kubernetes-list-type"] = node.set and "set" or "atomic"
  end
  if node.merge then
    out["x-kubernetes-patch-strategy"] = "merge"
    if node.merge ~= true then out["x-kubernetes-patch-merge-key"] = node.merge end
  end
  return out
end

--- Adds a type and what it refers to to the document.
function component(doc, name, node)
  if doc[name] then return doc[name] end
  local out = values.object { type = "object" }
  doc[name] = out
  local required = values.array()
  if #node.order > 0 then out.properties = values.object() end
  for _, field in ipairs(node.order) do
    local target = node.fields[field]
    local p = property(doc, target)
    if target.retain then
      p = values.copy(p)
      p["x-kubernetes-patch-strategy"] = "retainKeys"
    end
    out.properties[field] = p
    if target.required then required[#required + 1] = field end
  end
  if node.atomic then out["x-kubernetes-map-type"] = "atomic" end
  if #required > 0 then out.required = required end
  return out
end

--- A definition's schema as it is published: with what every object has.
local function custom_component(doc, node)
  local out = values.copy(node.schema or values.object { type = "object" })
  out.type = "object"
  local properties = values.sub(out, "properties")
  properties.apiVersion, properties.kind = { type = "string" }, { type = "string" }
  properties.metadata = { allOf = values.array { reference(doc, node.fields.metadata) } }
  return out
end

local FIELD_VALIDATION = values.array { {
  name = "fieldValidation", ["in"] = "query", schema = { type = "string", uniqueItems = true },
} }

local function operation(gvk, name)
  return values.object {
    parameters = FIELD_VALIDATION, ["x-kubernetes-group-version-kind"] = gvk,
    responses = { ["200"] = { description = "OK", content = { ["application/json"] = {
      schema = { ["$ref"] = "#/components/schemas/" .. name } } } } },
  }
end

local function add_resource(doc, resource, group, version)
  local node = objects.node(resource, version)
  local gvk = { group = group, version = version, kind = resource.kind }
  local name
  if resource.crd then
    local parts = {}
    for part in group:gmatch "[^.]+" do table.insert(parts, 1, part) end
    name = table.concat(parts, ".") .. "." .. version .. "." .. resource.kind
    doc.components.schemas[name] = custom_component(doc.components.schemas, node)
  else
    name = "io.k8s.api." .. node.name:gsub("/", ".")
    component(doc.components.schemas, name, node)
  end
  local described = doc.components.schemas[name]
  described["x-kubernetes-group-version-kind"] = values.array { gvk }
  local base = "/" .. path_of(group, version) .. (resource.namespaced and "/namespaces/{namespace}/" or "/")
    .. resource.plural
  doc.paths[base] = { get = operation(gvk, name), post = operation(gvk, name) }
  doc.paths[base .. "/{name}"] = { get = operation(gvk, name), put = operation(gvk, name), patch = operation(gvk, name),
    delete = operation(gvk, name) }
end

--- GET /openapi/v3/PATH. Nil when there is no such group version.
---@param api kubernetes.Api
---@param group string
---@param version string
---@return table? res
function M.document(api, group, version)
  local found = api.resources:in_version(group, version)
  if #found == 0 then return nil end
  local hash = hash_of(api, group, version)
  local cached = api.documents[path_of(group, version)]
  if not cached or cached.hash ~= hash then
    local doc = values.object { openapi = "3.0.0", info = { title = "Kubernetes", version = api.version },
      paths = values.object(), components = { schemas = values.object() } }
    for _, resource in ipairs(found) do add_resource(doc, resource, group, version) end
    cached = { hash = hash, text = json.encode(doc) }
    api.documents[path_of(group, version)] = cached
  end
  return { status = 200, body = cached.text, headers = { ["Content-Type"] = "application/json", ["ETag"] = '"' .. hash
    .. '"' } }
end

return M
