--- Networks and what belongs to them: subnets, routers, firewalls, addresses, disks.
local error_object = require "ws.error"
local json = require "ws.json"

local GLOBAL, REGIONAL = "projects/{project}/global/", "projects/{project}/regions/{region}/"

local M = {}

--- Labels of compute resources have a call of their own, after the creation too.
---@param spec table  its `path` or `id` is the resource's path
---@return table spec
function M.with_set_labels(spec)
  local path = spec.path or spec.id
  local function set(context, planned)
    local object, err = context.call("GET", "compute", context.fill(path))
    if not object then return nil, err end
    return context.run("POST", "compute", context.fill(path) .. "/setLabels",
      { body = { labels = json.object(planned.effective_labels), labelFingerprint = object.labelFingerprint } })
  end
  local body = spec.body
  spec.body = function(object, planned, context)
    object.labels = nil
    return body and body(object, planned, context) or object
  end
  spec.after_create = function(context, planned)
    if not planned.effective_labels or not next(planned.effective_labels) then return true end
    return set(context, planned)
  end
  spec.actions = spec.actions or {}
  table.insert(spec.actions, { fields = { "effective_labels" }, run = set })
  return spec
end

--- A firewall rule or subnet logs when it has the block.
local function log_when_configured(body)
  if body.logConfig then body.logConfig.enable = true end
end

local NAME = { name = { "^[a-z][a-z0-9-]*$", "lower case letters, digits and dashes, beginning with a letter" } }

local function prefix_length(range)
  return type(range) == "string" and tonumber(range:match("/(%d+)$"))
end

M.resources = {
  google_compute_network = {
    service = "compute",
    id = GLOBAL .. "networks/{name}",
    mutable = { "routing_mode", "mtu", "delete_default_routes_on_create", "network_firewall_policy_enforcement_order",
      "bgp_always_compare_med", "bgp_best_path_selection_mode", "bgp_inter_region_cost",
        "delete_bgp_always_compare_med" },
    client = { "delete_default_routes_on_create", "delete_bgp_always_compare_med" },
    names = {
      routing_mode = "routingConfig.routingMode", numeric_id = "id", network_id = "id", gateway_ipv4 = "gatewayIPv4",
      bgp_always_compare_med = "routingConfig.bgpAlwaysCompareMed",
      bgp_best_path_selection_mode = "routingConfig.bgpBestPathSelectionMode",
      bgp_inter_region_cost = "routingConfig.bgpInterRegionCost",
    },
    defaults = {
      auto_create_subnetworks = true, delete_default_routes_on_create = false,
      network_firewall_policy_enforcement_order = "AFTER_CLASSIC_FIREWALL",
    },
    enums = { routing_mode = { "REGIONAL", "GLOBAL" } },
    patterns = NAME,
  },

  google_compute_subnetwork = {
    service = "compute",
    id = REGIONAL .. "subnetworks/{name}",
    mutable = { "ip_cidr_range", "private_ip_google_access", "private_ipv6_google_access", "secondary_ip_range",
      "log_config",
      "role", "stack_type", "ipv6_access_type", "send_secondary_ip_range_if_empty",
        "allow_subnet_cidr_routes_overlap" },
    client = { "send_secondary_ip_range_if_empty" },
    names = { subnetwork_id = "id", secondary_ip_range = "secondaryIpRanges" },
    links = { network = "global/networks" },
    enums = { role = { "ACTIVE", "BACKUP" }, stack_type = { "IPV4_ONLY", "IPV4_IPV6", "IPV6_ONLY" } },
    patterns = NAME,
    body = log_when_configured,
    replace_when = function(planned, prior)
      local old, new = prefix_length(prior.ip_cidr_range), prefix_length(planned.ip_cidr_range)
      if planned.ip_cidr_range ~= prior.ip_cidr_range and not (old and new
        and new < old) then return { "ip_cidr_range" } end
    end,
    actions = {
      { fields = { "ip_cidr_range" }, run = function(context, planned)
        return context.run("POST", "compute", context.fill(REGIONAL .. "subnetworks/{name}/expandIpCidrRange"),
          { body = { ipCidrRange = planned.ip_cidr_range } })
      end },
      { fields = { "private_ip_google_access" }, run = function(context, planned)
        return context.run("POST", "compute", context.fill(REGIONAL .. "subnetworks/{name}/setPrivateIpGoogleAccess"),
          { body = { privateIpGoogleAccess = planned.private_ip_google_access } })
      end },
    },
  },

  google_compute_router = {
    service = "compute",
    id = REGIONAL .. "routers/{name}",
    mutable = { "bgp", "description", "md5_authentication_keys" },
    links = { network = "global/networks" },
    patterns = NAME,
  },

  google_compute_firewall = {
    service = "compute",
    id = GLOBAL .. "firewalls/{name}",
    mutable = { "allow", "deny", "description", "destination_ranges", "disabled", "log_config", "priority",
      "source_ranges",
      "source_service_accounts", "source_tags", "target_service_accounts", "target_tags", "enable_logging" },
    client = { "enable_logging" },
    null = { "enable_logging" },
    names = {
      allow = "allowed", deny = "denied", ["allow.protocol"] = "IPProtocol", ["deny.protocol"] = "IPProtocol",
    },
    links = { network = "global/networks" },
    defaults = { priority = 1000 },
    enums = { direction = { "INGRESS", "EGRESS" } },
    patterns = NAME,
    conflicts = { { "source_service_accounts", "source_tags" }, { "target_service_accounts", "target_tags" },
      { "destination_ranges", "source_ranges" } },
    exactly_one = { { "allow", "deny" } },
    body = log_when_configured,
  },

  google_compute_global_address = M.with_set_labels {
    service = "compute",
    id = GLOBAL .. "addresses/{name}",
    mutable = {},
    links = { network = "global/networks" },
    defaults = { address_type = "EXTERNAL" },
    enums = { address_type = { "EXTERNAL", "INTERNAL" }, ip_version = { "IPV4", "IPV6" } },
    patterns = NAME,
  },

  google_compute_address = M.with_set_labels {
    service = "compute",
    id = REGIONAL .. "addresses/{name}",
    mutable = {},
    names = { address_id = "id" },
    links = { network = "global/networks", subnetwork = "regions/{region}/subnetworks" },
    defaults = { address_type = "EXTERNAL" },
    enums = { address_type = { "EXTERNAL", "INTERNAL" }, network_tier = { "PREMIUM", "STANDARD" } },
    patterns = NAME,
  },

  google_compute_disk = M.with_set_labels {
    service = "compute",
    id = "projects/{project}/zones/{zone}/disks/{name}",
    mutable = { "size", "create_snapshot_before_destroy", "create_snapshot_before_destroy_prefix" },
    client = { "create_snapshot_before_destroy", "create_snapshot_before_destroy_prefix" },
    names = { disk_id = "id", size = "sizeGb", image = "sourceImage", snapshot = "sourceSnapshot" },
    links = { type = "zones/{zone}/diskTypes", snapshot = "global/snapshots" },
    defaults = { type = "pd-standard" },
    patterns = NAME,
    body = function(body)
      local project, name = (body.sourceImage or ""):match("^([^/]+)/([^/]+)$")
      if project then body.sourceImage = ("projects/%s/global/images/family/%s"):format(project, name) end
    end,
    replace_when = function(planned, prior)
      local old, new = tonumber(prior.size), tonumber(planned.size)
      if old and new and new < old then return { "size" } end
    end,
    state = function(state, _, prior)
      if type(prior.image) == "string" then state.image = prior.image end
    end,
    actions = { { fields = { "size" }, run = function(context, planned)
      return context.run("POST", "compute", context.fill("projects/{project}/zones/{zone}/disks/{name}/resize"),
        { body = { sizeGb = tostring(planned.size) } })
    end } },
  },
}

