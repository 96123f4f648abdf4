--- Where each Google API answers: its public address, or what the environment says instead.
---
--- GOOGLE_<PRODUCT>_CUSTOM_ENDPOINT are the variables of Terraform's google provider, so one set of variables points
--- Terraform and wsrun at the same place. STORAGE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST are Google's own.
local M = {}

---@class ws.gcp.Api
---@field base string        URL up to and including the version, with a slash at its end
---@field variable string    PRODUCT in GOOGLE_<PRODUCT>_CUSTOM_ENDPOINT
local apis = {
  artifactregistry = { base = "https://artifactregistry.googleapis.com/v1/", variable = "ARTIFACT_REGISTRY" },
  -- Where Terraform keeps its states, when that is another place than where the platform's objects are.
  backend_storage = { base = "https://storage.googleapis.com/storage/v1/", variable = "BACKEND_STORAGE",
    otherwise = "storage" },
  compute = { base = "https://compute.googleapis.com/compute/v1/", variable = "COMPUTE" },
  container = { base = "https://container.googleapis.com/v1/", variable = "CONTAINER" },
  dns = { base = "https://dns.googleapis.com/dns/v1/", variable = "DNS" },
  functions = { base = "https://cloudfunctions.googleapis.com/v2/", variable = "CLOUDFUNCTIONS2" },
  iam = { base = "https://iam.googleapis.com/v1/", variable = "IAM_BETA" },
  monitoring = { base = "https://monitoring.googleapis.com/", variable = "MONITORING" },
  pubsub = { base = "https://pubsub.googleapis.com/v1/", variable = "PUBSUB" },
  resourcemanager = { base = "https://cloudresourcemanager.googleapis.com/v1/", variable = "RESOURCE_MANAGER" },
  secretmanager = { base = "https://secretmanager.googleapis.com/v1/", variable = "SECRET_MANAGER" },
  servicenetworking = { base = "https://servicenetworking.googleapis.com/v1/", variable = "SERVICE_NETWORKING" },
  serviceusage = { base = "https://serviceusage.googleapis.com/v1/", variable = "SERVICE_USAGE" },
  sqladmin = { base = "https://sqladmin.googleapis.com/sql/v1beta4/", variable = "SQL" },
  storage = { base = "https://storage.googleapis.com/storage/v1/", variable = "STORAGE" },
}

local emulator_paths = { storage = "storage/v1/", pubsub = "v1/" }

--- The base URL of an API. Raises on a name that is not an API's.
---@param name string  such as "compute"
---@return string url  with a slash at its end
function M.base(name)
  local api = apis[name] or error(("unknown Google API '%s'"):format(tostring(name)), 3)
  local custom = os.getenv("GOOGLE_" .. api.variable .. "_CUSTOM_ENDPOINT")
  if custom and custom ~= "" then return custom end
  if api.otherwise then return M.base(api.otherwise) end
  local host = emulator_paths[name] and os.getenv(name:upper() .. "_EMULATOR_HOST")
  if host and host ~= "" then
    if not host:find("^https?://") then host = "http://" .. host end
    return host:gsub("/+$", "") .. "/" .. emulator_paths[name]
  end
  return api.base
end

--- Names of the APIs that are known here, sorted.
---@return string[]
function M.names()
  local names = {}
  for name in pairs(apis) do names[#names + 1] = name end
  table.sort(names)
  return names
end

return M
