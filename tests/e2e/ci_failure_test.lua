-- What goes wrong in a build: one clear error with its place, the right exit code, and nothing of it is published.
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local process = require "ws.process"
local scratch = require "scratch"

local REPOSITORY = "eu.gcr.io/livingpackets-sandbox/app"
local CHARTS = "charts-wescale-sandbox"

--- A scratch project; its sandbox runs unless the test ends before it is needed.
local function project(t, without_sandbox)
  local s = scratch.new(t)
  s.env.WSRUN_CI_BUILDER = "none"
  s.env.TMPDIR = s.base .. "/tmp"
  assert(fs.mkdir(s.env.TMPDIR))
  if not without_sandbox then
    s:expect(t, 0, { "sandbox", "up" })
    s.endpoint = s:sandbox(t).endpoint
  end
  return s
end

local function ci(...) return { "--sandbox", "workflows/ci.lua", ... } end

local function fault(t, s, rule)
  local answer = assert(http.post(s.endpoint .. "/_sandbox/faults", { body = json.encode(rule),
    headers = { ["content-type"] = "application/json" } }))
  t:ok(answer.status < 300, answer.body)
end

local function no_faults(t, s)
  t:ok(assert(http.request { method = "DELETE", url = s.endpoint .. "/_sandbox/faults" }).status < 300)
end

