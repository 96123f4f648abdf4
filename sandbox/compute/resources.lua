--- The machinery that all Compute collections share: insert, get, list, patch, update, delete, labels, operations, and
--- "in use by another resource".
---
--- A stored resource is what a client gets, except for fields that begin with "_", which are the sandbox's own.
local crypto = require "ws.crypto"
local json = require "ws.json"
local time = require "ws.time"
local filter = require "sandbox.filter"
local links = require "sandbox.compute.links"
local operations = require "sandbox.operations"
local reply = require "sandbox.reply"
local values = require "sandbox.values"

local M = {}

--- The server's own fields; in bodies they are ignored.
local OUTPUT_ONLY = { "id", "selfLink", "creationTimestamp", "kind", "region", "zone", "status", "users" }

---@class sandbox.Compute
local Compute = {}
Compute.__index = Compute

--- Makes the machinery.
---@param cloud sandbox.Cloud
---@param service sandbox.Service
---@return sandbox.Compute
function M.new(cloud, service)
  return setmetatable({ cloud = cloud, service = service, definitions = {}, reference_checks = {} }, Compute)
end

--- The collection that a key belongs to; nil for what is not stored (zones, machine types).
function Compute:collection_of(key)
  local name = key:match("^projects/[^/]+/global/([^/]+)/[^/]+$")
    or key:match("^projects/[^/]+/%a+/[^/]+/([^/]+)/[^/]+$")
  return name and self.definitions[name] and self:of(name), name
end

--- The store's collection of a Compute collection.
---@param name string
---@return sandbox.Collection
function Compute:of(name)
  return self.cloud.store:collection("compute." .. name)
end

--- A resource by key or link, nil when there is none.
---@param key string
---@return table?
function Compute:find(key)
  key = links.key(key) or key
  local collection = self:collection_of(key)
  return collection and collection:get(key)
end

--- Like `find`, or 404.
function Compute:need(key)
  return self:find(key) or reply.not_found(links.key(key) or key)
end

--- A fresh fingerprint.
---@return string
function M.fingerprint()
  return crypto.base64_encode(crypto.random_bytes(8))
end

--- Refuses a fingerprint that is given and not the last one.
---@param given any
---@param current any
function M.check_fingerprint(given, current)
  if type(given) == "string" and given ~= "" and current and given ~= current then
    reply.fail(412, "conditionNotMet", "Invalid fingerprint.")
  end
end

--- What clients see of a resource.
---@param resource table
---@return table
function Compute:shown(resource)
  local copy = {}
  for key, value in pairs(resource) do
    if key:sub(1, 1) ~= "_" then copy[key] = value end
  end
  local _, name = self:collection_of(links.key(resource.selfLink))
  local definition = self.definitions[name]
  if definition.show then definition.show(copy, resource) end
  return copy
end

--- Starts an operation and gives its resource.
---@param key string  of the resource that it is about
---@param kind string  operationType: "insert", "delete", ...
---@param factor? number  times the usual duration
---@return table
function Compute:operation(key, kind, factor)
  local scope = key:match("^(projects/[^/]+/global)/") or key:match("^(projects/[^/]+/%a+/[^/]+)/")
    or key:match("^(projects/[^/]+)") .. "/global"
  local name = ("operation-%d-%s"):format(math.floor(time.now() * 1000), crypto.random_hex(12))
  local target = self:find(key)
  local record = self.cloud.operations:start(("compute/%s/operations/%s"):format(scope, name), {
    name = name, type = kind, target = links.PREFIX .. key, scope = scope, target_id = target and target.id,
    factor = factor,
  })
  return self.render_operation(record)
end

--- The resource of an operation.
function Compute.render_operation(record)
  local done = operations.done(record)
  local base = links.PREFIX .. record.scope
  local stamp = function(t) return time.rfc3339(t) end
  return {
    kind = "compute#operation", id = record.id, name = record.name, operationType = record.type,
    targetLink = record.target, targetId = record.target_id, user = "sandbox@example.com",
    status = done and "DONE" or "RUNNING", progress = done and 100 or 0, insertTime = stamp(record.started_at),
    startTime = stamp(record.started_at), endTime = done and stamp(record.done_at) or nil,
    selfLink = base .. "/operations/" .. record.name, error = done and record.error or nil,
    zone = record.scope:find("/zones/") and base or nil, region = record.scope:find("/regions/") and base or nil,
  }
