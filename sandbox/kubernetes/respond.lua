--- Answers: objects, lists, Tables and partial metadata, as the Accept header wants them.
local encode = require "sandbox.kubernetes.encode"
local json = require "ws.json"
local table_view = require "sandbox.kubernetes.table"
local values = require "sandbox.kubernetes.values"
local versions = require "sandbox.kubernetes.versions"
local resources = require "sandbox.kubernetes.resources"

local M = {}

--- A JSON answer.
---@param status integer
---@param body table|string  a string is JSON already
---@param warnings? string[]
---@return table res
function M.json(status, body, warnings)
  local headers = { ["Content-Type"] = "application/json", ["Cache-Control"] = "no-cache, private" }
  if warnings and #warnings > 0 then
    local parts = {}
    for i, w in ipairs(warnings) do parts[i] = ('299 - "%s"'):format(w:gsub('[\\"]', "\\%0")) end
    headers["Warning"] = table.concat(parts, ", ")
  end
  return { status = status, headers = headers, body = type(body) == "string" and body or json.encode(body) }
end

--- A plain text answer.
---@param status integer
---@param text string
---@return table res
function M.text(status, text)
  return { status = status, headers = { ["Content-Type"] = "text/plain; charset=utf-8" }, body = text }
end

--- What form the client prefers: `Table`, `PartialObjectMetadata`, `PartialObjectMetadataList` or nil.
---@param req table
---@return string?
function M.form(req)
  local first = (req.headers.accept or ""):match "^[^,]*" or ""
  return first:match "as=(%a+)"
end

local function partial(object)
  return { apiVersion = "meta.k8s.io/v1", kind = "PartialObjectMetadata", metadata = object.metadata }
end

--- The object in the form a client wants; rows of a Table one by one for watches.
---@param req table
---@param ctx kubernetes.Context
---@param object table  stored
---@return table
function M.shape(req, ctx, object)
  local shown = versions.show(object, ctx.resource, ctx.version)
  local form = M.form(req)
  if form == "Table" then return table_view.of(ctx, { shown }, object.metadata.resourceVersion,
    req.query.includeObject) end
  if form == "PartialObjectMetadata" or form == "PartialObjectMetadataList" then return partial(shown) end
  return shown
end

--- An object as answer.
---@param req table
---@param ctx kubernetes.Context
---@param object table  stored
---@param status? integer
---@param warnings? string[]
---@return table res
function M.object(req, ctx, object, status, warnings)
  return M.json(status or 200, encode.object(M.shape(req, ctx, object)), warnings)
end

--- A list as answer.
---@param req table
---@param ctx kubernetes.Context
---@param objects table[]  stored
---@param revision string
---@return table res
function M.list(req, ctx, objects, revision)
  local resource, form = ctx.resource, M.form(req)
  local items = values.array()
  for i, object in ipairs(objects) do items[i] = versions.show(object, resource, ctx.version) end
  if form == "Table" then return M.json(200, table_view.of(ctx, items, revision, req.query.includeObject)) end
  local head = { apiVersion = resources.join(resource.group, ctx.version), metadata = { resourceVersion = revision },
    kind = resource.list_kind or resource.kind .. "List" }
  if form == "PartialObjectMetadataList" or form == "PartialObjectMetadata" then
    head.apiVersion, head.kind = "meta.k8s.io/v1", "PartialObjectMetadataList"
    for i, item in ipairs(items) do items[i] = partial(item) end
  end
  return M.json(200, encode.list(head, items))
end

--- The Status of a success.
---@param details? table
---@return table res
function M.success(details)
  return M.json(200, { kind = "Status", apiVersion = "v1", metadata = values.object(), status = "Success",
    details = details })
end

return M
