-- wsrun plan and apply of whole platforms; against the sandbox with the real terraform and helm.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local publish = require "publish"
local scratch = require "scratch"
local task = require "ws.task"

local create = "workflows/create_platform.lua"

--- Everything that the sandbox holds of a platform, and every object in its buckets.
local function everything(t, s)
  local answer = assert(http.get(s:sandbox(t).endpoint .. "/_sandbox/resources?platform=dev-seb"))
  t:eq(answer.status, 200)
  local objects = s:in_sandbox(t, { s.wsrun, "-e", [[
    for _, bucket in ipairs { "tf-livingpackets-sandbox", "charts-wescale-sandbox" } do
      for _, o in ipairs(assert(require("ws.gcs").list("gs://" .. bucket .. "/"))) do print(o.name, o.generation) end
    end ]] })
  return answer.body .. objects
end

local function plan_of(t, s, code, ...)
  local _, out = s:expect(t, code, { "plan", "--sandbox", "--detailed-exitcode", "--json", ... })
  local doc, steps, list = t:ok(json.decode(out)), {}, {}
  for _, step in ipairs(doc.steps) do
    steps[step.step] = step
    for _, change in ipairs(step.changes) do
      list[#list + 1] = ("%s %s %s"):format(change.action, change.what, change.name)
    end
  end
  table.sort(list)
  return steps, list, doc
end

local function plan(t, s, code, ...)
  return plan_of(t, s, code, create, "dev-seb", ...)
end

return function(test)
  test("plan, apply, change, drift, destroy", function(t)
    local s = scratch.new(t)
    s:expect(t, 0, { "sandbox", "up" })

    -- A platform that does not exist: its base is planned for real, the rest as far as it is known; nothing is touched.
    local before = everything(t, s)
    local steps, _, doc = plan(t, s, 2, "--save", s.base .. "/new.plan")
    t:eq(everything(t, s), before)
    t:eq(s:git { "status", "--porcelain" }, "")
    t:eq(steps.base.status, "planned")
    t:ok(#steps.base.changes >= 10)
    for _, layer in ipairs { "bastion", "kubernetes", "data" } do
      t:eq({ layer, steps[layer].status, steps[layer].deferred },
        { layer, "deferred", "its inputs come from base, which does not exist yet" })
    end
    t:has(steps.kubernetes.note, "google_container_cluster.main")
    t:eq(steps["sql-number"].changes[1].what, "manifest")
    t:eq({ steps["dependencies/certmanager"].changes[1].action, steps["dependencies/certmanager"].changes[1].what },
      { "add", "helm" })
    t:eq({ steps["applications/test-app"].changes[1].action, steps["applications/test-app"].changes[1].what },
      { "add", "helm" })
    t:eq({ steps["static-files"].changes[1].what, steps["static-files"].changes[1].action }, { "bucket", "add" })
    local namespace, name = steps["sql-secrets"].changes[1].name:match("^Secret (.-)/(.*)$")
    t:eq({ doc.totals.deferred, doc.totals.would_run, doc.totals.failed }, { 3, 0, 0 })

    -- Saved, it is applied: base as planned, the deferred layers as they come; also when it is killed on the way.
    local kubernetes = false
    local begun = t:ok(process.start({ s.wsrun, "apply", s.base .. "/new.plan", "--plain" }, {
      cwd = s.dir, env = s.env, timeout = 300, on_stderr = function(line)
        kubernetes = kubernetes or line:find("kubernetes$") ~= nil
      end }))
    while not kubernetes and not begun:finished() do task.sleep(0.02) end
    task.sleep(0.7)
    begun:kill "KILL"
    t:eq(begun:wait().signal, "KILL")
    local said = s:expect(t, 0, { "resume" })
    t:has(said, "dev-seb  create_platform")
    local _, none = plan(t, s, 0)
    t:eq(none, {})
    t:has(select(2, s:expect(t, 0, { "plan", "--sandbox", create, "dev-seb", "-q" })), "plan: no changes")

    -- The plan that was applied rests on a platform that did not exist.
    said = s:expect(t, 1, { "apply", s.base .. "/new.plan" })
    t:has(said, "the plan does not hold any more")

    -- A change of the manifest: exactly it.
    s:replace("manifests/dev-seb.yaml", "replicaCount: 1", "replicaCount: 2")
    s:replace("manifests/dev-seb.yaml", "    max: 3\n", "    max: 5\n")
    local index = assert(fs.read(s.dir .. "/app/static/index.html"))
    assert(fs.write(s.dir .. "/app/static/index.html", index .. "<!-- new -->\n"))
    local wanted = {
      "add kubernetes PodDisruptionBudget test-app",
      "change bucket gs://lp-static-bucket-dev-seb/index.html",
      "change helm test-app/test-app",
      "change kubernetes Deployment test-app",
      "change terraform google_container_node_pool.main",
    }
    local list
    steps, list = plan(t, s, 2, "--save", s.base .. "/change.plan")
    t:eq(list, wanted)
    t:eq(steps.kubernetes.changes[1].attributes, { { name = "autoscaling[0].total_max_node_count", before = "3",
      after = "5" } })
    t:eq(assert(fs.stat(s.base .. "/change.plan")).mode & 511, 384, "0600")
    before = everything(t, s)

    -- Not when the manifest is another one meanwhile, and not when the release is.
    s:replace("manifests/dev-seb.yaml", "    max: 5\n", "    max: 6\n")
    said = s:expect(t, 1, { "apply", s.base .. "/change.plan" })
    t:has(said, "the plan does not hold any more: manifests/dev-seb.yaml")
    s:replace("manifests/dev-seb.yaml", "    max: 6\n", "    max: 5\n")
    t:eq(everything(t, s), before)

    said = s:expect(t, 0, { "apply", s.base .. "/change.plan", "--plain" })
    t:has(said, "kubernetes")
    t:has(said, "1 changed")
    t:eq(select(2, plan(t, s, 0)), {})

    -- Applied already: the state's serial number has moved.
    said = s:expect(t, 1, { "apply", s.base .. "/change.plan" })
    t:has(said, "the state of layer kubernetes: serial")

    -- Somebody else's helm, after the plan.
    s:replace("manifests/dev-seb.yaml", "replicaCount: 2", "replicaCount: 3")
    plan(t, s, 2, "--save", s.base .. "/helm.plan")
    local kubeconfig = s.dir .. "/.wsrun/platforms/dev-seb/kubeconfig"
    s:in_sandbox(t, { "helm", "--kubeconfig", kubeconfig, "rollback", "test-app", "-n", "test-app" })
    said = s:expect(t, 1, { "apply", s.base .. "/helm.plan" })
    t:has(said, "release test-app: its last revision is")

    -- A deployment: chart, image, manifest.
    publish.point_at_sandbox(t, s)
    publish.version "1.4.2"
    local deploy = { "workflows/cd.lua", "dev-seb", "test-app", "1.4.2" }
    before = everything(t, s)
    steps = plan_of(t, s, 2, deploy[1], deploy[2], deploy[3], deploy[4], "--save", s.base .. "/cd.plan")
    t:eq(everything(t, s), before)
    local kinds = {}
    for _, change in ipairs(steps.deploy.changes) do kinds[change.what] = change end
    t:has(kinds.image.attributes[1].after, "app:1.4.2@sha256:")
    t:eq({ kinds.helm.action, kinds.helm.name }, { "change", "test-app/test-app" })
    t:eq(steps.manifest.changes[1].attributes, { { name = "version of test-app", before = "1.4.1", after = "1.4.2" } })
    s:expect(t, 0, { "apply", s.base .. "/cd.plan" })
    t:eq(select(2, plan_of(t, s, 0, table.unpack(deploy))), {})
    plan_of(t, s, 1, deploy[1], deploy[2], deploy[3], "9.9.9") -- was never published

    -- A layer whose outputs would change: what it would give to the others is not known.
    local outputs = s.dir .. "/layers/base/outputs.tf"
    local text = assert(fs.read(outputs))
    assert(fs.write(outputs, text .. 'output "extra" {\n  value = "x"\n}\n'))
    steps = plan(t, s, 2)
    t:eq({ steps.base.changes[1].name, steps.base.changes[1].detail }, { "outputs of layer base", "extra" })
    t:eq(steps.data.deferred, "its inputs come from base, whose outputs would change: extra")
    assert(fs.write(outputs, text))

    -- The plan of the end.
    local _, out = s:expect(t, 2, { "plan", "--sandbox", "workflows/destroy_platform.lua", "dev-seb",
      "--detailed-exitcode", "-q", "-v" })
    local password = assert(crypto.base64_decode(s:in_sandbox(t, { "kubectl", "--kubeconfig", kubeconfig, "get",
      "secret", "-n", namespace, name, "-o", "jsonpath={.data.password}" })))
    t:ok(#password >= 20)
    t:eq(out:find(password, 1, true), nil)
    t:has(out, "password: (sensitive)")
    for _, part in ipairs { "- terraform  google_container_cluster.main", "- terraform  google_compute_network.main",
      "- manifest", "- bucket     gs://tf-livingpackets-sandbox/terraform/base/dev-seb.tfstate" } do
      t:has(out, part)
    end
  end)

  test("a plan function cannot change the cloud", function(t)
    local s = scratch.new(t)
    s:expect(t, 0, { "sandbox", "up" })
    local before = everything(t, s)
    assert(fs.write(s.dir .. "/workflows/naughty.lua", [[
      local ws = require "ws"
      return ws.workflow { summary = "t", run = function(w)
        w:step("look", { plan = function()
          local gcs = require "ws.gcs"
          assert(gcs.stat_bucket("tf-livingpackets-sandbox", { api = "backend_storage" }))
          for _, change in ipairs {
            function() return gcs.put("gs://tf-livingpackets-sandbox/x", "x") end,
            function() return gcs.delete("gs://charts-wescale-sandbox/index.yaml") end,
            function() return require "ws.gcp".request { api = "compute", method = "POST",
              path = "projects/livingpackets-sandbox/global/networks", body = { name = "n" } } end,
            function()
              return require "ws.lock".acquire { bucket = "tf-livingpackets-sandbox", name = "x", run = "r" }
            end,
          } do
            local ok, value, err = pcall(change)
            if ok and value == nil then value = err end -- it was raised in a task, and given back
            if type(value) ~= "table" or value.kind ~= "denied" then error("not refused: " .. tostring(value)) end
          end
          return {}
        end }, function() end)
      end } ]]))
    s:expect(t, 0, { "plan", "--sandbox", "workflows/naughty.lua" })
    t:eq(everything(t, s), before)
  end)
end
