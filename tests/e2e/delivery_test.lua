-- From a commit to a verified deployment and back, with nothing but the workflows: ci.lua publishes, cd.lua deploys, a
-- version whose container crashes is taken back, its evidence stays, and what served goes on serving.
local fs = require "ws.fs"
local json = require "ws.json"
local scratch = require "scratch"

return function(test)
  test("1.4.2 is built and deployed; 1.4.3 crashes and is taken back; the way back to 1.4.1", function(t)
    local s = scratch.new(t)
    s.env.WSRUN_CI_BUILDER = "none"
    local function ci(version) return { "--sandbox", "workflows/ci.lua", version } end
    local function cd(...) return { "--sandbox", "workflows/cd.lua", "dev-seb", "test-app", ... } end
    local function serving()
      local d = assert(json.decode(s:in_sandbox(t, { "kubectl", "get", "deploy", "test-app", "-n", "test-app", "-o",
        "json" })))
      return d.spec.template.spec.containers[1].image, d.status.readyReplicas or 0
    end

    s:expect(t, 0, { "--sandbox", "workflows/create_platform.lua", "dev-seb" })
    local _, out = s:expect(t, 0, ci "1.4.2")
    local good = out:match("@(sha256:%x+)")
    t:has(s:expect(t, 0, cd "1.4.2"), "1.4.1 → 1.4.2")
    t:eq({ serving() }, { "eu.gcr.io/livingpackets-sandbox/app:1.4.2@" .. good, 1 })

    s:replace("app/src/Dockerfile", "USER 65532:65532", "LABEL dev.wsrun.sandbox.behaviour=crash\nUSER 65532:65532")
    s:git { "commit", "-qam", "a version that crashes" }
    s:git { "push", "-q" }
    _, out = s:expect(t, 0, ci "1.4.3")
    local broken = out:match("@(sha256:%x+)")
    t:ok(broken ~= good, broken)
    local said = s:expect(t, 1, cd "1.4.3")
    t:has(said, "1.4.2")
    local dir = said:match("what was seen is in (%S+/evidence/%S+)")
    t:ok(dir and #t:ok(fs.list(dir)) > 0, said)
    t:eq({ serving() }, { "eu.gcr.io/livingpackets-sandbox/app:1.4.2@" .. good, 1 })

    said = s:expect(t, 0, ci "1.4.3")
    t:has(said, "nothing changed")
    t:has(s:expect(t, 0, cd("--rollback")), "1.4.1")
    local image, ready = serving()
    t:ok(image:find(":1.4.1", 1, true), image)
    t:eq(ready, 1)
  end, { timeout = 300 })
end
