--- Networks and what belongs to them.
local GLOBAL = "projects/{project}/global/"

return {
  google_compute_network = {
    service = "compute",
    id = GLOBAL .. "networks/{name}",
    mutable = { "routing_mode", "mtu", "delete_default_routes_on_create", "network_firewall_policy_enforcement_order" },
    client = { "delete_default_routes_on_create" },
    names = { routing_mode = "routingConfig.routingMode", numeric_id = "id", network_id = "id", gateway_ipv4 = "gatewayIPv4" },
    defaults = {
      auto_create_subnetworks = true, delete_default_routes_on_create = false,
      network_firewall_policy_enforcement_order = "AFTER_CLASSIC_FIREWALL",
    },
    enums = { routing_mode = { "REGIONAL", "GLOBAL" } },
  },
}
