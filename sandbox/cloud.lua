--- The sandbox as a function from request to response: store, services, and what every request goes through.
---
--- A request passes, in this order: route, fault rules, credentials, "is this API enabled in the project", handler.
--- Nothing here listens or knows about processes; `sandbox.daemon` does, and tests call `Cloud:handle`.
local json = require "ws.json"
local time = require "ws.time"
local log = require "ws.log"
local reply = require "sandbox.reply"
local router = require "sandbox.router"

local M = {}

--- The services, each a file that adds its routes. The order is that of the documentation.
local SERVICES = {
  "admin", "oauth", "metadata", "resourcemanager", "serviceusage", "iam", "storage", "compute", "servicenetworking",
  "container", "sqladmin", "dns", "pubsub", "secretmanager", "functions", "monitoring", "artifactregistry", "registry",
  "charts",
}

---@class sandbox.Cloud
---@field store sandbox.Store
---@field operations sandbox.Operations
---@field policies sandbox.Policies
---@field faults sandbox.Faults
---@field dir string  folder of the state
local Cloud = {}
Cloud.__index = Cloud

---@class sandbox.Service
---@field error? function  how its errors look, when that is not the form of Google's APIs; see sandbox.faults
local Service = {}
Service.__index = Service

---@class sandbox.Context
---@field method string
---@field path string  undecoded
---@field query table<string, string>
---@field headers table<string, string>
---@field params table<string, string>  of the route, decoded; `project` is always the id
---@field base string  the address that the client used, e.g. "http://127.0.0.1:8080"
---@field cloud sandbox.Cloud
---@field req table  of the HTTP server
local Context = {}
Context.__index = Context

--- The body as a JSON object; an empty body is an empty object. Fails the request with 400 when it is neither.
---@async
---@return table
function Context:json()
  if self.decoded then return self.decoded end
  local body, err = self.req:body()
  if not body then reply.fail(400, "badRequest", "The body could not be read: " .. tostring(err)) end
  local value = {}
  if body:find("%S") then
    local problem
    value, problem = json.decode(body)
    if type(value) ~= "table" then
      reply.fail(400, "parseError", "Parse Error: " .. tostring(problem or "an object is expected"))
    end
  end
  self.decoded = value
  return value
end

--- Adds a route; `opts.anonymous` lets requests without credentials in.
---@param method string  "GET", or several: "PUT|POST"
---@param pattern string  see sandbox.router
---@param handler fun(c: sandbox.Context): any
---@param opts? { anonymous?: boolean }
function Service:on(method, pattern, handler, opts)
  self.cloud.router:on(method, pattern, handler, { service = self, anonymous = opts and opts.anonymous })
end

--- Declares a service.
---@param name string  as in fault rules: "compute"
---@param opts { prefixes: string[], api?: string, anonymous?: boolean|string }  first path segments; the API to enable
---  in the project; whether requests need no credentials (`"emulator"`: unless `auth` is "google")
---@return sandbox.Service
function Cloud:service(name, opts)
  local service = setmetatable({ cloud = self, name = name, api = opts.api, anonymous = opts.anonymous }, Service)
  self.services[name] = service
  for _, prefix in ipairs(opts.prefixes) do self.prefixes[prefix] = service end
  return service
end

--- Makes a sandbox over a folder and loads what is stored there. No port is opened.
---@param opts { dir: string, operation_seconds?: number[], auth?: string, project_root?: string }  operations take
---  between the two numbers, default 0.05 to 0.3; `auth`: "emulator" (default), "google" or "off"; `project_root`:
---  where manifests and charts lie
---@return sandbox.Cloud? cloud
---@return ws.Error? err
function M.new(opts)
  local store, err = require "sandbox.store".open(opts.dir)
  if not store then return nil, err end
  local self = setmetatable({
    dir = opts.dir, store = store, router = router.new(), services = {}, prefixes = {}, closers = {}, inventories = {},
    auth = opts.auth or "emulator", project_root = opts.project_root, started_at = time.now(),
  }, Cloud)
  self.operations = require "sandbox.operations".new(store, opts.operation_seconds or { 0.05, 0.3 })
  self.policies = require "sandbox.policies".new(store)
  self.faults = require "sandbox.faults".new(store)
  for _, name in ipairs(SERVICES) do require("sandbox." .. name)(self) end
  return self
end

--- Calls `fn` when the sandbox closes.
---@param fn function
function Cloud:on_close(fn)
  table.insert(self.closers, 1, fn)
end

