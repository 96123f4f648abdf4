--- What GKE makes of the description of a cluster or node pool, and of a change.
local addresses = require "sandbox.addresses"
local catalog = require "sandbox.compute.catalog"
local crypto = require "ws.crypto"
local json = require "ws.json"
local links = require "sandbox.compute.links"
local reply = require "sandbox.reply"
local time = require "ws.time"
local values = require "sandbox.values"
local versions = require "sandbox.container.versions"

local M = {}

local SCOPES = { "https://www.googleapis.com/auth/devstorage.read_only",
  "https://www.googleapis.com/auth/logging.write", "https://www.googleapis.com/auth/monitoring" }

--- The link of a network or subnetwork, from a name or any form of link.
local function link_of(cloud, project, region, kind, given)
  if not given or given == "" then return nil end
  local text = given
  if not given:find("/", 1, true) then
    text = kind == "networks" and "global/networks/" .. given or ("regions/%s/subnetworks/%s"):format(region, given)
  end
  local link = links.canonical(cloud, project, text)
  if not cloud.compute:find(link) then reply.not_found(links.key(link) or given) end
  return link
end

--- The zones in which a cluster in this location may have nodes. Fails the request for a location that does not exist.
local function zones_of(location)
  if catalog.region_of(location) then return { location }, catalog.region_of(location) end
  if not catalog.is_region(location) then
    reply.fail(400, "badRequest", ("Location \"%s\" does not exist."):format(location))
  end
  local zones = catalog.zones_of(location)
  return table.move(zones, 1, math.min(3, #zones), 1, {}), location
end

local function check_zones(zones, region)
  for _, zone in ipairs(zones) do
    if catalog.region_of(zone) ~= region then
      reply.fail(400, "badRequest", ("Zone \"%s\" is not in the region %s."):format(zone, region))
    end
  end
end

--- The range of a cluster's pods or services: of the subnetwork's secondary range when it is named.
local function secondary_range(subnetwork, name, given, default)
  if name and name ~= "" then
    for _, range in ipairs(subnetwork and subnetwork.secondaryIpRanges or {}) do
      if range.rangeName == name then return range.ipCidrRange end
    end
    reply.fail(400, "badRequest", ("Pod secondary range \"%s\" does not exist in the subnetwork."):format(name))
  end
  return values.given(given) or default
end

local function complete_config(config, project, cloud)
  config.machineType = config.machineType or "e2-medium"
  if not catalog.machine_type(project, "zone", config.machineType) then
    reply.fail(400, "badRequest", ("Machine type with name '%s' does not exist."):format(config.machineType))
  end
  config.diskSizeGb = config.diskSizeGb or 100
  config.diskType = config.diskType or "pd-balanced"
  config.imageType = config.imageType or "COS_CONTAINERD"
  config.serviceAccount = config.serviceAccount or "default"
  config.oauthScopes = config.oauthScopes or json.array { table.unpack(SCOPES) }
  config.metadata = config.metadata or { ["disable-legacy-endpoints"] = "true" }
  config.shieldedInstanceConfig = config.shieldedInstanceConfig or { enableIntegrityMonitoring = true }
  config.effectiveCgroupMode = "EFFECTIVE_CGROUP_MODE_V2"
  local email = config.serviceAccount
  if email ~= "default" and cloud.policies.account_exists and not cloud.policies.account_exists(email) then
    reply.fail(400, "badRequest", ("Service account \"%s\" does not exist."):format(email))
  end
end

--- Completes a node pool of a cluster.
---@param cloud sandbox.Cloud
---@param project string
---@param cluster table
---@param body table
---@return table pool
function M.node_pool(cloud, project, cluster, body)
  local pool = values.clean(body)
  if type(pool.name) ~= "string" or not pool.name:find("^[a-z][a-z0-9-]*$") or #pool.name > 40 then
    reply.fail(400, "badRequest", ("Invalid node pool name \"%s\"."):format(tostring(pool.name)))
  end
  pool.config = pool.config or {}
  complete_config(pool.config, project, cloud)
  pool.locations = pool.locations and #pool.locations > 0 and pool.locations or values.copy(cluster.locations)
  check_zones(pool.locations, M.region_of(cluster))
  pool.initialNodeCount = pool.initialNodeCount or 0
  pool.version = versions.resolve(pool.version or cluster.currentMasterVersion)
  pool.autoscaling = pool.autoscaling or json.object()
  pool.management = pool.management or { autoUpgrade = true, autoRepair = true }
  pool.maxPodsConstraint = pool.maxPodsConstraint or { maxPodsPerNode = "110" }
  pool.upgradeSettings = pool.upgradeSettings or { maxSurge = 1, strategy = "SURGE" }
  local network = pool.networkConfig or {}
  network.podRange = network.podRange or (cluster.ipAllocationPolicy or {}).clusterSecondaryRangeName
  network.podIpv4CidrBlock = network.podIpv4CidrBlock or cluster.clusterIpv4Cidr
  if network.enablePrivateNodes == nil then
    network.enablePrivateNodes = (cluster.privateClusterConfig or {}).enablePrivateNodes or false
  end
  pool.networkConfig = network
  pool.status, pool.podIpv4CidrSize, pool.etag = "RUNNING", 24, crypto.random_hex(16)
  pool.selfLink = ("%s/nodePools/%s"):format(cluster.selfLink, pool.name)
  return pool
end

--- The region of a cluster, also of one in a zone.
---@param cluster table
---@return string
function M.region_of(cluster)
  return catalog.region_of(cluster.location) or cluster.location
end

--- Keeps the two forms of the whitelist of the masters alike: clients write either and read both.
local function mirror_authorized_networks(cluster)
  local endpoints = cluster.controlPlaneEndpointsConfig or {}
  local ip = endpoints.ipEndpointsConfig or {}
  local networks = ip.authorizedNetworksConfig or cluster.masterAuthorizedNetworksConfig
  ip.authorizedNetworksConfig = networks and values.copy(networks)
  cluster.masterAuthorizedNetworksConfig = networks and values.copy(networks)
  if ip.enabled == nil then ip.enabled = true end
  local private = cluster.privateClusterConfig or {}
  if ip.enablePublicEndpoint == nil then ip.enablePublicEndpoint = not private.enablePrivateEndpoint end
  endpoints.dnsEndpointConfig = endpoints.dnsEndpointConfig or { allowExternalTraffic = false }
  endpoints.ipEndpointsConfig = ip
  cluster.controlPlaneEndpointsConfig = endpoints
end

--- Completes a new cluster; its node pools come after it.
---@param cloud sandbox.Cloud
---@param project string
---@param location string
---@param body table
---@return table cluster
---@return table[] pools  as asked for
function M.cluster(cloud, project, location, body)
  local cluster = values.clean(body)
  local name = cluster.name
  if type(name) ~= "string" or not name:find("^[a-z][a-z0-9-]*$") or name:find("-$") or #name > 40 then
    reply.fail(400, "badRequest", ("Invalid value for field \"cluster.name\": \"%s\"."):format(tostring(name)))
  end
  local zones, region = zones_of(location)
  cluster.locations = cluster.locations and #cluster.locations > 0 and cluster.locations or json.array(zones)
  check_zones(cluster.locations, region)
  cluster.location, cluster.zone = location, location
  cluster.selfLink = ("https://container.googleapis.com/v1/projects/%s/locations/%s/clusters/%s"):format(project,
    location, name)
  cluster.id, cluster.etag, cluster.createTime = crypto.random_hex(32), crypto.uuid(), time.rfc3339()
  local network = link_of(cloud, project, region, "networks", cluster.network or "default")
  local subnetwork = link_of(cloud, project, region, "subnetworks", cluster.subnetwork)
  if not subnetwork then reply.fail(400, "badRequest", "The cluster needs a subnetwork.") end
  local config = cluster.networkConfig or {}
  config.network, config.subnetwork = links.key(network), links.key(subnetwork)
  config.serviceExternalIpsConfig = config.serviceExternalIpsConfig or json.object()
  config.defaultSnatStatus = config.defaultSnatStatus or json.object()
  cluster.networkConfig = config
  cluster.network, cluster.subnetwork = values.last(network), values.last(subnetwork)
  local subnet, policy = cloud.compute:find(subnetwork), cluster.ipAllocationPolicy or {}
  policy.useIpAliases = true
  policy.clusterIpv4CidrBlock = secondary_range(subnet, policy.clusterSecondaryRangeName, policy.clusterIpv4CidrBlock,
    "10.100.0.0/14")
  policy.servicesIpv4CidrBlock = secondary_range(subnet, policy.servicesSecondaryRangeName,
    policy.servicesIpv4CidrBlock, "10.104.0.0/20")
  policy.clusterIpv4Cidr, policy.servicesIpv4Cidr = policy.clusterIpv4CidrBlock, policy.servicesIpv4CidrBlock
  policy.stackType = policy.stackType or "IPV4"
  policy.podCidrOverprovisionConfig = policy.podCidrOverprovisionConfig or json.object()
  cluster.ipAllocationPolicy = policy
  cluster.clusterIpv4Cidr, cluster.servicesIpv4Cidr = policy.clusterIpv4CidrBlock, policy.servicesIpv4CidrBlock
  local private = cluster.privateClusterConfig
  if private and private.masterIpv4CidrBlock then
    if addresses.overlap(private.masterIpv4CidrBlock, subnet.ipCidrRange) then
      reply.fail(400, "badRequest", ("The master range %s overlaps the subnetwork's range %s."):format(
        private.masterIpv4CidrBlock, subnet.ipCidrRange))
    end
    private.peeringName = ("gke-n%s-peer"):format(crypto.sha1(cluster.selfLink):sub(1, 20))
    local first = addresses.range(private.masterIpv4CidrBlock)
    private.privateEndpoint = first and addresses.format(first + 2)
  end
  mirror_authorized_networks(cluster)
  local channel = cluster.releaseChannel and cluster.releaseChannel.channel
  cluster.currentMasterVersion = versions.resolve(cluster.initialClusterVersion, channel)
  cluster.initialClusterVersion = cluster.currentMasterVersion
  cluster.currentNodeVersion = cluster.currentMasterVersion
  cluster.releaseChannel = cluster.releaseChannel or { channel = "REGULAR" }
  cluster.loggingService = cluster.loggingService or "logging.googleapis.com/kubernetes"
  cluster.monitoringService = cluster.monitoringService or "monitoring.googleapis.com/kubernetes"
  cluster.legacyAbac = cluster.legacyAbac or json.object()
  cluster.masterAuth = cluster.masterAuth or { clientCertificateConfig = json.object() }
  cluster.defaultMaxPodsConstraint = { maxPodsPerNode = tostring((cluster.defaultMaxPodsConstraint or {}).maxPodsPerNode
    or 110) }
  cluster.shieldedNodes = cluster.shieldedNodes or { enabled = true }
  cluster.databaseEncryption = cluster.databaseEncryption or { state = "DECRYPTED" }
  cluster.nodePoolDefaults = cluster.nodePoolDefaults or { nodeConfigDefaults = json.object() }
  cluster.notificationConfig = cluster.notificationConfig or { pubsub = json.object() }
  cluster.maintenancePolicy = cluster.maintenancePolicy or { resourceVersion = "e3b0c442" }
  cluster.addonsConfig = cluster.addonsConfig or json.object()
  cluster.labelFingerprint = crypto.random_hex(4)
  cluster.status = "RUNNING"
  local pools = cluster.nodePools or {}
  cluster.nodePools = nil
  if #pools == 0 and not (cluster.autopilot and cluster.autopilot.enabled) then
    pools = { { name = "default-pool", initialNodeCount = cluster.initialNodeCount or 1,
      config = values.copy(cluster.nodeConfig) } }
  end
  return cluster, pools
end

--- Changes of `update` that are not simply "desiredX is the new x".
local SPECIAL = {
  desiredMasterVersion = function(cluster, version)
    cluster.currentMasterVersion = versions.resolve(version, cluster.releaseChannel.channel)
  end,
  desiredAddonsConfig = function(cluster, config) values.merge(cluster.addonsConfig, config) end,
  desiredMasterAuthorizedNetworksConfig = function(cluster, config)
    cluster.masterAuthorizedNetworksConfig = config
    local ip = cluster.controlPlaneEndpointsConfig.ipEndpointsConfig
    ip.authorizedNetworksConfig = values.copy(config)
  end,
  desiredControlPlaneEndpointsConfig = function(cluster, config)
    values.merge(cluster.controlPlaneEndpointsConfig, config)
    local ip = config.ipEndpointsConfig
    if ip and ip.authorizedNetworksConfig then
      cluster.controlPlaneEndpointsConfig.ipEndpointsConfig.authorizedNetworksConfig =
        values.copy(ip.authorizedNetworksConfig)
      cluster.masterAuthorizedNetworksConfig = values.copy(ip.authorizedNetworksConfig)
    end
  end,
  desiredDatapathProvider = function(cluster, provider) cluster.networkConfig.datapathProvider = provider end,
  desiredIntraNodeVisibilityConfig = function(cluster, config)
    cluster.networkConfig.enableIntraNodeVisibility = config.enabled
  end,
  desiredDnsConfig = function(cluster, config) cluster.networkConfig.dnsConfig = config end,
}

--- Applies an update of a cluster; node pools are changed by `sandbox.container`.
---@param cluster table  changed
---@param update table
function M.apply_update(cluster, update)
  for field, value in pairs(update) do
    local special = SPECIAL[field]
    local name = field:match("^desired(%u.*)$")
    if value == json.null or field:find("^desiredNode") or field == "desiredImageType" then
      goto continue
    elseif special then
      special(cluster, values.clean(value))
    elseif name then
      cluster[name:sub(1, 1):lower() .. name:sub(2)] = values.clean(value)
    end
    ::continue::
  end
end

return M
