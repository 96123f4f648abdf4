-- Containers and their images: what is not in the registry, what cannot start, what crashes, what never gets ready.
local client = require "sandbox.kubernetes.client"
local json = require "ws.json"
local kubernetes = require "sandbox.kubernetes"
local values = require "sandbox.kubernetes.values"

local CORE = "/api/v1/namespaces/default/"
local DIGEST = "sha256:" .. ("1"):rep(64)
local LABEL = "dev.wsrun.sandbox.behaviour"

--- A cluster whose nodes find the given images; `pulls` counts how often each was asked for by its tag.
local function cluster(images)
  local pulls = {}
  local api = kubernetes.new { name = "test", token = "x", ca = { cert = "CA", key = "" }, images = function(reference)
    pulls[reference] = (pulls[reference] or 0) + 1
    local image = images[reference]
    if image == nil then
      for _, one in pairs(images) do
        if one and one.id == reference then return one end
      end
    end
    if image == false then return { problem = "rpc error: code = NotFound desc = " .. reference .. ": not found" } end
    return image
  end }
  return client.new(api, "x"), api, pulls
end

local function image(behaviour, config)
  config = config or { Entrypoint = { "/app" } }
  config.Labels = behaviour and { [LABEL] = behaviour }
  return { id = "eu.gcr.io/p/app@" .. DIGEST, size = 1234, config = config }
end

local function create(c, name, more, pod)
  local container = { name = "c", image = "eu.gcr.io/p/app:1" }
  for key, value in pairs(more or {}) do container[key] = value end
  local spec = { containers = { container } }
  for key, value in pairs(pod or {}) do spec[key] = value end
  c:call("POST", CORE .. "pods", { apiVersion = "v1", kind = "Pod", metadata = { name = name }, spec = spec })
end

local function get(c, name)
  local pod = select(2, c:call("GET", CORE .. "pods/" .. name))
  return values.get(pod, "status", "containerStatuses", 1), pod
end

