-- The chart's package: version and image in it, the same bytes for the same inputs, what Helm says belongs to it.
local archive = require "ws.archive"
local chart = require "lib.ci.chart"
local fs = require "ws.fs"
local helm = require "ws.helm"
local process = require "ws.process"
local yaml = require "ws.yaml"

local DIGEST = "sha256:" .. ("ab"):rep(32)

local function build_of(t, from)
  local dir = t:tmpdir()
  for _, name in ipairs { "run", "temp" } do assert(fs.mkdir(dir .. "/" .. name)) end
  assert(fs.copy(from or "charts/app-chart", dir .. "/source", { recursive = true }))
  return { app = "app", chart = "app-chart", chart_dir = dir .. "/source", chart_shown = "charts/app-chart",
    version = "1.5.0-rc.1", tag = "1.5.0-rc.1", repository = "eu.gcr.io/p/app", image = { digest = DIGEST },
    temp = dir .. "/temp", w = { dir = dir .. "/run", log_file = function() return dir .. "/log" end,
      summary = function() end, note = function() end } }
end

return function(test)
  test("version and image are in the package, every other byte stays", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local b = build_of(t)
    chart.package(b)
    t:eq(b.package.path, "app-chart/1.5.0-rc.1/app-chart-1.5.0-rc.1.tgz")
    local out = t:tmpdir()
    t:ok(archive.extract({ data = b.package.bytes }, out))
    local values = assert(fs.read(out .. "/app-chart/values.yaml"))
    t:eq(yaml.decode(values).image.digest, DIGEST)
    local before = assert(fs.read "charts/app-chart/values.yaml")
    local changed = 0
    local lines = values:gmatch("[^\n]*")
    for line in before:gmatch("[^\n]*") do
      if lines() ~= line then changed = changed + 1 end
    end
    t:eq(changed, 3)
    local metadata = assert(yaml.decode(assert(fs.read(out .. "/app-chart/Chart.yaml"))))
    t:eq({ metadata.version, metadata.appVersion }, { "1.5.0-rc.1", "1.5.0-rc.1" })
    local rendered = t:ok(helm.template { chart = b.w.dir .. "/" .. b.package.name, release = "r" })
    t:has(rendered, "image: eu.gcr.io/p/app:1.5.0-rc.1@" .. DIGEST)
  end)

  test("folder, times and modes do not count", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local one, two = build_of(t), build_of(t)
    assert(process.check({ "sh", "-c", "find . -type f -exec touch -d 2020-01-01 {} + -exec chmod 600 {} +" },
      { cwd = two.chart_dir }))
    chart.package(one)
    chart.package(two)
    t:eq(one.package.digest, two.package.digest)
    t:eq(#one.package.digest, 64)
  end)

  test("what .helmignore names is left out, a dependency's package is taken apart", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local b = build_of(t)
    assert(fs.write(b.chart_dir .. "/.helmignore", "notes.txt\n"))
    assert(fs.write(b.chart_dir .. "/notes.txt", "x"))
    assert(fs.mkdir(b.chart_dir .. "/charts"))
    assert(archive.tar_create { file = b.chart_dir .. "/charts/small-1.0.0.tgz", entries = {
      { name = "small/Chart.yaml", data = "apiVersion: v2\nname: small\nversion: 1.0.0\n" },
      { name = "small/values.yaml", data = "a: 1\n" } } })
    local file = b.chart_dir .. "/Chart.yaml"
    assert(fs.write(file, assert(fs.read(file)) .. "dependencies:\n  - name: small\n    version: 1.0.0\n"))
    chart.package(b)
    local names = {}
    for _, entry in ipairs(t:ok(archive.list { data = b.package.bytes })) do names[entry.name] = true end
    t:eq(names["app-chart/notes.txt"], nil)
    t:eq(names["app-chart/charts/small/Chart.yaml"], true)
  end)

  test("mistakes are told at their place", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local b = build_of(t)
    local function broken(file, text)
      assert(fs.write(b.chart_dir .. "/" .. file, text))
      local err = t:raises("", chart.lint, b)
      return err.where
    end
    t:eq(broken("templates/x.yaml", "a: {{ .Values.no.such }}\n"), "charts/app-chart/templates/x.yaml:1:13")
    t:eq(broken("templates/x.yaml", "a: [\n"), "charts/app-chart/templates/x.yaml")
    assert(fs.remove(b.chart_dir .. "/templates/x.yaml"))
    t:eq(broken("Chart.yaml", "name: app-chart\n"), "charts/app-chart/Chart.yaml")
  end)

  test("a chart that makes no objects is a mistake", function(t)
    if not helm.find() then t:skip("helm is not installed") end
    local b = build_of(t)
    assert(fs.remove(b.chart_dir .. "/templates", { recursive = true }))
    t:raises("the chart makes no objects", chart.template, b)
  end)
end
