-- Uploads to the sandbox's registry: whole, in chunks, mounted, given up; connections that break and crawl.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local http = require "ws.http"
local json = require "ws.json"
local request = require "sandbox.request"
local support = dofile "tests/sandbox/support.lua"
local task = require "ws.task"
local time = require "ws.time"

local REPO = "/v2/eu.gcr.io/test-project/app"

local function digest(bytes) return "sha256:" .. crypto.sha256(bytes) end

local function begin(client, query)
  local _, answer = client("POST", REPO .. "/blobs/uploads/" .. (query or ""), "", 202)
  return answer.headers.location:match("^http://[^/]+(/.*)$")
end

local function code(client, ...) return client(...).errors[1].code end

return function(test)
  test("in chunks", function(t)
    local client = support.client(t, (support.cloud(t)))
    local at = begin(client)
    local _, answer = client("PATCH", at, "01234", 202)
    t:eq(answer.headers.range, "0-4")
    for _, range in ipairs { "9-9", "0-0", "6-6", "5-4", "x" } do
      _, answer = client("PATCH", at, "9", 416, { ["content-range"] = range })
      t:eq({ answer.headers.range, answer.json.errors[1].code }, { "0-4", "BLOB_UPLOAD_INVALID" })
    end
    client("PUT", at .. "?digest=" .. digest "0123456789", "9", 416, { ["content-range"] = "9-9" })
    client("PATCH", at, "56", 202, { ["content-range"] = "5-6" })
    t:eq(code(client, "PATCH", at, "7", 400, { ["content-range"] = "7-8", ["content-length"] = "1" }), "SIZE_INVALID")
    _, answer = client("GET", at, nil, 204)
    t:eq({ answer.headers.range, answer.headers.location:match("^http://[^/]+(/.*)$") }, { "0-6", at })
    client("PUT", at .. "?digest=" .. digest "0123456789", "789", 201, { ["content-range"] = "7-9" })
    t:eq(client("GET", REPO .. "/blobs/" .. digest "0123456789").body, "0123456789")
    t:eq(code(client, "PUT", at .. "?digest=" .. digest "x", "", 404), "BLOB_UPLOAD_UNKNOWN")
  end)

  test("a chunk that is shorter than it said ends the upload", function(t)
    local client = support.client(t, (support.cloud(t)))
    local at = begin(client)
    t:eq(code(client, "PATCH", at, "012", 400, { ["content-range"] = "0-9" }), "SIZE_INVALID")
    client("GET", at, nil, 404)
  end)

  test("whole, in one request or two, by either algorithm", function(t)
    local client = support.client(t, (support.cloud(t)))
    local long = "sha512:" .. crypto.sha512("content")
    client("PUT", begin(client) .. "?digest=" .. digest "content", "content", 201)
    client("POST", REPO .. "/blobs/uploads/?digest=" .. long, "content", 201)
    client("PUT", begin(client, "?digest-algorithm=sha512") .. "?digest=" .. long, "content", 201)
    t:eq(select(2, client("HEAD", REPO .. "/blobs/" .. long)).headers["docker-content-digest"], long)
    for _, query in ipairs { "?digest-algorithm=md5", "?digest=md5:12" } do
      t:eq(code(client, "POST", REPO .. "/blobs/uploads/" .. query, "", 400), "DIGEST_INVALID")
    end
    local at = begin(client)
    t:eq(code(client, "PUT", at, "content", 400), "DIGEST_INVALID") -- and what was sent does not count
    client("PUT", at .. "?digest=" .. digest "content", "content", 201)
    t:eq(code(client, "PUT", begin(client) .. "?digest=" .. digest "other", "content", 400), "DIGEST_INVALID")
    t:eq(code(client, "POST", REPO .. "/blobs/uploads/?digest=" .. digest "other", "content", 400), "DIGEST_INVALID")
    client("HEAD", REPO .. "/blobs/" .. digest "other", nil, 404)
  end)

  test("given up, or forgotten", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local at = begin(client)
    client("PATCH", at, "x", 202)
    client("DELETE", at, nil, 204)
    client("PATCH", at, "x", 404)
    client("DELETE", at, nil, 404)
    local old = begin(client)
    client("PATCH", old, "x", 202)
    cloud.store:collection("registry.uploads"):update(old:match("[^/]+$"), function(upload)
      upload.started = upload.started - 8 * 86400
    end)
    client("GET", begin(client), nil, 204)
    client("GET", old, nil, 404)
    t:eq(fs.list(cloud.dir .. "/registry/uploads"), {})
  end)

  test("blobs are seen where they were pushed or mounted", function(t)
    local client = support.client(t, (support.cloud(t)))
    local blob = digest "shared"
    client("POST", "/v2/one/blobs/uploads/?digest=" .. blob, "shared", 201)
    client("HEAD", "/v2/two/blobs/" .. blob, nil, 404)
    local _, answer = client("POST", "/v2/two/blobs/uploads/?from=one&mount=" .. blob, "", 201)
    t:eq(answer.headers["docker-content-digest"], blob)
    client("POST", "/v2/two/blobs/uploads/?from=one&mount=" .. digest "absent", "", 202)
    client("POST", "/v2/two/blobs/uploads/?from=one&mount=none", "", 202)
    client("POST", "/v2/three/blobs/uploads/?mount=" .. blob, "", 201) -- wherever it is
    client("DELETE", "/v2/one/blobs/" .. blob, nil, 202)
    client("GET", "/v2/one/blobs/" .. blob, nil, 404)
    t:eq(client("GET", "/v2/two/blobs/" .. blob).body, "shared")
  end)

  test("who goes on with an upload after a break takes over", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local at = begin(client)
    local pieces = task.queue()
    local slow = request.new { method = "PATCH", url = at, headers = {} }
    slow.read = function() return pieces:pop(10) end
    pieces:push "01"
    local waiting = task.spawn(function() return cloud:handle(slow) end)
    while client("GET", at, nil, 204).headers.range ~= "0-1" do task.sleep(0.005) end
    client("PATCH", at, "23", 202, { ["content-range"] = "2-3" })
    pieces:push "xx"
    local _, answer = waiting:join()
    t:eq({ answer.status, json.decode(answer.body).errors[1].code }, { 400, "BLOB_UPLOAD_INVALID" })
    client("PUT", at .. "?digest=" .. digest "0123", "", 201)
  end)

  test("a connection that is cut in the middle of an upload", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local url = support.serve(t, cloud)
    local bytes = crypto.random_bytes(1 << 20)
    client("POST", "/_sandbox/faults", { api = "registry", method = "PATCH", cut_upload_after = 300000, times = 1 })
    local at = begin(client)
    local answer, err = http.request { method = "PATCH", url = url .. at, body = bytes, timeout = 10 }
    t:eq(answer, nil)
    t:ok(err.kind == "connection" or err.kind == "protocol", err.kind)
    local _, state = client("GET", at, nil, 204)
    t:eq(state.headers.range, "0-299999")
    t:eq(t:ok(http.request { method = "PATCH", url = url .. at, body = bytes:sub(300001), timeout = 10 }).status, 202)
    client("PUT", at .. "?digest=" .. digest(bytes), "", 201)
  end)

  test("an upload that crawls", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local url, bytes = support.serve(t, cloud), crypto.random_bytes(200000)
    client("POST", "/_sandbox/faults", { api = "registry", method = "PUT", rate = 1000000, times = 1 })
    local started = time.monotonic()
    t:eq(t:ok(http.request { method = "PUT", url = ("%s%s?digest=%s"):format(url, begin(client), digest(bytes)),
      body = bytes, timeout = 10 }).status, 201)
    t:ok(time.monotonic() - started >= 0.19)
  end)

  test("faults speak the registry's language", function(t)
    local client = support.client(t, (support.cloud(t)))
    local function fault(rule)
      rule.api, rule.times = "registry", 1
      client("POST", "/_sandbox/faults", rule)
    end
    fault { status = 429, retry_after = 2, message = "slowly" }
    local refused, answer = client("GET", REPO .. "/tags/list", nil, 429)
    t:eq(refused.errors[1], { code = "TOOMANYREQUESTS", message = "slowly" })
    t:eq(answer.headers["retry-after"], "2")
    fault { status = 401, method = "POST", path = "/v2/*/blobs/uploads/*" }
    answer = select(2, client("POST", REPO .. "/blobs/uploads/", "", 401, { host = "h:1" }))
    t:eq(answer.headers["www-authenticate"], 'Bearer realm="http://h:1/v2/token",service="h:1",'
      .. 'scope="repository:eu.gcr.io/test-project/app:pull,push"')
    fault { status = 503 }
    t:eq(code(client, "GET", "/v2/", nil, 503), "UNAVAILABLE")
    client("GET", "/v2/")
  end)

  test("downloads that are cut and that crawl", function(t)
    local cloud = support.cloud(t)
    local client = support.client(t, cloud)
    local url = support.serve(t, cloud)
    local bytes = crypto.random_bytes(200000)
    client("POST", REPO .. "/blobs/uploads/?digest=" .. digest(bytes), bytes, 201)
    local blob = url .. REPO .. "/blobs/" .. digest(bytes)
    client("POST", "/_sandbox/faults", { api = "registry", method = "GET", cut_after = 70000, times = 1 })
    local answer, err = http.get(blob, { timeout = 10 })
    t:eq(answer, nil)
    t:ok(err.kind == "connection" or err.kind == "protocol", err.kind)
    local rest = t:ok(http.get(blob, { timeout = 10, headers = { range = "bytes=70000-" } })).body
    t:eq(bytes:sub(70001) == rest, true)
    client("POST", "/_sandbox/faults", { api = "registry", rate = 1000000, times = 1 })
    local started = time.monotonic()
    t:eq(t:ok(http.get(blob, { timeout = 10 })).body == bytes, true)
    t:ok(time.monotonic() - started >= 0.19)
    client("POST", "/_sandbox/faults", { api = "registry", cut = true }) -- always: curl tries a second time by itself
    t:err("connection", http.request { method = "HEAD", url = blob, timeout = 10 })
    client("POST", "/_sandbox/faults", { api = "registry", rate = 0 }, 400)
  end)
end
