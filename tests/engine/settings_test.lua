-- wsrun.yaml: what counts when several say a setting, and what a wrong file gets.
local environment = require "ws.environment"
local fs = require "ws.fs"
local process = require "ws.process"
local settings = require "ws.settings"

local function wsrun(t, dir, ...)
  local r = assert(process.run({ require "ws.engine".native.executable(), "-C", dir, ... },
    { env = { WSRUN_STATE_DIR = false } }))
  return r.code, r.stdout, r.stderr, t
end

local function project(t, text)
  local dir = t:tmpdir()
  if text then assert(fs.write(dir .. "/wsrun.yaml", text)) end
  return dir
end

return function(test)
  test("the command line wins over a variable, that over the file, that over the default", function(t)
    t:eq({ settings.get("ci", "registry") }, { "eu.gcr.io/livingpackets-sandbox", "wsrun.yaml:5:3" })
    t:eq({ settings.get("ci", "builder") }, { "auto", "default" })
    environment.set { WSRUN_CI_REGISTRY = "host.example/a", WSRUN_CI_BUILDER = "none" }
    t:defer(function() environment.set { WSRUN_CI_REGISTRY = false, WSRUN_CI_BUILDER = false } end)
    t:eq({ settings.get("ci", "registry") }, { "host.example/a", "WSRUN_CI_REGISTRY" })
    t:eq({ settings.get("ci", "builder") }, { "none", "WSRUN_CI_BUILDER" })
    t:eq({ settings.get("ci", "registry", "127.0.0.1:5000/b") }, { "127.0.0.1:5000/b", "--registry" })
  end)

  test("wrong values of variables and options", function(t)
    local err = t:err("invalid", settings.get("ci", "builder", "kaniko"))
    t:has(err.message, '--builder: found "kaniko" (string), allowed: one of auto, docker, buildah, podman, none')
    environment.set { WSRUN_CI_CHARTS_BUCKET = "gs://x" }
    t:defer(function() environment.set { WSRUN_CI_CHARTS_BUCKET = false } end)
    t:has(t:err("invalid", settings.get("ci", "charts-bucket")).message, "WSRUN_CI_CHARTS_BUCKET: found")
    for _, wrong in ipairs { "app", "eu.gcr.io", "eu.gcr.io/p:1", "https://eu.gcr.io/p", "eu.gcr.io/P" } do
      t:err("invalid", settings.get("ci", "registry", wrong))
    end
  end)

  test("without the file nothing is set but defaults", function(t)
    t:eq(settings.load(project(t)), {})
    local dir = project(t, "")
    t:eq(next((settings.load(dir))), nil)
    local code, out = wsrun(t, dir, "config")
    t:eq(code, 0)
    t:has(out, "ci.builder        auto")
    t:has(out, "ci.registry       unset")
    t:has(out, "as charts-bucket")
  end)

  test("every problem of the file is reported with its place", function(t)
    local dir = project(t, "ci:\n  registy: eu.gcr.io/p\n  charts-bucket: 5\n  builder: dcker\ncd2: {}\n")
    local err = t:err("invalid", settings.load(dir))
    t:has(err.message, 'wsrun.yaml:2:3: ci.registy: no such key, did you mean "registry"?')
    t:has(err.message, "wsrun.yaml:3:18: ci.charts-bucket: found 5 (integer)")
    t:has(err.message, "wsrun.yaml:4:12: ci.builder: found \"dcker\" (string)")
    t:has(err.message, "did you mean docker?")
    t:has(err.message, "wsrun.yaml:5:1: cd2: no such key")
    local code, _, said = wsrun(t, dir, "config")
    t:eq(code, 65)
    t:has(said, "wsrun.yaml:2:3")
    dir = project(t, "ci: [\n")
    t:has(t:err("parse", settings.load(dir)).message, "wsrun.yaml:2:1")
    t:err("invalid", settings.load(project(t, "- a\n")))
  end)

  test("wsrun config as JSON names value and origin", function(t)
    local dir = project(t, "ci:\n  registry: eu.gcr.io/p\n")
    local code, out = wsrun(t, dir, "config", "--json")
    t:eq(code, 0)
    local rows = {}
    for _, row in ipairs(assert(require "ws.json".decode(out))) do rows[row.name] = row end
    t:eq(rows["ci.registry"].value, "eu.gcr.io/p")
    t:eq(rows["ci.registry"].origin, "wsrun.yaml:2:3")
    t:eq(rows["ci.builder"].origin, "default")
  end)

  test("a setting that does not exist is a mistake in the script", function(t)
    t:raises("there is no setting ci.regstry", settings.get, "ci", "regstry")
  end)
end
