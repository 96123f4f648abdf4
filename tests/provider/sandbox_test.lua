--- Every resource and data source of the provider against the sandbox's own services: created, planned again without a
--- change, changed in place, imported, destroyed.
local fs = require "ws.fs"
local json = require "ws.json"
local request = require "sandbox.request"
local task = require "ws.task"

local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$") or "."
local world = dofile(here .. "/world.lua")

local PROVIDER = [[
provider "google" {
  project        = "demo-project"
  region         = "europe-west1"
  default_labels = { platform = "test" }
}

]]

local APIS = { "artifactregistry", "cloudfunctions", "compute", "container", "dns", "iam", "monitoring", "pubsub",
  "secretmanager", "servicenetworking", "sqladmin", "storage" }

--- Terraform never talks to the clusters' own APIs.
local NO_KUBERNETES = { new = function()
  local function nothing() end
  return { stop = nothing, destroy = nothing,
    start = function() return { endpoint = "127.0.0.1:1", ca_cert = "a certificate" } end }
end }

--- A sandbox in this process, without what belongs to the daemon, and a folder whose terraform uses it.
local function sandbox_world(t)
  local dir = t:tmpdir()
  local cloud = assert(require "sandbox.cloud".new { dir = dir, operation_seconds = { 0.01, 0.05 } })
  cloud.ca = require "sandbox.certificates".authority(dir)
  cloud.kubernetes = NO_KUBERNETES
  request.call(cloud, { method = "POST", url = "/resourcemanager/v1/projects", body = { projectId = "demo-project" } })
  local ids = json.array {}
  for i, name in ipairs(APIS) do ids[i] = name .. ".googleapis.com" end
  request.call(cloud, { method = "POST", url = "/serviceusage/v1/projects/demo-project/services:batchEnable",
    body = { serviceIds = ids } })
  while not cloud.store:collection "serviceusage":get "demo-project/storage.googleapis.com" do task.sleep(0.01) end
  local http = assert(require "ws.server".listen { handler = function(req) return cloud:handle(req) end })
  cloud.endpoint = http.url
  local server = assert(require "sandbox.provider".serve { socket = dir .. "/s", endpoint = http.url })
  t:defer(function()
    server:close()
    http:close()
    cloud:close()
  end)
  local w = world.folder(t, { server = server, head = PROVIDER })
  w.cloud = cloud
  return w
end

