-- cd.lua --watch, static files, and a first install that fails; on one platform of the sandbox.
local fs = require "ws.fs"
local gcs = require "ws.gcs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local publish = require "publish"
local scratch = require "scratch"
local task = require "ws.task"

local function cd(...)
  return { "--sandbox", "workflows/cd.lua", "dev-seb", "test-app", ... }
end

local function image_of(t, s)
  return s:in_sandbox(t, { "kubectl", "get", "deploy", "test-app", "-n", "test-app", "-o",
    "jsonpath={.spec.template.spec.containers[0].image}" }):match("app:([^@]+)@")
end

local function revisions(t, s)
  return #assert(json.decode(s:in_sandbox(t, { "helm", "history", "test-app", "-n", "test-app", "-o", "json" })))
end

local function fault(t, s, rule)
  local endpoint = s:sandbox(t).endpoint
  local answer = assert(http.post(endpoint .. "/_sandbox/faults", { body = json.encode(rule),
    headers = { ["content-type"] = "application/json" } }))
  t:ok(answer.status < 300, answer.body)
  return function() assert(http.request { method = "DELETE", url = endpoint .. "/_sandbox/faults" }) end
end

--- Static files of a folder, with one whose name is a hash: what of them is in the bucket, and with which headers.
local function static_files(t, s)
  local bucket = "gs://lp-static-bucket-dev-seb/"
  assert(fs.write(s.dir .. "/app/static/site.3f2a1c.js", "first()\n"))
  s:replace("manifests/dev-seb.yaml", "static-files:\n",
    "static-files:\n  - source: app/static\n    target: site\n    delete: true\n")
  local repair = fault(t, s, { api = "storage", path = "*lp-static-bucket*", status = 403 })
  local before = revisions(t, s)
  t:has(s:expect(t, 4, cd("1.4.2")), "403")
  t:eq(revisions(t, s), before, "a bucket that is forbidden is found before anything is changed")
  repair()

  local said = s:expect(t, 0, cd("1.4.2"))
  t:has(said, "assets  ")
  t:ok(said:find("✔ assets .-1 uploaded to gs://lp%-static%-bucket%-dev%-seb\n"), said)
  t:ok(said:find("✔ pages .-2 uploaded to gs://lp%-static%-bucket%-dev%-seb\n"), said)
  for name, wanted in pairs {
    ["site/site.3f2a1c.js"] = { "text/javascript; charset=utf-8", "public, max-age=31536000, immutable" },
    ["site/index.html"] = { "text/html; charset=utf-8", "no-cache" }, ["site/LP-Box.svg"] = { "image/svg+xml" },
    ["image.svg"] = { "image/svg+xml" },
  } do
    local object = t:ok(gcs.stat(bucket .. name), name)
    t:eq({ object.content_type, object.cache_control }, wanted, name)
  end
  t:has(s:expect(t, 0, cd("1.4.2")), "nothing changed")

  -- A deployment that fails leaves the pages as they were; what they will name is there already.
  assert(fs.rename(s.dir .. "/app/static/site.3f2a1c.js", s.dir .. "/app/static/site.4d5e6f.js"))
  assert(fs.write(s.dir .. "/app/static/index.html", "<p>new</p>\n"))
  publish.version("1.4.3", { behaviour = "crash" })
  s:expect(t, 1, cd("1.4.3", "--tolerate-restarts", "0"))
  t:ok(gcs.stat(bucket .. "site/site.4d5e6f.js"))
  t:ok(gcs.stat(bucket .. "site/site.3f2a1c.js"))
  t:ok(not gcs.get(bucket .. "site/index.html"):find("new", 1, true))
  t:has(s:expect(t, 0, cd("1.4.2", "--no-static")), "nothing changed")
  said = s:expect(t, 0, cd("1.4.2"))
  t:has(said, ", 1 removed")
  t:eq(gcs.get(bucket .. "site/index.html"), "<p>new</p>\n")
  t:err("not_found", gcs.stat(bucket .. "site/site.3f2a1c.js"))
end

