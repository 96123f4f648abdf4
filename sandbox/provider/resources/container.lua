--- Google Kubernetes Engine: clusters and node pools.
local json = require "ws.json"
local values = require "sandbox.provider.values"

local CLUSTER = "projects/{project}/locations/{location}/clusters/{name}"
local POOL = "projects/{project}/locations/{location}/clusters/{cluster}/nodePools/{name}"

-- ---- what clusters and pools share: the configuration of nodes -----------------------------------------------------

--- Names in the API of what is below node_config, for a block at `at`.
local function node_names(into, at)
  for name, api in pairs {
    guest_accelerator = "accelerators", ["guest_accelerator.count"] = "acceleratorCount",
    ["guest_accelerator.type"] = "acceleratorType", taint = "taints", effective_taints = "taints",
    boot_disk_kms_key = "bootDiskKmsKey", local_nvme_ssd_block_config = "localNvmeSsdBlockConfig",
    ["linux_node_config.sysctls"] = "sysctls",
  } do
    into[at .. "." .. name] = api
  end
  return into
end

local AUTHORIZED = "controlPlaneEndpointsConfig.ipEndpointsConfig.authorizedNetworksConfig"

local cluster_names = node_names({
  node_config = "nodeConfig", endpoint = "endpoint", master_version = "currentMasterVersion",
  node_version = "currentNodeVersion", node_locations = "locations", node_pool = "nodePools",
  master_authorized_networks_config = AUTHORIZED,
  default_max_pods_per_node = "defaultMaxPodsConstraint.maxPodsPerNode",
  datapath_provider = "networkConfig.datapathProvider",
  enable_intranode_visibility = "networkConfig.enableIntraNodeVisibility",
  enable_l4_ilb_subsetting = "networkConfig.enableL4ilbSubsetting",
  enable_multi_networking = "networkConfig.enableMultiNetworking",
  enable_fqdn_network_policy = "networkConfig.enableFqdnNetworkPolicy",
  enable_cilium_clusterwide_network_policy = "networkConfig.enableCiliumClusterwideNetworkPolicy",
  disable_l4_lb_firewall_reconciliation = "networkConfig.disableL4LbFirewallReconciliation",
  in_transit_encryption_config = "networkConfig.inTransitEncryptionConfig",
  private_ipv6_google_access = "networkConfig.privateIpv6GoogleAccess",
  default_snat_status = "networkConfig.defaultSnatStatus", dns_config = "networkConfig.dnsConfig",
  gateway_api_config = "networkConfig.gatewayApiConfig",
  service_external_ips_config = "networkConfig.serviceExternalIpsConfig",
  network_performance_config = "networkConfig.networkPerformanceConfig",
  enable_autopilot = "autopilot.enabled", enable_shielded_nodes = "shieldedNodes.enabled",
  enable_legacy_abac = "legacyAbac.enabled", enable_tpu = "enableTpu",
    enable_kubernetes_alpha = "enableKubernetesAlpha",
  ["addons_config.cloudrun_config"] = "cloudRunConfig",
  ["logging_config.enable_components"] = "componentConfig.enableComponents",
  ["monitoring_config.enable_components"] = "componentConfig.enableComponents",
  ["monitoring_config.managed_prometheus"] = "managedPrometheusConfig",
  ["maintenance_policy.daily_maintenance_window"] = "window.dailyMaintenanceWindow",
  ["maintenance_policy.recurring_window"] = "window.recurringWindow",
  ["maintenance_policy.recurring_window.start_time"] = "window.startTime",
  ["maintenance_policy.recurring_window.end_time"] = "window.endTime",
  ["maintenance_policy.maintenance_exclusion"] = "window.maintenanceExclusions",
  cluster_autoscaling = "autoscaling", ["cluster_autoscaling.enabled"] = "enableNodeAutoprovisioning",
  ["cluster_autoscaling.auto_provisioning_defaults"] = "autoprovisioningNodePoolDefaults",
  ["cluster_autoscaling.auto_provisioning_locations"] = "autoprovisioningLocations",
  ["cluster_autoscaling.auto_provisioning_defaults.disk_size"] = "diskSizeGb",
  confidential_nodes = "confidentialNodes", tpu_ipv4_cidr_block = "tpuIpv4CidrBlock",
}, "node_config")

