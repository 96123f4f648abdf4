--- The parts of objects that have a path of their own: status, scale, log, token, eviction, binding and the like.
local body = require "sandbox.kubernetes.body"
local crd_path = require "sandbox.kubernetes.jsonpath"
local errors = require "sandbox.kubernetes.errors"
local handlers = require "sandbox.kubernetes.handlers"
local objects = require "sandbox.kubernetes.objects"
local respond = require "sandbox.kubernetes.respond"
local selectors = require "sandbox.kubernetes.selectors"
local values = require "sandbox.kubernetes.values"

local M = {}

local function path_steps(path)
  local steps = {}
  for step in path:gmatch "[^.]+" do steps[#steps + 1] = step end
  return steps
end

--- Where a resource keeps its replicas.
local function scale_paths(ctx)
  local custom = ctx.resource.scale and ctx.resource.scale[ctx.version]
  if custom then return custom.specReplicasPath, custom.statusReplicasPath, custom.labelSelectorPath end
  return ".spec.replicas", ".status.replicas", nil
end

local function scale_of(ctx, object)
  local spec_path, status_path, selector_path = scale_paths(ctx)
  local selector
  if ctx.resource.crd then
    selector = selector_path and crd_path.first(object, selector_path) or nil
  else
    local s = values.get(object, "spec", "selector")
    selector = selectors.to_text(ctx.resource.id == "/replicationcontrollers" and { matchLabels = s } or s)
  end
  local meta = object.metadata
  return values.object {
    apiVersion = "autoscaling/v1", kind = "Scale",
    metadata = { name = meta.name, namespace = meta.namespace, uid = meta.uid, resourceVersion = meta.resourceVersion,
      creationTimestamp = meta.creationTimestamp },
    spec = values.object { replicas = crd_path.first(object, spec_path) or 0 },
    status = values.object { replicas = crd_path.first(object, status_path) or 0, selector = selector },
  }
end

local function scale(api, req, ctx, verb)
  local old = handlers.find(api, ctx)
  local current = scale_of(ctx, old)
  if verb == "get" then return respond.json(200, current) end
  local wanted
  if verb == "update" then
    wanted = body.read(req)
  elseif body.media_type(req) == "application/apply-patch+yaml" then
    wanted = body.parse(req:body() or "")
  else
    wanted = handlers.patched(req, { resource = { subresources = {}, group = "autoscaling", kind = "Scale",
      versions = { "v1" },
      nodes = { v1 = require "sandbox.kubernetes.schema".kind("autoscaling", "v1", "Scale") } }, version = "v1" },
        current)
  end
  local replicas = values.get(wanted, "spec", "replicas") or 0
  if math.type(replicas) ~= "integer" or replicas < 0 then
    errors.invalid({ group = "autoscaling", kind = "Scale", plural = "scales" }, ctx.name,
      { { reason = "FieldValueInvalid",
      field = "spec.replicas", message = ("Invalid value: %s: must be greater than or equal to "
        .. "0"):format(tostring(replicas)) } })
  end
  local rv = values.get(wanted, "metadata", "resourceVersion")
  if rv and rv ~= "" and rv ~= old.metadata.resourceVersion then errors.conflict(ctx.resource, ctx.name) end
  local new = values.copy(old)
  local spec_path = scale_paths(ctx)
  values.set(new, path_steps(spec_path), replicas)
  ctx.subresource = nil
  local manager = ctx.manager
  manager.subresource = "scale"
  local stored = objects.update(api, ctx, old, new)
  return respond.json(200, scale_of(ctx, stored))
end

local function log(api, req, ctx, verb)
  if verb ~= "get" then errors.raise("MethodNotAllowed",
    "the server does not allow this method on the requested resource") end
  local pod = handlers.find(api, ctx)
  return require "sandbox.kubernetes.simulate.logs".answer(api, req, pod)
end

local function eviction(api, req, ctx)
  local wanted = body.read(req)
  local pod = handlers.find(api, ctx)
  objects.delete(api, ctx, pod, wanted.deleteOptions)
  return respond.json(201, { kind = "Status", apiVersion = "v1", metadata = values.object(), status = "Success" })
end

local function binding(api, req, ctx)
  local wanted = body.read(req)
  local pod = handlers.find(api, ctx)
  if values.get(pod, "spec", "nodeName") then errors.conflict(ctx.resource, ctx.name,
    "pod is already assigned to node") end
  objects.edit(api, ctx.resource.id, pod, function(o) o.spec.nodeName = values.get(wanted, "target", "name") end)
  return respond.json(201, { kind = "Status", apiVersion = "v1", metadata = values.object(), status = "Success" })
end

local function token(api, req, ctx)
  local account = handlers.find(api, ctx)
  return require "sandbox.kubernetes.reviews".token_request(api, req, account)
end

local function proxy(api, req, ctx)
  return require "sandbox.kubernetes.proxy".service(api, req, ctx, ctx.rest)
end

local function no_shell()
  errors.bad_request("the cluster simulates its workloads: there is no container to connect to")
end

--- A part of the object itself: read, replaced or patched like it, but only this part changes.
local function part(api, req, ctx, verb)
  local fn = handlers[verb]
  if not fn or verb == "create" or verb == "delete" then
    errors.raise("MethodNotAllowed", "the server does not allow this method on the requested resource")
  end
  return fn(api, req, ctx)
end

local HANDLERS = {
  scale = scale, log = log, eviction = eviction, binding = binding, token = token, exec = no_shell, attach = no_shell,
  portforward = no_shell, proxy = proxy,
}

--- Answers a request for a subresource, or nil when the resource has no such one.
---@param api kubernetes.Api
---@param req table
---@param ctx kubernetes.Context
---@param verb string
---@return table? res
function M.handle(api, req, ctx, verb)
  if not ctx.resource.subresources[ctx.subresource] then return nil end
  return (HANDLERS[ctx.subresource] or part)(api, req, ctx, verb)
end

return M
