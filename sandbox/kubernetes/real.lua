--- The Kubernetes API of one cluster on the real thing: etcd and kube-apiserver as child processes, behind the same
--- functions as `sandbox.kubernetes`.
---
--- Bearer tokens are decided by the same `token` option: kube-apiserver asks a small server of this process (webhook
--- token
--- authentication). With kube-controller-manager the workloads' controllers run too, and this process plays the nodes
--- (see
--- real_nodes.lua); etcd's files in the state folder keep the objects.
local crypto = require "ws.crypto"
local errors = require "ws.error"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local nodes = require "sandbox.kubernetes.real_nodes"
local process = require "ws.process"
local server = require "ws.server"
local task = require "ws.task"

local M = {}

local START_TIMEOUT = 60 -- seconds until a program has to answer

---@class kubernetes.Real
local Real = {}
Real.__index = Real

local OPTIONS = { name = true, dir = true, token = true, ca = true, host = true, nodes = true, region = true,
  pace = true,
  version = true, controllers = true, images = true }

--- A cluster on real servers; nothing runs before `start`. Raises on wrong options.
---@param opts kubernetes.Options | { controllers?: boolean }  as for `sandbox.kubernetes`, but `dir` is needed;
---  `controllers`: run kube-controller-manager and the nodes, default true
---@return kubernetes.Real
function M.new(opts)
  for key in pairs(opts) do
    if not OPTIONS[key] then error(("kubernetes.real.new: unknown option '%s'"):format(key), 2) end
  end
  if not (opts.name and opts.token and opts.ca and opts.dir) then
    error("kubernetes.real.new: name, token, ca and dir are needed", 2)
  end
  return setmetatable({
    name = opts.name, dir = opts.dir, token = opts.token, ca = opts.ca, host = opts.host or "127.0.0.1",
    node_count = opts.nodes or 2, region = opts.region or "europe-west1", pace = opts.pace or 0.4,
    controllers = opts.controllers ~= false, images = opts.images, children = {}, pod_network = "10.4",
    admin_token = crypto.random_hex(32),
  }, Real)
end

--- The folder where `make deps` puts what PATH lacks; default: below the current one.
---@type string?
M.tools = nil

--- The path of a program: on PATH, or where `make deps` puts what PATH lacks.
---@param name string
---@return string? path
---@return ws.Error? err  kind `missing_tool`
function M.find(name)
  local path = process.which(name)
  if path then return path end
  local cache = os.getenv("WSRUN_CACHE")
  path = fs.realpath((cache and cache .. "/tools/bin" or M.tools or ".cache/tools/bin") .. "/" .. name)
  if path then return path end
  return nil, errors.new { kind = "missing_tool", op = "kubernetes.real", message = name .. " is not installed",
    hint = "make deps gets it; or use the built-in API, without --kubernetes=real" }
end

--- A port that nobody listens on now.
local function free_port(host)
  local probe = assert(server.listen { host = host, handler = function() return { status = 503 } end })
  local port = probe.port
  probe:close()
  return port
end

function Real:write(name, text)
  local path = self.dir .. "/" .. name
  assert(fs.write(path, text, { mode = tonumber("600", 8) }))
  return path
end

--- The certificates, made once: the API's own, and the key that signs tokens of service accounts.
function Real:certificates()
  if fs.exists(self.dir .. "/server.key") then return true end
  local pair, err = crypto.x509.create { subject = "kube-apiserver", ips = { self.host }, days = 3650, issuer = self.ca,
    names = { "localhost", "kubernetes", "kubernetes.default.svc" } }
  if not pair then return nil, err end
  local account, problem = crypto.x509.create { subject = "service-accounts", key = "rsa", days = 3650 }
  if not account then return nil, problem end
  self:write("ca.crt", self.ca.cert)
  self:write("service-account.key", account.key)
  self:write("service-account.crt", account.cert)
  self:write("server.crt", pair.cert)
  self:write("server.key", pair.key)
  return true
end

function Real:review(token)
  if token == self.admin_token then return { username = "sandbox-controller",
    groups = json.array { "system:masters" } } end
  local who
  if type(self.token) == "function" then who = self.token(token) else who = token == self.token end
  if not who then return nil end
  return { username = type(who) == "string" and who or "sandbox-admin", groups = json.array { "system:masters" } }
end

--- The server that kube-apiserver asks about tokens.
function Real:start_webhook()
  self.webhook = assert(server.listen { host = self.host, handler = function(req)
    local review = json.decode(req:body() or "") or {}
    local user = self:review(((review.spec or {}).token) or "")
    return { status = 200, headers = { ["Content-Type"] = "application/json" }, body = json.encode {
      apiVersion = "authentication.k8s.io/v1", kind = "TokenReview",
      status = { authenticated = user ~= nil, user = user } } }
  end })
  self:write("webhook.json", json.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "w",
    clusters = { { name = "w", cluster = { server = self.webhook.url } } },
      users = { { name = "w", user = json.object {} } },
    contexts = { { name = "w", context = { cluster = "w", user = "w" } } } })
end