--- Adds resources to `/_sandbox/resources`.
---@param fn fun(add: fun(kind: string, name: string, labels?: table, note?: string))
function Cloud:on_inventory(fn)
  self.inventories[#self.inventories + 1] = fn
end

--- Ends what the services run beside requests and closes the store.
---@async
function Cloud:close()
  for _, fn in ipairs(self.closers) do fn() end
  self.store:close()
end

local function is_enabled(self, api, project)
  return self.store:collection("serviceusage"):get(project .. "/" .. api) ~= nil
end

--- 401 unless the request has credentials, a token that is known to have ended does not count.
local function check_credentials(self, c, tag)
  local service = tag.service
  if self.auth == "off" or tag.anonymous or service.anonymous == true then return end
  local token = (c.headers.authorization or ""):match("^%a+%s+(%S.*)$")
  if not token and service.anonymous == "emulator" and self.auth == "emulator" then return end
  local known = token and self.store:collection("tokens"):get(token)
  if token and not (known and known.expires_at < time.now()) then return end
  reply.abort(reply.json(reply.error_body(401, token and "authError" or "required",
    token and "Request had invalid authentication credentials. Expected OAuth 2 access token."
      or "Request is missing required authentication credential. Expected OAuth 2 access token."), 401,
    { ["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/"' }))
end

--- Turns a project's number into its id; fails the request for a project that does not exist or that has not enabled
--- the API.
local function check_project(self, c, service)
  local given = c.params.project
  if not given or given == "-" or service.name == "resourcemanager" then return end
  local project = self:project(given)
  if not project then
    if service.name == "compute" then reply.not_found("projects/" .. given) end
    reply.fail(403, "forbidden", ("Permission denied on resource project %s. (The sandbox has no such project.)")
      :format(given), "PERMISSION_DENIED")
  end
  c.params.project = project.projectId
  if service.api and not project.public and not is_enabled(self, service.api, project.projectId) then
    reply.fail(403, "accessNotConfigured", ("%s has not been used in project %s before or it is disabled. Enable it "
      .. "and then retry."):format(service.api, project.projectNumber), "PERMISSION_DENIED")
  end
end

--- Projects of Google that everybody may read images from.
local PUBLIC_PROJECTS = {
  ["debian-cloud"] = true, ["ubuntu-os-cloud"] = true, ["cos-cloud"] = true, ["rocky-linux-cloud"] = true,
  ["centos-cloud"] = true, ["rhel-cloud"] = true, ["fedora-coreos-cloud"] = true,
}

--- The project with that id or number, nil when there is none.
---@param given string
---@return table?
function Cloud:project(given)
  local projects = self.store:collection "projects"
  local project = projects:get(given)
  if project then return project end
  if given:find("^%d+$") then
    for _, candidate in ipairs((projects:list())) do
      if candidate.projectNumber == given then return candidate end
    end
  end
  if PUBLIC_PROJECTS[given] then return { projectId = given, projectNumber = "0", public = true } end
end

--- Like `project`, but fails the request with 403 when there is none, as Google does.
---@param given string
---@return table
function Cloud:need_project(given)
  return self:project(given) or reply.fail(403, "forbidden", "The caller does not have permission")
end

local function not_emulated(req)
  return reply.json(reply.error_body(501, "notImplemented",
    ("The sandbox does not emulate %s %s. docs/sandbox.md lists what it does."):format(req.method, req.path)), 501)
end

--- Versions of an API that differ from the served one only in what they add.
local OTHER_VERSIONS = {
  ["^/compute/beta/"] = "/compute/v1/", ["^/compute/alpha/"] = "/compute/v1/",
  ["^/container/v1beta1/"] = "/container/v1/", ["^/sql/v1/"] = "/sql/v1beta4/",
  ["^/artifactregistry/v1beta2/"] = "/artifactregistry/v1/", ["^/dns/v1beta2/"] = "/dns/v1/",
}

local function canonical_version(path)
  for pattern, served in pairs(OTHER_VERSIONS) do
    local changed, count = path:gsub(pattern, served)
    if count > 0 then return changed end
  end
  return path
end

local function respond(self, req)
  local path = canonical_version(req.path)
  local handler, params, tag = self.router:match(req.method, path)
  local service = tag and tag.service or self.prefixes[path:match("^/([^/]*)")]
  if not handler and (not service or self.objects.buckets:get(path:match("^/([^/]*)"))) then
    service = self.fallback.service
    handler, params, tag = self.fallback.handler, {}, { service = service }
  end
  local broken, change
  if not service or service.name ~= "admin" then
    broken, change = self.faults:apply(service and service.name or "unknown", req, service and service.error)
    if broken then return broken end
  end
  if not handler then return not_emulated(req) end
  local c = setmetatable({
    req = req, method = req.method, path = path, query = req.query, headers = req.headers, params = params,
    cloud = self,
    base = ("%s://%s"):format(req.tls and "https" or "http", req.headers.host or "127.0.0.1"),
  }, Context)
  check_credentials(self, c, tag)
  check_project(self, c, service)
  local result = handler(c)
  if not reply.is_raw(result) then result = reply.json(result) end
  return change and change(result) or result
end

local function on_error(err)
  if reply.of_failure(err) or (type(err) == "table" and err.kind == "cancelled") then return err end
  return { text = tostring(err), traceback = debug.traceback(nil, 2) }
end

--- Answers one request. Never fails: what a handler raises becomes an error response.
---@async
---@param req table  a request of ws.server
---@return table response
function Cloud:handle(req)
  local started = time.monotonic()
  local ok, result = xpcall(respond, on_error, self, req)
  if not ok then
    if result.kind == "cancelled" then error(result, 0) end
    local failure = reply.of_failure(result)
    if not failure then
      log.error(("%s %s: %s\n%s"):format(req.method, req.path, result.text, result.traceback))
      failure = reply.json(reply.error_body(500, "internalError", "The sandbox failed: " .. result.text), 500)
    end
    result = failure
  end
  if self.on_request then self.on_request(req, result.status, time.monotonic() - started) end
  return result
end

return M