local IMPORTED = [[
resource "google_compute_network" "a" {
  name                    = "a"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "a" {
  name          = "a"
  network       = google_compute_network.a.id
  ip_cidr_range = "10.0.0.0/24"
}

resource "google_compute_firewall" "a" {
  name          = "a"
  network       = google_compute_network.a.id
  source_ranges = ["10.0.0.0/8"]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_router" "a" {
  name    = "a"
  network = google_compute_network.a.id
}

resource "google_compute_router_nat" "a" {
  name                               = "a"
  router                             = google_compute_router.a.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

resource "google_compute_global_address" "a" {
  name          = "a"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.a.id
}

resource "google_service_networking_connection" "a" {
  network                 = google_compute_network.a.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.a.name]
}

resource "google_dns_managed_zone" "a" {
  name     = "a"
  dns_name = "example.com."
}

resource "google_dns_record_set" "a" {
  managed_zone = google_dns_managed_zone.a.name
  name         = "www.example.com."
  type         = "A"
  ttl          = 60
  rrdatas      = ["203.0.113.1"]
}

resource "google_service_account" "a" {
  account_id = "account-a"
}

resource "google_project_iam_member" "a" {
  project = "demo-project"
  role    = "roles/viewer"
  member  = "user:a@example.com"
}

resource "google_project_service" "a" {
  service = "compute.googleapis.com"
}

resource "google_storage_bucket" "a" {
  name     = "demo-project-a"
  location = "EU"
}

resource "google_storage_bucket_iam_member" "a" {
  bucket = google_storage_bucket.a.name
  role   = "roles/storage.objectViewer"
  member = "allUsers"
}

resource "google_pubsub_topic" "a" {
  name = "events"
}

resource "google_pubsub_subscription" "a" {
  name  = "events"
  topic = google_pubsub_topic.a.id
}

resource "google_secret_manager_secret" "a" {
  secret_id = "a"

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "a" {
  secret      = google_secret_manager_secret.a.id
  secret_data = "s3cret"
}
]]

local function variables(w, changed)
  assert(fs.write(w.dir .. "/terraform.tfvars.json", json.encode {
    team = changed and "blue" or "red", restart = not changed, disabled = changed, google_access = not changed,
    routing_mode = changed and "GLOBAL" or "REGIONAL", range = changed and "10.0.0.0/23" or "10.0.0.0/24",
    channel = changed and "STABLE" or "REGULAR", machine = changed and "e2-medium" or "e2-small",
    secondary = { pods = "10.4.0.0/16", services = "10.5.0.0/20", [changed and "more" or "other"] = "10.6.0.0/20" },
    asn = changed and 64515 or 64514, interval = changed and 20 or 10, nodes = changed and 2 or 1,
    ports = changed and 128 or 64, priority = changed and 900 or 1000, size = changed and 30 or 20,
    ttl = changed and 60 or 300,
  }))
end

--- What terraform would do, as a list of "address: actions".
local function planned(w)
  w.run("plan", "-no-color", "-out=p")
  local plan = assert(json.decode(w.ok("show", "-json", "p")))
  local found = {}
  for _, change in ipairs(plan.resource_changes or {}) do
    local actions = table.concat(change.change.actions, ",")
    if actions ~= "no-op" and actions ~= "read" then found[#found + 1] = change.address .. ": " .. actions end
  end
  return found, #found > 0 and w.ok("show", "-no-color", "p") or ""
end

--- Fails when terraform would do anything.
local function nothing_to_do(t, w, when)
  local found, plan = planned(w)
  t:eq(found, {}, when .. "\n" .. plan)
end

--- What TF_LOG=warn says about results that are not what was planned, without what the published provider does as well.
local function complaints(out)
  local found = {}
  local about
  for line in out:gmatch("[^\n]+") do
    about = line:match("produced an? %a+ new value.-for ([%w_.%[%]\"]+)") or line:match("^%s+%- %.") and about or nil
    if about and line:find("^%s+%- %.") then found[#found + 1] = about .. line end
  end
  return found
end

return function(test)
  test("everything: create, plan, change, plan, destroy", function(t)
    local w = sandbox_world(t)
    w.write(assert(fs.read(here .. "/everything.tf")))
    variables(w, false)
    w.ok("init", "-no-color")
    w.env.TF_LOG = "warn"
    local out = w.ok("apply", "-auto-approve", "-no-color")
    w.env.TF_LOG = false
    t:eq(complaints(out), {})
    nothing_to_do(t, w, "after create")
    local facts = assert(json.decode(w.ok("output", "-json"))).facts.value
    t:eq(facts.range, "10.0.0.0/24")
    t:eq(facts.authority, true)
    t:eq(facts.account, "machines@demo-project.iam.gserviceaccount.com")
    t:eq(facts.iap, "35.235.240.0/20")
    t:ok(facts.server:find("^10%."))
    t:ok(facts.zones >= 3 and facts.versions > 0)
    t:eq(w.ok("output", "-raw", "secret"), "s3cret")
    variables(w, true)
    for _, change in ipairs((planned(w))) do t:ok(change:find(": update$"), change) end
    out = w.ok("apply", "-auto-approve", "-no-color")
    t:has(out, "0 added")
    t:has(out, "0 destroyed")
    nothing_to_do(t, w, "after change")
    w.ok("destroy", "-auto-approve", "-no-color")
    t:eq(w.ok("state", "list"), "")
  end, { timeout = 240 })

  test("what was made elsewhere is imported, and matches its configuration", function(t)
    local w = sandbox_world(t)
    w.write(IMPORTED)
    w.ok("init", "-no-color")
    w.ok("apply", "-auto-approve", "-no-color")
    for _, case in ipairs {
      { "google_compute_network.a", "projects/demo-project/global/networks/a" },
      { "google_compute_subnetwork.a", "europe-west1/a" },
      { "google_compute_firewall.a", "a" },
      { "google_compute_router.a", "europe-west1/a" },
      { "google_compute_router_nat.a", "demo-project/europe-west1/a/a" },
      { "google_compute_global_address.a", "demo-project/a" },
      { "google_service_networking_connection.a",
        "projects/demo-project/global/networks/a:servicenetworking.googleapis.com" },
      { "google_dns_managed_zone.a", "projects/demo-project/managedZones/a" },
      { "google_dns_record_set.a", "projects/demo-project/managedZones/a/rrsets/www.example.com./A" },
      { "google_service_account.a",
        "projects/demo-project/serviceAccounts/account-a@demo-project.iam.gserviceaccount.com" },
      { "google_project_iam_member.a", "demo-project roles/viewer user:a@example.com" },
      { "google_project_service.a", "demo-project/compute.googleapis.com" },
      { "google_storage_bucket.a", "demo-project/demo-project-a" },
      { "google_storage_bucket_iam_member.a", "b/demo-project-a roles/storage.objectViewer allUsers" },
      { "google_pubsub_topic.a", "events" },
      { "google_pubsub_subscription.a", "projects/demo-project/subscriptions/events" },
      { "google_secret_manager_secret.a", "projects/demo-project/secrets/a" },
      { "google_secret_manager_secret_version.a", "projects/demo-project/secrets/a/versions/1" },
    } do
      w.ok("state", "rm", case[1])
      w.ok("import", "-no-color", case[1], case[2])
      local found, plan = planned(w)
      for _, change in ipairs(found) do t:ok(change == case[1] .. ": update", case[2] .. "\n" .. plan) end
      if #found > 0 then w.ok("apply", "-auto-approve", "-no-color", "-refresh=false") end
    end
    nothing_to_do(t, w, "after the imports")
    w.ok("destroy", "-auto-approve", "-no-color")
  end, { timeout = 300 })
end