--- Starts a program and waits until `answers()` says that it serves.
function Real:launch(name, args, answers)
  local path, missing = M.find(name)
  if not path then return nil, missing end
  local child, err = process.start({ path, table.unpack(args) }, { stdout = { file = self.dir .. "/" .. name
    .. ".log" },
    stderr = "stdout", grace = 3 })
  if not child then return nil, err end
  table.insert(self.children, 1, child)
  for _ = 1, START_TIMEOUT * 10 do
    if answers() then return child end
    if child:finished() then break end
    task.sleep(0.1)
  end
  local log = fs.read(self.dir .. "/" .. name .. ".log") or ""
  return nil, errors.new { kind = "failed", op = "kubernetes.real", message = name .. " does not answer:\n"
    .. log:sub(-1500) }
end

local function is_ok(url, ca)
  return function()
    local res = http.request { url = url, ca = ca, timeout = 5 }
    return res ~= nil and res.status == 200
  end
end

function Real:launch_all()
  local etcd = ("http://%s:%d"):format(self.host, free_port(self.host))
  local peer = ("http://%s:%d"):format(self.host, free_port(self.host))
  local ok, err = self:launch("etcd", { "--data-dir", self.dir .. "/etcd", "--log-level", "warn", "--logger", "zap",
    "--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", peer,
    "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" .. peer }, is_ok(etcd .. "/health"))
  if not ok then return nil, err end
  local settings = json.decode(fs.read(self.dir .. "/cluster.json") or "{}") or {}
  local port = settings.port
  local probe = port and server.listen { host = self.host, port = port, handler = function() return {} end }
  if probe then probe:close() else port = free_port(self.host) end
  self.port, self.endpoint = port, ("https://%s:%d"):format(self.host, port)
  local args = { "--etcd-servers", etcd, "--bind-address", self.host, "--secure-port", tostring(port),
    "--external-hostname", self.host, "--endpoint-reconciler-type", "none", "--profiling=false",
    "--tls-cert-file", self.dir .. "/server.crt", "--tls-private-key-file", self.dir .. "/server.key",
    "--authorization-mode", "RBAC", "--allow-privileged", "--service-cluster-ip-range", "10.96.0.0/16",
    "--authentication-token-webhook-config-file", self.dir .. "/webhook.json",
    "--authentication-token-webhook-version", "v1", "--authentication-token-webhook-cache-ttl", "5s",
    "--service-account-issuer", "https://kubernetes.default.svc",
    "--service-account-signing-key-file", self.dir .. "/service-account.key",
    "--service-account-key-file", self.dir .. "/service-account.crt" }
  if not self.controllers then args[#args + 1] = "--disable-admission-plugins=ServiceAccount" end
  ok, err = self:launch("kube-apiserver", args, is_ok(self.endpoint .. "/readyz", self.ca.cert))
  if not ok then return nil, err end
  self:write("cluster.json", json.encode { port = port } .. "\n")
  return true
end

function Real:start_controllers()
  self:write("controller.json", json.encode { apiVersion = "v1", kind = "Config", ["current-context"] = "c",
    clusters = { { name = "c", cluster = { server = self.endpoint, ["certificate-authority"] = self.dir
      .. "/ca.crt" } } },
    users = { { name = "c", user = { token = self.admin_token } } },
    contexts = { { name = "c", context = { cluster = "c", user = "c" } } } })
  local account = self.endpoint .. "/api/v1/namespaces/default/serviceaccounts/default"
  local ok, err = self:launch("kube-controller-manager", { "--kubeconfig", self.dir .. "/controller.json",
    "--leader-elect=false", "--controllers", "*,-node-lifecycle-controller", "--secure-port", "0", "--profiling=false",
      "--kube-api-qps", "500", "--kube-api-burst", "1000",
    "--root-ca-file", self.dir .. "/ca.crt", "--service-account-private-key-file", self.dir .. "/service-account.key" },
    function()
      local res = http.request { url = account, ca = self.ca.cert, timeout = 5,
        headers = { Authorization = "Bearer " .. self.admin_token } }
      return res ~= nil and res.status == 200
    end)
  if not ok then return nil, err end
  self.nodes = nodes.start { endpoint = self.endpoint, ca = self.ca.cert, token = self.admin_token, name = self.name,
    region = self.region, node_count = self.node_count, pace = self.pace, pod_network = self.pod_network,
    images = self.images }
  return true
end

--- Starts the programs, on the port of the last time when it is free.
---@async
---@return { endpoint: string, ca_cert: string, port: integer }? info
---@return ws.Error? err  kinds `missing_tool`, `failed`
function Real:start()
  assert(fs.mkdir(self.dir, { parents = true }))
  self.dir = assert(fs.realpath(self.dir))
  local ok, err = self:certificates()
  if not ok then return nil, err end
  self:start_webhook()
  ok, err = self:launch_all()
  if ok and self.controllers then ok, err = self:start_controllers() end
  if not ok then
    self:stop()
    return nil, err
  end
  return { endpoint = self.endpoint, ca_cert = self.ca.cert, port = self.port }
end

--- Stops the programs; the objects stay in the state folder.
---@async
function Real:stop()
  if self.nodes then self.nodes:stop() end
  self.nodes = nil
  for _, child in ipairs(self.children) do
    child:stop()
  end
  self.children = {}
  if self.webhook then self.webhook:close() end
  self.webhook = nil
end

--- Stops and removes the state folder.
---@async
function Real:destroy()
  self:stop()
  assert(fs.remove(self.dir, { recursive = true }))
end

return M
