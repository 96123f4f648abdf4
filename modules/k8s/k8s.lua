--- Kubernetes over its REST API: get, list, create, server-side apply, patch, delete, watch, logs.
local discovery = require "ws.k8s.discovery"
local errors = require "ws.error"
local fence = require "ws.fence"
local http = require "ws.http"
local json = require "ws.json"
local kubeconfig = require "ws.k8s.kubeconfig"
local native = require "ws.engine".native
local retry = require "ws.gcp.retry"
local secret = require "ws.secret"
local task = require "ws.task"

local M = {}

local TIMEOUT = 30         -- seconds for one request
local WATCH_SECONDS = 300  -- seconds after which a watch is renewed
local PAGE = 500           -- objects of one page of a list
local METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

---@class ws.k8s.Client
local Client = {}
Client.__index = Client

local client_options = { server = true, ca_data = true, ca_file = true, cert_data = true, key_data = true, token = true,
  project = true }

---@class ws.k8s.ClientOptions
---@field server string  URL
---@field ca_data? string  the cluster's authority, PEM text
---@field ca_file? string  or the path of a file with it
---@field cert_data? string  this client's certificate, PEM text
---@field key_data? string|ws.Secret  its key, PEM text
---@field token? string|ws.Secret|(fun(): ws.Secret?, ws.Error?)  a function is asked before every request

--- Makes a client of a cluster. Raises on an unknown option or without a server.
---
--- ```lua
--- local api = assert(k8s.client { server = "https://127.0.0.1:6443", ca_data = pem, token = token })
--- ```
---@param opts ws.k8s.ClientOptions
---@return ws.k8s.Client client
function M.client(opts)
  for key in pairs(opts) do
    if not client_options[key] then error(("k8s.client: unknown option '%s'"):format(tostring(key)), 2) end
  end
  if not opts.server then error("k8s.client needs a server", 2) end
  local self = setmetatable({ server = opts.server:gsub("/+$", ""), token = opts.token,
    ca = opts.ca_data or opts.ca_file, cert = opts.cert_data, key = opts.key_data }, Client)
  self.discovery = discovery.new(function(path) return self:request { path = path } end)
  return self
end

--- Makes a client of the cluster that a kubeconfig names: token, token file, client certificate or exec plugin.
---@async
---@param source string|table  path of the file, or what it contains
---@param opts? { context?: string }  default: its current-context
---@return ws.k8s.Client? client
---@return ws.Error? err  kinds `not_found` (file or context), `parse`, `invalid`, `unsupported`
function M.from_kubeconfig(source, opts)
  local options, err = kubeconfig.options(source, opts and opts.context)
  if not options then return nil, err end
  return M.client(options)
end

local kinds = { [400] = "invalid", [401] = "unauthenticated", [403] = "denied", [404] = "not_found", [409] = "conflict",
  [410] = "not_found", [415] = "unsupported", [422] = "invalid", [429] = "exhausted", [503] = "unavailable" }

local function error_of(answer, what)
  local status = json.decode(answer.body or "")
  if type(status) ~= "table" then status = {} end
  local kind = kinds[answer.status] or (answer.status >= 500 and "unavailable" or "failed")
  if status.reason == "AlreadyExists" then kind = "exists" end
  return errors.new { kind = kind, op = "k8s", status = answer.status, reason = status.reason,
    retryable = retry.is_retryable_status(answer.status),
    message = ("%s: %d %s"):format(what, answer.status, status.message or (answer.body or ""):sub(1, 200)) }
end

local function headers_of(self, opts)
  local headers = { accept = opts.accept or "application/json", ["content-type"] = opts.content_type }
  local token, err = self.token, nil
  if type(token) == "function" then token, err = token() end
  if err then return nil, err end
  if token then headers.authorization = secret.join("Bearer ", token) end
  return headers
end

