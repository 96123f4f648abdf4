--- Creating, changing and deleting objects: the rules that hold whoever asks, a request or a controller.
---
--- Each function gets a context: `resource`, `version` of the objects given, and optionally `manager` (who owns what
--- changes; none for controllers), `dry_run`, `namespace`. Objects given are taken over; objects returned are stored
--- ones.
local admission = require "sandbox.kubernetes.admission"
local apply = require "sandbox.kubernetes.apply"
local crd = require "sandbox.kubernetes.crd"
local crypto = require "ws.crypto"
local defaults = require "sandbox.kubernetes.defaults"
local errors = require "sandbox.kubernetes.errors"
local schema = require "sandbox.kubernetes.schema"
local validate = require "sandbox.kubernetes.validate"
local values = require "sandbox.kubernetes.values"
local versions = require "sandbox.kubernetes.versions"

local M = {}

---@class kubernetes.Context
---@field resource kubernetes.Resource
---@field version string
---@field namespace? string
---@field manager? kubernetes.Manager
---@field dry_run? boolean
---@field subresource? string

--- The type of a resource's objects in a version.
---@param resource kubernetes.Resource
---@param version string
---@return kubernetes.Node
function M.node(resource, version)
  if resource.nodes then return resource.nodes[version] or resource.nodes[resource.versions[1]] end
  return schema.kind(resource.group, version, resource.kind)
end

--- The type of a resource's objects as they are stored.
---@param resource kubernetes.Resource
---@return kubernetes.Node
function M.stored_node(resource)
  if resource.id == "/events" then return schema.kind("", "v1", "Event") end
  return M.node(resource, versions.stored(resource))
end

local function check_namespace(api, ctx)
  local namespace = api.store:get("/namespaces", nil, ctx.namespace)
  if not namespace then
    errors.raise("NotFound", ('namespaces "%s" not found'):format(ctx.namespace),
      { name = ctx.namespace, kind = "namespaces" })
  end
  return namespace.metadata.deletionTimestamp ~= nil
end

local SUFFIX = "bcdfghjklmnpqrstvwxz2456789"

--- A random suffix of the kind that generated names have.
---@param length integer
---@return string
function M.suffix(length)
  local bytes, out = crypto.random_bytes(length), {}
  for i = 1, length do
    local n = bytes:byte(i) % #SUFFIX + 1
    out[i] = SUFFIX:sub(n, n)
  end
  return table.concat(out)
end

--- Defaults, what the server decides, who owns the result, and the checks that need all of it.
---@param own? fun()  settles the ownership
local function complete(api, ctx, object, old, own)
  local resource = ctx.resource
  local problems
  if resource.crd then
    local node = M.stored_node(resource)
    crd.fill(object, node)
    problems = crd.check(object, node, "", {})
  end
  defaults.fill(object, resource)
  admission.admit(api, resource, object, old)
  if own then own() end
  admission.allocate(api, resource, object, old)
  validate.object(object, old, resource, problems)
end

-- Kinds whose objects carry no generation.
local NO_GENERATION = {
  ["/services"] = true, ["/namespaces"] = true, ["/persistentvolumes"] = true, ["/persistentvolumeclaims"] = true,
  ["/secrets"] = true, ["/configmaps"] = true, ["/serviceaccounts"] = true, ["/nodes"] = true, ["/events"] = true,
  ["autoscaling/horizontalpodautoscalers"] = true,
  ["/endpoints"] = true, ["/resourcequotas"] = true, ["/limitranges"] = true,
}

local function has_generation(resource, object)
  if NO_GENERATION[resource.id] then return false end
  return object.spec ~= nil or resource.crd ~= nil
end