--- A second application whose first install fails: nothing of it is left but the evidence.
local function first_install(t, s)
  s:replace("manifests/dev-seb.yaml", "applications:\n",
    "applications:\n  - name: second\n    version: 1.4.3\n    namespace: test-app\n")
  local said = s:expect(t, 1, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
  t:has(said, "second 1.4.3: pod second-")
  t:has(said, "the first install was removed again")
  t:ok(fs.exists(said:match("what was seen is in (%S+)") .. "/pods.yaml"))
  t:ok(not s:in_sandbox(t, { "helm", "list", "-a", "-n", "test-app" }):find("second", 1, true))
  t:ok(not s:in_sandbox(t, { "kubectl", "get", "deploy", "-n", "test-app" }):find("second", 1, true))
  s:replace("manifests/dev-seb.yaml", "  - name: second\n    version: 1.4.3\n    namespace: test-app\n", "")
end

--- A run that is killed together with its helm: the next one recovers, also on a machine that knows nothing of it.
local function killed(t, s)
  publish.version("1.4.2-unready", { behaviour = "unready" })
  local child = assert(process.start({ s.wsrun, table.unpack(cd("1.4.2-unready", "--allow-downgrade")) },
    { cwd = s.dir, env = s.env, stderr = "pipe" }))
  for line in child:lines("stderr") do
    if line:find("… deploy", 1, true) then break end
  end
  local function status()
    return s:in_sandbox(t, { "helm", "status", "test-app", "-n", "test-app" }):match("STATUS: (%S+)")
  end
  for _ = 1, 100 do
    if status() == "pending-upgrade" then break end
    task.sleep(0.1)
  end
  local children = fs.read(("/proc/%d/task/%d/children"):format(child.pid, child.pid))
  child:kill("KILL")
  child:wait(10)
  for pid in children:gmatch("%d+") do process.run { "kill", "-KILL", pid } end
  t:eq(status(), "pending-upgrade")
  assert(fs.remove(s.dir .. "/.wsrun/helm/running", { recursive = true }))
  local said = s:expect(t, 0, cd("1.4.2"))
  t:has(said, "was left pending-upgrade by a run that is gone: it counts as failed")
  t:has(said, "1.4.2 upgraded")
  t:eq(image_of(t, s), "1.4.2")
  t:eq(status(), "deployed")
end

local function look_once(t, s)
  local once = cd("--watch", "--once", "--policy", "~1.4")
  t:has(s:expect(t, 64, cd("1.4.2", "--watch")), "--watch takes no version")
  t:has(s:expect(t, 64, cd("--watch", "--policy", "newest")), "is not a range of versions")
  local said = s:expect(t, 0, once)
  t:has(said, "1.4.3 was revision")
  t:has(said, "and failed: it is not deployed again by itself")
  t:has(said, "nothing to deploy")
  publish.version("1.4.4", { chart = function() return "x" end })
  assert(gcs.delete("gs://charts-wescale-sandbox/app-chart/1.4.4/app-chart-1.4.4.tgz"))
  publish.version("1.5.0")
  t:has(s:expect(t, 0, once), "1.4.4 has an image and no chart yet")
  publish.version("1.4.5")
  said = s:expect(t, 0, once)
  t:has(said, "upgrade 1.4.5: 1.4.2 is deployed")
  t:has(said, "1.4.5 deployed")
  t:eq(image_of(t, s), "1.4.5")
  -- Somebody goes back: the watch does not go forth again.
  s:expect(t, 0, cd("--rollback"))
  t:has(s:expect(t, 0, once), "somebody went back from it")
  t:eq(image_of(t, s), "1.4.2")
  -- Without a terminal the run is parked, and goes on when somebody approves.
  said = s:expect(t, 75, cd("--watch", "--once", "--approve"))
  t:has(said, "waits for approval: deploy test-app 1.4.2 → 1.5.0 on dev-seb")
  t:eq(image_of(t, s), "1.4.2")
  t:has(s:expect(t, 0, { "approve", said:match("wsrun approve (%S+)") }), "1.5.0 deployed")
  t:eq(image_of(t, s), "1.5.0")
  t:has(s:expect(t, 0, cd("--rollback")), "back to 1.4.2")
end

--- A watch that goes on: over an outage of the registry and of the cluster's API, to its end by Ctrl-C.
local function keep_looking(t, s)
  local child = assert(process.start({ s.wsrun, table.unpack(cd("--watch", "--policy", "~1.4", "--interval", "1s")) },
    { cwd = s.dir, env = s.env, stderr = "pipe" }))
  local lines, heard = {}, task.queue()
  local reading = task.spawn(function()
    for line in child:lines("stderr") do
      lines[#lines + 1] = line
      heard:push(line)
    end
  end)
  local function await(part)
    while true do
      local line, err = heard:pop(60)
      if not line then t:ok(false, ("%s: no %q in:\n%s"):format(tostring(err), part, table.concat(lines, "\n"))) end
      if line:find(part, 1, true) then return end
    end
  end
  await "… watch"
  for _, rule in ipairs { { api = "registry", status = 503 }, { api = "container", status = 503 } } do
    local repair = fault(t, s, rule)
    if rule.api == "registry" then await "a look failed, the watch goes on" end
    task.sleep(1)
    repair()
    if rule.api == "registry" then await "everything answers again" end
  end
  publish.version("1.4.6")
  await "1.4.6 upgraded"
  await "✔ dev-seb  cd"
  t:eq(image_of(t, s), "1.4.6")
  child:kill("INT")
  local result = assert(child:wait(30))
  reading:join()
  t:eq(result.code, 130, table.concat(lines, "\n"))
end

return function(test)
  test("static files, a first install that fails, and a watch", function(t)
    local s = scratch.new(t)
    s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
    publish.point_at_sandbox(t, s)
    publish.version("1.4.2")
    static_files(t, s)
    first_install(t, s)
    killed(t, s)
    look_once(t, s)
    keep_looking(t, s)
  end, { timeout = 580 })
end
