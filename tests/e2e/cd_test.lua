-- cd.lua on one platform of the sandbox, with the real helm: from the first version to a rollback, and what goes wrong.
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local publish = require "publish"
local scratch = require "scratch"
local task = require "ws.task"

local function cd(...)
  return { "--sandbox", "workflows/cd.lua", "dev-seb", "test-app", ... }
end

--- What the platform serves: the image of the deployment, and how many pods of it are ready.
local function serving(t, s)
  local d = assert(json.decode(s:in_sandbox(t, { "kubectl", "get", "deploy", "test-app", "-n", "test-app", "-o",
    "json" })))
  return d.spec.template.spec.containers[1].image, d.status.readyReplicas or 0
end

--- Number, version and status of each revision, oldest first.
local function revisions(t, s)
  local list = {}
  for i, r in ipairs(assert(json.decode(s:in_sandbox(t, { "helm", "history", "test-app", "-n", "test-app", "-o",
    "json" })))) do list[i] = ("%d %s %s"):format(r.revision, r.app_version, r.status) end
  return list
end

local function version_upstream(s)
  return s:git({ "show", "main:manifests/dev-seb.yaml" }, s.remote):match("name: test%-app\n%s+version: (%S+)")
end

--- The folder with the evidence that a run speaks of.
local function evidence(t, said)
  local dir = said:match("what was seen is in (%S+/evidence/%S+)")
  t:ok(dir, said)
  return dir
end

local function fault(t, s, rule)
  local endpoint = s:sandbox(t).endpoint
  local answer = assert(http.post(endpoint .. "/_sandbox/faults", { body = json.encode(rule),
    headers = { ["content-type"] = "application/json" } }))
  t:ok(answer.status < 300, answer.body)
  return function() assert(http.request { method = "DELETE", url = endpoint .. "/_sandbox/faults" }) end
end

local function push_version(s, version)
  local other = s.base .. "/other"
  if not fs.exists(other) then s:git { "clone", "-q", s.remote, other } end
  s:git({ "pull", "-q" }, other)
  local path = other .. "/manifests/dev-seb.yaml"
  local text = assert(fs.read(path))
  assert(fs.write(path, (text:gsub("(name: test%-app\n%s+version: )%S+", "%1" .. version))))
  s:git({ "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qam", "by hand " .. version }, other)
  s:git({ "push", "-q" }, other)
end

