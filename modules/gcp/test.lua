local crypto = require "ws.crypto"
local environment = require "ws.environment"
local fs = require "ws.fs"
local gcp = require "ws.gcp"
local json = require "ws.json"
local retry = require "ws.gcp.retry"
local secret = require "ws.secret"
local server = require "ws.server"
local task = require "ws.task"

--- A Google-like server: answers are taken from `replies` in turn, or made by `handler`.
local function serve(t, handler)
  local seen = {}
  local s = assert(server.listen { handler = function(req)
    local body = req:body()
    seen[#seen + 1] = { method = req.method, path = req.path, query = req.query, headers = req.headers, body = body }
    return handler(#seen, seen[#seen])
  end })
  local url = ("http://127.0.0.1:%d/"):format(s.port)
  environment.set { GOOGLE_COMPUTE_CUSTOM_ENDPOINT = url .. "compute/v1/", GCE_METADATA_HOST = "127.0.0.1:" .. s.port,
    GOOGLE_OAUTH_ACCESS_TOKEN = false, CLOUDSDK_AUTH_ACCESS_TOKEN = false, GOOGLE_APPLICATION_CREDENTIALS = false,
    CLOUDSDK_CONFIG = "/nowhere" }
  assert(gcp.credentials { token = "test-token-1" })
  t:defer(function()
    s:close()
    environment.set { GOOGLE_COMPUTE_CUSTOM_ENDPOINT = false, GCE_METADATA_HOST = false }
    gcp.credentials(nil)
  end)
  return url, seen
end

local function reply(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" }, body = json.encode(value) }
end

local function failure(status, message, more)
  local body = { code = status, message = message }
  for k, v in pairs(more or {}) do body[k] = v end
  return reply(status, { error = body })
end

local get = { api = "compute", path = "projects/p/zones" }

return function(test)
  test("the README's example is true", function(t)
    serve(t, function(_, req)
      local operation = { kind = "compute#operation", name = "op", status = req.method == "GET" and "DONE" or "RUNNING",
        selfLink = "https://www.googleapis.com/compute/v1/projects/p/global/operations/op" }
      if req.path:find("zones") then return reply(200, { items = json.array { { name = "europe-west1-b" } } }) end
      return reply(200, operation)
    end)
    t:examples "modules/gcp/README.md"
  end)

  test("a request carries token and attempt, and decodes the answer", function(t)
    local _, seen = serve(t, function() return reply(200, { kind = "x" }) end)
    t:eq(t:ok(gcp.request(get)).kind, "x")
    t:eq(seen[1].path, "/compute/v1/projects/p/zones")
    t:eq(seen[1].headers.authorization, "Bearer test-token-1")
    t:has(seen[1].headers["x-goog-api-client"], "gccl-attempt-count/1")
    t:ok(gcp.request { api = "compute", path = "x", body = { a = 1 }, query = { q = "a b" } })
    t:eq({ seen[2].method, seen[2].body, seen[2].query.q }, { "POST", '{"a":1}', "a b" })
  end)

  test("503 and 429 are tried again for reads, with Retry-After; writes are not repeated", function(t)
    local _, seen = serve(t, function(n)
      if n < 3 then return { status = 503, headers = { ["retry-after"] = "0" }, body = "" } end
      return reply(200, {})
    end)
    t:ok(gcp.request(get))
    t:eq(#seen, 3)
    t:has(seen[3].headers["x-goog-api-client"], "gccl-attempt-count/3")
    local _, again = serve(t, function() return failure(503, "busy") end)
    t:err("unavailable", gcp.request { api = "compute", path = "x", method = "POST", body = {} })
    t:eq(#again, 1)
    t:err("unavailable", gcp.request { api = "compute", path = "x", method = "POST", body = {}, idempotent = true,
      attempts = 2 })
    t:eq(#again, 3)
  end)

  test("400, 403, 404, 409, 412 are not tried again and have their kinds", function(t)
    local status
    local _, seen = serve(t, function() return failure(status, "no", { details = {
      { reason = "SERVICE_DISABLED", metadata = { service = "compute", activationUrl = "https://x" } } } }) end)
    for code, kind in pairs { [400] = "invalid", [403] = "denied", [404] = "not_found", [409] = "conflict",
      [412] = "precondition", [501] = "unsupported" } do
      status = code
      local before = #seen
      local err = t:err(kind, gcp.request(get))
      t:eq({ err.status, #seen - before }, { code, 1 })
      t:has(err.hint, "activate the service")
    end
  end)

  test("401 renews the token once", function(t)
    local _, seen = serve(t, function(n) return n == 1 and failure(401, "expired") or reply(200, {}) end)
    t:ok(gcp.request(get))
    t:eq(#seen, 2)
    serve(t, function() return failure(401, "never") end)
    t:err("unauthenticated", gcp.request(get))
  end)

  test("a lost connection is tried again", function(t)
    local url = serve(t, function() return reply(200, {}) end)
    environment.set { GOOGLE_COMPUTE_CUSTOM_ENDPOINT = "http://127.0.0.1:9/" }
    t:err("connection", gcp.request { api = "compute", path = "x", attempts = 2 })
    environment.set { GOOGLE_COMPUTE_CUSTOM_ENDPOINT = url }
    t:ok(gcp.request { api = "compute", path = "x" })
  end)

  test("pages", function(t)
    serve(t, function(_, req)
      if req.query.pageToken == "two" then return reply(200, { items = json.array { { name = "c" } } }) end
      return reply(200, { items = json.array { { name = "a" }, { name = "b" } }, nextPageToken = "two" })
    end)
    local names = {}
    for item in gcp.pages(get) do names[#names + 1] = item.name end
    t:eq(names, { "a", "b", "c" })
    serve(t, function() return failure(403, "no") end)
    t:raises("403", function() for _ in gcp.pages(get) do t:ok(false) end end)
  end)

  test("operations: done, failing, never ending", function(t)
    local state
    local _, seen = serve(t, function(n)
      return reply(200, { kind = "compute#operation", name = "op", status = n < 3 and "RUNNING" or "DONE",
        error = state, selfLink = "https://www.googleapis.com/compute/v1/projects/p/global/operations/op" })
    end)
    local pending = { kind = "compute#operation", name = "op", status = "PENDING", operationType = "insert",
      selfLink = "https://www.googleapis.com/compute/v1/projects/p/global/operations/op" }
    t:eq(t:ok(gcp.wait(pending)).status, "DONE")
    t:eq(seen[1].path, "/compute/v1/projects/p/global/operations/op")
    state = { errors = json.array { { code = "QUOTA", message = "too many" } } }
    t:has(t:err("failed", gcp.wait(pending)).message, "too many")
    serve(t, function() return reply(200, pending) end)
    t:err("timeout", gcp.wait(pending, { timeout = 0.3 }))
    t:eq(gcp.wait({ name = "a-resource" }, { api = "compute" }).name, "a-resource")
  end)

  test("a service account's key becomes a token, once for many", function(t)
    local pair = assert(crypto.x509.create { subject = "a", key = "rsa" })
    local key = pair.key
    local url, seen = serve(t, function(_, req)
      if req.path == "/token" then return reply(200, { access_token = "from-key-token", expires_in = 3600 }) end
      return reply(200, {})
    end)
    local path = t:tmpdir() .. "/key.json"
    assert(fs.write(path, json.encode({ type = "service_account", client_email = "a@b", private_key = key,
      private_key_id = "k1", token_uri = url .. "token" }, { secrets = true })))
    environment.set { GOOGLE_APPLICATION_CREDENTIALS = path }
    t:ok(gcp.credentials(nil))
    local calls = {}
    for i = 1, 5 do calls[i] = function() return assert(gcp.request(get)) end end
    t:ok(task.all(calls))
    t:eq(#seen, 6)
    t:eq(seen[6].headers.authorization, "Bearer from-key-token")
    t:eq(gcp.identity(), "a@b")
    local head, claims = seen[1].body:match("assertion=([^.&]+)%.([^.&]+)%.")
    t:eq(json.decode(crypto.base64url_decode(head)).kid, "k1")
    t:eq(json.decode(crypto.base64url_decode(claims)).iss, "a@b")
    environment.set { GOOGLE_APPLICATION_CREDENTIALS = false }
  end)

  test("the metadata server", function(t)
    local _, seen = serve(t, function(_, req)
      if req.headers["metadata-flavor"] ~= "Google" then return failure(403, "no flavor") end
      if req.path:find("email$") then return { status = 200, body = "vm@p" } end
      return reply(200, { access_token = "metadata-token", expires_in = 3599 })
    end)
    t:ok(gcp.credentials { metadata = true })
    t:eq(gcp.identity(), "vm@p")
    t:eq(gcp.token() == secret.new "metadata-token", true)
    t:eq(#seen, 2)
  end)

  test("credentials that cannot be used say why", function(t)
    serve(t, function() return failure(400, "x") end)
    local dir = t:tmpdir()
    local function with(content)
      assert(fs.write(dir .. "/c.json", content))
      return gcp.credentials { file = dir .. "/c.json" }
    end
    t:has(t:err("unauthenticated", gcp.credentials { file = dir .. "/none" }).message, "none")
    t:has(t:err("unauthenticated", with "not json").message, "no JSON")
    t:has(t:err("unauthenticated", with '{"type":"odd"}').message, "type odd")
    t:has(t:err("unauthenticated", with '{"type":"service_account"}').message, "client_email")
    t:raises("takes file", gcp.credentials, {})
    t:ok(with(json.encode { type = "authorized_user", client_id = "i", client_secret = "ssssss",
      refresh_token = "rrrrrr", token_uri = os.getenv "GOOGLE_COMPUTE_CUSTOM_ENDPOINT" .. "token" }))
    t:err("unauthenticated", gcp.token())
  end)

  -- An STS, a service account's endpoint and a CI that gives identity tokens; what `broken` names answers 403.
  local function federation(t, more)
    local broken = {}
    local url, seen = serve(t, function(_, req)
      if broken[req.path] then return broken[req.path] end
      if req.path == "/ci" then return reply(200, { value = "id-token-2" }) end
      if req.path == "/sts" then return reply(200, { access_token = "federated-token", expires_in = 600 }) end
      if req.path:find("^/sa/") then
        return reply(200, { accessToken = "account-token", expireTime = "2100-01-01T00:00:00Z" })
      end
      return reply(200, {})
    end)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/id", "id-token-1\n"))
    local key = { type = "external_account", audience = "//iam.googleapis.com/p", token_url = url .. "sts",
      subject_token_type = "urn:ietf:params:oauth:token-type:jwt", credential_source = { file = dir .. "/id" } }
    for name, value in pairs(more and more(url, dir) or {}) do key[name] = value end
    assert(fs.write(dir .. "/c.json", json.encode(key)))
    return { file = dir .. "/c.json" }, seen, broken, dir
  end

  test("workload identity: the token in a file is exchanged", function(t)
    local config, seen, broken, dir = federation(t)
    t:ok(gcp.credentials(config))
    t:ok(gcp.request(get))
    t:eq(#seen, 2)
    local form = require "ws.http".parse_query(seen[1].body)
    t:eq({ seen[1].path, form.subject_token, form.audience, form.grant_type }, { "/sts", "id-token-1",
      "//iam.googleapis.com/p", "urn:ietf:params:oauth:grant-type:token-exchange" })
    t:eq(form.scope, "https://www.googleapis.com/auth/cloud-platform")
    t:eq(seen[2].headers.authorization, "Bearer federated-token")
    t:eq(secret.redact("id-token-1 federated-token"), "*** ***")
    broken["/sts"] = reply(400, { error = "invalid_grant", error_description = "the token has expired" })
    t:ok(gcp.credentials(config))
    t:has(t:err("unauthenticated", gcp.token()).message, "the token has expired")
    assert(fs.write(dir .. "/id", " \n"))
    t:has(t:err("unauthenticated", gcp.token()).message, "holds no identity token")
    assert(fs.remove(dir .. "/id"))
    t:has(t:err("unauthenticated", gcp.token()).message, "cannot read the identity token")
  end)

  test("workload identity: the token of a URL stands for a service account", function(t)
    local config, seen, broken = federation(t, function(url)
      return { service_account_impersonation_url = url .. "sa/serviceAccounts/ci@p.example:generateAccessToken",
        credential_source = { url = url .. "ci", headers = { Authorization = "bearer request-token" },
          format = { type = "json", subject_token_field_name = "value" } } }
    end)
    t:ok(gcp.credentials(config))
    t:eq(require "ws.gcp.credentials".current().identity, "ci@p.example")
    t:ok(gcp.request(get))
    t:eq(seen[1].headers.authorization, "bearer request-token")
    t:eq(require "ws.http".parse_query(seen[2].body).subject_token, "id-token-2")
    t:eq({ seen[3].headers.authorization, json.decode(seen[3].body).lifetime }, { "Bearer federated-token", "3600s" })
    t:eq(seen[4].headers.authorization, "Bearer account-token")
    local account = seen[3].path
    broken[account] = failure(403, "Permission 'iam.serviceAccounts.getAccessToken' denied")
    t:ok(gcp.credentials(config))
    local err = t:err("unauthenticated", gcp.token())
    t:has(err.message, "getAccessToken")
    t:has(err.hint, "workloadIdentityUser")
    broken["/ci"] = reply(200, { other = 1 })
    t:has(t:err("unauthenticated", gcp.token()).message, "no JSON with value")
    broken["/ci"] = reply(403, {})
    t:has(t:err("unauthenticated", gcp.token()).hint, "id-token: write")
  end)

  test("workload identity: a configuration that cannot be used says why", function(t)
    local function refused(text, more)
      t:has(t:err("unauthenticated", gcp.credentials(federation(t, more))).message, text)
    end
    refused("has no audience", function() return { audience = json.null } end)
    refused("neither a file nor a URL", function()
      return { credential_source = { executable = { command = "x" } } }
    end)
    refused("neither a file nor a URL", function()
      return { credential_source = { environment_id = "aws1", url = "http://127.0.0.1:9/" } }
    end)
    refused("header x is no text", function(url)
      return { credential_source = { url = url, headers = { x = json.array {} } } }
    end)
  end)

  test("misuse raises", function(t)
    t:raises("unknown option 'pth'", gcp.request, { pth = "x" })
    t:raises("needs api and path", gcp.request, { api = "compute" })
    t:raises("unknown Google API 'compte'", gcp.request, { api = "compte", path = "x" })
  end)

  test("which requests may be repeated", function(t)
    t:eq(retry.is_idempotent "GET", true)
    t:eq(retry.is_idempotent "POST", false)
    t:eq(retry.is_idempotent("POST", true), true)
    t:eq(retry.is_idempotent("DELETE", false), false)
    t:eq({ retry.retry_after "3", retry.retry_after "-1", retry.retry_after "soon", retry.retry_after "99999" },
      { 3, nil, nil, 32 })
  end)
end
