--- From a request to its answer: authentication, paths, verbs; and raised Status objects into answers.
local crd = require "sandbox.kubernetes.crd"
local discovery = require "sandbox.kubernetes.discovery"
local errors = require "sandbox.kubernetes.errors"
local handlers = require "sandbox.kubernetes.handlers"
local log = require "ws.log"
local openapi = require "sandbox.kubernetes.openapi"
local request = require "sandbox.kubernetes.request"
local respond = require "sandbox.kubernetes.respond"
local reviews = require "sandbox.kubernetes.reviews"
local subresources = require "sandbox.kubernetes.subresources"
local values = require "sandbox.kubernetes.values"
local watch = require "sandbox.kubernetes.watch"

local M = {}

local function unauthorized()
  errors.raise("Unauthorized", "Unauthorized")
end

local function authenticate(api, req)
  local token = (req.headers.authorization or ""):match "^[Bb]earer%s+(.-)%s*$"
  return token and api:user_of(token) or unauthorized()
end

local function version_info(api)
  local major, minor = api.version:match "^v(%d+)%.(%d+)"
  return respond.json(200, { major = major, minor = minor, gitVersion = api.version, gitCommit = "sandbox",
    gitTreeState = "clean",
    buildDate = "2025-11-11T00:00:00Z", goVersion = "go1.24", compiler = "gc", platform = "linux/amd64",
    emulationMajor = major, emulationMinor = minor, minCompatibilityMajor = major, minCompatibilityMinor = minor })
end

local PUBLIC = { "healthz", "livez", "readyz", "version" }
for _, name in ipairs(PUBLIC) do PUBLIC[name] = true end

local function not_found()
  return respond.text(404, "404 page not found\n")
end

--- The documents that are not resources; nil when the path is none of theirs.
local function document(api, req, steps)
  local first = steps[1]
  if first == "version" and not steps[2] then return version_info(api) end
  if first == "healthz" or first == "livez" or first == "readyz" then return respond.text(200, "ok") end
  if first == "api" and not steps[2] then return discovery.core(api, req) end
  if first == "api" and not steps[3] then return discovery.resource_list(api, "", steps[2]) or not_found() end
  if first == "apis" and not steps[2] then return discovery.groups(api, req) end
  if first == "apis" and not steps[3] then return discovery.group(api, steps[2]) or not_found() end
  if first == "apis" and not steps[4] then return discovery.resource_list(api, steps[2], steps[3]) or not_found() end
  if first == "openapi" and steps[2] == "v2" then return openapi.v2() end
  if first == "openapi" and steps[2] == "v3" then
    if not steps[3] then return openapi.index(api) end
    if steps[3] == "api" then return openapi.document(api, "", steps[4] or "") or not_found() end
    return openapi.document(api, steps[4] or "", steps[5] or "") or not_found()
  end
  if not first then
    return respond.json(200, { paths = values.array { "/api", "/apis", "/healthz", "/livez", "/openapi/v2",
      "/openapi/v3",
      "/readyz", "/version" } })
  end
end

local VERBS = { GET = "get", HEAD = "get", POST = "create", PUT = "update", PATCH = "patch", DELETE = "delete" }

local function verb_of(req, target)
  local verb = VERBS[req.method]
  if not verb then return nil end
  if verb == "get" and request.is_true(req.query.watch) and not target.subresource then return "watch" end
  if not target.name then
    if verb == "get" then return "list" end
    if verb == "delete" then return "deletecollection" end
    if verb ~= "create" then return nil end
  elseif verb == "create" and not target.subresource then
    return nil
  end
  return verb
end

local function resource_request(api, req, steps, user)
  local target = request.target(steps)
  local resource = target and api.resources:at(target.group, target.version, target.plural)
  if not resource then
    if target and #api.resources:in_version(target.group, target.version) > 0 then
      errors.raise("NotFound", "the server could not find the requested resource", values.object())
    end
    return not_found()
  end
  local verb = verb_of(req, target)
  if not verb then errors.raise("MethodNotAllowed",
    "the server does not allow this method on the requested resource") end
  local ctx = {
    resource = resource, version = target.version, namespace = target.namespace, name = target.name,
    subresource = target.subresource, rest = target.rest,
    manager = request.manager(req, target, api:now()), user = user,
    dry_run = req.query.dryRun == "All",
  }
  if resource.namespaced and ctx.name and not ctx.namespace then return not_found() end
  if target.subresource then
    return subresources.handle(api, req, ctx, verb) or not_found()
  elseif resource.virtual then
    if verb == "create" then return reviews.create(api, req, ctx, user) end
    if verb == "list" then return respond.list(req, ctx, {}, tostring(api.store.revision)) end
    errors.raise("MethodNotAllowed", "the server does not allow this method on the requested resource")
  elseif verb == "watch" then
    return watch.watch(api, req, ctx)
  end
  return handlers[verb](api, req, ctx)
end

local function answer(api, req)
  local steps = request.steps(req.path)
  local user = not PUBLIC[steps[1] or ""] and authenticate(api, req) or nil
  return document(api, req, steps) or resource_request(api, req, steps, user)
end

--- Answers a request. Raises only when the request's task is cancelled.
---@param api kubernetes.Api
---@param req table  as ws.server gives it
---@return table res
function M.handle(api, req)
  local ok, result = xpcall(answer, function(err)
    if errors.is(err) or (type(err) == "table" and err.kind == "cancelled") then return err end
    return { crash = tostring(err), traceback = debug.traceback(nil, 2) }
  end, api, req)
  if ok then return result end
  if errors.is(result) then return respond.json(result.code, result.body) end
  if not result.crash then error(result, 0) end
  log.error(("kubernetes: %s %s: %s%s"):format(req.method, req.path, result.crash, result.traceback))
  return respond.json(500, errors.new("InternalError", "Internal error occurred: " .. result.crash).body)
end

--- Keeps the registry of resources in step with the definitions in the store.
---@param api kubernetes.Api
---@param change kubernetes.Change
function M.follow_definitions(api, change)
  if change.id ~= "apiextensions.k8s.io/customresourcedefinitions" then return end
  local spec = change.object.spec
  if change.type == "DELETED" then
    api.resources:remove(spec.group .. "/" .. spec.names.plural)
  else
    api.resources:add(crd.resource(change.object))
  end
end

return M
