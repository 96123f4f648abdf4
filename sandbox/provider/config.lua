--- The provider's configuration: its block, the environment, and what the sandbox says.
local diagnostics = require "sandbox.provider.diagnostics"
local rest = require "sandbox.provider.rest"
local values = require "sandbox.provider.values"

local M = {}

local function from_environment(names)
  for _, name in ipairs(names) do
    local v = os.getenv(name)
    if v and v ~= "" then return v end
  end
end

local function text(config, name, variables)
  local v = config[name]
  if type(v) == "string" and v ~= "" then return v end
  return from_environment(variables)
end

--- The address of each API: from the provider block, then below the sandbox's own address when the sandbox itself
--- serves the provider, else from the variable that the published provider reads, else below WSRUN_SANDBOX.
local function endpoints(config, own)
  local result = {}
  local elsewhere = from_environment { "WSRUN_SANDBOX" }
  for service, at in pairs(rest.services) do
    local variable = ("GOOGLE_%s_CUSTOM_ENDPOINT"):format(at.variable)
    local base = own or elsewhere
    result[service] = text(config, at.variable:lower() .. "_custom_endpoint", own and {} or { variable })
      or base and base:gsub("/*$", "/") .. at.path
  end
  return result
end

local function is_google(url)
  local host = url:match("^https?://([^/:]+)")
  return host and (host:find("%.googleapis%.com$") or host:find("%.google%.com$")) ~= nil
end

--- Checks what can be checked before anything is known of the cloud.
---@param config table
---@return table[] diagnostics
function M.validate(config)
  local found = {}
  for name, v in pairs(config) do
    if type(v) == "string" and name:find("_custom_endpoint$") and not v:find("^.*/[^/]+/$") then
      found[#found + 1] = diagnostics.error("Invalid endpoint",
        name .. " must be an address that ends in a version and a slash, such as http://127.0.0.1:8080/compute/v1/",
        name)
    end
  end
  return found
end

--- Makes what the calls of a connection need from its configuration.
---@param config table  of the provider block
---@param options { endpoint?: string, project?: string, transport?: function, terraform_version?: string }  `endpoint`:
---  the sandbox that serves the provider; `project`: its default
---@return table? provider
---@return table? diagnostic
function M.configure(config, options)
  local zone = text(config, "zone", { "GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE" })
  local region = text(config, "region", { "GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION" })
  local at = endpoints(config, options.endpoint)
  if not at.compute then
    return nil, diagnostics.error("The sandbox's provider does not know where the sandbox is",
      "This is the provider of wsrun's local sandbox; it never talks to Google Cloud. Run terraform inside "
        .. "`wsrun sandbox shell`, or set WSRUN_SANDBOX to the address that `wsrun sandbox status` shows.")
  end
  for service, url in pairs(at) do
    if is_google(url) then
      return nil, diagnostics.error("The sandbox's provider does not talk to Google Cloud",
        ("The endpoint of %s is %s. Install the published hashicorp/google provider for that."):format(service, url))
    end
  end
  local default_labels = {}
  for k, v in pairs(type(config.default_labels) == "table" and config.default_labels or {}) do
    if values.is_known(v) and v ~= values.null then default_labels[k] = v end
  end
  return {
    project = text(config, "project",
      { "GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT" }) or options.project,
    region = region and values.last(region), zone = zone and values.last(zone),
    token = text(config, "access_token", options.endpoint and {} or { "GOOGLE_OAUTH_ACCESS_TOKEN" }) or "sandbox",
    default_labels = default_labels, labels_known = values.is_known(config.default_labels),
    attribution = config.add_terraform_attribution_label ~= false,
    endpoints = at, transport = options.transport,
    user_agent = ("wsrun-sandbox-provider/1.0 Terraform/%s"):format(options.terraform_version or "unknown"),
  }
end

return M
