-- Releases read from the cluster's secrets, against an API server that holds them.
local archive = require "ws.archive"
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local helm = require "ws.helm"
local http = require "ws.http"
local json = require "ws.json"
local k8s = require "ws.k8s"
local server = require "ws.server"

local BASE = "/api/v1/namespaces/apps/secrets"

--- A revision's secret as Helm writes it.
local function record(version, status, info, opts)
  opts = opts or {}
  local text = json.encode { name = "web", version = version, manifest = "kind: ConfigMap\n", info = info or {},
    config = { password = "hidden" }, chart = { metadata = { name = "demo", version = "1.4." .. version,
      appVersion = "4" } }, hooks = json.array { { name = "migrate", kind = "Job" } } }
  local packed = opts.plain and text or archive.gzip(text)
  local labels = { owner = "helm", name = "web", status = status, version = tostring(version), wsrun = opts.label }
  return { metadata = { name = "sh.helm.release.v1.web.v" .. version, labels = labels },
    data = { release = opts.release or crypto.base64_encode(crypto.base64_encode(packed)) } }
end

--- An API server with these secrets; returns the options that name it, and the secrets by their names.
local function cluster(t, ...)
  local secrets, seen = {}, {}
  for _, secret in ipairs { ... } do secrets[secret.metadata.name] = secret end
  local function reply(status, value)
    return { status = status, headers = { ["content-type"] = "application/json" }, body = json.encode(value) }
  end
  local s = t:ok(server.listen { handler = function(req)
    seen[#seen + 1] = req.headers.accept
    if req.path == "/api/v1" then
      return reply(200, { resources = json.array { { name = "secrets", kind = "Secret", namespaced = true } } })
    end
    local name = req.path:match("^" .. BASE .. "/(.+)$")
    if not name then
      t:eq(http.url_decode(req.query.labelSelector), "owner=helm,name=web")
      local items = json.array()
      for _, secret in pairs(secrets) do items[#items + 1] = { metadata = secret.metadata } end
      return reply(200, { metadata = {}, items = items })
    end
    if not secrets[name] then return reply(404, { kind = "Status", reason = "NotFound", message = name }) end
    if req.method == "PATCH" then
      local patch = assert(json.decode(req:body()))
      secrets[name].metadata.labels.status = patch.metadata.labels.status
      secrets[name].data = patch.data
    end
    return reply(200, secrets[name])
  end })
  t:defer(function() s:close() end)
  return function(more)
    local options = { api = k8s.client { server = s.url }, release = "web", namespace = "apps" }
    for key, value in pairs(more or {}) do options[key] = value end
    return options
  end, secrets, seen
end

return function(test)
  test("history asks for labels only, a revision is read as a whole, values are not kept", function(t)
    local opts, _, seen = cluster(t, record(2, "deployed", { status = "deployed", description = "Upgrade complete",
      last_deployed = "2026-11-26T13:00:00.5Z" }), record(1, "superseded", {}, { plain = true }))
    local list = t:ok(helm.history(opts()))
    t:eq({ #list, list[1].revision, list[1].status, list[2].revision, list[2].status },
      { 2, 1, "superseded", 2, "deployed" })
    t:has(seen[#seen], "PartialObjectMetadataList")
    local r = t:ok(helm.revision(opts { revision = 2 }))
    t:eq({ r.revision, r.status, r.version, r.app_version, r.chart, r.description, r.updated, r.manifest },
      { 2, "deployed", "1.4.2", "4", "demo", "Upgrade complete", "2026-11-26T13:00:00.5Z", "kind: ConfigMap\n" })
    t:eq(r.hooks, { { name = "migrate", kind = "Job" } })
    t:eq(r.config, nil)
    t:eq(t:ok(helm.revision(opts { revision = 1 })).version, "1.4.1", "not compressed")
    t:err("not_found", helm.revision(opts { revision = 3 }))
    t:eq(t:ok(helm.status(opts())).revision, 2)
    t:err("not_found", helm.history(cluster(t)()))
    t:err("not_found", helm.status(cluster(t)()))
  end)

  test("a record that cannot be read says which", function(t)
    for text, part in pairs { ["%%%"] = "no base64", [crypto.base64_encode(crypto.base64_encode "\31\139xx")] = "",
      [crypto.base64_encode(crypto.base64_encode "5")] = "no map" } do
      local opts = cluster(t, record(1, "deployed", {}, { release = text }))
      local err = t:err("parse", helm.revision(opts { revision = 1 }))
      t:has(err.message, "the record of release web, revision 1, cannot be read")
      t:has(err.message, part)
    end
  end)

  test("a pending revision has failed when its maker held the lock that the caller holds", function(t)
    local now = require "ws.time".rfc3339()
    local opts, secrets = cluster(t, record(1, "deployed", { status = "deployed" }), record(2, "pending-upgrade",
      { status = "pending-upgrade", last_deployed = now }, { label = "run-1" }))
    local before = t:ok(helm.revision(opts { revision = 2 }))
    local last, err, given_up = helm.settle(opts { exclusive = "wsrun" })
    t:eq({ last.revision, last.status, err, given_up }, { 2, "failed", nil, true })
    t:eq(secrets["sh.helm.release.v1.web.v2"].metadata.labels.status, "failed")
    t:eq({ last.version, last.manifest, last.hooks }, { before.version, before.manifest, before.hooks })
    last, err, given_up = helm.settle(opts { exclusive = "wsrun" })
    t:eq({ last.revision, err, given_up }, { 2, nil, false })
  end)

  test("a release is current when its inputs are, also after a rollback to them", function(t)
    local dir = t:tmpdir()
    assert(fs.write(dir .. "/Chart.yaml", "name: demo\nversion: 1.4.1\n"))
    -- The checksum is helm.install_or_upgrade's own: the digest of the chart, then of the values.
    local inputs = crypto.sha256(crypto.sha256("Chart.yaml " .. crypto.sha256_file(dir .. "/Chart.yaml")) .. "\n"
      .. crypto.sha256 '{"a":1}')
    local ours = ("inputs %s, by wsrun"):format(inputs)
    local function current(values, ...)
      return t:ok(helm.is_current(cluster(t, ...) { chart = dir, values = values }) ~= nil)
        and helm.is_current(cluster(t, ...) { chart = dir, values = values })
    end
    local first = record(1, "deployed", { status = "deployed", description = ours })
    t:eq(current({ a = 1 }, first), true)
    t:eq(current({ a = 2 }, first), false)
    t:eq(current({ a = 1 }, record(1, "failed", { status = "failed", description = ours })), false)
    local back = record(3, "deployed", { status = "deployed", description = "Rollback to 1" })
    t:eq(current({ a = 1 }, first, back), true)
    t:eq(current({ a = 2 }, first, back), false)
    t:eq(current({ a = 1 }, back), false, "the revision that it went back to is gone")
    t:eq(current({ a = 1 }, record(3, "deployed", { status = "deployed", description = "Rollback to 3" })), false)
    t:eq(helm.is_current(cluster(t) { chart = dir }), false)
  end)
end