--- Attributes that are changed by `PUT cluster {"update": {desired…}}`, one call for each.
local DESIRED = {
  node_locations = "desiredLocations", release_channel = "desiredReleaseChannel", addons_config = "desiredAddonsConfig",
  logging_config = "desiredLoggingConfig", monitoring_config = "desiredMonitoringConfig",
  workload_identity_config = "desiredWorkloadIdentityConfig",
  vertical_pod_autoscaling = "desiredVerticalPodAutoscaling", binary_authorization = "desiredBinaryAuthorization",
  database_encryption = "desiredDatabaseEncryption", cluster_autoscaling = "desiredClusterAutoscaling",
  enable_shielded_nodes = "desiredShieldedNodes", notification_config = "desiredNotificationConfig",
  security_posture_config = "desiredSecurityPostureConfig", cost_management_config = "desiredCostManagementConfig",
  gateway_api_config = "desiredGatewayApiConfig", dns_config = "desiredDnsConfig",
  default_snat_status = "desiredDefaultSnatStatus", identity_service_config = "desiredIdentityServiceConfig",
  mesh_certificates = "desiredMeshCertificates", service_external_ips_config = "desiredServiceExternalIpsConfig",
  authenticator_groups_config = "desiredAuthenticatorGroupsConfig",
    private_cluster_config = "desiredPrivateClusterConfig",
  logging_service = "desiredLoggingService", monitoring_service = "desiredMonitoringService",
  node_version = "desiredNodeVersion", secret_manager_config = "desiredSecretManagerConfig",
  resource_usage_export_config = "desiredResourceUsageExportConfig", fleet = "desiredFleet",
  node_pool_auto_config = "desiredNodePoolAutoConfigNetworkTags", enterprise_config = "desiredEnterpriseConfig",
  enable_l4_ilb_subsetting = "desiredL4ilbSubsettingConfig", pod_autoscaling = "desiredPodAutoscaling",
  enable_intranode_visibility = "desiredIntraNodeVisibilityConfig",
}

--- Booleans that the update has as objects.
local WRAPPED = { enable_shielded_nodes = true, enable_l4_ilb_subsetting = true, enable_intranode_visibility = true }

local function update_cluster(context, name, value)
  return context.lock("cluster " .. context.fill(CLUSTER), function()
    return context.run("PUT", "container", context.fill(CLUSTER), { body = { update = { [name] = value } } })
  end)
end

local function get_path(object, path)
  for part in path:gmatch("[^.]+") do
    if type(object) ~= "table" then return nil end
    object = object[part]
  end
  return object
end

local function cluster_body(planned, context)
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  return mapping.body(resource.get "google_container_cluster", planned, context)
end

local function change_desired(context, planned, _, changed)
  local body = cluster_body(planned, context)
  local names = {}
  for name in pairs(changed) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local desired = DESIRED[name]
    if desired then
      local value = get_path(body, cluster_names[name] or values.camel(name))
      if WRAPPED[name] then value = { enabled = planned[name] == true } end
      local ok, err = update_cluster(context, desired, value == nil and json.object() or value)
      if not ok then return nil, err end
    end
  end
  return true
end

local mutable = { "min_master_version", "master_authorized_networks_config", "maintenance_policy", "network_policy",
  "enable_legacy_abac", "remove_default_node_pool", "deletion_protection", "allow_net_admin", "resource_labels",
  "ignore_node_count_changes", "skip_node_pool_refresh", "node_pool", "description" }