--- The reasons of a Pod's events, in words "Type Reason: message", sorted.
local function events(c, name)
  local out = {}
  for _, e in ipairs(select(2, c:call("GET", CORE .. "events?fieldSelector=involvedObject.name%3D" .. name)).items) do
    out[#out + 1] = ("%s %s: %s"):format(e.type, e.reason, e.message)
  end
  table.sort(out)
  return table.concat(out, "\n")
end

local function log(c, name, query)
  return select(2, c:call("GET", CORE .. "pods/" .. name .. "/log" .. (query or "")))
end

--- What `kubectl get pods` prints for a Pod: ready, status, restarts.
local function row(c, name)
  local answer = c:send("GET", CORE .. "pods/" .. name, nil,
    { accept = "application/json;as=Table;v=v1;g=meta.k8s.io" })
  local cells = json.decode(answer.body).rows[1].cells
  return { cells[2], cells[3], (tostring(cells[4]):gsub("%s*%(.*", "")) }
end

return function(test)
  test("an image of the registry is pulled, and stays on its node", function(t)
    local c, api, pulls = cluster { ["eu.gcr.io/p/app:1"] = image() }
    local node = select(2, c:call("GET", "/api/v1/nodes")).items[1].metadata.name
    create(c, "b", nil, { nodeName = node })
    api:settle()
    local status = get(c, "b")
    t:eq({ status.ready, status.imageID, status.restartCount }, { true, image().id, 0 })
    t:has(events(c, "b"), 'Normal Pulling: Pulling image "eu.gcr.io/p/app:1"')
    t:has(events(c, "b"), "Image size: 1234 bytes")
    create(c, "c", nil, { nodeName = node })
    create(c, "d", { imagePullPolicy = "Always" }, { nodeName = node })
    local before = pulls["eu.gcr.io/p/app:1"]
    api:settle()
    t:has(events(c, "c"), 'Container image "eu.gcr.io/p/app:1" already present on machine')
    t:eq(pulls["eu.gcr.io/p/app:1"], before + 1)
  end)

  test("an image of somebody else is there, and named without its tag", function(t)
    local c, api = cluster {}
    create(c, "a", { image = "registry.example:5000/x/nginx:1" })
    create(c, "b", { image = "nginx@" .. DIGEST })
    api:settle()
    t:eq({ get(c, "a").ready, get(c, "b").imageID }, { true, "nginx@" .. DIGEST })
    t:has(get(c, "a").imageID, "registry.example:5000/x/nginx@sha256:")
  end)

  test("a tag that is not there: the pull fails, backs off, and succeeds once it is", function(t)
    local images = { ["eu.gcr.io/p/app:1"] = false }
    local c, api = cluster(images)
    create(c, "a")
    api:settle(0.25)
    local status = get(c, "a")
    t:eq(status.state.waiting, { reason = "ErrImagePull",
      message = "rpc error: code = NotFound desc = eu.gcr.io/p/app:1: not found" })
    t:has(log(c, "a").message, "image can't be pulled")
    api:settle(0.3)
    local pod
    status, pod = get(c, "a")
    t:eq(status.state.waiting, { reason = "ImagePullBackOff", message = 'Back-off pulling image "eu.gcr.io/p/app:1": '
      .. "ErrImagePull: rpc error: code = NotFound desc = eu.gcr.io/p/app:1: not found" })
    t:eq({ pod.status.phase, status.ready, row(c, "a") }, { "Pending", false, { "0/1", "ImagePullBackOff", "0" } })
    t:has(log(c, "a").message, 'container "c" in pod "a" is waiting to start: trying and failing to pull image')
    local said = events(c, "a")
    for _, line in ipairs { 'Normal Pulling: Pulling image "eu.gcr.io/p/app:1"', "Warning Failed: Error: ErrImagePull",
      'Warning Failed: Failed to pull image "eu.gcr.io/p/app:1": rpc error: code = NotFound desc = ',
      'Normal BackOff: Back-off pulling image "eu.gcr.io/p/app:1"', "Warning Failed: Error: ImagePullBackOff" } do
      t:has(said, line)
    end
    images["eu.gcr.io/p/app:1"] = image()
    api:settle()
    t:eq({ get(c, "a").ready, row(c, "a") }, { true, { "1/1", "Running", "0" } })
  end)

  test("other containers of the Pod go their own way", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = false }
    create(c, "a", nil, { containers = { { name = "bad", image = "eu.gcr.io/p/app:1" },
      { name = "good", image = "nginx:1" } } })
    api:settle()
    local _, pod = get(c, "a")
    t:eq({ pod.status.phase, pod.status.containerStatuses[2].ready, row(c, "a")[1] }, { "Pending", true, "1/2" })
    for _, condition in ipairs(pod.status.conditions) do
      if condition.type == "Ready" then t:eq(condition.message, "containers with unready status: [bad]") end
    end
  end)

  test("never pulled", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = image() }
    create(c, "a", { imagePullPolicy = "Never" })
    api:settle()
    t:eq(get(c, "a").state.waiting.reason, "ErrImageNeverPull")
    t:has(events(c, "a"), 'Container image "eu.gcr.io/p/app:1" is not present with pull policy of Never')
  end)

  test("an image without a command needs one of the container", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = image(nil, {}),
      ["eu.gcr.io/p/app:2"] = image(nil, { Cmd = { "x" } }) }
    create(c, "none")
    create(c, "command", { command = { "/app" } })
    create(c, "args", { args = { "/app" } })
    create(c, "cmd", { image = "eu.gcr.io/p/app:2" })
    api:settle()
    local status = get(c, "none")
    t:eq(status.state.waiting.reason, "CreateContainerError")
    t:has(status.state.waiting.message, "spec: failed to generate spec: no command specified")
    t:has(events(c, "none"), "Warning Failed: Error: failed to generate container")
    t:eq({ get(c, "command").ready, get(c, "args").ready, get(c, "cmd").ready }, { true, true, true })
  end)

  test("an image whose label says so crashes again and again", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = image "crash" }
    create(c, "a", { ports = { { containerPort = 80 } } })
    api:settle(1.5)
    local status, pod = get(c, "a")
    t:eq(status.state.waiting.reason, "CrashLoopBackOff")
    t:has(status.state.waiting.message, "back-off 10s restarting failed container=c pod=a_default(")
    t:eq({ status.lastState.terminated.exitCode, status.lastState.terminated.reason }, { 1, "Error" })
    t:eq({ pod.status.phase, status.restartCount, row(c, "a") }, { "Running", 1, { "0/1", "CrashLoopBackOff", "1" } })
    local text = "starting c (image eu.gcr.io/p/app:1)\nlistening on :80\n"
      .. "fatal: the image's label says dev.wsrun.sandbox.behaviour=crash\nfailed with exit code 1\n"
    t:eq({ log(c, "a"), log(c, "a", "?previous=true") }, { text, text })
    t:has(events(c, "a"), "Warning BackOff: Back-off restarting failed container c in pod a_default(")
    api:settle(20)
    status = get(c, "a")
    t:ok(status.restartCount >= 4, status.restartCount)
    local seen = {}
    api.store:listen(function(change)
      local message = values.get(change.object, "status", "containerStatuses", 1, "state", "waiting", "message")
      if message then seen[message:match "^back%-off (%S+)" or ""] = true end
    end)
    api:settle(120)
    t:eq(seen["5m0s"], true)
    create(c, "once", nil, { restartPolicy = "Never" })
    api:settle(5)
    t:eq({ select(2, get(c, "once")).status.phase, row(c, "once") }, { "Failed", { "0/1", "Error", "0" } })
  end)

  test("an image whose label says so never gets ready", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = image "unready" }
    create(c, "a")
    api:settle()
    local status = get(c, "a")
    t:ok(status.state.running)
    t:eq({ status.ready, row(c, "a") }, { false, { "0/1", "Running", "0" } })
    t:has(events(c, "a"), "Warning Unhealthy: Readiness probe failed")
    t:has(log(c, "a"), "not ready: the image's label says dev.wsrun.sandbox.behaviour=unready\n")
  end)

  test("init containers come first, one after the other", function(t)
    local images = { ["eu.gcr.io/p/app:1"] = image(), ["eu.gcr.io/p/app:2"] = false }
    local c, api = cluster(images)
    create(c, "a", nil, { initContainers = { { name = "one", image = "nginx:1" },
      { name = "two", image = "eu.gcr.io/p/app:2" }, { name = "side", image = "nginx:1", restartPolicy = "Always" } } })
    api:settle(2)
    local status, pod = get(c, "a")
    t:eq({ status.state.waiting.reason, pod.status.phase, row(c, "a")[2] },
      { "PodInitializing", "Pending", "Init:ImagePullBackOff" })
    t:eq(pod.status.initContainerStatuses[1].state.terminated.exitCode, 0)
    images["eu.gcr.io/p/app:2"] = image()
    api:settle()
    status, pod = get(c, "a")
    t:eq({ status.ready, pod.status.phase, row(c, "a")[2] }, { true, "Running", "Running" })
    t:ok(pod.status.initContainerStatuses[3].state.running)
    create(c, "b", nil, { restartPolicy = "Never",
      initContainers = { { name = "one", image = "nginx:1", command = { "false" } } } })
    api:settle()
    t:eq({ select(2, get(c, "b")).status.phase, row(c, "b")[2] }, { "Failed", "Init:Error" })
  end)

  test("a container whose image is changed is started anew", function(t)
    local c, api = cluster { ["eu.gcr.io/p/app:1"] = image(), ["eu.gcr.io/p/app:2"] = false }
    create(c, "a")
    api:settle()
    c:call("PATCH", CORE .. "pods/a", '{"spec":{"containers":[{"name":"c","image":"eu.gcr.io/p/app:2"}]}}',
      "application/strategic-merge-patch+json")
    api:settle()
    t:eq({ get(c, "a").state.waiting.reason, get(c, "a").image }, { "ImagePullBackOff", "eu.gcr.io/p/app:2" })
    t:has(events(c, "a"), "Container c definition changed, will be restarted")
  end)
end
