--- One engine for all resources: create, read, update, delete and import over REST, as a resource's file describes it.
---
--- A description (files in resources/) is data first:
---   service      which API (rest.lua)
---   id           the resource's id, "projects/{project}/global/networks/{name}"; also the path of its REST calls
---   path         that path, when it is another one
---   collection   where it is created by POST; default: `id` without its last part
---   create       { method = , path = , query = } where the creation differs from POST to the collection
---   update       "PATCH" (changed parts, the default), "PUT" (everything) or a function(context, planned, prior,
---   changed)
---   update_mask  true: PATCH gets `updateMask`
---   mutable      attributes that an update can change; all others force a replacement. Or
---   immutable    attributes that force a replacement; all others can change. Paths such as "settings.tier" are fine
---   names        attribute path → name in the API where it is not the camelCase one; dots go into objects; false: none
---   client       attributes that the API does not know; kept as configured
---   links        attribute path → collection, so that a bare name becomes a link
---   arrays       blocks that may occur once and are lists in the API
---   defaults     what the published provider plans for an attribute that is not configured
---   null         computed attributes that stay null after the creation
---   computed_blocks  blocks that the cloud fills in when they are not configured
---   updated_by   attributes that the API does not know, or computes, whose change is an update all the same
---   actions      { { fields = , run = function(context, planned, prior) } } changes that have a call of their own
---   labels       the API's field for labels, default "labels"
---   label_attribute  the attribute that holds them, default "labels"
---   sent         attributes such as region that are part of the body as well, though mostly they are not
--- and functions where data is not enough: validate, plan, replace_when, body, identify, after_create, create_with,
--- read_with, delete_with, object, state, import, prepare_import. The functions of resources/*.lua get a context:
--- `provider` (configuration), `params` (project,
--- region, zone, location, name …), `fill(format)`, `call`, `run`.
local error_object = require "ws.error"
local json = require "ws.json"
local task = require "ws.task"
local time = require "ws.engine".native.monotonic
local labels = require "sandbox.provider.labels"
local mapping = require "sandbox.provider.mapping"
local plan = require "sandbox.provider.plan"
local rest = require "sandbox.provider.rest"
local schema = require "sandbox.provider.schema"
local values = require "sandbox.provider.values"

local M = {}

---@class sandbox.provider.Resource
---@field type_name string
---@field block sandbox.provider.Block
---@field forces_replacement fun(path: string): boolean|"inside"|nil

--- Attributes that are part of the path or of Terraform only, in every resource.
local NEVER_SENT = {
  "id", "project", "region", "zone", "location", "timeouts", "deletion_policy", "labels", "terraform_labels",
  "effective_labels", "effective_annotations",
}

--- Which file describes which resource types; read when the first of them is used.
local FILES = { "compute", "loadbalancing", "instance", "network_services", "iam", "container", "storage", "pubsub",
  "sql",
  "monitoring", "secretmanager", "project", "functions", "artifactregistry" }

local function is_below(path, prefix)
  return path:sub(1, #prefix + 1) == prefix .. "."
end

--- The function that says whether a change of an attribute forces a replacement: true, "inside" (look deeper) or nil.
local function replacement_rule(spec)
  local immutable, mutable = values.set(spec.immutable), spec.mutable and values.set(spec.mutable)
  return function(path)
    if immutable[path] then return true end
    for other in pairs(immutable) do
      if is_below(other, path) then return "inside" end
    end
    if not mutable or path:find(".", 1, true) or mutable[path] then return nil end
    local attribute = spec.block.attributes[path]
    if spec.client[path] and not spec.located[path] then return nil end
    if attribute and not attribute.optional and not attribute.required then return nil end
    return path ~= (spec.label_attribute or "labels") and path ~= "annotations" or nil
  end
end

local function compile(type_name, raw)
  local spec = setmetatable({ type_name = type_name, block = schema.resource(type_name) }, { __index = raw })
  local own = values.set(raw.sent)
  spec.client = values.set(raw.client)
  for _, name in ipairs(NEVER_SENT) do
    if not own[name] then spec.client[name] = true end
  end
  if raw.label_attribute then spec.client[raw.label_attribute] = true end
  spec.located = values.set { "project", "region", "zone", "location" }
  spec.null, spec.arrays = values.set(raw.null), values.set(raw.arrays)
  spec.computed_blocks = values.set(raw.computed_blocks)
  spec.defaults = setmetatable({}, { __index = raw.defaults })
  if spec.block.attributes.deletion_policy then spec.defaults.deletion_policy = "DELETE" end
  spec.forces_replacement = replacement_rule(spec)
  spec.updates = values.set(raw.updated_by)
  spec.updates.effective_labels, spec.updates.effective_annotations = true, true
  for _, action in ipairs(raw.actions or {}) do
    for _, name in ipairs(action.fields) do spec.updates[name] = true end
  end
  spec.path = raw.path or raw.id
  spec.collection = raw.collection or (raw.id and raw.id:match("^(.*)/[^/]*$"))
  return spec
end

local raw_specs, compiled = nil, {}

local function described(file)
  local found = require("sandbox.provider.resources." .. file)
  return found.resources or found
end

local function load_files()
  raw_specs = {}
  for _, file in ipairs(FILES) do
    for name, raw in pairs(described(file)) do raw_specs[name] = raw end
  end
end

--- The description of a resource type; nil when the sandbox's provider cannot create it.
---@param type_name string
---@return sandbox.provider.Resource?
function M.get(type_name)
  if not raw_specs then load_files() end
  local raw = raw_specs[type_name]
  if raw and not compiled[type_name] then compiled[type_name] = compile(type_name, raw) end
  return compiled[type_name]
end

--- Names of the resource types that can be created, sorted.
---@return string[]
function M.names()
  if not raw_specs then load_files() end
  local names = {}
  for name in pairs(raw_specs) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local locks = setmetatable({}, { __mode = "v" })

--- Runs `fn` when nobody else in this process does so for the same key: for what is read, changed and written back.
---@async
---@param key string
---@param fn function
---@return any ...
function M.lock(key, fn)
  local lock = locks[key] or task.limit(1)
  locks[key] = lock
  return lock:run(fn)
end

-- ---- context -------------------------------------------------------------------------------------------------------

local function seconds(text)
  local total = 0
  for n, unit in tostring(text):gmatch("([%d.]+)(%a+)") do
    local of = ({ ms = 0.001, s = 1, m = 60, h = 3600 })[unit]
    if not of then return nil end
    total = total + tonumber(n) * of
  end
  return total > 0 and total or nil
end

local function parameter(name, from, provider)
  local v = from[name]
  if type(v) == "number" then return v end
  if type(v) == "string" and v ~= "" then
    return (name == "region" or name == "zone" or name == "location" or name == "network" or name == "cluster"
      or name == "instance" or name == "router" or name == "managed_zone") and values.last(v) or v
  end
  if name == "project" then return provider.project end
  if name == "region" then
    local zone = from.zone
    return provider.region or type(zone) == "string" and values.last(zone):gsub("%-%w+$", "") or nil
  end
  if name == "zone" then return provider.zone end
  if name == "location" then return provider.region or provider.zone end
end

--- The context of one call for a resource.
---@param connection table  with `provider`, the configuration
---@param from table  the state or plan that names project, region and so on
---@param verb? "create"|"update"|"delete"  whose timeout bounds the call
---@return table
function M.context(connection, from, verb)
  local provider = connection.provider
  local timeouts = from.timeouts
  local limit = verb and type(timeouts) == "table" and timeouts[verb] and seconds(timeouts[verb]) or 1200
  local context = { provider = provider, now = time, deadline = time() + limit }
  function context.stopped() return connection.stopping == true end
  context.params = setmetatable({}, { __index = function(_, name) return parameter(name, from, provider) end })
  function context.fill(format)
    return (format:gsub("{([%w_]+)}", function(name)
      local v = context.params[name]
      if v == nil then
        error(error_object.new { kind = "invalid", message = ("%s: required field is not set"):format(name),
          hint = ("set `%s` in the resource or in the provider block"):format(name) }, 0)
      end
      return tostring(v)
    end))
  end
  context.lock = M.lock
  function context.call(method, service, path, opts) return rest.call(context, method, service, path, opts) end
  function context.run(method, service, path, opts) return rest.run(context, method, service, path, opts) end
  return context
end

-- ---- plan ----------------------------------------------------------------------------------------------------------

--- Plans a resource.
---@param spec sandbox.provider.Resource
---@param context table
---@param prior table?
---@param proposed table
---@param config table
---@return table planned
---@return table[] requires_replace
function M.plan(spec, context, prior, proposed, config)
  local block = spec.block
  for _, name in ipairs { "project", "region", "zone" } do
    local attribute = block.attributes[name]
    if attribute and attribute.computed and attribute.optional and config[name] == nil then
      local default = parameter(name, { zone = proposed.zone }, context.provider)
      if prior == nil or (default and not values.same_reference(prior[name], default)) then proposed[name] = default end
    end
  end
  return plan.make(setmetatable({ plan = function(planned)
    labels.plan(spec, planned, prior, context)
    if spec.plan then spec.plan(planned, prior, config, context) end
  end }, { __index = spec }), prior, proposed, config, context)
end

-- ---- create, read, update, delete ----------------------------------------------------------------------------------

local function full_body(spec, context, planned)
  local body = mapping.body(spec, planned, context)
  if spec.block.attributes.effective_labels and planned.effective_labels and next(planned.effective_labels) then
    body[spec.labels or "labels"] = planned.effective_labels
  end
  if spec.block.attributes.effective_annotations and planned.effective_annotations
    and next(planned.effective_annotations) then
    body.annotations = planned.effective_annotations
  end
  if spec.body then body = spec.body(body, planned, context) or body end
  return body
end

local function to_state(spec, context, object, prior, importing)
  if spec.object then object = spec.object(object, context) or object end
  local state = mapping.state(spec, object, not importing and prior or nil)
  if importing then
    for name in pairs(spec.client) do state[name] = prior[name] end
    if spec.block.attributes.deletion_policy then state.deletion_policy = "DELETE" end
  end
  for name in pairs(spec.located) do
    local attribute = spec.block.attributes[name]
    if attribute and (state[name] == nil or state[name] == values.unknown) and not (spec.client[name]
      and not spec.id) then
      state[name] = parameter(name, prior, context.provider)
    end
  end
  labels.read(spec, state, prior, object[spec.labels or "labels"], object.annotations)
  if spec.id then
    state.id = context.fill(spec.id)
  end
  if spec.state then spec.state(state, object, prior, context, importing) end
  return values.known(state)
end

local function get(spec, context, prior)
  if spec.read_with then return spec.read_with(context, prior) end
  return rest.call(context, "GET", spec.service, context.fill(spec.path))
end

--- Reads a resource.
---@async
---@param spec sandbox.provider.Resource
---@param context table
---@param prior table  the state before
---@param importing? boolean
---@return table|false|nil state  false: it is gone
---@return ws.Error? err
function M.read(spec, context, prior, importing)
  local object, err = get(spec, context, prior)
  if object == nil then
    if err.status == 404 then return false end
    return nil, err
  end
  if object == false then return false end
  return to_state(spec, context, object, prior, importing)
end

--- Creates a resource.
---@async
---@param spec sandbox.provider.Resource
---@param context table
---@param planned table
---@return table? state  with an error: what exists so far
---@return ws.Error? err
function M.create(spec, context, planned)
  local answer, err
  local body = full_body(spec, context, planned)
  if spec.create_with then
    answer, err = spec.create_with(context, planned, body)
  else
    local how = spec.create or {}
    local query = {}
    for k, v in pairs(how.query or {}) do query[k] = context.fill(v) end
    answer, err = rest.run(context, how.method or "POST", spec.service, context.fill(how.path or spec.collection),
      { body = body, query = query })
  end
  if not answer then return nil, err end
  if spec.identify then spec.identify(planned, answer, context) end
  if spec.after_create then
    local ok
    ok, err = spec.after_create(context, planned, answer)
    if not ok then return M.read(spec, context, planned) or nil, err end
  end
  local state
  state, err = M.read(spec, context, planned)
  if state then return state end
  return nil, err or error_object.new { kind = "not_found", message = "it was created, and is not there any more" }
end

--- The fingerprint that the API wants with a change: the present one, as calls before this may have changed it.
local function current_fingerprint(spec, context)
  local attribute = spec.block.attributes.fingerprint
  if not attribute or not attribute.computed then return nil end
  local object, err = rest.call(context, "GET", spec.service, context.fill(spec.path))
  if not object then error(err, 0) end
  return object.fingerprint
end

--- Sends what changed and has no call of its own.
local function send_update(spec, context, planned, prior, changed)
  if type(spec.update) == "function" then return spec.update(context, planned, prior, changed) end
  local full = full_body(spec, context, planned)
  local path = context.fill(spec.path)
  if spec.update == "PUT" then
    full.fingerprint = current_fingerprint(spec, context)
    return rest.run(context, spec.update_method or "PUT", spec.service, path, { body = full })
  end
  local body, mask = json.object(), {}
  for name in pairs(changed) do
    local key = name == "effective_labels" and (spec.labels or "labels") or name == "effective_annotations"
      and "annotations"
      or mapping.body_key(spec, name)
    if key and body[key] == nil then
      body[key] = full[key] == nil and json.null or full[key]
      mask[#mask + 1] = key
    end
  end
  if #mask == 0 then return true end
  body.fingerprint = current_fingerprint(spec, context)
  table.sort(mask)
  local query = spec.update_mask and { updateMask = table.concat(mask, ",") } or nil
  if spec.wrap_update then body = spec.wrap_update(body, planned, context) end
  return rest.run(context, "PATCH", spec.service, path, { body = body, query = query })
end

--- Changes a resource in place.
---@async
---@param spec sandbox.provider.Resource
---@param context table
---@param prior table
---@param planned table
---@return table? state
---@return ws.Error? err
function M.update(spec, context, prior, planned)
  local changed = plan.differences(spec.block.type, prior, planned)
  for _, name in ipairs { "id", "annotations", "terraform_labels" } do changed[name] = nil end
  if spec.block.attributes.terraform_labels then changed[spec.label_attribute or "labels"] = nil end
  for name in pairs(changed) do
    local attribute = spec.block.attributes[name]
    local computed = attribute and not attribute.optional and not attribute.required
    if (spec.client[name] or computed) and not spec.updates[name] then changed[name] = nil end
  end
  for _, action in ipairs(spec.actions or {}) do
    local wanted = false
    for _, name in ipairs(action.fields) do
      wanted = wanted or changed[name]
      changed[name] = nil
    end
    if wanted then
      local ok, err = action.run(context, planned, prior)
      if not ok then return M.read(spec, context, prior) or nil, err end
    end
  end
  if next(changed) then
    local ok, err = send_update(spec, context, planned, prior, changed)
    if not ok then return M.read(spec, context, prior) or nil, err end
  end
  local state, err = M.read(spec, context, planned)
  if state then return state end
  return nil, err or error_object.new { kind = "not_found", message = "it was deleted while it was being changed" }
end

--- Deletes a resource; that it is gone already is fine.
---@async
---@param spec sandbox.provider.Resource
---@param context table
---@param prior table
---@return boolean? done
---@return ws.Error? err
function M.delete(spec, context, prior)
  if prior.deletion_policy == "ABANDON" then return true end
  if prior.deletion_policy == "PREVENT" then
    return nil, error_object.new { kind = "precondition", message = "deletion_policy is PREVENT" }
  end
  if spec.block.attributes.deletion_protection and prior.deletion_protection == true then
    return nil, error_object.new { kind = "precondition",
      message = "cannot destroy it while deletion_protection is true",
      hint = "set deletion_protection = false, apply, then destroy" }
  end
  local ok, err
  if spec.delete_with then
    ok, err = spec.delete_with(context, prior)
  else
    ok, err = rest.run(context, "DELETE", spec.service, context.fill(spec.path))
  end
  if ok or err.status == 404 then return true end
  return nil, err
end

-- ---- import --------------------------------------------------------------------------------------------------------

local function split(text)
  local parts = {}
  for part in text:gmatch("[^/]+") do parts[#parts + 1] = part end
  return parts
end

--- The values of the placeholders of a format, when the id has its form.
local function match_format(format, id)
  local names = {}
  local pattern = format:gsub("[%-%.%+%*%?%^%$%(%)%%]", "%%%0"):gsub("{([%w_]+)}", function(name)
    names[#names + 1] = name
    return "([^/]+)"
  end)
  local found = { id:match("^" .. pattern .. "$") }
  if not found[1] then return nil end
  local result = {}
  for i, name in ipairs(names) do result[name] = found[i] end
  return result
end

--- What an import id names: the full id, or its variable parts with or without project and place.
---@param spec sandbox.provider.Resource
---@param id string
---@return table? state  what is known of it
function M.parse_import(spec, id)
  if spec.import then return spec.import(id) end
  local full = match_format(spec.id, values.tail(id))
  if full then return full end
  local names, parts = {}, split(id)
  for name in spec.id:gmatch("{([%w_]+)}") do names[#names + 1] = name end
  local function drop(gone)
    local left = {}
    for _, name in ipairs(names) do
      if not gone[name] then left[#left + 1] = name end
    end
    return left
  end
  for _, form in ipairs { names, drop { project = true }, drop { project = true, region = true, zone = true,
    location = true } } do
    if #form == #parts then
      local state = {}
      for i, name in ipairs(form) do state[name] = parts[i] end
      return state
    end
  end
end

return M