--- Runs a command, presses Ctrl-C some seconds after it has said `at`, and returns what it said.
local function interrupt(t, s, argv, at, seconds)
  local child = assert(process.start({ s.wsrun, table.unpack(argv) }, { cwd = s.dir, env = s.env, stderr = "pipe" }))
  local lines, pressed = {}, false
  for line in child:lines("stderr") do
    lines[#lines + 1] = line
    if line:find(at, 1, true) and not pressed then
      pressed = true
      task.sleep(seconds)
      child:kill("INT")
    end
  end
  local said = table.concat(lines, "\n")
  t:eq(child:wait().code, 130, said)
  return said
end

return function(test)
  test("deploy, again, a broken one, roll back, and what people get wrong", function(t)
    local s = scratch.new(t)
    s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
    publish.point_at_sandbox(t, s)
    for _, version in ipairs { "1.4.2", "1.4.4", "1.4.5" } do publish.version(version) end

    -- what is refused before anything is looked at
    for _, case in ipairs {
      { 64, cd("1.4"), "two" }, { 64, cd("latest"), "not a version" }, { 64, cd(), "VERSION is missing" },
      { 65, { "--sandbox", "workflows/cd.lua", "dev-sebb", "test-app", "1.4.2" }, "did you mean dev-seb?" },
      { 64, { "--sandbox", "workflows/cd.lua", "dev-seb", "test-ap", "1.4.2" }, "did you mean test-app?" },
      { 64, { "--sandbox", "workflows/cd.lua", "dev-seb", "parcels", "1.4.2" }, "plain YAML" },
      { 64, cd("1.4.2", "--project", "other"), "livingpackets-sandbox" },
      { 64, cd("1.4.2", "--cluster", "lp-cluster-dev-two"), "lp-cluster-dev-seb" },
      { 64, cd("1.4.2", "--once"), "--watch" }, { 64, cd("1.4.2", "--tolerate-restarts", "-1"), "0 or more" },
    } do
      local said = s:expect(t, case[1], case[2])
      if case[3] == "two" then t:has(said, "2 numbers") else t:has(said, case[3]) end
    end

    -- 1.4.2; a KUBECONFIG that points elsewhere has no part in it
    local env = { KUBECONFIG = s.base .. "/elsewhere", HELM_KUBECONTEXT = "elsewhere" }
    for key, value in pairs(s.env) do env[key] = env[key] or value end
    local said = s:expect(t, 0, cd("1.4.2"), { env = env })
    t:has(said, "upgrade 1.4.2: 1.4.1 is deployed")
    t:has(said, "1.4.1 → 1.4.2")
    local image, ready = serving(t, s)
    t:ok(image:find("^eu.gcr.io/livingpackets%-sandbox/app:1.4.2@sha256:%x+$"), image)
    t:eq(ready, 1)
    t:eq(version_upstream(s), "1.4.2")
    t:eq(s:git { "status", "--porcelain" }, "")
    said = s:expect(t, 0, cd("1.4.2"))
    t:has(said, "nothing to do: 1.4.2 with these values is deployed")
    t:has(said, "nothing changed")
    t:has(s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" }), "nothing changed")

    -- 1.4.3 never becomes ready
    publish.version("1.4.3", { image = "app-broken" })
    said = s:expect(t, 1, cd("1.4.3", "--deadline", "60s"))
    t:ok(said:find "container app: %w*ImagePull", said)
    t:has(said, "rolled back to revision 2: 1.4.2 serves")
    local dir = evidence(t, said)
    for _, file in ipairs { "summary.txt", "pods.yaml", "events.yaml", "deployments.yaml", "manifest.yaml",
      "objects.yaml", "logs" } do
      t:ok(file == "logs" or fs.exists(dir .. "/" .. file), file)
    end
    t:has(fs.read(dir .. "/pods.yaml"), "app-broken")
    t:has(fs.read(dir .. "/events.yaml"), "Failed to pull image")
    t:has(fs.read(dir .. "/manifest.yaml"), "app-broken")
    t:eq({ serving(t, s) }, { image, 1 })
    t:eq(version_upstream(s), "1.4.2")
    t:eq(revisions(t, s)[3], "3 1.4.3 failed")

    -- one that crashes, one that is never ready, one that helm refuses
    publish.version("1.4.3-crash", { behaviour = "crash" })
    publish.version("1.4.3-unready", { behaviour = "unready" })
    said = s:expect(t, 1, cd("1.4.3-crash", "--tolerate-restarts", "1"))
    t:has(said, "container app: ended 2 times (exit code 1), tolerated are 1")
    t:has(said, "log of test-app-") -- live, as the events are
    t:has(said, "Back-off restarting failed container")
    dir = evidence(t, said)
    local kept = table.concat(assert(fs.list(dir .. "/logs")), " ")
    t:ok(kept:find("%.app%.log") and kept:find("%.app%.previous%.log"), kept)
    said = s:expect(t, 1, cd("1.4.3-unready", "--deadline", "6s"))
    t:has(said, "not ready within 6 s: test-app 0/1 ready")
    evidence(t, said)
    s:replace("manifests/dev-seb.yaml", "replicaCount: 1", "replicaCount: many")
    said = s:expect(t, 1, cd("1.4.4"))
    t:has(said, "replicaCount")
    t:has(said, "nothing was changed")
    s:replace("manifests/dev-seb.yaml", "replicaCount: many", "replicaCount: 1")
    t:eq({ serving(t, s) }, { image, 1 })

    -- lower versions
    t:has(s:expect(t, 64, cd("1.4.1")), "1.4.2 is deployed on dev-seb, and 1.4.1 is older")
    t:has(s:expect(t, 0, cd("1.4.1", "--allow-downgrade")), "1.4.2 → 1.4.1")
    t:has(s:expect(t, 0, cd("1.4.4")), "1.4.4 upgraded")

    -- back, to the one before and to a named one
    said = s:expect(t, 0, cd("--rollback"))
    t:has(said, "back to 1.4.1")
    t:has(said, "static files and databases are as they were")
    t:eq(version_upstream(s), "1.4.1")
    t:has(s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" }), "nothing changed")
    said = s:expect(t, 0, cd("--rollback", "1.4.2"))
    t:has(said, "back to 1.4.2")
    t:eq({ serving(t, s) }, { image, 1 })
    t:has(s:expect(t, 0, cd("--rollback", "1.4.2")), "1.4.2 serves already")
    t:has(s:expect(t, 1, cd("--rollback", "9.9.9")), "not in the history")

    -- what is published wrongly
    local before = revisions(t, s)
    publish.version("1.5.0", { chart = function(bytes) return bytes .. "x" end })
    publish.version("1.5.1", { chart = function() return "no gzip at all" end, artifacts = false })
    publish.version("1.5.2", { change = function(a) a.version = "1.5.3" end })
    publish.version("1.5.4", { change = function(a) a.image.digest = "sha256:" .. ("0"):rep(64) end })
    for version, part in pairs {
      ["1.5.0"] = "is not what was published", ["1.5.1"] = "is not the chart app-chart 1.5.1",
      ["1.5.2"] = "does not belong to app-chart 1.5.2", ["1.5.4"] = "is not in the registry",
      ["1.5.9"] = "was never published" } do
      t:has(s:expect(t, 1, cd(version)), part)
    end
    t:eq(revisions(t, s), before, "nothing was tried")

    -- the bucket, the cluster
    local repair = fault(t, s, { api = "storage", path = "*app-chart*", status = 403 })
    t:has(s:expect(t, 4, cd("1.4.5")), "403")
    repair()
    repair = fault(t, s, { api = "container", status = 404 })
    t:has(s:expect(t, 1, cd("1.4.5")), "cluster lp-cluster-dev-seb of project livingpackets-sandbox does not exist")
    repair()
    t:eq({ serving(t, s) }, { image, 1 })

    -- somebody writes another version meanwhile: it stays
    push_version(s, "1.4.1")
    said = s:expect(t, 0, cd("1.4.5"))
    t:has(said, "left alone")
    t:eq(version_upstream(s), "1.4.1")
    push_version(s, "1.4.5")
    s:git { "checkout", "-q", "." }
    s:git { "pull", "-q", "--rebase" }

    -- smoke checks: one that is content, one that says no, one that hangs
    assert(fs.mkdir(s.dir .. "/checks"))
    local script = s.dir .. "/checks/test-app.lua"
    local function check(text) assert(fs.write(script, "return function(ctx)\n" .. text .. "\nend\n")) end
    s:replace("manifests/dev-seb.yaml", "    documentation: docs/http-loadbalancer.md\n",
      "    documentation: docs/http-loadbalancer.md\n    verify: checks/test-app.lua\n    verify-timeout: 3\n")
    for _, version in ipairs { "1.4.6", "1.4.7" } do publish.version(version) end
    check [[local answer = assert(ctx:get "/healthz")
      assert(answer.status == 200, answer.body)
      assert(ctx:get_json("/").version == ctx.version, "another version answers")
      ctx:say "it answers"]]
    said = s:expect(t, 0, cd("1.4.6"))
    t:has(said, "it answers")
    t:has(said, "1.4.6 upgraded, checked")
    for text, part in pairs {
      ['error "the answer is wrong"'] = "checks/test-app.lua:2: the answer is wrong",
      ["return false"] = "it says no", ['require "ws.task".sleep(60)'] = "it did not end within 3 s",
      ["while true do end"] = "the check computes without end",
    } do
      check(text)
      said = s:expect(t, 1, cd("1.4.7"))
      t:has(said, part)
      t:has(said, "1.4.6 serves")
      evidence(t, said)
      t:has(serving(t, s), "app:1.4.6@")
    end
    -- Ctrl-C while the check waits: no helm runs, and the new version is taken back all the same
    check 'ctx:say "waiting" require "ws.task".sleep(2.5)'
    t:has(interrupt(t, s, cd("1.4.7"), "waiting", 0), "interrupted; rolled back to revision")
    t:has(serving(t, s), "app:1.4.6@")
    assert(fs.write(script, "return 5"))
    t:has(s:expect(t, 1, cd("1.4.7")), "a check returns a function")
    check "return true"

    -- Ctrl-C in the middle of an upgrade
    publish.version("1.4.8")
    s:replace("manifests/dev-seb.yaml", "replicaCount: 1", "replicaCount: 1\n      nodeSelector: {none: here}")
    t:has(interrupt(t, s, cd("1.4.8"), "… deploy", 2), "rolled back to revision")
    for _, line in ipairs(revisions(t, s)) do t:ok(not line:find("pending"), line) end
    t:has(serving(t, s), "app:1.4.6@")
    s:replace("manifests/dev-seb.yaml", "\n      nodeSelector: {none: here}", "")
    t:has(s:expect(t, 0, cd("1.4.7")), "1.4.7 upgraded, checked")
    t:eq(version_upstream(s), "1.4.7")
  end, { timeout = 580 })
end
