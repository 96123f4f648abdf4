--- Secrets that ask for a ServiceAccount's token get one.
local crypto = require "ws.crypto"
local simulate = require "sandbox.kubernetes.simulate"
local values = require "sandbox.kubernetes.values"

local M = { on = { ["/secrets"] = simulate.itself } }

function M.reconcile(sim, namespace, name)
  local secret = sim:get("/secrets", namespace, name)
  if not secret or secret.type ~= "kubernetes.io/service-account-token" or values.get(secret, "data",
    "token") then return nil end
  local account_name = values.get(secret, "metadata", "annotations", "kubernetes.io/service-account.name")
  local account = account_name and sim:get("/serviceaccounts", namespace, account_name)
  if not account then return nil end
  local token = require "sandbox.kubernetes.reviews".token_for(sim.api, account)
  sim:edit("/secrets", secret, function(o)
    local data = values.sub(o, "data")
    data.token, data.namespace = crypto.base64_encode(token), crypto.base64_encode(namespace)
    data["ca.crt"] = crypto.base64_encode(sim.api.ca.cert)
    values.sub(o.metadata, "annotations")["kubernetes.io/service-account.uid"] = account.metadata.uid
  end)
end

return M
