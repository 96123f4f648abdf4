--- `wsrun auth kube`: a kubectl exec credential plugin, so that neither kubectl nor helm need gcloud.
--- `wsrun auth status`: who the account is.
local errors = require "ws.error"
local gcp = require "ws.gcp"

local M = {}

--- Writes the credential on stdout, which is what the caller reads: the one place where a token is printed.
--- https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
local function kube()
  local token, err = gcp.token()
  if not token then return nil, err end
  io.stdout:write('{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"')
  require "ws.secret".write_stdout(token) -- tokens are of RFC 6750's characters: nothing to escape
  io.stdout:write('"}}\n')
  return 0
end

local function status()
  local identity, err = gcp.identity()
  if not identity then return nil, err end
  print(identity)
  return 0
end

function M.main(words)
  if words[1] == "kube" then return kube() end
  if words[1] == "status" then return status() end
  return nil, errors.new { kind = "invalid", usage = true, message = "auth takes kube or status" }
end

return M
