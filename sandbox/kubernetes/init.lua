--- The Kubernetes API of one cluster of the sandbox.
---
--- Everything that clients see is here and in the files of this folder: objects with optimistic concurrency, watches,
--- patches, server-side apply, custom resources, and controllers that make workloads ready after a moment. Nothing
--- runs in
--- the cluster. Objects outlive the process in the state folder.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local time = require "ws.time"
local bootstrap = require "sandbox.kubernetes.bootstrap"
local journal = require "sandbox.kubernetes.journal"
local resources = require "sandbox.kubernetes.resources"
local router = require "sandbox.kubernetes.router"
local reviews = require "sandbox.kubernetes.reviews"
local simulate = require "sandbox.kubernetes.simulate"
local store = require "sandbox.kubernetes.store"
local watch = require "sandbox.kubernetes.watch"

local M = {}

---@class kubernetes.Options
---@field name string  of the cluster
---@field dir? string  state folder; without one nothing is kept
---@field token string|fun(token: string): boolean|string  the admin's token, or who a token belongs to
---@field ca { cert: string, key: string|ws.Secret }  PEM; signs the server's certificate
---@field host? string  address to listen on, default 127.0.0.1
---@field nodes? integer  default 2
---@field region? string  of the nodes, default europe-west1
---@field pace? number  seconds that a container takes to start, default 0.4
---@field version? string  default v1.34.2
---@field images? fun(reference: string): sandbox.Pull?  what pulling an image gives; nil: it is somebody else's and is
---  taken to be there

---@class kubernetes.Api
---@field name string
---@field store kubernetes.Store
---@field resources kubernetes.Resources
---@field simulation kubernetes.Simulation
local Api = {}
Api.__index = Api

local OPTIONS = { name = "string", dir = "string", host = "string", nodes = "number", region = "string",
  pace = "number",
  version = "string", ca = "table", images = "function" }

local function check_options(opts)
  for key, value in pairs(opts) do
    if key == "token" then
      if type(value) ~= "string" and type(value) ~= "function" then error("kubernetes.new: token: a string or a "
        .. "function", 3) end
    elseif not OPTIONS[key] then
      error(("kubernetes.new: unknown option '%s'"):format(key), 3)
    elseif type(value) ~= OPTIONS[key] then
      error(("kubernetes.new: %s: %s expected, got %s"):format(key, OPTIONS[key], type(value)), 3)
    end
  end
  if not opts.name or not opts.token or not opts.ca then error("kubernetes.new: name, token and ca are needed", 3) end
end

local function read_settings(dir)
  if not dir then return {} end
  local text = fs.read(dir .. "/cluster.json")
  return text and json.decode(text) or {}
end

function Api:save_settings()
  if not self.dir then return end
  local settings = { port = self.last_port, signing_key = crypto.hex_encode(self.signing_key) }
  assert(fs.write(self.dir .. "/cluster.json", json.encode(settings) .. "\n", { mode = tonumber("600", 8) }))
end

--- A cluster: its objects from the state folder, or a new one with what a new cluster contains. It answers `handle` at
--- once; controllers run after `start`. Raises on wrong options, and when the state folder cannot be used.
---@param opts kubernetes.Options
---@return kubernetes.Api
function M.new(opts)
  check_options(opts)
  local self = setmetatable({
    name = opts.name, dir = opts.dir, ca = opts.ca, token = opts.token, host = opts.host or "127.0.0.1",
    images = opts.images, node_count = opts.nodes or 2, region = opts.region or "europe-west1",
    version = opts.version or "v1.34.2",
    service_network = "10.96", pod_network = "10.4", watchers = {}, documents = {}, resources = resources.new(),
  }, Api)
  local kept
  if self.dir then
    kept = journal.open(self.dir)
    self.journal = kept
  end
  local settings = read_settings(self.dir)
  self.last_port = settings.port
  self.signing_key = settings.signing_key and crypto.hex_decode(settings.signing_key) or crypto.random_bytes(32)
  self.store = store.new(kept)
  for _, definition in ipairs(self.store:list "apiextensions.k8s.io/customresourcedefinitions") do
    router.follow_definitions(self, { type = "ADDED", id = "apiextensions.k8s.io/customresourcedefinitions",
      object = definition })
  end
  self.store:listen(function(change) router.follow_definitions(self, change) end)
  self.simulation = simulate.new(self, opts.pace or 0.4)
  if #self.store:list "/namespaces" == 0 then bootstrap.fill(self) end
  self:save_settings()
  return self
end

--- The time as objects write it.
---@param offset? number  seconds from now
---@return string
function Api:now(offset)
  return time.rfc3339(math.floor(time.now() + (offset or 0)))
end

--- Where the API listens, for documents that tell.
---@return string
function Api:address()
  return ("%s:%d"):format(self.host, self.last_port or 443)
end

--- An address for a load balancer that no other has.
---@return string
function Api:external_address()
  local taken = {}
  for _, id in ipairs { "/services", "networking.k8s.io/ingresses" } do
    for _, object in ipairs(self.store:list(id)) do
      for _, a in ipairs(((object.status or {}).loadBalancer or {}).ingress or {}) do taken[a.ip or ""] = true end
    end
  end
  local n = 1
  while taken[("203.0.113.%d"):format(n)] do n = n % 254 + 1 end
  return ("203.0.113.%d"):format(n)
end

--- Who a bearer token belongs to, nil when nobody.
---@param token string
---@return { name: string, groups: string[] }?
function Api:user_of(token)
  local who
  if type(self.token) == "function" then who = self.token(token) else who = token == self.token end
  if who then
    return { name = type(who) == "string" and who or "sandbox-admin", groups = { "system:masters",
      "system:authenticated" } }
  end
  return reviews.account_of(self, token)
end

--- Answers a request: for tests, and for servers of another kind than `start` makes.
---@async
---@param req table  as ws.server gives it
---@return table res
function Api:handle(req)
  return router.handle(self, req)
end

--- Does at once what the controllers would do within the next seconds: for tests without a server.
---@param seconds? number  default 60
function Api:settle(seconds)
  self.simulation:settle(seconds)
end

--- Listens, on the port of the last time when it is free, and starts the controllers.
---@async
---@return { endpoint: string, ca_cert: string, port: integer }? info
---@return ws.Error? err
function Api:start()
  local server = require "ws.server"
  local pair, problem = crypto.x509.create { subject = self.name, ips = { self.host }, days = 3650, issuer = self.ca,
    names = { "localhost", "kubernetes", "kubernetes.default.svc" } }
  if not pair then return nil, problem end
  local function listen(port)
    return server.listen { host = self.host, port = port, tls = { cert = pair.cert, key = pair.key },
      handler = function(req) return self:handle(req) end }
  end
  local listening, err = listen(self.last_port or 0)
  if not listening and self.last_port then listening, err = listen(0) end
  if not listening then return nil, err end
  self.server, self.last_port = listening, listening.port
  self:save_settings()
  self.simulation:start()
  return { endpoint = ("https://%s:%d"):format(self.host, listening.port), ca_cert = self.ca.cert,
    port = listening.port }
end

--- Ends watches, controllers and the server; the objects stay.
---@async
function Api:stop()
  watch.stop(self)
  self.simulation:stop()
  if self.server then self.server:close() end
  self.server = nil
  if self.journal then self.journal:close() end
end

--- Stops and removes the state folder.
---@async
function Api:destroy()
  self:stop()
  if self.dir then assert(fs.remove(self.dir, { recursive = true })) end
end

return M