-- ---- NAT: an element of its router ---------------------------------------------------------------------------------

local ROUTER = REGIONAL .. "routers/{router}"

local function nat_of(router, name)
  for i, nat in ipairs(router.nats or {}) do
    if nat.name == name then return nat, i end
  end
end

--- Reads the router, lets fn change its list of NATs and writes the list back.
local function change_nats(context, fn)
  local path = context.fill(ROUTER)
  return context.lock(path, function()
    local router, err = context.call("GET", "compute", path)
    if not router then return nil, err end
    local nats = json.array(router.nats or {})
    err = fn(nats, router)
    if err then return nil, err end
    return context.run("PATCH", "compute", path, { body = { nats = nats } })
  end)
end

M.resources.google_compute_router_nat = {
  service = "compute",
  id = "{project}/{region}/{router}/{name}",
  mutable = { "auto_network_tier", "drain_nat_ips", "enable_dynamic_port_allocation",
    "enable_endpoint_independent_mapping",
    "icmp_idle_timeout_sec", "log_config", "max_ports_per_vm", "min_ports_per_vm", "nat_ip_allocate_option", "nat_ips",
    "rules", "source_subnetwork_ip_ranges_to_nat", "source_subnetwork_ip_ranges_to_nat64", "subnetwork",
      "nat64_subnetwork",
    "tcp_established_idle_timeout_sec", "tcp_time_wait_timeout_sec", "tcp_transitory_idle_timeout_sec",
    "udp_idle_timeout_sec" },
  client = { "router", "initial_nat_ips" },
  names = { subnetwork = "subnetworks", nat64_subnetwork = "nat64Subnetworks" },
  links = { nat_ips = "regions/{region}/addresses", drain_nat_ips = "regions/{region}/addresses",
    ["subnetwork.name"] = "regions/{region}/subnetworks" },
  defaults = { icmp_idle_timeout_sec = 30, tcp_established_idle_timeout_sec = 1200,
    tcp_transitory_idle_timeout_sec = 30,
    tcp_time_wait_timeout_sec = 120, udp_idle_timeout_sec = 30, type = "PUBLIC" },
  enums = {
    nat_ip_allocate_option = { "MANUAL_ONLY", "AUTO_ONLY" },
    source_subnetwork_ip_ranges_to_nat = { "ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES",
      "LIST_OF_SUBNETWORKS" },
    ["log_config.filter"] = { "ERRORS_ONLY", "TRANSLATIONS_ONLY", "ALL" },
  },
  create_with = function(context, planned, body)
    return change_nats(context, function(nats)
      if nat_of({ nats = nats }, planned.name) then
        return error_object.new { kind = "exists", message = ("the router has a NAT %q already"):format(planned.name) }
      end
      nats[#nats + 1] = body
    end)
  end,
  read_with = function(context, prior)
    local router, err = context.call("GET", "compute", context.fill(ROUTER))
    if not router then return nil, err end
    return nat_of(router, prior.name or context.params.name) or false
  end,
  delete_with = function(context, prior)
    return change_nats(context, function(nats)
      local _, i = nat_of({ nats = nats }, prior.name)
      if i then table.remove(nats, i) end
    end)
  end,
}

M.resources.google_compute_router_nat.update = function(context, planned)
  local mapping, resource = require "sandbox.provider.mapping", require "sandbox.provider.resource"
  local body = mapping.body(resource.get "google_compute_router_nat", planned, context)
  return change_nats(context, function(nats)
    local _, i = nat_of({ nats = nats }, planned.name)
    nats[i or #nats + 1] = body
  end)
end

return M
