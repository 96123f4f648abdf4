local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local k8s = require "ws.k8s"
local secret = require "ws.secret"
local server = require "ws.server"
local task = require "ws.task"
local yaml = require "ws.yaml"

local function reply(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" }, body = json.encode(value) }
end

local function failure(status, reason, message)
  return reply(status, { kind = "Status", status = "Failure", reason = reason, message = message, code = status })
end

local core = { resources = { { name = "pods", kind = "Pod", namespaced = true },
  { name = "pods/log", kind = "Pod", namespaced = true }, { name = "namespaces", kind = "Namespace" } } }

--- An API server as far as `handler` makes one; it knows pods and namespaces. Returns client, what it saw, and server.
local function serve(t, handler, opts)
  local seen = {}
  local s = t:ok(server.listen { tls = opts and opts.tls, handler = function(req)
    if req.path == "/api/v1" then return reply(200, core) end
    local body = req:body()
    seen[#seen + 1] = { method = req.method, path = req.path, query = req.query, headers = req.headers, body = body }
    return handler(#seen, seen[#seen])
  end, on_error = function() end })
  t:defer(function() s:close() end)
  return k8s.client { server = s.url, token = secret.new("token-0123") }, seen, s
end

local pod = { api_version = "v1", kind = "Pod", name = "a/b", namespace = "blue" }

return function(test)
  test("objects have their paths, verbs and types", function(t)
    local api, seen = serve(t, function() return reply(200, { kind = "Pod" }) end)
    t:ok(api:get(pod))
    t:eq({ seen[1].method, seen[1].path }, { "GET", "/api/v1/namespaces/blue/pods/a%2Fb" })
    t:eq(seen[1].headers.authorization, "Bearer token-0123")
    t:ok(api:get { api_version = "v1", kind = "Namespace", name = "blue" })
    t:eq(seen[2].path, "/api/v1/namespaces/blue")
    local object = { apiVersion = "v1", kind = "Pod", metadata = { name = "x" }, key = secret.new("hidden value") }
    t:ok(api:create(object))
    t:eq({ seen[3].method, seen[3].path }, { "POST", "/api/v1/namespaces/default/pods" })
    t:has(seen[3].body, "hidden value")
    t:ok(api:apply(object, { force = true, manager = "me", dry_run = true }))
    t:eq({ seen[4].method, seen[4].path, seen[4].headers["content-type"] },
      { "PATCH", "/api/v1/namespaces/default/pods/x", "application/apply-patch+yaml" })
    t:eq(seen[4].query, { fieldManager = "me", force = "true", dryRun = "All" })
    t:ok(api:patch(pod, { a = 1 }))
    t:eq({ seen[5].headers["content-type"], seen[5].body }, { "application/merge-patch+json", '{"a":1}' })
    t:ok(api:delete(pod))
    t:eq({ seen[6].method, json.decode(seen[6].body).propagationPolicy }, { "DELETE", "Background" })
    t:raises("apiVersion, kind and metadata", api.create, api, {})
    t:raises("unknown option 'ca'", k8s.client, { server = "x", ca = "y" })
    t:raises("needs a server", k8s.client, {})
  end)

  test("lists are read to their end", function(t)
    local api, seen = serve(t, function(n)
      return reply(200, { metadata = { continue = n < 3 and "next" .. n or "", resourceVersion = "7" },
        items = { { n = n } } })
    end)
    local list = t:ok(api:list { api_version = "v1", kind = "Pod", labels = "a=b" })
    t:eq({ #list.items, list.items[3].n, list.resource_version }, { 3, 3, "7" })
    t:eq({ seen[1].path, seen[1].query.labelSelector, seen[3].query.continue }, { "/api/v1/pods", "a=b", "next2" })
  end)

  test("a list of metadata asks for nothing else", function(t)
    local api, seen = serve(t, function() return reply(200, { metadata = {}, items = json.null }) end)
    t:eq(t:ok(api:list { api_version = "v1", kind = "Pod", metadata = true }).items, {})
    t:has(seen[1].headers.accept, "as=PartialObjectMetadataList")
    t:ok(api:list { api_version = "v1", kind = "Pod" })
    t:eq(seen[2].headers.accept, "application/json")
  end)

  test("a service is asked through the API server, and any answer is one", function(t)
    local api, seen = serve(t, function(n) return { status = n == 1 and 200 or 503, body = "said" } end)
    local answer = t:ok(api:ask({ name = "web", namespace = "blue", port = "http" }, "/a/b?c=d"))
    t:eq({ answer.status, answer.body, seen[1].method, seen[1].path }, { 200, "said", "GET",
      "/api/v1/namespaces/blue/services/web%3Ahttp/proxy/a/b" })
    t:eq(seen[1].headers.authorization, "Bearer token-0123")
    t:eq(t:ok(api:ask({ name = "web", port = 443, scheme = "https" }, "healthz")).status, 503)
    t:eq(seen[2].path, "/api/v1/namespaces/default/services/https%3Aweb%3A443/proxy/healthz")
    t:eq(#seen, 2, "nothing is tried twice")
    t:err("connection", k8s.client { server = "http://127.0.0.1:1" }:ask({ name = "web" }, "/"))
  end)

  test("refusals have their kinds", function(t)
    for status, kind in pairs { [401] = "unauthenticated", [403] = "denied", [404] = "not_found", [409] = "conflict",
      [422] = "invalid" } do
      local api = serve(t, function() return failure(status, "Reason", "what the server says") end)
      local err = t:err(kind, api:get(pod))
      t:has(err.message, "what the server says")
      t:eq({ err.status, err.reason }, { status, "Reason" })
    end
    local api = serve(t, function() return failure(409, "AlreadyExists", "it is there") end)
    t:err("exists", api:create { apiVersion = "v1", kind = "Pod", metadata = { name = "x" } })
    local err = t:err("not_found", api:get { api_version = "v1", kind = "Gadget", name = "x" })
    t:has(err.message, "knows no kind Gadget")
  end)

  test("reads are tried again, writes are not", function(t)
    local api, seen = serve(t, function(n)
      if n < 3 then return { status = 503, headers = { ["retry-after"] = "0" }, body = "" } end
      return reply(200, { ok = true })
    end)
    t:eq(t:ok(api:get(pod)).ok, true)
    t:eq(#seen, 3)
    api, seen = serve(t, function() return { status = 503, body = "" } end)
    t:err("unavailable", api:patch(pod, {}))
    t:eq(#seen, 1)
  end)

  test("a watch tells what is there, what changes, and begins again when it ends", function(t)
    local api, seen = serve(t, function(_, req)
      if not req.query.watch then
        return reply(200, { metadata = { resourceVersion = "5" }, items = { { n = 0 } } })
      end
      return { stream = function(write)
        local lines = json.encode { type = "MODIFIED", object = { n = 1 } } .. "\n"
          .. json.encode { type = "BOOKMARK", object = {} } .. "\n"
          .. json.encode { type = "ERROR", object = { code = 410 } } .. "\n"
        write(lines:sub(1, 20)) -- cut in the middle of a line
        task.sleep(0.02)
        write(lines:sub(21))
      end }
    end)
    local events = {}
    t:ok(api:watch({ api_version = "v1", kind = "Pod", timeout = 10 }, function(kind, object)
      events[#events + 1] = kind .. object.n
      return #events == 4
    end))
    t:eq(events, { "ADDED0", "MODIFIED1", "ADDED0", "MODIFIED1" })
    t:eq(seen[2].query.resourceVersion, "5")
  end)

  test("a watch ends when its time is up, and when the callback fails", function(t)
    local api = serve(t, function(_, req)
      if not req.query.watch then return reply(200, { metadata = { resourceVersion = "5" }, items = {} }) end
      return { stream = function(write)
        while write(json.encode { type = "ADDED", object = {} } .. "\n") do task.sleep(0.05) end
      end }
    end)
    local _, err = task.timeout(0.3, api.watch, api, { api_version = "v1", kind = "Pod" }, function() end)
    t:eq(err.kind, "timeout")
    local ok, problem = api:watch({ api_version = "v1", kind = "Pod" }, function() error("callback broke") end)
    t:eq(ok, nil)
    t:has(tostring(problem), "callback broke")
  end)

  test("wait: a condition, a function, the end of an object", function(t)
    local api = serve(t, function(n)
      if n == 1 then return failure(404, "NotFound", "not yet") end
      if n > 5 then return failure(404, "NotFound", "gone") end
      local ready = { type = "Ready", status = n >= 3 and "True" or "False" }
      return reply(200, { n = n, status = { conditions = { ready } } })
    end)
    t:eq(t:ok(api:wait(pod, "Ready", { timeout = 5 })).n, 3)
    t:eq(t:ok(api:wait(pod, function(object) return object.n == 5 end)).n, 5)
    t:eq(t:ok(api:wait(pod, "deleted")), true)
    local err = t:err("timeout", api:wait(pod, "Ready", { timeout = 0.2 }))
    t:has(err.message, "Pod a/b was not Ready")
  end)

  test("logs are text", function(t)
    local api, seen = serve(t, function() return { body = "line 1\nline 2\n" } end)
    t:eq(api:logs { name = "p", namespace = "blue", container = "c", tail = 2 }, "line 1\nline 2\n")
    t:eq(seen[1].path, "/api/v1/namespaces/blue/pods/p/log")
    t:eq(seen[1].query, { container = "c", tailLines = "2" })
  end)

  test("kubeconfig: authority, token, token file, client certificate, plugin", function(t)
    local dir = t:tmpdir()
    local ca = t:ok(crypto.x509.create { subject = "Authority", ca = true })
    local cert = t:ok(crypto.x509.create { subject = "server", ips = { "127.0.0.1" }, issuer = ca })
    local mine = t:ok(crypto.x509.create { subject = "client", issuer = ca })
    local _, seen, s = serve(t, function() return reply(200, {}) end, { tls = cert })
    t:ok(fs.write(dir .. "/ca.pem", ca.cert))
    t:ok(fs.write(dir .. "/token", "from a file\n"))
    local plugin = [[case $KUBERNETES_EXEC_INFO in *ExecCredential*) ;; *) exit 1;; esac
      echo run >> "$0"; echo '{"kind":"ExecCredential","status":{"token":"from a plugin"}}']]
    local function config(cluster, user)
      cluster.server = s.url
      return { ["current-context"] = "c", contexts = { { name = "c", context = { cluster = "k", user = "u" } } },
        clusters = { { name = "k", cluster = cluster } }, users = { { name = "u", user = user } } }
    end
    local function sent(api) return t:ok(api:get(pod)) and seen[#seen].headers.authorization end
    local data = { ["certificate-authority-data"] = crypto.base64_encode(ca.cert) }

    t:eq(sent(t:ok(k8s.from_kubeconfig(config(data, { token = "plain token" })))), "Bearer plain token")
    local files = config({ ["certificate-authority"] = "ca.pem" }, { tokenFile = "token" })
    t:ok(fs.write(dir .. "/config", yaml.encode(files)))
    t:eq(sent(t:ok(k8s.from_kubeconfig(dir .. "/config"))), "Bearer from a file")
    local exec = { command = "sh", args = { "-c", plugin, dir .. "/runs" } }
    local api = t:ok(k8s.from_kubeconfig(config(data, { exec = exec })))
    t:eq(sent(api), "Bearer from a plugin")
    t:eq(sent(api), "Bearer from a plugin")
    t:eq(fs.read(dir .. "/runs"), "run\n", "it is asked once")
    local user = { ["client-certificate-data"] = crypto.base64_encode(mine.cert) }
    t:ok(fs.write(dir .. "/key.pem", mine.key, { mode = 384 }))
    user["client-key"] = dir .. "/key.pem"
    t:eq(sent(t:ok(k8s.from_kubeconfig(config(data, user)))), nil)

    t:err("not_found", k8s.from_kubeconfig(dir .. "/nothing"))
    t:err("not_found", k8s.from_kubeconfig(config(data, {}), { context = "other" }))
    t:err("unsupported", k8s.from_kubeconfig(config({ ["insecure-skip-tls-verify"] = true }, {})))
    t:err("unsupported", k8s.from_kubeconfig(config(data, { username = "x", password = "y" })))
    t:err("parse", k8s.from_kubeconfig(config({ ["certificate-authority-data"] = "!" }, {})))
    t:err("tls", t:ok(k8s.from_kubeconfig(config({}, { token = "t" }))):get(pod))
    api = t:ok(k8s.from_kubeconfig(config(data, { exec = { command = "false", installHint = "get it" } })))
    t:eq(t:err("unauthenticated", api:get(pod)).hint, "get it")
    t:ok(fs.write(dir .. "/config", "just text\n"))
    t:err("invalid", k8s.from_kubeconfig(dir .. "/config"))
  end)

  test("wait_ready gives up where waiting cannot help", function(t)
    local api = serve(t, function(n)
      if n < 2 then return { status = 500, body = "not yet" } end
      return { body = "ok" }
    end)
    t:ok(api:wait_ready { timeout = 10 })
    api = serve(t, function() return failure(403, "Forbidden", "no") end)
    t:err("denied", api:wait_ready { timeout = 10 })
  end)
end
