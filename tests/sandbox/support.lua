--- What the sandbox's tests share: a sandbox in a temporary folder, called without a socket or over one.
local fs = require "ws.fs"
local json = require "ws.json"
local process = require "ws.process"
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

--- The path of a program, from the project's tools or from PATH; skips the test when there is none.
function M.tool(t, name)
  local tools = require "ws.project".tools_dir()
  if tools and fs.exists(tools .. "/" .. name) then return tools .. "/" .. name end
  return process.which(name) or t:skip(name .. " is not installed")
end

--- A sandbox in a process of its own, over a folder with the given files. Returns `run`, which runs a command in its
--- environment and fails the test unless it succeeds; the folder; the status; and `fails`, for commands that must fail.
function M.process(t, files)
  local sandbox = require "sandbox"
  local root = t:tmpdir()
  local opts = { dir = root .. "/state", project_root = root, provider = false }
  t:defer(function() sandbox.down { dir = opts.dir } end)
  for path, text in pairs(files or {}) do
    t:ok(fs.mkdir(fs.dirname(root .. "/" .. path), { parents = true }))
    t:ok(fs.write(root .. "/" .. path, text))
  end
  local status = t:ok(sandbox.up(opts))
  local variables = t:ok(sandbox.environment { dir = opts.dir })
  variables.HOME = root
  local function run(...)
    return t:ok(process.check({ ... }, { cwd = root, env = variables, timeout = 120 })).stdout
  end
  local function fails(...)
    local result = t:ok(process.run({ ... }, { cwd = root, env = variables, timeout = 120 }))
    if result.code == 0 then error("it was expected to fail: " .. table.concat({ ... }, " "), 2) end
    return result.stderr .. result.stdout
  end
  return run, root, status, fails
end

return M