end

--- The first resource that refers to the one with this key; nil when it is free.
function Compute:user_of(key)
  local link = links.PREFIX .. key
  for _, name in ipairs(values.keys(self.definitions)) do
    local collection = self:of(name)
    for _, other in ipairs(collection:keys()) do
      local used = other ~= key and links.each(collection:get(other), function(text) return text == link end)
      if used then return other end
    end
  end
  for _, check in ipairs(self.reference_checks) do
    local other = check(key)
    if other then return other end
  end
end

--- All resources that refer to the one with this key, as links.
function Compute:users_of(key, in_collection)
  local link, users = links.PREFIX .. key, json.array {}
  local collection = self:of(in_collection)
  for _, other in ipairs(collection:keys()) do
    if links.each(collection:get(other), function(text) return text == link end) then
      users[#users + 1] = links.PREFIX .. other
    end
  end
  return users
end

--- Lets other services say that they use a Compute resource: `fn(key)` gives the user's name or nil.
---@param fn fun(key: string): string?
function Compute:on_reference(fn)
  self.reference_checks[#self.reference_checks + 1] = fn
end

--- Refuses a body that refers to something that does not exist.
function Compute:check_references(body)
  links.each(body, function(text)
    local key = links.key(text)
    local collection = key and self:collection_of(key)
    if collection and not collection:get(key) and not key:find("/global/images/") then reply.not_found(key) end
  end)
end

local function check_name(name)
  if type(name) ~= "string" or #name > 63 or not name:find("^%l[a-z0-9-]*$") or name:find("-$") then
    reply.fail(400, "invalid", ("Invalid value for field 'resource.name': '%s'. Must be a match of regex "
      .. "'(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'"):format(tostring(name)))
  end
end

--- Stores a new resource in a scope such as "projects/p/zones/z". Fails the request when it cannot be.
---@param scope string
---@param name string  of the collection
---@param body table
---@return table resource
function Compute:create(scope, name, body)
  local definition, project = self.definitions[name], scope:match("^projects/([^/]+)")
  check_name(body.name)
  local key = ("%s/%s/%s"):format(scope, name, body.name)
  local collection = self:of(name)
  if collection:get(key) then
    reply.fail(409, "alreadyExists", ("The resource '%s' already exists"):format(key))
  end
  local resource = values.clean(links.normalize(self.cloud, project, body))
  for _, field in ipairs(OUTPUT_ONLY) do resource[field] = nil end
  self:check_references(resource)
  resource.kind, resource.id, resource.selfLink = definition.kind, values.id(), links.PREFIX .. key
  resource.creationTimestamp = time.rfc3339()
  local area = scope:match("^projects/[^/]+/(%a+)s/")
  if area then resource[area] = links.PREFIX .. scope end
  if definition.fingerprint then resource.fingerprint = M.fingerprint() end
  if definition.labels then resource.labelFingerprint = M.fingerprint() end
  if definition.prepare then definition.prepare(resource, key, project) end
  return collection:put(key, resource)
end

--- Removes a resource, unless something uses it.
---@param key string
function Compute:remove(key)
  self:need(key)
  local collection, name = self:collection_of(key)
  local definition = self.definitions[name]
  local user = self:user_of(key)
  if user then
    reply.fail(400, "resourceInUseByAnotherResource", ("The %s resource '%s' is already being used by '%s'")
      :format(definition.kind:match("#(.+)$"), key, user))
  end
  if definition.before_delete then definition.before_delete(collection:get(key), key) end
  local resource = collection:get(key)
  collection:delete(key)
  self.cloud.policies:drop("compute/" .. key)
  if definition.after_delete then definition.after_delete(resource, key) end
end

--- Changes a resource by merging (PATCH) or replacing (PUT) what the client may set.
function Compute:modify(key, body, replace)
  local resource = self:need(key)
  local collection, name = self:collection_of(key)
  local definition = self.definitions[name]
  local new = links.normalize(self.cloud, key:match("^projects/([^/]+)"), body)
  M.check_fingerprint(body.fingerprint, resource.fingerprint)
  for _, field in ipairs(OUTPUT_ONLY) do new[field] = nil end
  new.name, new.labelFingerprint = nil, nil
  self:check_references(new)
  return collection:update(key, function(r)
    if replace then
      local keep = { name = true, labels = true, labelFingerprint = true, securityPolicy = true }
      for _, field in ipairs(OUTPUT_ONLY) do keep[field] = true end
      for field in pairs(values.copy(r)) do
        if not keep[field] and field:sub(1, 1) ~= "_" then r[field] = nil end
      end
    end
    values.merge(r, new)
    if definition.fingerprint then r.fingerprint = M.fingerprint() end
    if definition.changed then definition.changed(r, key) end
  end)
end

--- The key of the resource that a request is about.
function M.key_of(c, collection)
  local p = c.params
  if p.zone then return ("projects/%s/zones/%s/%s/%s"):format(p.project, p.zone, collection, p.name) end
  if p.region then return ("projects/%s/regions/%s/%s/%s"):format(p.project, p.region, collection, p.name) end
  return ("projects/%s/global/%s/%s"):format(p.project, collection, p.name)
end

--- One page of a list, filtered, as the list methods answer.
function Compute.list(c, items, kind, self_link)
  local keep = filter.compile(c.query.filter)
  local shown = {}
  for _, item in ipairs(items) do
    if keep(item) then shown[#shown + 1] = item end
  end
  if c.query.orderBy == "creationTimestamp desc" then
    table.sort(shown, function(a, b) return a.creationTimestamp > b.creationTimestamp end)
    return { kind = kind, id = self_link, items = json.array(shown), selfLink = links.PREFIX .. self_link }
  end
  local function name_of(r) return r.name .. "\0" .. (r.selfLink or "") end
  table.sort(shown, function(a, b) return name_of(a) < name_of(b) end)
  local page, token = reply.page(shown, name_of, c.query.pageToken, c.query.maxResults or 500)
  return { kind = kind, id = self_link, items = #page > 0 and page or nil, nextPageToken = token,
    selfLink = links.PREFIX .. self_link }
end

local SCOPE_PATHS = { global = "/global", region = "/regions/{region}", zone = "/zones/{zone}" }

--- Declares a collection and adds its routes.
---@param name string  as in paths, e.g. "networks"
---@param definition { kind: string, scopes: string[], labels?: boolean, fingerprint?: boolean, prepare?: function,
---  changed?: function, before_delete?: function, after_delete?: function, show?: function, builtin?: function,
---  builtins?: function, slow?: number }
function Compute:define(name, definition)
  self.definitions[name] = definition
  local s, list_kind = self.service, definition.kind .. "List"
  for _, scope in ipairs(definition.scopes) do
    local base = "/compute/v1/projects/{project}" .. SCOPE_PATHS[scope] .. "/" .. name
    local one = base .. "/{name}"
    s:on("GET", base, function(c)
      local prefix = M.key_of({ params = { project = c.params.project, zone = c.params.zone, region = c.params.region,
        name = "" } }, name)
      local items = values.map(self:of(name):list(prefix), function(r) return self:shown(r) end)
      for _, item in ipairs(definition.builtins and definition.builtins(c.params.project) or {}) do
        items[#items + 1] = item
      end
      return self.list(c, items, list_kind, prefix:sub(1, -2))
    end)
    s:on("POST", base, function(c)
      self.check_area(c)
      local prefix = M.key_of(c, "x"):match("^(.*)/x/")
      local resource = self:create(prefix, name, c:json())
      return self:operation(links.key(resource.selfLink), "insert", definition.slow)
    end)
    s:on("GET", one, function(c)
      local builtin = definition.builtin and definition.builtin(c.params.project, c.params.name)
      return builtin or self:shown(self:need(M.key_of(c, name)))
    end)
    s:on("DELETE", one, function(c)
      local key = M.key_of(c, name)
      local operation = self:operation(key, "delete", definition.slow)
      local ok, err = pcall(self.remove, self, key)
      if not ok then
        self.cloud.operations:delete("compute/" .. links.key(operation.selfLink))
        error(err, 0)
      end
      return operation
    end)
    s:on("PATCH", one, function(c)
      local key = M.key_of(c, name)
      self:modify(key, c:json(), false)
      return self:operation(key, "patch")
    end)
    s:on("PUT", one, function(c)
      local key = M.key_of(c, name)
      self:modify(key, c:json(), true)
      return self:operation(key, "update")
    end)
    if definition.labels then
      s:on("POST", one .. "/setLabels", function(c)
        local key, body = M.key_of(c, name), c:json()
        M.check_fingerprint(body.labelFingerprint, self:need(key).labelFingerprint)
        self:of(name):update(key, function(r)
          r.labels = type(body.labels) == "table" and values.clean(body.labels) or nil
          r.labelFingerprint = M.fingerprint()
        end)
        return self:operation(key, "setLabels")
      end)
    end
    s:on("GET", one .. "/getIamPolicy", function(c)
      local key = M.key_of(c, name)
      self:need(key)
      return self.cloud.policies:get("compute/" .. key)
    end)
    s:on("POST", one .. "/setIamPolicy", function(c)
      local key, body = M.key_of(c, name), c:json()
      self:need(key)
      return self.cloud.policies:set("compute/" .. key, body.policy or body)
    end)
  end
  s:on("GET", "/compute/v1/projects/{project}/aggregated/" .. name, function(c)
    local prefix, keep, items = "projects/" .. c.params.project .. "/", filter.compile(c.query.filter), {}
    for _, resource in ipairs((self:of(name):list(prefix))) do
      local scope = links.key(resource.selfLink):match("^projects/[^/]+/(global)/")
        or links.key(resource.selfLink):match("^projects/[^/]+/(%a+/[^/]+)/")
      local shown = self:shown(resource)
      if keep(shown) then
        items[scope] = items[scope] or { [name] = json.array {} }
        table.insert(items[scope][name], shown)
      end
    end
    return { kind = definition.kind .. "AggregatedList", id = prefix .. "aggregated/" .. name,
      items = next(items) and items or json.object(), selfLink = links.PREFIX .. prefix .. "aggregated/" .. name }
  end)
end

--- Adds a method of a collection: POST .../{name}/METHOD. `fn(resource, body, c)` changes a copy, which is stored.
---@param name string
---@param method string
---@param fn fun(resource: table, body: table, c: sandbox.Context, key: string)
---@param opts? { short?: boolean, plain?: boolean }  `short`: also without `global/` in the path; `plain`: fn's result
---  is the answer and nothing is stored
function Compute:method(name, method, fn, opts)
  local function handler(c)
    local key, body = M.key_of(c, name), c:json()
    if opts and opts.plain then return fn(self:need(key), body, c, key) end
    local resource = self:need(key)
    local new = links.normalize(self.cloud, c.params.project, body)
    self:check_references(new)
    M.check_fingerprint(body.fingerprint, resource.fingerprint)
    self:of(name):update(key, function(r)
      fn(r, values.clean(new), c, key)
      if self.definitions[name].fingerprint then r.fingerprint = M.fingerprint() end
    end)
    return self:operation(key, method)
  end
  for _, scope in ipairs(self.definitions[name].scopes) do
    self.service:on("POST", ("/compute/v1/projects/{project}%s/%s/{name}/%s"):format(SCOPE_PATHS[scope], name, method),
      handler)
  end
  if opts and opts.short then
    self.service:on("POST", ("/compute/v1/projects/{project}/%s/{name}/%s"):format(name, method), handler)
  end
end

--- Refuses a zone or region that does not exist.
function Compute.check_area(c)
  local catalog = require "sandbox.compute.catalog"
  if c.params.zone then catalog.zone(c.params.project, c.params.zone) end
  if c.params.region then catalog.region(c.params.project, c.params.region) end
end

return M
