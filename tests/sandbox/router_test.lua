local filter = require "sandbox.filter"
local router = require "sandbox.router"
local values = require "sandbox.values"
local json = require "ws.json"

return function(test)
  test("literals win over parameters, and paths are split before they are decoded", function(t)
    local r = router.new()
    r:on("GET", "/b/{bucket}/o/{object}", "object")
    r:on("GET", "/b/{bucket}/o/special", "special")
    r:on("GET|PUT", "/b/{bucket}", "bucket")
    local handler, params = r:match("GET", "/b/x/o/a%2Fb%20c+d")
    t:eq(handler, "object")
    t:eq(params, { bucket = "x", object = "a/b c+d" })
    t:eq((r:match("GET", "/b/x/o/special")), "special")
    t:eq((r:match("PUT", "/b/x")), "bucket")
    t:eq((r:match("GET", "/b/x/")), "bucket")
    t:eq((r:match("POST", "/b/x")), nil)
    t:eq((r:match("GET", "/b/x/o")), nil)
    t:raises("exists already", r.on, r, "PUT", "/b/{other}", "again")
  end)

  test("custom verbs", function(t)
    local r = router.new()
    r:on("POST", "/p/{name}:setIamPolicy", "set")
    r:on("POST", "/p/{name}/things", "things")
    r:on("POST", "/p/services:batchEnable", "batch")
    local handler, params = r:match("POST", "/p/example.com%3Aproj:setIamPolicy")
    t:eq(handler, "set")
    t:eq(params.name, "example.com:proj")
    t:eq((r:match("POST", "/p/x:other")), nil)
    t:eq((r:match("POST", "/p/services:batchEnable")), "batch")
    t:eq(select(2, r:match("POST", "/p/a:b/things")).name, "a:b")
  end)

  test("the rest of a path", function(t)
    local r = router.new()
    r:on("GET", "/v2/{rest*}", "rest")
    r:on("GET", "/v2", "root")
    t:eq(select(2, r:match("GET", "/v2/a/b%2Fc/d")).rest, "a/b/c/d")
    t:eq((r:match("GET", "/v2/")), "root")
    t:raises("last part", r.on, r, "GET", "/v2/{rest*}/x", "no")
  end)

  test("filters", function(t)
    local function keep(text, item) return filter.compile(text)(item) end
    local item = { name = "gke-a-1", zone = "https://x/zones/europe-west1-b", status = "RUNNING", labels = { a = "b" },
      n = 3 }
    t:eq(keep("name=gke-a-1", item), true)
    t:eq(keep('name = "gke-*"', item), true)
    t:eq(keep("name!=gke-a-1", item), false)
    t:eq(keep("zone=europe-west1-b AND labels.a=b", item), true)
    t:eq(keep("(status eq STOPPED) OR (name eq '.*a.*')", item), true)
    t:eq(keep("(status eq RUNNING) (name ne gke.*)", item), false)
    t:eq(keep("labels.a:*", item), true)
    t:eq(keep("NOT labels.b:*", item), true)
    t:eq(keep("n=3", item), true)
    t:raises("", filter.compile, "name=")
    t:raises("", filter.compile, "(name=x")
    t:raises("", filter.compile, "name='x")
  end)

  test("merging and masks", function(t)
    local target = { a = { b = 1, c = 2 }, list = { 1, 2 } }
    values.merge(target, { a = { b = json.null, d = 4 }, list = json.array {} })
    t:eq(target, { a = { c = 2, d = 4 }, list = {} })
    local masked = { labels = { x = "1" }, displayName = "old", nested = { a = 1, b = 2 } }
    values.apply_mask(masked, { displayName = "new", nested = { a = 9 } }, "display_name,labels,nested.a")
    t:eq(masked, { displayName = "new", nested = { a = 9, b = 2 } })
  end)
end
