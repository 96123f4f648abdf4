--- What the sandbox's tests share: a sandbox in a temporary folder, called without a socket or over one.
local json = require "ws.json"
local request = require "sandbox.request"

local M = {}

M.PROJECT = "test-project"

--- A Kubernetes that starts at once and remembers what was asked of it.
local function fake_kubernetes(log)
  local api = {}
  api.__index = api
  function api:start()
    log[#log + 1] = "start " .. self.name
    return { endpoint = "https://127.0.0.1:4443", ca_cert = "PEM", port = 4443 }
  end
  function api:stop() log[#log + 1] = "stop " .. self.name end
  function api:destroy() log[#log + 1] = "destroy " .. self.name end
  return { new = function(opts) return setmetatable({ name = opts.name, opts = opts }, api) end }
end

--- A sandbox with one project in which every API is enabled; it is closed when the test ends.
function M.cloud(t, opts)
  opts = opts or {}
  opts.dir = opts.dir or t:tmpdir()
  opts.operation_seconds = opts.operation_seconds or { 0, 0 }
  local cloud = t:ok(require "sandbox.cloud".new(opts))
  local log = {}
  cloud.kubernetes, cloud.kubernetes_log, cloud.ca = fake_kubernetes(log), log, { cert = "CA", key = "KEY" }
  if not cloud:project(M.PROJECT) then
    M.call(cloud, "POST", "/resourcemanager/v1/projects", { projectId = M.PROJECT })
    for _, service in pairs(cloud.services) do
      if service.api then
        cloud.store:collection("serviceusage"):put(M.PROJECT .. "/" .. service.api, { enabled = true })
      end
    end
  end
  t:defer(function() cloud:close() end)
  return cloud
end

--- Calls the sandbox: status, headers (names in lower case), body, and `json` when it is JSON.
function M.call(cloud, method, url, body, headers)
  local all = { authorization = "Bearer test" }
  for name, value in pairs(headers or {}) do all[name:lower()] = value or nil end
  if headers and headers.authorization == false then all.authorization = nil end
  local response = cloud:handle(request.new { method = method, url = url, body = body, headers = all })
  local answer = { status = response.status, headers = {}, body = request.read(response) }
  for name, value in pairs(response.headers or {}) do answer.headers[name:lower()] = value end
  if (answer.headers["content-type"] or ""):find("json", 1, true) then answer.json = json.decode(answer.body) end
  return answer
end

--- Like `call`, bound to a sandbox: `client("GET", url)` fails the test unless the status is the expected one.
function M.client(t, cloud)
  return function(method, url, body, expected, headers)
    local answer = M.call(cloud, method, url, body, headers)
    if answer.status ~= (expected or 200) then
      error(("%s %s: got %d, expected %d: %s"):format(method, url, answer.status, expected or 200, answer.body), 2)
    end
    t:ok(true)
    return answer.json or answer, answer
  end
end

--- Serves a sandbox over HTTP; returns its address.
function M.serve(t, cloud)
  local server = t:ok(require "ws.server".listen { handler = function(req) return cloud:handle(req) end })
  t:defer(function() server:close() end)
  cloud.endpoint = server.url
  return server.url
end

--- A network with a subnetwork that has ranges for pods and services; returns the client.
function M.network(t, cloud)
  local client = M.client(t, cloud)
  local base = "/compute/v1/projects/" .. M.PROJECT
  client("POST", base .. "/global/networks", { name = "net", autoCreateSubnetworks = false })
  client("POST", base .. "/regions/europe-west1/subnetworks", { name = "subnet", ipCidrRange = "10.0.0.0/20",
    network = "projects/test-project/global/networks/net",
    secondaryIpRanges = { { rangeName = "pods", ipCidrRange = "10.4.0.0/14" },
      { rangeName = "services", ipCidrRange = "10.1.0.0/20" } } })
  return client, base
end

return M
