-- What is kept of a failure never holds a secret.
local evidence = require "lib.evidence"
local fs = require "ws.fs"
local errors = require "ws.error"
local secret = require "ws.secret"

return function(test)
  test("of secrets only the names of the keys are kept, and machines' fields are left out", function(t)
    local text = evidence.text {
      { apiVersion = "v1", kind = "Secret", metadata = { name = "s", managedFields = { { manager = "helm" } },
        annotations = { ["kubectl.kubernetes.io/last-applied-configuration"] = '{"data":{"password":"aHVudGVy"}}',
          note = "kept" } }, data = { password = "aHVudGVy" }, stringData = { user = "mallory" } },
      { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "c" }, data = { colour = "blue" } },
    }
    for _, part in ipairs { "aHVudGVy", "mallory", "managedFields" } do t:ok(not text:find(part, 1, true), text) end
    for _, part in ipairs { "password", "user", "note: kept", "colour: blue" } do t:has(text, part) end
  end)

  test("a cluster that does not answer leaves a summary that says so, within bounds", function(t)
    local refused = errors.new { kind = "connection", message = "connection refused" }
    local password = secret.new "correct-horse-battery"
    local api = { list = function() return nil, refused end, get = function() return nil, refused end,
      logs = function() error("no pods were listed") end }
    local dir = evidence.keep({ api = api, w = { dir = t:tmpdir() } }, { release = "web", namespace = "blue",
      version = "1.4.3", manifest = "kind: ConfigMap\nmetadata: {name: c}\ndata: {key: correct-horse-battery}\n",
      err = errors.new { kind = "failed", message = "pod a: it said correct-horse-battery" } })
    local summary = fs.read(dir .. "/summary.txt")
    t:has(summary, "web 1.4.3: pod a: it said ***")
    t:has(summary, "missing: pods.yaml: connection refused")
    t:has(fs.read(dir .. "/manifest.yaml"), "key: ***")
    t:eq(fs.stat(dir .. "/summary.txt").mode & 63, 0, "nobody else may read it")
    t:ok(secret.is(password))
  end)
end