--- Creates an object.
--- Raises 404 or 403 for its namespace, 409 when it exists, 422 for what is wrong with it.
---@param api kubernetes.Api
---@param ctx kubernetes.Context
---@param object table  in ctx.version; with managedFields when it comes from an apply
---@param applied? boolean  ownership is settled
---@return table stored
function M.create(api, ctx, object, applied)
  local resource = ctx.resource
  object = versions.store(object, resource, ctx.version)
  object.kind = resource.kind
  local meta = values.sub(object, "metadata")
  meta.namespace = resource.namespaced and ctx.namespace or nil
  if not meta.name and meta.generateName then meta.name = meta.generateName .. M.suffix(5) end
  if resource.namespaced and check_namespace(api, ctx) and ctx.manager then
    errors.forbidden(resource, meta.name or "", ("unable to create new content in namespace %s because it is being "
      .. "terminated"):format(ctx.namespace), values.array { { reason = "NamespaceTerminating",
      field = "metadata.namespace", message = ("namespace %s is being terminated"):format(ctx.namespace) } })
  end
  if meta.name and api.store:get(resource.id, meta.namespace, meta.name) then
    errors.already_exists(resource, meta.name)
  end
  if meta.resourceVersion and meta.resourceVersion ~= "" then
    errors.raise("", "resourceVersion should not be set on objects to be created")
  end
  meta.uid, meta.creationTimestamp = crypto.uuid(), api:now()
  meta.deletionTimestamp, meta.deletionGracePeriodSeconds, meta.selfLink, meta.generation = nil, nil, nil, nil
  if not applied then meta.managedFields = nil end
  if resource.subresources.status and ctx.manager then object.status = nil end
  local own = ctx.manager and not applied and function()
    apply.track(nil, object, M.stored_node(resource), ctx.manager, resource.subresources.status)
  end
  complete(api, ctx, object, nil, own)
  if has_generation(resource, object) then meta.generation = 1 end
  if ctx.dry_run then return object end
  return api.store:put(resource.id, object)
end

local KEPT = { "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "name",
  "namespace",
  "generateName", "selfLink", "resourceVersion" }

--- Whether two objects have the same wish: everything besides metadata and status.
local function same_spec(a, b)
  for _, pair in ipairs { { a, b }, { b, a } } do
    for k, v in pairs(pair[1]) do
      if k ~= "metadata" and k ~= "status" and k ~= "apiVersion" and k ~= "kind"
        and not values.equal(v, pair[2][k]) then return false end
    end
  end
  return true
end

local function without_times(entries)
  local out = values.array()
  for i, e in ipairs(entries or {}) do
    out[i] = values.object()
    for k, v in pairs(e) do out[i][k] = v end
    out[i].time = nil
  end
  return out
end

local function unchanged(old, new)
  for k, v in pairs(new) do
    if k ~= "metadata" and not values.equal(v, old[k]) then return false end
  end
  for k in pairs(old) do
    if new[k] == nil then return false end
  end
  local a, b = values.object(), values.object()
  for k, v in pairs(old.metadata) do a[k] = v end
  for k, v in pairs(new.metadata) do b[k] = v end
  a.managedFields, b.managedFields = without_times(a.managedFields), without_times(b.managedFields)
  return values.equal(a, b)
end

--- Whether nothing holds back an object that is being deleted.
local function may_go(resource, object)
  if not object.metadata.deletionTimestamp or not values.is_empty(object.metadata.finalizers) then return false end
  if resource.id == "/namespaces" then return values.is_empty(values.get(object, "spec", "finalizers")) end
  return not (resource.id == "/pods" and (object.metadata.deletionGracePeriodSeconds or 0) > 0)
end

--- Keeps of a new object what the written part (the object or one of its subresources) may change.
local function limit_to(ctx, old, new)
  if ctx.subresource == "status" then
    local only = values.copy(old)
    only.status = new.status
    only.metadata.managedFields = new.metadata.managedFields
    return only
  elseif ctx.subresource == "finalize" then
    local only = values.copy(old)
    values.sub(only, "spec").finalizers = values.get(new, "spec", "finalizers")
    return only
  end
  if ctx.resource.subresources.status and ctx.manager then new.status = values.copy(old.status) end
  return new
end

--- Replaces an object. One that is being deleted and has no finalizer left goes.
--- Raises 409 when `new` carries another resourceVersion or uid, 422 for what is wrong with it.
---@param api kubernetes.Api
---@param ctx kubernetes.Context
---@param old table  stored
---@param new table  in ctx.version
---@param applied? boolean  ownership is settled
---@return table stored
function M.update(api, ctx, old, new, applied)
  local resource = ctx.resource
  new = versions.store(new, resource, ctx.version)
  new.kind = resource.kind
  local meta = values.sub(new, "metadata")
  if meta.uid and meta.uid ~= "" and meta.uid ~= old.metadata.uid then
    errors.conflict(resource, old.metadata.name,
      ("Precondition failed: UID in precondition: %s, UID in object meta: %s")
      :format(meta.uid, old.metadata.uid))
  end
  if meta.resourceVersion and meta.resourceVersion ~= "" and meta.resourceVersion ~= old.metadata.resourceVersion then
    errors.conflict(resource, old.metadata.name)
  end
  for _, k in ipairs(KEPT) do meta[k] = old.metadata[k] end
  if meta.managedFields == nil then meta.managedFields = values.copy(old.metadata.managedFields) end
  new = limit_to(ctx, old, new)
  meta = new.metadata
  local of_status = ctx.subresource == "status"
  local own = ctx.manager and not applied and function()
    apply.track(old, new, M.stored_node(resource), ctx.manager, resource.subresources.status and not of_status)
  end
  if ctx.subresource == "finalize" or of_status then
    if own then own() end
  else
    complete(api, ctx, new, old, own)
  end
  if meta.generation and not same_spec(old, new) then meta.generation = meta.generation + 1 end
  if unchanged(old, new) and not may_go(resource, new) then return old end
  if ctx.dry_run then return new end
  local stored = api.store:put(resource.id, new)
  if may_go(resource, stored) then return api.store:remove(resource.id, stored) end
  return stored
