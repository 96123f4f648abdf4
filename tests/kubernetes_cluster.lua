--- A cluster of the sandbox for a test, with a kubeconfig and a home of its own, and the tools that talk to it.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local kubernetes = require "sandbox.kubernetes"
local process = require "ws.process"
local real = require "sandbox.kubernetes.real"

local M = {}

---@class kubernetes_cluster
---@field info { endpoint: string, ca_cert: string, port: integer }
local Cluster = {}
Cluster.__index = Cluster

local authority

function Cluster:open()
  local kind = self.real and real or kubernetes
  self.api = kind.new { name = "test", token = "secret-token", dir = self.dir .. "/state", ca = authority, pace = 0.2,
    images = self.images }
  self.info = assert(self.api:start())
end

--- Starts a cluster that ends with the test; skips the test when a tool is missing.
---@async
---@param t ws.TestContext
---@param ... string|{ real: boolean, images?: function }  tools; { real = true }: on real servers
---@return kubernetes_cluster
function M.start(t, ...)
  local self = setmetatable({ dir = assert(fs.realpath(t:tmpdir())), tools = {} }, Cluster)
  for _, tool in ipairs { ... } do
    if type(tool) == "table" then
      self.real, self.images = tool.real, tool.images
    else
      self.tools[tool] = real.find(tool) or t:skip(tool .. " is not installed")
    end
  end
  authority = authority or assert(crypto.x509.create { subject = "sandbox test CA", ca = true })
  self:open()
  t:defer(function() self.api:destroy() end)
  self:file("ca.pem", self.info.ca_cert)
  self:file("kubeconfig", ([[
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s", certificate-authority: "%s/ca.pem"}}]
users: [{name: u, user: {token: secret-token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
]]):format(self.info.endpoint, self.dir))
  return self
end

--- Stops the API and starts it again from its state folder.
---@async
function Cluster:restart()
  self.api:stop()
  self:open()
end

--- Writes a file into the test's folder.
---@param name string
---@param text string
---@return string path
function Cluster:file(name, text)
  local path = self.dir .. "/" .. name
  assert(fs.mkdir(fs.dirname(path), { parents = true }))
  assert(fs.write(path, text))
  return path
end

--- Runs a tool against the cluster.
---@async
---@param name string
---@param ... string  arguments
---@return { code: integer, stdout: string, stderr: string }
function Cluster:run(name, ...)
  return assert(process.run({ self.tools[name], ... }, { timeout = 90, env = {
    KUBECONFIG = self.dir .. "/kubeconfig", HOME = self.dir .. "/home", HELM_CACHE_HOME = self.dir .. "/helm/cache",
    HELM_CONFIG_HOME = self.dir .. "/helm/config", HELM_DATA_HOME = self.dir .. "/helm/data", KUBECTL_KUBERC = "false",
  } }))
end

local function succeed(self, name, ...)
  local result = self:run(name, ...)
  if result.code ~= 0 then
    error(("%s %s: exit %s\n%s%s"):format(name, table.concat({ ... }, " "), result.code, result.stdout, result.stderr),
      3)
  end
  return result.stdout
end

local function fail(self, name, ...)
  local result = self:run(name, ...)
  if result.code == 0 then error(("%s %s did not fail:\n%s"):format(name, table.concat({ ... }, " "), result.stdout),
    3) end
  return result.stdout .. result.stderr
end

--- Runs kubectl, which has to succeed; gives its standard output.
function Cluster:kubectl(...) return succeed(self, "kubectl", ...) end

--- Runs kubectl, which has to fail; gives all it said.
function Cluster:kubectl_fails(...) return fail(self, "kubectl", ...) end

--- Runs helm, which has to succeed; gives its standard output.
function Cluster:helm(...) return succeed(self, "helm", ...) end

--- Runs helm, which has to fail; gives all it said.
function Cluster:helm_fails(...) return fail(self, "helm", ...) end

return M
