--- The verbs on resources: get, list, create, update, patch, delete, deletecollection. Watches are in watch.lua.
local apply = require "sandbox.kubernetes.apply"
local body = require "sandbox.kubernetes.body"
local check = require "sandbox.kubernetes.check"
local errors = require "sandbox.kubernetes.errors"
local objects = require "sandbox.kubernetes.objects"
local patch = require "sandbox.kubernetes.patch"
local request = require "sandbox.kubernetes.request"
local resources = require "sandbox.kubernetes.resources"
local respond = require "sandbox.kubernetes.respond"
local selectors = require "sandbox.kubernetes.selectors"
local strategic = require "sandbox.kubernetes.strategic"
local values = require "sandbox.kubernetes.values"
local versions = require "sandbox.kubernetes.versions"

local M = {}

--- The stored object a request names. Raises 404.
---@param api kubernetes.Api
---@param ctx kubernetes.Context
---@return table
function M.find(api, ctx)
  local object = api.store:get(ctx.resource.id, ctx.resource.namespaced and ctx.namespace or nil, ctx.name)
  if not object then errors.not_found(ctx.resource, ctx.name) end
  return object
end

--- The predicate of a request's selectors.
---@param req table
---@param ctx kubernetes.Context
---@return fun(object: table): boolean
---@return string? name  when only one can match
function M.selection(req, ctx)
  local labels = selectors.labels(req.query.labelSelector)
  local fields, name = selectors.fields(req.query.fieldSelector, ctx.resource)
  return function(object) return labels(object) and fields(object) end, name
end

--- GET of one object.
function M.get(api, req, ctx)
  return respond.object(req, ctx, M.find(api, ctx))
end