end

--- The change of a controller: `change(copy)` edits a copy of the stored object, which is stored when it differs.
---@param api kubernetes.Api
---@param id string  "group/plural"
---@param object table  stored
---@param change fun(object: table)
---@return table stored
function M.edit(api, id, object, change)
  local new = values.copy(object)
  change(new)
  if new.metadata.generation and not same_spec(object,
    new) then new.metadata.generation = new.metadata.generation + 1 end
  if unchanged(object, new) and not may_go(api.resources.by_id[id], new) then return object end
  local stored = api.store:put(id, new)
  if may_go(api.resources.by_id[id], stored) then return api.store:remove(id, stored) end
  return stored
end

local function check_preconditions(ctx, object, options)
  local wanted = options.preconditions or {}
  if wanted.uid and wanted.uid ~= object.metadata.uid then
    errors.conflict(ctx.resource, object.metadata.name,
      ("Precondition failed: UID in precondition: %s, UID in object meta: %s")
      :format(wanted.uid, object.metadata.uid))
  end
  if wanted.resourceVersion and wanted.resourceVersion ~= object.metadata.resourceVersion then
    errors.conflict(ctx.resource, object.metadata.name)
  end
end

local function orphan(api, object)
  for _, dependant in ipairs(api.store:owned(object.metadata.uid)) do
    M.edit(api, dependant.id, dependant.object, function(o)
      local kept = values.array()
      for _, owner in ipairs(o.metadata.ownerReferences) do
        if owner.uid ~= object.metadata.uid then kept[#kept + 1] = owner end
      end
      o.metadata.ownerReferences = #kept > 0 and kept or nil
    end)
  end
end

local function grace_of(resource, object, options)
  if resource.id ~= "/pods" then return 0 end
  local phase = values.get(object, "status", "phase")
  if phase == "Succeeded" or phase == "Failed" or not values.get(object, "spec", "nodeName") then return 0 end
  return options.gracePeriodSeconds or values.get(object, "spec", "terminationGracePeriodSeconds") or 30
end

--- Deletes an object: at once, or by marking it when a finalizer, its Pod's grace or its contents hold it.
--- Raises 409 when a precondition does not hold.
---@param api kubernetes.Api
---@param ctx kubernetes.Context
---@param object table  stored
---@param options? table  DeleteOptions
---@return table? object  the marked object; nil when it is gone
function M.delete(api, ctx, object, options)
  options = options or {}
  local resource = ctx.resource
  check_preconditions(ctx, object, options)
  if ctx.dry_run then return nil end
  local policy = options.propagationPolicy or (options.orphanDependents and "Orphan") or "Background"
  if policy == "Orphan" then orphan(api, object) end
  local grace = grace_of(resource, object, options)
  local foreground = policy == "Foreground" and #api.store:owned(object.metadata.uid) > 0
  local held = grace > 0 or foreground or resource.id == "/namespaces"
    or not values.is_empty(object.metadata.finalizers)
  if not held then
    api.store:remove(resource.id, object)
    return nil
  end
  local stored = M.edit(api, resource.id, object, function(o)
    local meta = o.metadata
    if not meta.deletionTimestamp then
      meta.deletionTimestamp = api:now(grace)
      meta.deletionGracePeriodSeconds = resource.id ~= "/namespaces" and grace or nil
      if meta.generation then meta.generation = meta.generation + 1 end
    elseif grace < (meta.deletionGracePeriodSeconds or 0) then
      meta.deletionTimestamp, meta.deletionGracePeriodSeconds = api:now(grace), grace
    end
    if resource.id == "/namespaces" then values.sub(o, "status").phase = "Terminating" end
    if foreground then
      meta.finalizers = meta.finalizers or values.array()
      local found = false
      for _, f in ipairs(meta.finalizers) do found = found or f == "foregroundDeletion" end
      if not found then table.insert(meta.finalizers, "foregroundDeletion") end
    end
  end)
  return stored
end

return M
