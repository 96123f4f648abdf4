--- Data sources: see data_source.lua.
local error_object = require "ws.error"
local time = require "ws.engine".native.monotonic
local values = require "sandbox.provider.values"

--- Ranges that Google publishes in its documentation (Cloud Load Balancing, Private Google Access, IAP, Cloud DNS).
local NETBLOCKS = {
  ["health-checkers"] = { "35.191.0.0/16", "130.211.0.0/22" },
  ["legacy-health-checkers"] = { "35.191.0.0/16", "209.85.152.0/22", "209.85.204.0/22" },
  ["restricted-googleapis"] = { "199.36.153.4/30" },
  ["private-googleapis"] = { "199.36.153.8/30" },
  ["dns-forwarders"] = { "35.199.192.0/19" },
  ["iap-forwarders"] = { "35.235.240.0/20" },
}

local function zones(context, config)
  local region = config.region or context.provider.region
  local list, err = context.call("GET", "compute", context.fill("projects/{project}/zones"))
  if not list then return nil, err end
  local names = {}
  for _, zone in ipairs(list.items or {}) do
    local in_region = region and values.last(zone.region or "") == values.last(region)
    if in_region and (not config.status or zone.status == config.status) then names[#names + 1] = zone.name end
  end
  table.sort(names)
  return { id = context.fill("projects/{project}/regions/") .. region, names = names, project = context.params.project,
    region = config.region }
end

local function project(context, config)
  local id = config.project_id or context.provider.project
  local found, err = context.call("GET", "resourcemanager", "projects/" .. id)
  if not found then return nil, err end
  local billing = context.call("GET", "cloudbilling", ("projects/%s/billingInfo"):format(id)) or {}
  local parent = found.parent or {}
  return {
    id = "projects/" .. found.projectId, project_id = found.projectId, number = found.projectNumber, name = found.name,
    labels = found.labels or {}, effective_labels = found.labels or {}, terraform_labels = found.labels or {},
    billing_account = (billing.billingAccountName or ""):match("[^/]*$"),
    org_id = parent.type == "organization" and parent.id or "", folder_id = parent.type == "folder" and parent.id or "",
    auto_create_network = true, deletion_policy = "PREVENT", tags = {},
  }
end

local function client_config(context)
  local p = context.provider
  return { id = ("projects/%s/regions/%s/zones/%s"):format(p.project or "", p.region or "", p.zone or ""),
    project = p.project, region = p.region, zone = p.zone, access_token = p.token, default_labels = p.default_labels }
end

local function engine_versions(context, config)
  local config_of, err = context.call("GET", "container",
    context.fill("projects/{project}/locations/{location}/serverConfig"))
  if not config_of then return nil, err end
  local default, latest = {}, {}
  for _, channel in ipairs(config_of.channels or {}) do
    default[channel.channel] = channel.defaultVersion
    latest[channel.channel] = (channel.validVersions or {})[1]
  end
  local function matching(list)
    local found = {}
    for _, version in ipairs(list or {}) do
      if not config.version_prefix or version:sub(1, #config.version_prefix) == config.version_prefix then
        found[#found + 1] = version
      end
    end
    return found
  end
  local masters, nodes = matching(config_of.validMasterVersions), matching(config_of.validNodeVersions)
  return {
    id = ("%d"):format(time() // 1), default_cluster_version = config_of.defaultClusterVersion,
    valid_master_versions = masters, valid_node_versions = nodes, latest_master_version = masters[1],
    latest_node_version = nodes[1], release_channel_default_version = default, release_channel_latest_version = latest,
    location = context.params.location, project = context.params.project,
  }
end

local function netblocks(_, config)
  local kind = config.range_type or "cloud-netblocks"
  local blocks = NETBLOCKS[kind]
  if not blocks then
    return nil, error_object.new { kind = "unsupported",
      message = ("the sandbox does not know the ranges of %q"):format(kind),
      hint = "The published provider asks Google's name servers for them." }
  end
  return { id = "netblock-ip-ranges-" .. kind, range_type = config.range_type, cidr_blocks = blocks,
    cidr_blocks_ipv4 = blocks, cidr_blocks_ipv6 = {} }
end

local function image(context, config)
  local path = "projects/" .. (config.project or context.provider.project) .. "/global/images/"
  path = path .. (config.family and "family/" .. config.family or config.name)
  local found, err = context.call("GET", "compute", path)
  if not found then return nil, err end
  return {
    id = values.tail(found.selfLink), name = found.name, self_link = found.selfLink, family = found.family,
    description = found.description, disk_size_gb = tonumber(found.diskSizeGb),
      archive_size_bytes = tonumber(found.archiveSizeBytes),
    image_id = found.id, creation_timestamp = found.creationTimestamp, status = found.status,
      licenses = found.licenses or {},
    labels = found.labels or {}, label_fingerprint = found.labelFingerprint, source_disk = found.sourceDisk,
    source_disk_id = found.sourceDiskId, source_image_id = found.sourceImageId,
    project = config.project or context.provider.project, image_encryption_key_sha256 = "",
      source_disk_encryption_key_sha256 = "",
  }
end

local function secret_version(context, config)
  local secret = config.secret
  local path = secret:find("^projects/") and secret or context.fill("projects/{project}/secrets/") .. secret
  local found, err = context.call("GET", "secretmanager", path .. "/versions/" .. (config.version or "latest"))
  if not found then return nil, err end
  local access
  access, err = context.call("GET", "secretmanager", found.name .. ":access")
  if not access then return nil, err end
  local data = access.payload.data
  return {
    id = found.name, name = found.name, version = values.last(found.name), create_time = found.createTime,
    destroy_time = found.destroyTime, enabled = found.state == "ENABLED", project = context.params.project,
    secret_data = config.is_secret_data_base64 and data or require "ws.crypto".base64_decode(data),
  }
end

local function service_account(context, config)
  local id = config.account_id
  local email = id:match("([^/]+@[^/]+)$")
    or ("%s@%s.iam.gserviceaccount.com"):format(values.last(id), context.params.project)
  local found, err = context.call("GET", "iam", "projects/-/serviceAccounts/" .. email)
  if not found then return nil, err end
  return { id = found.name, name = found.name, email = found.email, unique_id = found.uniqueId,
    project = found.projectId,
    display_name = found.displayName or "", disabled = found.disabled == true,
      member = "serviceAccount:" .. found.email }
end

return {
  google_client_config = { read = client_config },
  google_compute_image = { read = image },
  google_compute_lb_ip_ranges = { read = function()
    return { id = "compute-lb-ip-ranges", http_ssl_tcp_internal = NETBLOCKS["health-checkers"],
      network = NETBLOCKS["legacy-health-checkers"] }
  end },
  google_compute_network = { of = "google_compute_network" },
  google_compute_subnetwork = { of = "google_compute_subnetwork" },
  google_compute_zones = { read = zones },
  google_container_cluster = { of = "google_container_cluster" },
  google_container_engine_versions = { read = engine_versions },
  google_dns_managed_zone = { of = "google_dns_managed_zone" },
  google_netblock_ip_ranges = { read = netblocks },
  google_project = { read = project },
  google_secret_manager_secret_version = { read = secret_version },
  google_service_account = { read = service_account },
  google_sql_database_instance = { of = "google_sql_database_instance" },
  google_storage_bucket = { of = "google_storage_bucket" },
}
