--- The Kubernetes versions that the sandbox's GKE offers.
local json = require "ws.json"
local reply = require "sandbox.reply"

local M = {}

--- Newest first.
local VERSIONS = { "1.34.1-gke.1829001", "1.33.5-gke.1308000", "1.32.9-gke.1207000", "1.31.13-gke.1093000" }
local DEFAULT = VERSIONS[2]
local CHANNELS = { RAPID = 1, REGULAR = 2, STABLE = 3, EXTENDED = 4 }

--- The full version that a wish such as "1.33", "latest" or "-" stands for. Fails the request with 400 when there is
--- none.
---@param wanted string?
---@param channel? string  of the cluster, for the default
---@return string
function M.resolve(wanted, channel)
  if not wanted or wanted == "" or wanted == "-" then return VERSIONS[CHANNELS[channel] or 2] end
  if wanted == "latest" then return VERSIONS[1] end
  for _, version in ipairs(VERSIONS) do
    local next_character = version:sub(1, #wanted) == wanted and version:sub(#wanted + 1, #wanted + 1)
    if next_character == "" or next_character == "." or next_character == "-" then return version end
  end
  reply.fail(400, "badRequest", ("Master version \"%s\" is unsupported."):format(wanted))
end

--- What the Kubernetes API of a cluster reports for a GKE version: v1.33.5.
---@param version string
---@return string
function M.kubernetes(version)
  return "v" .. version:match("^[%d.]+")
end

--- The answer of serverConfig.
---@return table
function M.server_config()
  local channels = json.array {}
  for _, name in ipairs { "RAPID", "REGULAR", "STABLE", "EXTENDED" } do
    channels[#channels + 1] = { channel = name, defaultVersion = VERSIONS[CHANNELS[name]],
      validVersions = json.array { table.unpack(VERSIONS) } }
  end
  return { defaultClusterVersion = DEFAULT, validMasterVersions = json.array { table.unpack(VERSIONS) },
    validNodeVersions = json.array { table.unpack(VERSIONS) }, channels = channels, defaultImageType = "COS_CONTAINERD",
    validImageTypes = json.array { "COS_CONTAINERD", "UBUNTU_CONTAINERD" } }
end

return M