for name in pairs(DESIRED) do mutable[#mutable + 1] = name end

local cluster = {
  service = "container",
  id = CLUSTER,
  collection = "projects/{project}/locations/{location}/clusters",
  mutable = mutable,
  immutable = { "private_cluster_config.master_ipv4_cidr_block", "private_cluster_config.enable_private_nodes" },
  label_attribute = "resource_labels",
  labels = "resourceLabels",
  client = { "remove_default_node_pool", "deletion_protection", "min_master_version", "allow_net_admin",
    "ignore_node_count_changes", "skip_node_pool_refresh", "operation", "initial_node_count", "networking_mode",
    "node_config", "node_pool" },
  names = cluster_names,
  links = { network = "global/networks", subnetwork = "regions/{region}/subnetworks" },
  defaults = { deletion_protection = true, networking_mode = "VPC_NATIVE", enable_shielded_nodes = true },
  null = { "autopilot_privileged_admission" },
  computed_blocks = { "master_auth", "control_plane_endpoints_config" },
  enums = {
    ["release_channel.channel"] = { "UNSPECIFIED", "RAPID", "REGULAR", "STABLE", "EXTENDED" },
    datapath_provider = { "DATAPATH_PROVIDER_UNSPECIFIED", "LEGACY_DATAPATH", "ADVANCED_DATAPATH" },
    networking_mode = { "VPC_NATIVE", "ROUTES" },
  },
  patterns = { name = { "^[a-z][a-z0-9-]*$", "lower case letters, digits and dashes, beginning with a letter" } },
  plan = function(planned, prior, config)
    if prior then
      -- They describe the pool that a new cluster is born with.
      if config.initial_node_count == nil then planned.initial_node_count = prior.initial_node_count end
      if values.is_zero(config.node_config) then planned.node_config = prior.node_config end
      local version = planned.min_master_version
      if type(version) == "string"
        and version ~= prior.min_master_version then planned.master_version = values.unknown end
    end
  end,
  body = function(body, planned, context)
    local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
    local spec = resource.get "google_container_cluster"
    local open = setmetatable({ client = setmetatable({ node_config = false }, { __index = spec.client }) },
      { __index = spec })
    body.nodeConfig = mapping.body(open, { node_config = planned.node_config }, context).nodeConfig
    body.initialNodeCount = planned.initial_node_count
    body.initialClusterVersion = planned.min_master_version
    local authorized = get_path(body, AUTHORIZED)
    if authorized then authorized.enabled = true end
    if body.ipAllocationPolicy then body.ipAllocationPolicy.useIpAliases = true end
    return { cluster = body }
  end,
  after_create = function(context, planned)
    if not planned.remove_default_node_pool then return true end
    local ok, err = context.run("DELETE", "container", context.fill(CLUSTER .. "/nodePools/default-pool"))
    return ok or err.status == 404, err
  end,
  actions = {
    { fields = { "effective_labels" }, run = function(context, planned, prior)
      return context.run("POST", "container", context.fill(CLUSTER) .. ":setResourceLabels",
        { body = { resourceLabels = json.object(planned.effective_labels),
          labelFingerprint = prior.label_fingerprint } })
    end },
    { fields = { "min_master_version" }, run = function(context, planned)
      if not planned.min_master_version then return true end
      return update_cluster(context, "desiredMasterVersion", planned.min_master_version)
    end },
    { fields = { "master_authorized_networks_config" }, run = function(context, planned)
      -- Alone: control_plane_endpoints_config, known by now, has its place in the same object.
      local networks = planned.master_authorized_networks_config
      local authorized = get_path(cluster_body({ master_authorized_networks_config = networks }, context), AUTHORIZED)
      if authorized then authorized.enabled = true end
      return update_cluster(context, "desiredControlPlaneEndpointsConfig",
        { ipEndpointsConfig = { authorizedNetworksConfig = authorized or { enabled = false } } })
    end },
    { fields = { "maintenance_policy" }, run = function(context, planned)
      return context.run("POST", "container", context.fill(CLUSTER) .. ":setMaintenancePolicy",
        { body = { maintenancePolicy = cluster_body(planned, context).maintenancePolicy or json.object() } })
    end },
    { fields = { "network_policy" }, run = function(context, planned)
      return context.run("POST", "container", context.fill(CLUSTER) .. ":setNetworkPolicy",
        { body = { networkPolicy = cluster_body(planned, context).networkPolicy or { enabled = false } } })
    end },
    { fields = { "enable_legacy_abac" }, run = function(context, planned)
      return context.run("POST", "container", context.fill(CLUSTER) .. ":setLegacyAbac",
        { body = { enabled = planned.enable_legacy_abac == true } })
    end },
  },
  update = change_desired,
  object = function(object)
    -- The older place of the same thing.
    local endpoints = object.controlPlaneEndpointsConfig or json.object()
    local ip = endpoints.ipEndpointsConfig or json.object()
    ip.authorizedNetworksConfig = ip.authorizedNetworksConfig or object.masterAuthorizedNetworksConfig
    endpoints.ipEndpointsConfig, object.controlPlaneEndpointsConfig = ip, endpoints
    local zone = object.location and object.location:find("%-%a$") and object.location
    if zone and object.locations then -- of a zonal cluster, the other zones
      local others = json.array {}
      for _, other in ipairs(object.locations) do
        if other ~= zone then others[#others + 1] = other end
      end
      object.locations = others
    end
  end,
  state = function(state, _, _, _, importing)
    if importing then
      state.deletion_protection = true
      state.networking_mode = "VPC_NATIVE"
    end
    for _, config in ipairs(type(state.node_config) == "table" and state.node_config or {}) do
      config.effective_taints = config.taint or {}
    end
  end,
}

-- ---- node pools ----------------------------------------------------------------------------------------------------

local pool_names = node_names({
  node_config = "config", node_locations = "locations", max_pods_per_node = "maxPodsConstraint.maxPodsPerNode",
  ["network_config.pod_range"] = "podRange", ["placement_policy.policy_name"] = "policyName",
  node_count = false, managed_instance_group_urls = false,
}, "node_config")

local function pool_body(planned, context)
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  return mapping.body(resource.get "google_container_node_pool", planned, context)
end

local function put_pool(context, body)
  return context.lock("cluster " .. context.fill("projects/{project}/locations/{location}/clusters/{cluster}"),
    function()
    return context.run("PUT", "container", context.fill(POOL), { body = body })
  end)
end

--- Parts of the nodes' configuration that can be changed in place, and their names in the call.
local NODE_UPDATES = { labels = "labels", taint = "taints", tags = "tags", image_type = "imageType",
  machine_type = "machineType", disk_type = "diskType", disk_size_gb = "diskSizeGb", resource_labels = "resourceLabels",
  workload_metadata_config = "workloadMetadataConfig", kubelet_config = "kubeletConfig",
  linux_node_config = "linuxNodeConfig", gvnic = "gvnic", gcfs_config = "gcfsConfig",
  logging_variant = "loggingConfig" }

local NODE_WRAPS = { labels = "labels", taints = "taints", tags = "tags", resourceLabels = "labels" }

local function change_nodes(context, planned, prior)
  local body = pool_body(planned, context).config or {}
  local block = require "sandbox.provider.schema".resource "google_container_node_pool".type.attributes.node_config.elem
  local old, new = (prior.node_config or {})[1] or {}, planned.node_config[1] or {}
  for name, api in pairs(NODE_UPDATES) do
    if not values.equal(block.attributes[name], old[name], new[name]) then
      local value = body[api == "loggingConfig" and "loggingVariant" or api]
      local wrap = NODE_WRAPS[api]
      if wrap then value = { [wrap] = value == nil and (name == "labels" and json.object() or json.array {})
        or value } end
      if api == "loggingConfig" then value = { variantConfig = { variant = value } } end
      local ok, err = put_pool(context, { [api] = value })
      if not ok then return nil, err end
    end
  end
  return true
end

--- For each managed instance group of the pool: the group itself, and how many machines it should have.
local function instance_groups(context, object)
  local groups, size = {}, nil
  for i, url in ipairs(object.instanceGroupUrls or {}) do
    local zone = url:match("/zones/([^/]+)/")
    groups[i] = url:gsub("/instanceGroupManagers/", "/instanceGroups/")
    local list, err = context.call("GET", "compute", ("projects/%s/zones/%s/instanceGroupManagers"):format(
      context.params.project, zone))
    if not list and err.status ~= 404 and err.status ~= 501 then return nil, err end
    for _, manager in ipairs(list and list.items or {}) do
      if values.tail(manager.selfLink) == values.tail(url) then
        groups[i] = manager.instanceGroup or groups[i]
        size = (size or 0) + (tonumber(manager.targetSize) or 0)
      end
    end
  end
  return groups, size and #groups > 0 and size // #groups or nil
end

local node_pool = {
  service = "container",
  id = POOL,
  collection = "projects/{project}/locations/{location}/clusters/{cluster}/nodePools",
  mutable = { "autoscaling", "node_count", "management", "upgrade_settings", "node_locations", "version", "node_config",
    "node_drain_config", "ignore_node_count_changes" },
  immutable = {
    "node_config.service_account", "node_config.oauth_scopes", "node_config.preemptible", "node_config.spot",
    "node_config.metadata", "node_config.local_ssd_count", "node_config.guest_accelerator",
      "node_config.min_cpu_platform",
    "node_config.shielded_instance_config", "node_config.boot_disk_kms_key", "node_config.node_group",
    "node_config.sandbox_config", "network_config.pod_range", "network_config.create_pod_range",
    "network_config.pod_ipv4_cidr_block",
  },
  client = { "cluster", "operation", "name_prefix", "ignore_node_count_changes" },
  names = pool_names,
  computed_blocks = { "management", "upgrade_settings", "node_config", "network_config" },
  enums = {
    ["upgrade_settings.strategy"] = { "SURGE", "BLUE_GREEN", "SHORT_LIVED" },
    ["autoscaling.location_policy"] = { "BALANCED", "ANY" },
    ["node_config.workload_metadata_config.mode"] = { "GCE_METADATA", "GKE_METADATA", "MODE_UNSPECIFIED" },
  },
  defaults = { ["upgrade_settings.strategy"] = "SURGE" },
  validate = function(config)
    if not values.is_null(config.node_count) and type(config.autoscaling) == "table" and config.autoscaling[1] then
      return { require "sandbox.provider.diagnostics".warning("node_count and autoscaling are both set",
        "The autoscaler changes the count, and each apply changes it back.", "node_count") }
    end
  end,
  plan = function(planned, prior)
    if planned.initial_node_count == values.unknown and type(planned.node_count) == "number" then
      planned.initial_node_count = planned.node_count
    end
    if not prior and planned.name == values.unknown and planned.name_prefix == nil then planned.name_prefix = nil end
  end,
  body = function(body, planned)
    if type(planned.name) ~= "string" then
      local prefix = type(planned.name_prefix) == "string" and planned.name_prefix or "tf-"
      planned.name = ("%s%s%06d"):format(prefix, os.date("!%Y%m%d%H%M%S"), math.random(0, 999999))
      body.name = planned.name
    end
    if body.autoscaling then body.autoscaling.enabled = true end
    body.initialNodeCount = body.initialNodeCount or 1
    return { nodePool = body }
  end,
  create_with = function(context, _, body)
    return context.lock("cluster " .. context.fill("projects/{project}/locations/{location}/clusters/{cluster}"),
      function()
      return context.run("POST", "container",
        context.fill("projects/{project}/locations/{location}/clusters/{cluster}/nodePools"), { body = body,
          retry_conflict = true })
    end)
  end,
  actions = {
    { fields = { "autoscaling" }, run = function(context, planned)
      local autoscaling = pool_body(planned, context).autoscaling
      if autoscaling then autoscaling.enabled = true end
      return context.run("PUT", "container", context.fill("projects/{project}/locations/{location}/clusters/{cluster}"),
        { body = { update = { desiredNodePoolId = context.params.name,
          desiredNodePoolAutoscaling = autoscaling or { enabled = false } } } })
    end },
    { fields = { "node_count" }, run = function(context, planned)
      return context.run("POST", "container", context.fill(POOL) .. ":setSize",
        { body = { nodeCount = planned.node_count } })
    end },
    { fields = { "management" }, run = function(context, planned)
      return context.run("POST", "container", context.fill(POOL) .. ":setManagement",
        { body = { management = pool_body(planned, context).management or json.object() } })
    end },
    { fields = { "upgrade_settings" }, run = function(context, planned)
      return put_pool(context, { upgradeSettings = pool_body(planned, context).upgradeSettings or json.object() })
    end },
    { fields = { "node_locations" }, run = function(context, planned)
      return put_pool(context, { locations = json.array(values.copy(planned.node_locations)) })
    end },
    { fields = { "version" }, run = function(context, planned)
      if type(planned.version) ~= "string" then return true end
      return put_pool(context, { nodeVersion = planned.version })
    end },
    { fields = { "node_config" }, run = change_nodes },
  },
  state = function(state, object, prior, context)
    local groups, size = instance_groups(context, object)
    if not groups then error(size, 0) end
    state.managed_instance_group_urls = groups
    state.node_count = size or tonumber(object.initialNodeCount)
    if type(prior.node_count) == "number" and object.autoscaling and object.autoscaling.enabled then
      state.node_count = prior.node_count
    end
    for _, config in ipairs(type(state.node_config) == "table" and state.node_config or {}) do
      config.effective_taints = config.taint or {}
    end
    if type(state.autoscaling) == "table" and object.autoscaling and object.autoscaling.enabled == false then
      state.autoscaling = {}
    end
    state.cluster = state.cluster or context.params.cluster
  end,
}

return { google_container_cluster = cluster, google_container_node_pool = node_pool }
