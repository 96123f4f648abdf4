--- The variables that point tools at a running sandbox.
local crypto = require "ws.crypto"
local fs = require "ws.fs"
local json = require "ws.json"
local tokens = require "sandbox.tokens"

local M = {}

--- GOOGLE_<NAME>_CUSTOM_ENDPOINT of Terraform's provider, and the path of each.
local TERRAFORM = {
  COMPUTE = "compute/v1/", CONTAINER = "container/v1/", DNS = "dns/v1/", STORAGE = "storage/v1/", SQL = "sql/v1beta4/",
  SERVICE_USAGE = "serviceusage/v1/", SERVICE_NETWORKING = "servicenetworking/v1/",
  RESOURCE_MANAGER = "resourcemanager/v1/", RESOURCE_MANAGER_V3 = "resourcemanager/v3/", TAGS = "resourcemanager/v3/",
  CLOUD_RESOURCE_MANAGER = "resourcemanager/v1/", CLOUD_BILLING = "billing/v1/", IAM_BETA = "iam/v1/",
  IAM = "iam/v1/", PUBSUB = "pubsub/v1/", SECRET_MANAGER = "secretmanager/v1/",
  ARTIFACT_REGISTRY = "artifactregistry/v1/", CLOUDFUNCTIONS = "cloudfunctions/v1/",
  CLOUDFUNCTIONS2 = "cloudfunctions/v2/", MONITORING = "monitoring/", IAM_CREDENTIALS = "iamcredentials/v1/",
}

--- CLOUDSDK_API_ENDPOINT_OVERRIDES_<NAME> of gcloud. Its clients append the version themselves, except where the
--- address ends in one.
local GCLOUD = {
  STORAGE = "storage/v1/", COMPUTE = "compute/v1/", CONTAINER = "container/", DNS = "dns/v1/", SQL = "", SQLADMIN = "",
  SERVICEUSAGE = "serviceusage/", SERVICENETWORKING = "servicenetworking/", CLOUDRESOURCEMANAGER = "resourcemanager/",
  CLOUDBILLING = "billing/", IAM = "iam/", IAMCREDENTIALS = "iamcredentials/", PUBSUB = "pubsub/",
  SECRETMANAGER = "secretmanager/", SECRETS = "secretmanager/", ARTIFACTREGISTRY = "artifactregistry/",
  CLOUDFUNCTIONS = "cloudfunctions/", MONITORING = "monitoring/",
}

local BOTO = [[
# Written by the sandbox: gsutil talks to it over TLS, on loopback.
[Credentials]
gs_json_host = 127.0.0.1
gs_json_port = %s
gs_host = 127.0.0.1
gs_port = %s
[Boto]
https_validate_certificates = False
[GSUtil]
default_project_id = %s
state_dir = %s
software_update_check_period = 0
parallel_process_count = 1
]]

--- What docker, crane, skopeo, buildah and helm log in with: the sandbox's own token, nobody's credentials.
local function logins(status)
  return json.encode({ auths = { [status.registry] = {
    auth = crypto.base64_encode("oauth2accesstoken:" .. tokens.FIXED) } } }, { indent = 2 }) .. "\n"
end

--- Appends loopback to what is not to go through a proxy.
local function no_proxy()
  local list = os.getenv("NO_PROXY") or os.getenv("no_proxy") or ""
  for _, host in ipairs { "127.0.0.1", "localhost" } do
    if not ("," .. list .. ","):find("," .. host .. ",", 1, true) then
      list = list == "" and host or list .. "," .. host
    end
  end
  return list
end

--- The variables for a sandbox, and the files that some of them name.
---@param status sandbox.Status
---@return table<string, string|false>? variables
---@return ws.Error? err
function M.of(status)
  local base, dir = status.endpoint .. "/", status.state
  local host = status.endpoint:match("^http://(.+)$")
  local project, token = status.project or "livingpackets-sandbox", tokens.FIXED
  local variables = {
    WSRUN_SANDBOX = status.endpoint,
    WSRUN_REGISTRY_ENDPOINT = "http://" .. status.registry,
    DOCKER_CONFIG = dir .. "/docker",
    REGISTRY_AUTH_FILE = dir .. "/docker/config.json",
    HELM_REGISTRY_CONFIG = dir .. "/docker/config.json",
    WSRUN_ACCOUNT = ("sandbox@%s.iam.gserviceaccount.com"):format(project),
    GOOGLE_PROJECT = project,
    GOOGLE_CLOUD_PROJECT = project,
    GOOGLE_OAUTH_ACCESS_TOKEN = token,
    GOOGLE_APPLICATION_CREDENTIALS = false,
    GOOGLE_CREDENTIALS = false,
    -- States and locks may live in another emulator of Cloud Storage; everything else stays in the sandbox.
    GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT = os.getenv "WSRUN_SANDBOX_STATES" or base .. "storage/v1/",
    STORAGE_EMULATOR_HOST = status.endpoint,
    PUBSUB_EMULATOR_HOST = host,
    GCE_METADATA_HOST = host,
    GCE_METADATA_IP = host,
    CLOUDSDK_CONFIG = dir .. "/gcloud",
    CLOUDSDK_CORE_PROJECT = project,
    CLOUDSDK_CORE_DISABLE_PROMPTS = "1",
    CLOUDSDK_CORE_DISABLE_USAGE_REPORTING = "1",
    CLOUDSDK_CORE_PASS_CREDENTIALS_TO_GSUTIL = "false",
    CLOUDSDK_CORE_CHECK_GCE_METADATA = "false",
    CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK = "1",
    CLOUDSDK_AUTH_ACCESS_TOKEN_FILE = dir .. "/token",
    CLOUDSDK_AUTH_TOKEN_HOST = base .. "oauth2/token",
    BOTO_CONFIG = dir .. "/boto",
    KUBECONFIG = status.kubeconfig,
    NO_PROXY = no_proxy(),
    no_proxy = no_proxy(),
    TF_REATTACH_PROVIDERS = status.provider and status.provider.reattach,
  }
  for name, path in pairs(TERRAFORM) do variables[("GOOGLE_%s_CUSTOM_ENDPOINT"):format(name)] = base .. path end
  for name, path in pairs(GCLOUD) do variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_" .. name] = base .. path end
  local tls_port = status.tls_endpoint:match(":(%d+)$")
  local files = {
    token = token,
    boto = BOTO:format(tls_port, tls_port, project, dir .. "/gsutil"),
  }
  local made, problem = fs.mkdir(dir .. "/docker", { parents = true })
  if not made then return nil, problem end
  local known = fs.read(dir .. "/docker/config.json") -- with what somebody logged in to besides
  if not (known and known:find(status.registry, 1, true)) then files["docker/config.json"] = logins(status) end
  for name, text in pairs(files) do
    if fs.read(dir .. "/" .. name) ~= text then
      local ok, err = fs.write(dir .. "/" .. name, text, { mode = 384, durable = false }) -- 0600
      if not ok then return nil, err end
    end
  end
  return variables
end

return M