--- Sends a request to the cluster. GET is tried again after lost connections, 429 and 5xx.
---@async
---@param opts { path: string, method?: string, query?: table, body?: any, content_type?: string, timeout?: number,
---  sink?: function, text?: boolean, accept?: string, reads?: boolean }  `text`: return the body as it is; `reads`: it
---  changes nothing, whatever its method says
---@return any? value
---@return ws.Error? err
function Client:request(opts)
  local method = opts.method or "GET"
  local url = self.server .. opts.path
  if opts.query and next(opts.query) ~= nil then url = url .. "?" .. http.query(opts.query) end
  local body = opts.body
  if type(body) == "table" then body = json.encode(body, { secrets = true }) end
  return retry.run(function()
    local headers, problem = headers_of(self, opts)
    if not headers then return true, nil, problem end
    if method ~= "GET" then
      local allowed, lost = fence.check()
      if not allowed then return true, nil, lost end
    end
    local answer, err = http.request { method = method, url = url, headers = headers, body = body, sink = opts.sink,
      reads = opts.reads, ca = self.ca, cert = self.cert, key = self.key, timeout = opts.timeout or TIMEOUT,
      stall_timeout = opts.sink and 0 or nil } -- a watch may be silent as long as it lasts
    if not answer then
      if method == "GET" and err.retryable and not opts.sink then return false, nil, nil, err end
      return true, nil, err
    end
    if answer.status < 400 then
      if opts.text or opts.sink then return true, answer.body or "" end
      return true, json.decode(answer.body)
    end
    local failure = error_of(answer, ("%s %s"):format(method, opts.path))
    if method == "GET" and failure.retryable then
      return false, retry.retry_after(answer.headers["retry-after"]), nil, failure
    end
    return true, nil, failure
  end)
end

---@class ws.k8s.Reference
---@field api_version string
---@field kind string
---@field name? string
---@field namespace? string  default: `default` for kinds that have namespaces

