--- What the provider and terraform say about configurations that are wrong.
local json = require "ws.json"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local world = dofile(here .. "/world.lua")
world.cloud = dofile(here .. "/cloud.lua")

local NETWORK = 'resource "google_compute_network" "a" {\n  name = "x"\n}\n'

--- Applies a configuration that must be refused at `line` of main.tf; the head has 15 lines.
local function refused(t, w, body, line, ...)
  w.write(body)
  local code, out = w.run("validate", "-no-color")
  t:eq(code, 1, body)
  local flat = out:gsub("%s+", " ")
  for _, part in ipairs { ... } do t:has(flat, part) end
  if line then t:has(flat, "on main.tf line " .. line) end
end

return function(test)
  test("names, types and required arguments are those of the real schema", function(t)
    local w = world.in_memory(t, "")
    refused(t, w, 'resource "google_compute_network" "a" {\n  nam = "x"\n}\n', 14, "Unsupported argument",
      'named "nam"')
    refused(t, w, 'resource "google_compute_network" "a" {\n  name = "x"\n  mtu = "big"\n}\n', 16,
      "a number is required")
    refused(t, w, 'resource "google_compute_network" "a" {\n}\n', 14, '"name" is required')
    refused(t, w, 'resource "google_compute_network" "a" {\n  name = "x"\n  rules {}\n}\n', 16,
      "Unsupported block type")
    refused(t, w, 'resource "google_compute_netwrk" "a" {\n}\n', 14, "Invalid resource type")
    refused(t, w, 'resource "google_compute_firewall" "a" {\n  name = "x"\n  network = "n"\n  log_config {\n'
      .. '    metadata = "a"\n  }\n  log_config {\n    metadata = "b"\n  }\n  allow {\n    protocol = "tcp"\n  }\n}\n',
        nil,
      "Too many log_config blocks")
  end)

  test("values of enumerations and exclusions are checked, with their line", function(t)
    local w = world.in_memory(t, "")
    refused(t, w, 'resource "google_compute_network" "a" {\n  name = "x"\n  routing_mode = "LOCAL"\n}\n', 16,
      "expected routing_mode to be one of REGIONAL, GLOBAL, got LOCAL")
    refused(t, w, 'resource "google_compute_network" "a" {\n  name = "Upper"\n}\n', 15, '"Upper" is not a valid name')
    refused(t, w, 'resource "google_compute_router_nat" "a" {\n  name = "x"\n  router = "r"\n'
      .. '  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"\n'
      .. '  log_config {\n    enable = true\n    filter = "SOME"\n'
      .. '  }\n}\n', 20, "expected filter to be one of ERRORS_ONLY")
    local firewall = 'resource "google_compute_firewall" "a" {\n  name = "x"\n  network = "n"\n%s}\n'
    refused(t, w, firewall:format "", 14, "exactly one of allow, deny must be specified, 0 are")
    refused(t, w,
      firewall:format('  source_tags = ["a"]\n  source_service_accounts = ["b"]\n'
        .. '  allow {\n    protocol = "tcp"\n  }\n'),
      18, "conflicts with")
    refused(t, w, 'resource "google_service_account" "a" {\n  account_id = "short"\n}\n', 15, "6 to 30")
    refused(t, w, 'resource "google_monitoring_dashboard" "a" {\n  dashboard_json = "{"\n}\n', 15, "is not JSON")
    refused(t, w, 'resource "google_dns_managed_zone" "a" {\n  name = "z"\n  dns_name = "example.com"\n}\n', 16,
      "a domain ends in a dot")
  end)

  test("a type that the sandbox does not have is refused, and says why", function(t)
    local w = world.in_memory(t, "")
    refused(t, w, 'resource "google_redis_instance" "a" {\n  name = "r"\n  memory_size_gb = 1\n}\n', 14,
      "The sandbox's provider does not create google_redis_instance", "docs/sandbox.md")
  end)

  test("an unknown value is no mistake", function(t)
    local w = world.in_memory(t, [[
variable "mode" {
  type = string
}

resource "google_compute_network" "a" {
  name         = "x"
  routing_mode = var.mode
}

resource "google_compute_firewall" "a" {
  name    = "x"
  network = google_compute_network.a.id

  dynamic "allow" {
    for_each = toset([google_compute_network.a.name])
    content {
      protocol = "tcp"
    }
  }
}
]])
    t:has(w.ok("validate", "-no-color"), "valid")
  end)

  test("the provider's own configuration", function(t)
    local none = world.in_memory(t, NETWORK, { head = 'provider "google" {\n}\n' })
    local code, out = none.run("plan", "-no-color")
    t:eq(code, 0, out)
    code, out = none.run("apply", "-auto-approve", "-no-color")
    t:eq(code, 1)
    t:has(out, "project: required field is not set")
    local google = world.in_memory(t, NETWORK, { head = [[
provider "google" {
  project                 = "demo"
  compute_custom_endpoint = "https://compute.googleapis.com/compute/v1/"
}
]] })
    code, out = google.run("plan", "-no-color")
    t:eq(code, 1)
    t:has(out, "does not talk to Google Cloud")
    local wrong = world.in_memory(t, NETWORK, { head = [[
provider "google" {
  project                 = "demo"
  compute_custom_endpoint = "nonsense"
}
]] })
    code, out = wrong.run("validate", "-no-color")
    t:eq(code, 1)
    t:has(out, "must be an address that ends in a version")
    t:has(out, "main.tf line 11")
  end)

  test("terraform shows the schema, and that it is the sandbox's", function(t)
    local w = world.in_memory(t, "")
    local schemas = assert(json.decode(w.ok("providers", "schema", "-json")))
    local google = schemas.provider_schemas["registry.terraform.io/hashicorp/google"]
    t:has(google.provider.block.description, "sandbox")
    local resources, data = 0, 0
    for _ in pairs(google.resource_schemas) do resources = resources + 1 end
    for _ in pairs(google.data_source_schemas) do data = data + 1 end
    t:eq({ resources, data }, { 62, 15 })
    local user = google.resource_schemas.google_sql_user.block.attributes
    t:eq(user.password.sensitive, true)
    t:eq(google.resource_schemas.google_compute_instance.version, 6)
    t:eq(google.resource_schemas.google_container_cluster.block.block_types.master_auth.nesting_mode, "list")
  end)
end
