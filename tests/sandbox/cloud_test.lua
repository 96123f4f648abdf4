local http = require "ws.http"
local json = require "ws.json"
local time = require "ws.time"
local support = dofile "tests/sandbox/support.lua"

local NETWORKS = "/compute/v1/projects/test-project/global/networks"

return function(test)
  test("what is not emulated says so", function(t)
    local client = support.client(t, (support.cloud(t)))
    local answer = client("GET", "/compute/v1/projects/test-project/global/interconnects", nil, 501)
    t:has(answer.error.message, "GET /compute/v1/projects/test-project/global/interconnects")
    t:has(client("PUT", NETWORKS, {}, 501).error.message, "PUT " .. NETWORKS)
    client("POST", "/storage/v1/b/x:unknown", {}, 501)
  end)

  test("credentials are wanted where Google wants them", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local nobody = { authorization = false }
    t:eq(client("GET", NETWORKS, nil, 401, nobody).error.status, "UNAUTHENTICATED")
    client("GET", "/storage/v1/b?project=test-project", nil, 200, nobody)
    cloud.auth = "google"
    client("GET", "/storage/v1/b?project=test-project", nil, 401, nobody)
    cloud.auth = "off"
    client("GET", NETWORKS, nil, 200, nobody)
    cloud.auth = "emulator"
    local tokens = require "sandbox.tokens"
    local ended = tokens.grant(cloud, "a@b.c", nil, -1).access_token
    client("GET", NETWORKS, nil, 401, { authorization = "Bearer " .. ended })
    client("GET", NETWORKS, nil, 200, { authorization = "Bearer " .. tokens.grant(cloud, "a@b.c").access_token })
  end)

  test("a body that is no JSON", function(t)
    local client = support.client(t, (support.cloud(t)))
    t:eq(client("POST", NETWORKS, "{", 400).error.errors[1].reason, "parseError")
    client("POST", NETWORKS, "[", 400)
  end)

  test("a handler that fails answers 500 and the sandbox goes on", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    cloud.services.compute:on("GET", "/compute/v1/broken", function() error "a mistake" end)
    local log, lines = require "ws.log", {}
    log.set_sink(function(record) lines[#lines + 1] = record.message end)
    t:defer(function() log.set_sink(nil) end)
    t:has(client("GET", "/compute/v1/broken", nil, 500).error.message, "a mistake")
    t:has(lines[1], "GET /compute/v1/broken")
    client("GET", NETWORKS)
  end)

  test("fault rules", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local rules = "/_sandbox/faults"
    client("POST", rules, { api = "compute", method = "GET", path = "*/networks", status = 503, times = 2,
      retry_after = 1, message = "busy" })
    local answer, full = client("GET", NETWORKS, nil, 503)
    t:eq({ answer.error.message, full.headers["retry-after"] }, { "busy", "1" })
    client("POST", NETWORKS, { name = "n" })
    client("GET", NETWORKS .. "/n")
    client("GET", NETWORKS, nil, 503)
    client("GET", NETWORKS)
    t:eq(client("GET", rules).rules[1].applied, 2)
    client("DELETE", rules)
    local rule = client("POST", rules, { latency = 0.2 })
    local started = time.monotonic()
    client("GET", NETWORKS)
    t:ok(time.monotonic() - started >= 0.19)
    client("DELETE", rules .. "/" .. rule.id)
    client("DELETE", rules .. "/" .. rule.id, nil, 404)
    client("POST", rules, { status = 500, probability = 0 })
    client("GET", NETWORKS)
    for _, wrong in ipairs { {}, { status = 42 }, { latency = "x" }, { sttus = 500 },
      { status = 500, probability = 2 } } do
      client("POST", rules, wrong, 400)
    end
  end)

  test("a connection that is cut", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local url = support.serve(t, cloud)
    client("POST", "/_sandbox/faults", { api = "compute", cut_after = 100 })
    local answer, err = http.get(url .. NETWORKS, { headers = { authorization = "Bearer x" }, timeout = 5 })
    t:eq(answer, nil)
    t:ok(err.kind == "connection" or err.kind == "protocol", err.kind)
    client("DELETE", "/_sandbox/faults")
    t:eq(t:ok(http.get(url .. NETWORKS, { headers = { authorization = "Bearer x" }, timeout = 5 })).status, 200)
  end)

  test("what exists", function(t)
    local cloud = support.cloud(t)
    local client = support.network(t, cloud)
    client("POST", NETWORKS, { name = "lp-net-dev" })
    client("POST", NETWORKS, { name = "lp-net-develop" })
    local function names(query)
      local found = {}
      for _, r in ipairs(client("GET", "/_sandbox/resources" .. query).resources) do found[#found + 1] = r.name end
      return found
    end
    t:eq(names "?platform=dev", { "projects/test-project/global/networks/lp-net-dev" })
    t:eq(#names "", 4)
    t:eq(names "?project=other", {})
    t:eq(client("GET", "/_sandbox/health").status, "ok")
  end)

  test("settings", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    client("PATCH", "/_sandbox/settings", { auth = "google", operation_seconds = { 1, 2 } })
    t:eq({ cloud.auth, cloud.operations.duration }, { "google", { 1, 2 } })
    for _, wrong in ipairs { { auth = "x" }, { operation_seconds = { 2, 1 } }, { other = 1 } } do
      client("PATCH", "/_sandbox/settings", wrong, 400)
    end
  end)

  test("over a socket: large objects are streamed both ways", function(t)
    local crypto = require "ws.crypto"
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    client("POST", "/storage/v1/b?project=test-project", { name = "bucket" })
    local url = support.serve(t, cloud)
    local block = crypto.random_bytes(1 << 20)
    local sent = 0
    local answer = t:ok(http.request { method = "POST", timeout = 60, headers = { authorization = "Bearer x" },
      url = url .. "/upload/storage/v1/b/bucket/o?uploadType=media&name=big",
      body = function()
        sent = sent + 1
        return sent <= 64 and block or nil
      end })
    t:eq(answer.status, 200, answer.body)
    local object = t:ok(json.decode(answer.body))
    t:eq(object.size, tostring(64 << 20))
    t:has(object.mediaLink, url)
    local sum, size = crypto.hash "md5", 0
    t:ok(http.get(object.mediaLink, { timeout = 60, sink = function(chunk)
      size = size + #chunk
      sum:update(chunk)
    end }))
    t:eq(size, 64 << 20)
    t:eq(crypto.base64_encode(sum:digest { raw = true }), object.md5Hash)
    local part = t:ok(http.get(object.mediaLink, { headers = { range = "bytes=1048576-1048585" } }))
    t:eq({ part.status, part.body }, { 206, block:sub(1, 10) })
    local head = t:ok(http.request { method = "HEAD", url = url .. "/bucket/big" })
    t:eq({ head.status, head.headers["content-length"] }, { 200, object.size })
  end)
end