--- The stored objects that a request selects.
---@param api kubernetes.Api
---@param req table
---@param ctx kubernetes.Context
---@return table[]
function M.selected(api, req, ctx)
  local matches, name = M.selection(req, ctx)
  local namespace = ctx.resource.namespaced and ctx.namespace or nil
  local found = {}
  if name and (namespace or not ctx.resource.namespaced) then
    local object = api.store:get(ctx.resource.id, namespace, name)
    found[1] = object and matches(object) and object or nil
    return found
  end
  for _, object in ipairs(api.store:list(ctx.resource.id, namespace)) do
    if matches(object) then found[#found + 1] = object end
  end
  return found
end

--- GET of a collection.
function M.list(api, req, ctx)
  return respond.list(req, ctx, M.selected(api, req, ctx), tostring(api.store.revision))
end

local function check_identity(ctx, object, name)
  local api_version = resources.join(ctx.resource.group, ctx.version)
  if object.apiVersion == nil then object.apiVersion = api_version end
  if object.kind == nil then object.kind = ctx.resource.kind end
  if object.apiVersion ~= api_version then
    errors.bad_request("the API version in the data (%s) does not match the expected API version (%s)",
      tostring(object.apiVersion), api_version)
  end
  if object.kind ~= ctx.resource.kind then
    errors.bad_request("%s in version %q cannot be handled as a %s: no kind %q is registered for this resource",
      tostring(object.kind), ctx.version, ctx.resource.kind, tostring(object.kind))
  end
  local meta = object.metadata
  if meta ~= nil and not values.is_object(meta) then return end -- the type check says it better
  meta = values.sub(object, "metadata")
  if ctx.namespace and ctx.resource.namespaced and meta.namespace and meta.namespace ~= ""
    and meta.namespace ~= ctx.namespace then
    errors.bad_request("the namespace of the provided object does not match the namespace sent on the request")
  end
  if name and meta.name and meta.name ~= "" and meta.name ~= name then
    errors.bad_request("the name of the object (%s) does not match the name on the URL (%s)", tostring(meta.name), name)
  end
end

--- Checks an object of a request in place and returns its warnings.
local function admit_types(req, ctx, object, name)
  check_identity(ctx, object, name)
  local warnings = check.object(object, objects.node(ctx.resource, ctx.version), ctx.resource, ctx.version,
    req.query.fieldValidation or "Warn")
  values.sub(object, "metadata")
  if name then object.metadata.name = name end
  if object.metadata.name == "" then object.metadata.name = nil end
  return warnings
end

--- POST of a new object.
function M.create(api, req, ctx)
  local object = body.read(req)
  if ctx.resource.namespaced and not ctx.namespace then
    errors.bad_request("an empty namespace may not be set during creation")
  end
  local warnings = admit_types(req, ctx, object)
  return respond.object(req, ctx, objects.create(api, ctx, object), 201, warnings)
end

--- PUT.
function M.update(api, req, ctx)
  local object = body.read(req)
  local warnings = admit_types(req, ctx, object, ctx.name)
  local old = M.find(api, ctx)
  return respond.object(req, ctx, objects.update(api, ctx, old, object), 200, warnings)
end

local function apply_patch(api, req, ctx, applied)
  if not values.is_object(applied) then errors.bad_request("the body of an apply must be an object") end
  if not req.query.fieldManager or req.query.fieldManager == "" then
    errors.invalid({ group = "meta.k8s.io", kind = "PatchOptions" }, "", { { reason = "FieldValueRequired",
      field = "fieldManager", message = "Required value: is required for apply patch" } })
  end
  if not values.is_empty(values.get(applied, "metadata", "managedFields")) then
    errors.bad_request("metadata.managedFields must be nil")
  end
  local warnings = admit_types(req, ctx, applied, ctx.name)
  applied.metadata.managedFields = nil
  local node = objects.node(ctx.resource, ctx.version)
  local hide_status = ctx.resource.subresources.status and ctx.subresource ~= "status"
  local old = api.store:get(ctx.resource.id, ctx.resource.namespaced and ctx.namespace or nil, ctx.name)
  if not old then
    if ctx.subresource then errors.not_found(ctx.resource, ctx.name) end
    if applied.metadata.uid or applied.metadata.resourceVersion then
      errors.conflict(ctx.resource, ctx.name, "uid mismatch: the provided object specified uid "
        .. tostring(applied.metadata.uid) .. ", and no existing object was found")
    end
    local merged = apply.apply(nil, applied, node, ctx.manager, hide_status)
    return respond.object(req, ctx, objects.create(api, ctx, merged, true), 201, warnings)
  end
  if applied.metadata.resourceVersion and applied.metadata.resourceVersion ~= old.metadata.resourceVersion then
    errors.conflict(ctx.resource, ctx.name)
  end
  local merged = apply.apply(versions.show(old, ctx.resource, ctx.version), applied, node, ctx.manager, hide_status)
  check.object(merged, node, ctx.resource, ctx.version, "Ignore")
  -- An update keeps the list of managers that it is not given.
  merged.metadata.managedFields = merged.metadata.managedFields or values.array()
  return respond.object(req, ctx, objects.update(api, ctx, old, merged, true), 200, warnings)
end

local PATCHES = {}

PATCHES["application/json-patch+json"] = function(current, operations)
  return patch.json(current, operations)
end

PATCHES["application/merge-patch+json"] = function(current, merge)
  if not values.is_object(merge) then errors.bad_request("the body of a merge patch must be an object") end
  return patch.merge(current, merge)
end

PATCHES["application/strategic-merge-patch+json"] = function(current, merge, ctx)
  if ctx.resource.crd then
    errors.raise("UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types "
      .. "include: "
      .. "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml")
  end
  if not values.is_object(merge) then errors.bad_request("the body of a strategic merge patch must be an object") end
  return strategic.merge(current, merge, objects.node(ctx.resource, ctx.version))
end

--- The object that a patch request makes of another; applies are not among them.
---@param req table
---@param ctx kubernetes.Context
---@param current table
---@return any
function M.patched(req, ctx, current)
  local media = body.media_type(req)
  local fn = PATCHES[media]
  if not fn then
    errors.raise("UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types "
      .. "include: "
      .. "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, "
        .. "application/apply-patch+yaml")
  end
  local text, err = req:body()
  if not text then errors.raise("RequestEntityTooLarge", tostring(err)) end
  return fn(current, body.parse(text), ctx)
end

--- As admit_types; what is wrong with a built-in kind after a patch is the patch's fault, and invalid.
local function admit_patched(req, ctx, new)
  local ok, result = pcall(admit_types, req, ctx, new, ctx.name)
  if ok then return result end
  if not errors.is(result) or result.code ~= 400 or ctx.resource.crd then error(result, 0) end
  errors.invalid({ group = "", kind = "" }, "", { { reason = "FieldValueInvalid", field = "patch",
    message = "Invalid value: " .. result.body.message } })
end

--- PATCH.
function M.patch(api, req, ctx)
  if body.media_type(req) == "application/apply-patch+yaml" then
    local text = req:body()
    return apply_patch(api, req, ctx, body.parse(text or ""))
  end
  local old = M.find(api, ctx)
  local current = versions.show(old, ctx.resource, ctx.version)
  local new = M.patched(req, ctx, current)
  if not values.is_object(new) then errors.bad_request("the patched object is not an object") end
  local managers = values.get(new, "metadata", "managedFields")
  local warnings = admit_patched(req, ctx, new)
  -- The list of managers is the client's when the patch has touched it; an emptied one starts ownership anew.
  if managers == nil and values.get(current, "metadata",
    "managedFields") then new.metadata.managedFields = values.array() end
  return respond.object(req, ctx, objects.update(api, ctx, old, new), 200, warnings)
end

local function delete_options(req)
  local options = body.read(req, true) or values.object()
  for _, k in ipairs { "propagationPolicy", "gracePeriodSeconds" } do
    if req.query[k] then options[k] = tonumber(req.query[k]) or req.query[k] end
  end
  if request.is_true(req.query.orphanDependents) then options.orphanDependents = true end
  return options
end

local function with_dry_run(ctx, options)
  if options.dryRun and options.dryRun[1] == "All" then ctx.dry_run = true end
  return ctx
end

--- DELETE of one object.
function M.delete(api, req, ctx)
  local options = delete_options(req)
  local object = M.find(api, ctx)
  local held = objects.delete(api, with_dry_run(ctx, options), object, options)
  if held then return respond.object(req, ctx, held) end
  local resource = ctx.resource
  return respond.success { name = ctx.name, group = resource.group ~= "" and resource.group or nil,
    kind = resource.plural,
    uid = object.metadata.uid }
end

--- DELETE of a collection.
function M.deletecollection(api, req, ctx)
  local options = delete_options(req)
  with_dry_run(ctx, options)
  local found = M.selected(api, req, ctx)
  for _, object in ipairs(found) do objects.delete(api, ctx, object, options) end
  return respond.list(req, ctx, found, tostring(api.store.revision))
end

return M