--- Fails the test when anything of a version is published.
local function nothing_published(t, s, version)
  local out = s:in_sandbox(t, { s.wsrun, "-e", ([[
    local gcs, registry = require "ws.gcs", require "ws.registry"
    local left = {}
    for _, o in ipairs(assert(gcs.list "gs://%s/")) do
      if o.name:find("%s", 1, true) then left[#left + 1] = o.name end
    end
    if registry.resolve "%s:%s" then left[#left + 1] = "the image's tag" end
    print(table.concat(left, " "))]]):format(CHARTS, version, REPOSITORY, version) })
  t:eq(out, "\n")
end

local function without_version(s)
  s:replace("app/src/main.go", 'var version = "development"', 'const version = "of the image"')
end

return function(test)
  test("what is wrong with the command line or the settings is told before anything starts", function(t)
    local s = project(t, true)
    local run = "workflows/ci.lua"
    for _, version in ipairs { "1.4", "latest", "1.04.2", "1.4.2.1" } do
      t:has(s:expect(t, 64, { run, version }), "VERSION: ")
    end
    t:has(s:expect(t, 64, { run, "1.4.2", "--app", "ap" }), "did you mean app?")
    t:has(s:expect(t, 64, { run, "1.4.2", "--app", "../x" }), "there is no application")
    t:has(s:expect(t, 64, { run, "1.4.2", "--builder", "dokcer" }), "did you mean 'docker'?")
    t:has(s:expect(t, 64, { run, "1.4.2", "--registry", "nowhere" }), "host and path of a registry")
    t:has(s:expect(t, 64, { run, "1.4.2", "--charts-bucket", "gs://x" }), "without gs://")
    s:replace("wsrun.yaml", "registry: eu.gcr.io", "registri: eu.gcr.io")
    local said = s:expect(t, 65, { run, "1.4.2" })
    t:has(said, 'wsrun.yaml:5:3: ci.registri: no such key, did you mean "registry"?')
    assert(fs.remove(s.dir .. "/wsrun.yaml"))
    t:has(s:expect(t, 64, { run, "1.4.2" }), "WSRUN_CI_REGISTRY")
    s:git { "checkout", "-q", "." }
    assert(fs.remove(s.dir .. "/app/src/Dockerfile"))
    assert(fs.remove(s.dir .. "/app/src/go.mod"))
    t:has(s:expect(t, 65, { run, "1.4.2" }), "app/src has neither a Dockerfile nor a Go program")
    t:eq(fs.list(s.env.TMPDIR), {})
  end, { timeout = 120 })

  test("outside git a version has to be said", function(t)
    local s = project(t, true)
    assert(fs.remove(s.dir .. "/.git", { recursive = true }))
    local said = s:expect(t, 64, { "workflows/ci.lua" })
    t:has(said, "there is no VERSION, and no git repository")
  end, { timeout = 120 })

  test("a chart with a mistake, tests that fail, a program that does not compile: each at its line", function(t)
    local s = project(t)
    s:replace("charts/app-chart/templates/deployment.yaml", '{{ include "app.image" . }}', '{{ include "app.imag" . }}')
    local said = s:expect(t, 1, ci("1.4.2", "--no-tests"))
    t:has(said, "lint failed")
    t:has(said, "charts/app-chart/templates/deployment.yaml:52:20")
    s:git { "checkout", "-q", "." }

    s:replace("charts/app-chart/values.yaml", "replicaCount: 2", "replicaCount: two")
    t:has(s:expect(t, 1, ci("1.4.2", "--no-tests")), "replicaCount")
    s:git { "checkout", "-q", "." }

    assert(fs.write(s.dir .. "/app/src/wrong_test.go",
      'package main\n\nimport "testing"\n\nfunc TestWrong(t *testing.T) {\n\tt.Errorf("got %d, want 2", 1)\n}\n'))
    said = s:expect(t, 1, ci "1.4.2")
    t:has(said, "1 of 19 tests failed: TestWrong: got 1, want 2")
    t:has(said, "app/src/wrong_test.go:6")
    local junit = assert(fs.glob("runs/*/junit.xml", { dir = s.dir .. "/.wsrun" }))
    t:has(assert(fs.read(s.dir .. "/.wsrun/" .. junit[#junit])),
      'name="TestWrong" time="0.000" file="app/src/wrong_test.go" line="6"')
    assert(fs.remove(s.dir .. "/app/src/wrong_test.go"))

    s:replace("app/src/main.go", "defer stop()", "defer stopp()")
    said = s:expect(t, 1, ci("1.4.2", "--no-tests"))
    t:has(said, "undefined: stopp")
    t:ok(said:find("app/src/main%.go:%d+:%d+"), said)
    said = s:expect(t, 1, ci "1.4.2")
    t:has(said, "undefined: stopp")
    s:git { "checkout", "-q", "." }

    s:replace("app/src/Dockerfile", "USER 65532:65532", "RUN true")
    said = s:expect(t, 1, ci("1.4.2", "--no-tests"))
    t:has(said, "RUN in the last stage runs something")
    t:has(said, "app/src/Dockerfile:17")
    s:git { "checkout", "-q", "." }
    nothing_published(t, s, "1.4.2")
    t:eq(fs.list(s.env.TMPDIR), {})
  end, { timeout = 400 })

  test("a tag with other content, a chart with other bytes: a published version never changes", function(t)
    local s = project(t)
    without_version(s)
    local said = s:expect(t, 1, ci("1.4.1", "--no-tests")) -- the sandbox's own
    t:has(said, REPOSITORY .. ":1.4.1 is in the registry with other content")
    t:has(said, "publish a higher one")
    s:expect(t, 0, ci("1.4.2", "--no-tests"))
    s:replace("charts/app-chart/values.yaml", "replicaCount: 2", "replicaCount: 3")
    said = s:expect(t, 1, ci("1.4.2", "--no-tests"))
    t:has(said, "chart failed")
    t:has(said, ("gs://%s/app-chart/1.4.2/app-chart-1.4.2.tgz was published with other content: it is sha256:"):format(
      CHARTS))
    s:git { "checkout", "-q", "charts" }
    s:replace("app/src/main.go", '"of the image"', '"of another image"')
    said = s:expect(t, 1, ci("1.4.2", "--no-tests"))
    t:has(said, "inputs failed")
    t:has(said, "built from commit " .. s:git({ "rev-parse", "HEAD" }):sub(1, 12))
  end, { timeout = 240 })

  test("a registry that refuses, is slow, or fails for a while; a bucket that is forbidden or missing", function(t)
    local s = project(t)
    without_version(s)
    fault(t, s, { api = "registry", status = 403 })
    t:has(s:expect(t, 4, ci("1.4.2", "--no-tests")), "inputs failed")
    no_faults(t, s)
    fault(t, s, { api = "registry", method = "PUT", status = 403 })
    t:has(s:expect(t, 4, ci("1.4.2", "--no-tests")), "push failed")
    no_faults(t, s)
    nothing_published(t, s, "1.4.2")

    fault(t, s, { api = "storage", method = "POST", status = 403 })
    local said = s:expect(t, 4, ci("1.4.2", "--no-tests"))
    t:has(said, ("the bucket gs://%s refuses this account"):format(CHARTS))
    t:has(said, "roles/storage.objectAdmin")
    no_faults(t, s)
    nothing_published(t, s, "1.4.2")
    said = s:expect(t, 1, ci("1.4.2", "--no-tests", "--charts-bucket", "nowhere-at-all"))
    t:has(said, "there is no bucket gs://nowhere-at-all")
    nothing_published(t, s, "1.4.2")

    fault(t, s, { api = "registry", status = 503, times = 3 })
    fault(t, s, { api = "storage", status = 503, times = 3 })
    fault(t, s, { api = "registry", latency = 0.3 })
    said = s:expect(t, 0, ci("1.4.2", "--no-tests"))
    t:has(said, "not built") -- what was refused above came as far as the registry
  end, { timeout = 300 })

  --- Starts ci.lua, presses Ctrl-C when `line` is shown, and returns what it said.
  local function interrupted(t, s, line, env)
    local child = assert(process.start({ s.wsrun, table.unpack(ci("1.4.2", "--no-tests")) }, { cwd = s.dir, env = env,
      stderr = "pipe" }))
    local said, pressed = {}, false
    for text in child:lines("stderr") do
      said[#said + 1] = text
      if not pressed and text:find(line, 1, true) then
        pressed = true
        require "ws.task".sleep(0.3)
        child:kill("INT")
      end
    end
    local result = child:wait()
    t:eq(result.code, 130, table.concat(said, "\n"))
    t:eq(fs.list(s.env.TMPDIR), {}, "left in the temporary folder")
    return table.concat(said, "\n")
  end

  test("Ctrl-C in the middle of a compile and of a push: nothing is left, and the next run goes on", function(t)
    local s = project(t)
    without_version(s)
    local bin = s.base .. "/bin"
    assert(fs.mkdir(bin))
    local go = assert(process.which "go")
    assert(fs.write(bin .. "/go", ('#!/bin/sh\n[ "$1" != build ] || exec sleep 60\nexec %s "$@"\n'):format(go),
      { mode = 493 }))
    local env = {}
    for name, value in pairs(s.env) do env[name] = value end
    env.PATH = bin .. ":" .. os.getenv("PATH")
    t:has(interrupted(t, s, "image/compile", env), "waiting for")
    nothing_published(t, s, "1.4.2")

    fault(t, s, { api = "registry", method = "PUT", latency = 20 })
    interrupted(t, s, " push", s.env)
    no_faults(t, s)
    nothing_published(t, s, "1.4.2")
    s:expect(t, 0, ci("1.4.2", "--no-tests"))
  end, { timeout = 240 })
end
