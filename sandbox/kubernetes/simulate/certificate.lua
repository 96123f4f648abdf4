--- cert-manager's resources, where their definitions are installed: issuers and certificates become ready, and a
--- certificate's Secret holds one that is signed by nobody but itself.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = {} }

local CERTIFICATES = "cert-manager.io/certificates"
local LIFETIME = 90 * 86400 -- seconds

--- Keys are names with the kind in front: certificates and the two kinds of issuers share this controller.
local function keyed(id)
  return function(sim, change)
    if change.type == "DELETED" then return nil end
    return change.object.metadata.namespace, id .. "/" .. change.object.metadata.name, sim.pace / 2
  end
end
for _, plural in ipairs { "certificates", "issuers", "clusterissuers" } do
  M.on["cert-manager.io/" .. plural] = keyed("cert-manager.io/" .. plural)
end

local function set_ready(sim, id, object, reason, message, more)
  sim:edit(id, object, function(o)
    local status = values.sub(o, "status")
    simulate.set_condition(status, "Ready", true, reason, message, sim.api:now())
    for _, c in ipairs(status.conditions) do c.observedGeneration = o.metadata.generation end
    for k, v in pairs(more or {}) do status[k] = status[k] or v end
  end)
end

--- The text of a key that was made for a stored object: it protects nothing, but the engine treats every key as a
--- secret, which only a file can hold.
local function plain(key)
  if type(key) == "string" then return key end
  local path = assert(fs.temp_file())
  assert(fs.write(path, key, { mode = tonumber("600", 8) }))
  local text = assert(fs.read(path))
  assert(fs.remove(path))
  return text
end

--- Makes the Secret of a certificate. Signing waits, so what was read before is read again.
local function issue(sim, certificate)
  local name, namespace = certificate.spec.secretName, certificate.metadata.namespace
  if not name or sim:get("/secrets", namespace, name) then return end
  local hosts = certificate.spec.dnsNames or values.array()
  local made = assert(crypto.x509.create {
    subject = certificate.spec.commonName or hosts[1] or certificate.metadata.name, names = { table.unpack(hosts) },
    days = LIFETIME // 86400,
  })
  if sim:get("/secrets", namespace, name) or not sim:get(CERTIFICATES, namespace,
    certificate.metadata.name) then return end
  sim:create("/secrets", namespace, {
    metadata = { name = name, annotations = { ["cert-manager.io/certificate-name"] = certificate.metadata.name } },
    type = "kubernetes.io/tls",
    data = { ["tls.crt"] = crypto.base64_encode(made.cert), ["tls.key"] = crypto.base64_encode(plain(made.key)) },
  })
end

function M.reconcile(sim, namespace, key)
  local id, name = key:match "^(.-/.-)/(.+)$"
  local object = sim:get(id, namespace, name)
  if not object or object.metadata.deletionTimestamp then return nil end
  if id ~= CERTIFICATES then
    return set_ready(sim, id, object, "IsReady", "The issuer is ready")
  end
  issue(sim, object)
  object = sim:get(id, namespace, name)
  if not object then return nil end
  set_ready(sim, id, object, "Ready", "Certificate is up to date and has not expired", {
    notBefore = sim.api:now(), notAfter = sim.api:now(LIFETIME), renewalTime = sim.api:now(LIFETIME * 2 // 3),
      revision = 1 })
end

return M