--- The path of an object or, without a name, of its collection.
---@async
---@param ref ws.k8s.Reference
---@param every_namespace? boolean
---@return string? path
---@return ws.Error? err
function Client:path(ref, every_namespace)
  local resource, err = self.discovery:find(ref.api_version, ref.kind)
  if not resource then return nil, err end
  local parts = { discovery.prefix(ref.api_version) }
  if resource.namespaced and (ref.namespace or not every_namespace) then
    parts[#parts + 1] = "/namespaces/" .. http.url_encode(ref.namespace or "default")
  end
  parts[#parts + 1] = "/" .. resource.name
  if ref.name then parts[#parts + 1] = "/" .. http.url_encode(ref.name) end
  return table.concat(parts)
end

--- Reads an object.
---@async
---@param ref ws.k8s.Reference
---@return table? object
---@return ws.Error? err  kinds: `not_found`, `denied`, ...
function Client:get(ref)
  local path, err = self:path(ref)
  if not path then return nil, err end
  return self:request { path = path }
end

local function selectors(ref)
  return { labelSelector = ref.labels, fieldSelector = ref.fields }
end

--- Lists the objects of a kind, in one namespace or in all.
---@async
---@param ref { api_version: string, kind: string, namespace?: string, labels?: string, fields?: string,
---  metadata?: boolean }  `labels` and `fields` are selectors as kubectl takes them; `metadata`: nothing else of each
---  object, for those that are large
---@return { items: table[], resource_version: string }? list
---@return ws.Error? err
function Client:list(ref)
  local path, err = self:path(ref, true)
  if not path then return nil, err end
  local query, items = selectors(ref), {}
  query.limit = tostring(PAGE)
  repeat
    local page, problem = self:request { path = path, query = query, accept = ref.metadata and METADATA or nil }
    if not page then return nil, problem end
    local found = page.items ~= json.null and page.items or {} -- a list of metadata may have null for no items
    table.move(found, 1, #found, #items + 1, items)
    local meta = page.metadata or {}
    query.continue = meta.continue
    if not query.continue or query.continue == "" then
      return { items = items, resource_version = meta.resourceVersion }
    end
  until false
end

local function reference_of(object)
  if type(object) ~= "table" or not object.apiVersion or not object.kind or not object.metadata then
    error("an object needs apiVersion, kind and metadata", 3)
  end
  return { api_version = object.apiVersion, kind = object.kind, name = object.metadata.name,
    namespace = object.metadata.namespace }
end

--- Creates an object; values may be secrets.
---@async
---@param object table
---@return table? created
---@return ws.Error? err  kinds: `exists`, `invalid`, `denied`, ...
function Client:create(object)
  local ref = reference_of(object)
  ref.name = nil
  local path, err = self:path(ref)
  if not path then return nil, err end
  return self:request { path = path, method = "POST", body = object, content_type = "application/json" }
end

--- Makes an object what is given, by server-side apply; values may be secrets.
--- https://kubernetes.io/docs/reference/using-api/server-side-apply/
---@async
---@param object table
---@param opts? { manager?: string, force?: boolean, dry_run?: boolean }  force: take fields that others own; dry_run:
---  only return what would come of it
---@return table? object
---@return ws.Error? err  kinds: `conflict` (another manager owns a field), `invalid`, `denied`, ...
function Client:apply(object, opts)
  local path, err = self:path(reference_of(object))
  if not path then return nil, err end
  return self:request { path = path, method = "PATCH", body = object, content_type = "application/apply-patch+yaml",
    query = { fieldManager = opts and opts.manager or "wsrun", force = opts and opts.force and "true" or "false",
      dryRun = opts and opts.dry_run and "All" or nil }, reads = opts and opts.dry_run or nil }
end

--- Changes some fields of an object by a merge patch (RFC 7396).
---@async
---@param ref ws.k8s.Reference
---@param patch table
---@return table? object
---@return ws.Error? err
function Client:patch(ref, patch)
  local path, err = self:path(ref)
  if not path then return nil, err end
  return self:request { path = path, method = "PATCH", body = patch, content_type = "application/merge-patch+json" }
end

--- Deletes an object.
---@async
---@param ref ws.k8s.Reference|{ propagation?: "Background"|"Foreground"|"Orphan" }
---@return true? ok
---@return ws.Error? err  kind `not_found`, ...
function Client:delete(ref)
  local path, err = self:path(ref)
  if not path then return nil, err end
  local ok, problem = self:request { path = path, method = "DELETE", content_type = "application/json",
    body = { kind = "DeleteOptions", apiVersion = "v1", propagationPolicy = ref.propagation or "Background" } }
  if not ok then return nil, problem end
  return true
end

--- Text of a container's log.
---@async
---@param ref { name: string, namespace?: string, container?: string, previous?: boolean, tail?: integer }
---@return string? text
---@return ws.Error? err
function Client:logs(ref)
  return self:request { text = true, query = { container = ref.container, previous = ref.previous and "true" or nil,
    tailLines = ref.tail and tostring(ref.tail) or nil },
    path = ("/api/v1/namespaces/%s/pods/%s/log"):format(ref.namespace or "default", http.url_encode(ref.name)) }
end

--- Sends a GET to a service, through the API server: it reaches what has no address outside the cluster. An answer of
--- any status is a result; tried once.
--- https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/
---
--- ```lua
--- local answer = assert(api:ask({ name = "web", namespace = "blue", port = "http" }, "/healthz"))
--- ```
---@async
---@param ref { name: string, namespace?: string, port?: string|integer, scheme?: "http"|"https" }
---@param path string  with its query
---@param opts? { timeout?: number }  seconds, default 30
---@return ws.http.Response? answer  503 when no pod of the service is ready
---@return ws.Error? err  kinds: `timeout`, `connection`, `tls`
function Client:ask(ref, path, opts)
  local headers, problem = headers_of(self, {})
  if not headers then return nil, problem end
  local name = ref.name .. (ref.port and ":" .. ref.port or "")
  if ref.scheme then name = ref.scheme .. ":" .. (ref.port and name or name .. ":") end
  return http.request { headers = headers, ca = self.ca, cert = self.cert, key = self.key, follow = false,
    timeout = opts and opts.timeout or TIMEOUT, url = ("%s/api/v1/namespaces/%s/services/%s/proxy/%s"):format(
      self.server, http.url_encode(ref.namespace or "default"), http.url_encode(name), (path:gsub("^/+", ""))) }
end

--- Follows the changes of a kind: calls `on_event(type, object)` for what is there (ADDED) and for every change, until
--- it returns true or the time is up. A watch that ends or is too old is begun again.
---@async
---@param ref { api_version: string, kind: string, namespace?: string, labels?: string, fields?: string,
---  timeout?: number }  timeout in seconds, default 3600
---@param on_event fun(type: string, object: table): boolean?
---@return true? ok    on_event said true
---@return ws.Error? err  kind `timeout`, ...
function Client:watch(ref, on_event)
  local path, err = self:path(ref, true)
  if not path then return nil, err end
  local deadline = native.monotonic() + (ref.timeout or 3600)
  while true do
    local list, problem = self:list(ref)
    if not list then return nil, problem end
    for _, object in ipairs(list.items) do
      if on_event("ADDED", object) then return true end
    end
    local done
    done, problem = self:follow(path, ref, list.resource_version, deadline, on_event)
    if done then return true end
    if problem and not problem.retryable then return nil, problem end
    if native.monotonic() >= deadline then
      return nil, errors.new { kind = "timeout", op = "k8s.watch",
        message = ("%s did not become what was waited for in %.0f s"):format(ref.kind, ref.timeout or 3600) }
    end
    task.sleep(problem and 1 or 0)
  end
end

--- One watch request from a resource version on. Returns true when on_event did.
function Client:follow(path, ref, version, deadline, on_event)
  local left = math.min(WATCH_SECONDS, math.max(1, deadline - native.monotonic()))
  local query = selectors(ref)
  query.watch, query.resourceVersion, query.allowWatchBookmarks = "true", version, "true"
  query.timeoutSeconds = tostring(math.ceil(left))
  local rest, done, watching = "", false, nil
  watching = task.spawn(function()
    return self:request { path = path, query = query, timeout = left + TIMEOUT, sink = function(chunk)
      rest = rest .. chunk
      for line in rest:gmatch("(.-)\n") do
        local event = json.decode(line)
        if event and event.type ~= "BOOKMARK" and event.type ~= "ERROR" and on_event(event.type, event.object) then
          done = true
          watching:cancel()
          return
        end
      end
      rest = rest:match("[^\n]*$")
    end }
  end)
  local _ <close> = setmetatable({}, { __close = function() watching:cancel() end })
  local ok, value, err = watching:join(left + TIMEOUT)
  if done then return true end
  if not ok then return nil, value end
  if value == nil then return nil, err end
  return nil
end

local function has_condition(name)
  return function(object)
    for _, condition in ipairs(object and object.status and object.status.conditions or {}) do
      if condition.type == name then return condition.status == "True" end
    end
    return false
  end
end

--- Waits until an object is as wanted.
---
--- ```lua
--- assert(api:wait({ api_version = "apps/v1", kind = "Deployment", name = "web" }, "Available", { timeout = 60 }))
--- ```
---@async
---@param ref ws.k8s.Reference
---@param wanted "deleted"|string|fun(object: table?): boolean?  the name of a condition that is to be True, or a
---  function that looks at the object (nil: there is none)
---@param opts? { timeout?: number }  seconds, default 300
---@return table|true|nil object  true when there is none
---@return ws.Error? err  kind `timeout`, `denied`, ...
function Client:wait(ref, wanted, opts)
  local test = wanted
  if wanted == "deleted" then
    test = function(object) return object == nil end
  elseif type(wanted) == "string" then
    test = has_condition(wanted)
  end
  local timeout = opts and opts.timeout or 300
  local deadline, pause = native.monotonic() + timeout, 0.1
  while true do
    local object, err = self:get(ref)
    if not object and err.kind ~= "not_found" then return nil, err end
    if test(object) then return object or true end
    if native.monotonic() >= deadline then
      return nil, errors.new { kind = "timeout", op = "k8s.wait",
        message = ("%s %s was not %s within %g s"):format(ref.kind, ref.name,
          type(wanted) == "string" and wanted or "as wanted", timeout) }
    end
    task.sleep(math.min(pause, math.max(0, deadline - native.monotonic())))
    pause = math.min(pause * 2, 2)
  end
end

--- Waits until the cluster answers /readyz.
---@async
---@param opts? { timeout?: number }  seconds, default 120
---@return true? ok
---@return ws.Error? err  kind `timeout` with what was wrong last
function Client:wait_ready(opts)
  local deadline = native.monotonic() + (opts and opts.timeout or 120)
  while true do
    local ok, err = self:request { path = "/readyz", text = true, timeout = 10 }
    if ok then return true end
    if native.monotonic() >= deadline or err.kind == "unauthenticated" or err.kind == "denied" or err.kind == "tls" then
      err.hint = err.hint or "is this machine's address in the manifest's ips_whitelist?"
      return nil, err
    end
    task.sleep(1)
  end
end

return M
