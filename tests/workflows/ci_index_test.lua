-- index.yaml of the chart bucket: its lines, their order, and many who write at once.
local gcs = require "ws.gcs"
local index = require "lib.ci.index"
local local_cloud = require "local_cloud"
local task = require "ws.task"
local yaml = require "ws.yaml"

local OPTS = { filename = "gs://b/index.yaml", generated = "2026-01-02T00:00:00Z" }

local function line(version, digest)
  return index.entry({ apiVersion = "v2", name = "app-chart", version = version, appVersion = version },
    { digest = digest or ("a"):rep(64), url = ("app-chart/%s/app-chart-%s.tgz"):format(version, version),
      created = "2026-01-01T00:00:00Z" })
end

local function versions(text)
  local list = {}
  for i, entry in ipairs(assert(yaml.decode(text)).entries["app-chart"]) do list[i] = entry.version end
  return list
end

local function storage(t) return local_cloud.start(t, { "charts" }) end

return function(test)
  test("a line has the chart's metadata, digest, time and address, keys in order", function(t)
    local text = t:ok(index.add(nil, line "1.4.2", OPTS))
    t:eq(text, ([[
apiVersion: v1
entries:
  app-chart:
    - apiVersion: v2
      appVersion: 1.4.2
      created: "2026-01-01T00:00:00Z"
      digest: %s
      name: app-chart
      urls:
        - app-chart/1.4.2/app-chart-1.4.2.tgz
      version: 1.4.2
generated: "2026-01-02T00:00:00Z"
]]):format(("a"):rep(64)))
  end)

  test("the newest stands first; what is no version last; other charts stay", function(t)
    local text = "apiVersion: v1\nentries:\n  other:\n  - {name: other, version: 1.0, digest: 12e4, x: [1, null]}\n"
    for _, version in ipairs { "1.9.0", "1.10.0", "odd", "2.0.0-rc.1", "1.9.1", "2.0.0" } do
      text = t:ok(index.add(text, line(version), OPTS))
    end
    t:eq(versions(text), { "2.0.0", "2.0.0-rc.1", "1.10.0", "1.9.1", "1.9.0", "odd" })
    t:has(text, "version: 1.0\n")
    t:eq(yaml.decode(text).entries.other[1].x, { 1, yaml.null })
  end)

  test("the same again changes nothing; another digest is refused", function(t)
    local text = t:ok(index.add(nil, line "1.4.2", OPTS))
    t:eq(index.add(text, line "1.4.2", { filename = "x", generated = "later" }), text)
    local err = t:err("exists", index.add(text, line("1.4.2", ("b"):rep(64)), OPTS))
    t:has(err.message, "app-chart 1.4.2 with another digest")
    t:ok(err.hint)
  end)

  test("an index that is none", function(t)
    t:err("parse", index.add("a: [\n", line "1.0.0", OPTS))
    t:has(t:err("invalid", index.add("- 1\n", line "1.0.0", OPTS)).message, "gs://b/index.yaml is not the index")
    t:err("invalid", index.add("entries: 5\n", line "1.0.0", OPTS))
    t:eq(versions(t:ok(index.add("entries:\n  app-chart:\n", line "1.0.0", OPTS))), { "1.0.0" })
    t:eq(versions(t:ok(index.add("{}\n", line "1.0.0", OPTS))), { "1.0.0" })
  end)

  test("twenty writers at once lose no line", function(t)
    storage(t)
    local functions, waited = {}, 0
    for i = 1, 20 do
      functions[i] = function()
        local result = assert(index.publish("charts", line(("1.0.%d"):format(i)), {
          on_wait = function() waited = waited + 1 end }))
        return result.changed
      end
    end
    local results = t:ok(task.all(functions))
    for i = 1, 20 do t:eq(results[i], true) end
    t:ok(waited > 0, "nobody was in anybody's way: this shows nothing")
    local expected = {}
    for i = 1, 20 do expected[i] = ("1.0.%d"):format(21 - i) end
    t:eq(versions((assert(gcs.get "gs://charts/index.yaml"))), expected)
    t:eq(assert(gcs.stat "gs://charts/index.yaml").cache_control, "no-cache, max-age=0")
    t:eq(assert(index.publish("charts", line "1.0.7")), { changed = false, attempts = 1 })
  end)

  test("a bucket that is missing, forbidden, busy, or always written by others", function(t)
    local cloud = storage(t)
    t:err("not_found", index.publish("none", line "1.0.0"))
    local rule = cloud.faults:add { api = "storage", method = "POST", status = 403 }
    t:err("denied", index.publish("charts", line "1.0.0"))
    cloud.faults:remove(rule.id)
    cloud.faults:add { api = "storage", method = "POST", status = 412 }
    local err = t:err("conflict", index.publish("charts", line "1.0.0", { timeout = 0.3 }))
    t:ok(tonumber(err.message:match("by others (%d+) times")) > 1, err.message)
    t:eq(gcs.get "gs://charts/index.yaml", nil)
  end)
end
