-- What goes wrong while a platform is made: the world's failures, with what the person needs to know, and a second run
-- that converges.
local fs = require "ws.fs"
local gcs_text = 'local gcs = require "ws.gcs" '
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local scratch = require "scratch"
local task = require "ws.task"

local create = { "--sandbox", "workflows/create_platform.lua", "dev-seb" }

--- A scratch project whose sandbox runs.
local function started(t)
  local s = scratch.new(t)
  s:expect(t, 0, { "sandbox", "up" })
  return s
end

--- Adds a fault rule to the sandbox; see docs/sandbox.md.
local function fault(t, s, rule)
  local answer = assert(http.post(s:sandbox(t).endpoint .. "/_sandbox/faults", { body = json.encode(rule),
    headers = { ["content-type"] = "application/json" } }))
  t:ok(answer.status < 300, answer.body)
end

--- Runs Lua in the sandbox's environment.
local function lua(t, s, code)
  return s:in_sandbox(t, { s.wsrun, "-e", code })
end

return function(test)
  test("the state bucket is missing or forbidden", function(t)
    local s = started(t)
    s:replace("manifests/dev-seb.yaml", "remote-bucket: tf-livingpackets-sandbox", "remote-bucket: tf-nowhere")
    local said = s:expect(t, 1, create)
    t:has(said, "tf-nowhere")
    t:has(said, "does not exist")
    s:git { "checkout", "-q", "." }
    fault(t, s, { api = "storage", status = 403 })
    said = s:expect(t, 4, create)
    t:has(said, "403")
  end, { timeout = 120 })

  test("the lock is held by somebody else", function(t)
    local s = started(t)
    lua(t, s, gcs_text .. [[
      assert(gcs.put("gs://tf-livingpackets-sandbox/locks/dev-seb.json", "", { if_generation = 0, metadata = { lock =
        '{"nonce":"x","run":"r1","host":"elsewhere","pid":1,"user":"ann","since":"2026-01-01T00:00:00Z","ttl":120}',
      } }))]])
    local said = s:expect(t, 75, create)
    for _, part in ipairs { "ann", "r1", "elsewhere", "2026-01-01T00:00:00Z", "--wait-lock" } do t:has(said, part) end
    local _, out = s:expect(t, 0, { "--sandbox", "lock", "show", "dev-seb" })
    t:has(out, "ann")
    said = s:expect(t, 75, { "--sandbox", "lock", "release", "dev-seb" })
    t:has(said, "dev-seb is in use by ann on elsewhere")
    t:has(said, "--force")
    s:expect(t, 64, { "--sandbox", "lock", "show", "dev-seb", "--force" })
    s:expect(t, 0, { "--sandbox", "lock", "release", "dev-seb", "--force" })
    _, out = s:expect(t, 0, { "--sandbox", "lock", "show", "dev-seb" })
    t:has(out, "not locked")
  end, { timeout = 120 })

  test("a chart that is not in the bucket", function(t)
    local s = started(t)
    s:replace("manifests/dev-seb.yaml", "version: 1.4.1", "version: 9.9.9")
    local said = s:expect(t, 1, create)
    t:has(said, "applications/test-app failed")
    t:has(said, "9.9.9 of app-chart was never published")
    t:ok(said:find("manifests/dev%-seb%.yaml:%d+:%d+"), said)
    s:replace("manifests/dev-seb.yaml", "version: 9.9.9", "version: 1.4.1")
    s:expect(t, 0, create)
  end, { timeout = 240 })

  test("a layer that fails: file, line, resource and workflow line; repaired, it goes on", function(t)
    local s = started(t)
    assert(fs.write(s.dir .. "/layers/base/wrong.tf",
      'resource "google_compute_network" "wrong" {\n  name = "wrong"\n  nme = "x"\n}\n'))
    local said = s:expect(t, 1, create)
    t:has(said, "base failed")
    t:has(said, "layers/base/wrong.tf:3")
    t:ok(said:find("create_platform%.lua:%d+"), said)
    assert(fs.remove(s.dir .. "/layers/base/wrong.tf"))
    s:expect(t, 0, create)
  end, { timeout = 240 })

  test("a push that is rejected ten times", function(t)
    local s = started(t)
    assert(fs.write(s.remote .. "/hooks/pre-receive", "#!/bin/sh\necho no >&2\nexit 1\n", { mode = 493 }))
    local before = assert(fs.read(s.dir .. "/manifests/dev-seb.yaml"))
    local said = s:expect(t, 1, create)
    t:has(said, "sql-number failed")
    t:eq(assert(fs.read(s.dir .. "/manifests/dev-seb.yaml")), before)
    t:eq(lua(t, s, gcs_text .. [[
      print(gcs.stat("gs://tf-livingpackets-sandbox/terraform/data/dev-seb.tfstate") == nil)]]), "true\n")
    assert(fs.remove(s.remote .. "/hooks/pre-receive"))
    s:expect(t, 0, create)
  end, { timeout = 300 })

  test("kill -9 at any moment: the second run converges", function(t)
    local s = started(t)
    for _, seconds in ipairs { 0.5, 1.5, 3, 5, 8 } do
      local child = assert(process.start({ s.wsrun, table.unpack(create) },
        { cwd = s.dir, env = s.env, stdout = "discard", stderr = "discard" }))
      task.sleep(seconds)
      child:kill("KILL")
      child:wait()
    end
    s:expect(t, 0, create)
    t:has(s:expect(t, 0, create), "nothing changed")
    t:eq(s:git({ "rev-list", "--count", "main" }, s.remote), "2\n")
  end, { timeout = 400 })

  test("Ctrl-C: says what it waits for, ends with 130, holds nothing, and what it prints resumes it", function(t)
    local s = started(t)
    local child = assert(process.start({ s.wsrun, table.unpack(create) },
      { cwd = s.dir, env = s.env, stderr = "pipe" }))
    local said, pressed = {}, false
    for line in child:lines("stderr") do
      said[#said + 1] = line
      if line:find("kubernetes", 1, true) and not pressed then
        pressed = true
        child:kill("INT")
      end
    end
    local result = child:wait()
    t:eq(result.code, 130, table.concat(said, "\n"))
    local text = table.concat(said, "\n")
    t:has(text, "waiting for")
    local resume = text:match("Next   wsrun (resume %S+)")
    t:ok(resume, text)
    t:has(select(2, s:expect(t, 0, { "--sandbox", "lock", "show", "dev-seb" })), "not locked")
    s:expect(t, 0, { "resume", resume:match("%S+$") })
    t:has((s:expect(t, 0, create)), "nothing changed")
  end, { timeout = 300 })
end
