# One of each resource and data source that the sandbox's provider serves, with more of its arguments than the layers use.

data "google_project" "this" {}

data "google_client_config" "this" {}

data "google_compute_zones" "all" {}

data "google_compute_lb_ip_ranges" "all" {}

data "google_netblock_ip_ranges" "iap" {
  range_type = "iap-forwarders"
}

data "google_compute_image" "debian" {
  family  = "debian-12"
  project = "debian-cloud"
}

data "google_container_engine_versions" "all" {
  location       = "europe-west1"
  version_prefix = "1.33."
}

resource "google_project_service" "run" {
  service            = "run.googleapis.com"
  disable_on_destroy = true
}

# ---- networks ----

resource "google_compute_network" "main" {
  name                    = "net"
  description             = "the network"
  auto_create_subnetworks = false
  routing_mode            = var.routing_mode
  mtu                     = 1460
}

resource "google_compute_subnetwork" "main" {
  name                     = "sub"
  network                  = google_compute_network.main.name
  ip_cidr_range            = var.range
  private_ip_google_access = var.google_access

  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }

  dynamic "secondary_ip_range" {
    for_each = var.secondary
    content {
      range_name    = secondary_ip_range.key
      ip_cidr_range = secondary_ip_range.value
    }
  }
}

data "google_compute_network" "main" {
  name = google_compute_network.main.name
}

data "google_compute_subnetwork" "main" {
  self_link = google_compute_subnetwork.main.self_link
}

resource "google_compute_router" "main" {
  name    = "router"
  network = google_compute_network.main.self_link

  bgp {
    asn               = var.asn
    advertise_mode    = "CUSTOM"
    advertised_groups = ["ALL_SUBNETS"]

    advertised_ip_ranges {
      range       = "10.200.0.0/16"
      description = "elsewhere"
    }
  }
}

resource "google_compute_address" "nat" {
  name         = "nat"
  address_type = "EXTERNAL"
  description  = "the address of the NAT"
  labels       = { team = var.team }
}

resource "google_compute_router_nat" "main" {
  name                               = "nat"
  router                             = google_compute_router.main.name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.nat.self_link]
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"
  min_ports_per_vm                   = var.ports

  subnetwork {
    name                    = google_compute_subnetwork.main.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }
}

resource "google_compute_router_nat" "second" {
  name                               = "nat-2"
  router                             = google_compute_router.main.name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES"
}

resource "google_compute_firewall" "in" {
  name          = "in"
  network       = google_compute_network.main.name
  priority      = var.priority
  source_ranges = ["10.0.0.0/8", "192.168.0.0/16"]
  source_tags   = var.team == "blue" ? ["a", "b"] : null
  target_tags   = ["c"]

  allow {
    protocol = "tcp"
    ports    = ["80", "1000-2000"]
  }

  allow {
    protocol = "icmp"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "out" {
  name               = "out"
  network            = google_compute_network.main.name
  direction          = "EGRESS"
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}

resource "google_compute_global_address" "peering" {
  name          = "peering"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.main.id
}

resource "google_service_networking_connection" "main" {
  network                 = google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.peering.name]
}

resource "google_dns_managed_zone" "private" {
  name       = "private"
  dns_name   = "example.internal."
  visibility = "private"
  labels     = { team = var.team }

  private_visibility_config {
    networks {
      network_url = google_compute_network.main.id
    }
  }
}

resource "google_dns_managed_zone" "public" {
  name          = "public"
  dns_name      = "example.com."
  description   = "public names"
  force_destroy = true
}

data "google_dns_managed_zone" "public" {
  name = google_dns_managed_zone.public.name
}

resource "google_dns_record_set" "a" {
  managed_zone = google_dns_managed_zone.public.name
  name         = "www.example.com."
  type         = "A"
  ttl          = var.ttl
  rrdatas      = ["203.0.113.1", "203.0.113.2"]
}

resource "google_dns_record_set" "txt" {
  managed_zone = google_dns_managed_zone.public.name
  name         = "example.com."
  type         = "TXT"
  ttl          = 300
  rrdatas      = ["\"v=spf1 -all\""]
}

# ---- machines ----

resource "google_service_account" "main" {
  account_id   = "machines"
  display_name = "Machines of ${var.team}"
  description  = "what machines act as"
  disabled     = var.disabled
}

data "google_service_account" "main" {
  account_id = google_service_account.main.account_id
}

resource "google_compute_disk" "data" {
  name   = "data"
  zone   = "europe-west1-b"
  size   = var.size
  type   = "pd-ssd"
  labels = { team = var.team }
}

resource "google_compute_instance" "main" {
  name                      = "vm"
  zone                      = "europe-west1-b"
  machine_type              = var.machine
  description               = "a machine"
  tags                      = ["b", "a", var.team]
  labels                    = { team = var.team }
  allow_stopping_for_update = true
  metadata_startup_script   = "echo hello"

  metadata = {
    team = var.team
  }

  boot_disk {
    initialize_params {
      image = "debian-cloud/debian-12"
      size  = 20
      type  = "pd-balanced"
    }
  }

  attached_disk {
    source = google_compute_disk.data.self_link
  }

  network_interface {
    subnetwork = google_compute_subnetwork.main.id

    access_config {}
  }

  service_account {
    email  = google_service_account.main.email
    scopes = ["cloud-platform"]
  }

  scheduling {
    preemptible       = false
    automatic_restart = var.restart
  }
}

# ---- load balancing ----

resource "google_compute_health_check" "http" {
  name               = "check"
  description        = "asks"
  check_interval_sec = var.interval
  timeout_sec        = 3

  http_health_check {
    port         = 8080
    request_path = "/healthz"
  }
}

resource "google_compute_health_check" "grpc" {
  name = "check-grpc"

  grpc_health_check {
    port              = 9090
    grpc_service_name = "a.b"
  }
}

resource "google_compute_security_policy" "main" {
  name        = "policy"
  description = "who may come"

  rule {
    action      = "deny(403)"
    priority    = 1000
    description = "no ${var.team}"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["198.51.100.0/24"]
      }
    }
  }

  rule {
    action   = "allow"
    priority = 2147483647

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}

resource "google_compute_network_endpoint_group" "main" {
  name         = "neg"
  network      = google_compute_network.main.id
  subnetwork   = google_compute_subnetwork.main.id
  default_port = 8080
  zone         = "europe-west1-b"
}

resource "google_compute_region_network_endpoint_group" "run" {
  name   = "neg-run"
  region = "europe-west1"

  cloud_run {
    service = "app"
  }
}

resource "google_compute_backend_service" "main" {
  name                  = "backend"
  protocol              = "HTTP2"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  timeout_sec           = var.interval
  health_checks         = [google_compute_health_check.http.id]
  security_policy       = google_compute_security_policy.main.self_link
  enable_cdn            = true

  backend {
    group                 = google_compute_network_endpoint_group.main.self_link
    balancing_mode        = "RATE"
    max_rate_per_endpoint = 100
  }

  cdn_policy {
    cache_mode  = "CACHE_ALL_STATIC"
    default_ttl = 3600

    cache_key_policy {
      include_host         = true
      include_protocol     = true
      include_query_string = false
    }
  }

  log_config {
    enable      = true
    sample_rate = 0.5
  }
}

resource "google_compute_backend_bucket" "main" {
  name        = "static"
  bucket_name = google_storage_bucket.main.name
  enable_cdn  = var.restart
}

resource "google_compute_url_map" "main" {
  name            = "urls"
  description     = "for ${var.team}"
  default_service = google_compute_backend_service.main.id

  host_rule {
    hosts        = ["www.example.com", "example.com"]
    path_matcher = "main"
  }

  path_matcher {
    name            = "main"
    default_service = google_compute_backend_service.main.self_link

    path_rule {
      paths   = ["/static", "/static/*"]
      service = google_compute_backend_bucket.main.self_link

      route_action {
        url_rewrite {
          path_prefix_rewrite = "/"
        }
      }
    }
  }
}

resource "google_compute_url_map" "redirect" {
  name = "redirect"

  default_url_redirect {
    https_redirect = true
    strip_query    = false
  }
}

resource "google_compute_managed_ssl_certificate" "main" {
  name = "cert"

  managed {
    domains = ["example.com.", "www.example.com"]
  }
}

resource "google_compute_ssl_certificate" "own" {
  name_prefix = "own-"
  certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
  private_key = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
}

resource "google_compute_target_http_proxy" "main" {
  name    = "http"
  url_map = var.restart ? google_compute_url_map.redirect.id : google_compute_url_map.main.id
}

resource "google_compute_target_https_proxy" "main" {
  name             = "https"
  url_map          = google_compute_url_map.main.id
  ssl_certificates = [google_compute_managed_ssl_certificate.main.id]
}

resource "google_compute_global_address" "main" {
  name   = "front"
  labels = { team = var.team }
}

resource "google_compute_global_forwarding_rule" "http" {
  name                  = "http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.id
  port_range            = "80"
  target                = google_compute_target_http_proxy.main.id
  labels                = { team = var.team }
}

resource "google_compute_global_forwarding_rule" "https" {
  name                  = "https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.address
  port_range            = "443"
  target                = google_compute_target_https_proxy.main.self_link
}

# ---- identities ----

resource "google_project_iam_member" "viewer" {
  project = "demo-project"
  role    = "roles/viewer"
  member  = google_service_account.main.member
}

resource "google_project_iam_member" "conditional" {
  project = "demo-project"
  role    = "roles/viewer"
  member  = google_service_account.main.member

  condition {
    title       = "office hours"
    description = "not at night"
    expression  = "request.time.getHours(\"Europe/Paris\") > 8"
  }
}

resource "google_project_iam_binding" "editors" {
  project = "demo-project"
  role    = "roles/pubsub.editor"
  members = var.team == "red" ? ["user:a@example.com"] : ["user:a@example.com", "user:b@example.com"]
}

resource "google_service_account_iam_member" "user" {
  service_account_id = google_service_account.main.name
  role               = "roles/iam.serviceAccountUser"
  member             = "user:a@example.com"
}

resource "google_service_account_iam_binding" "tokens" {
  service_account_id = google_service_account.main.name
  role               = "roles/iam.serviceAccountTokenCreator"
  members            = ["user:a@example.com"]
}

resource "google_project_iam_custom_role" "main" {
  role_id     = "custom_reader"
  title       = "Reader of ${var.team}"
  permissions = ["storage.objects.get", "storage.objects.list"]
}

# ---- storage, messages, secrets ----

resource "google_storage_bucket" "main" {
  name                        = "demo-project-files"
  location                    = "europe-west1"
  storage_class               = "STANDARD"
  force_destroy               = true
  uniform_bucket_level_access = true
  public_access_prevention    = "inherited"
  labels                      = { team = var.team }

  versioning {
    enabled = var.restart
  }

  cors {
    origin          = ["*"]
    method          = ["GET"]
    response_header = ["Content-Type"]
    max_age_seconds = 60
  }

  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = "NEARLINE"
    }

    condition {
      age        = 30
      with_state = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      num_newer_versions = 3
    }
  }
}

data "google_storage_bucket" "main" {
  name = google_storage_bucket.main.name
}

resource "google_storage_bucket_object" "text" {
  bucket        = google_storage_bucket.main.name
  name          = "a folder/é.txt"
  content       = "hello ${var.team}"
  content_type  = "text/plain"
  cache_control = "no-cache"
  metadata      = { owner = var.team }
}

resource "google_storage_bucket_iam_member" "reader" {
  bucket = google_storage_bucket.main.name
  role   = "roles/storage.objectViewer"
  member = "allUsers"
}

resource "google_storage_bucket_iam_binding" "admins" {
  bucket  = google_storage_bucket.main.name
  role    = "roles/storage.objectAdmin"
  members = ["user:a@example.com"]
}

resource "google_pubsub_topic" "main" {
  name                       = "events"
  labels                     = { team = var.team }
  message_retention_duration = "86600s"
}

resource "google_pubsub_subscription" "pull" {
  name                 = "events-pull"
  topic                = google_pubsub_topic.main.name
  ack_deadline_seconds = var.interval

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
  }
}

resource "google_pubsub_subscription" "push" {
  name                    = "events-push"
  topic                   = google_pubsub_topic.main.id
  filter                  = "attributes.kind = \"a\""
  enable_message_ordering = true
  labels                  = { team = var.team }

  push_config {
    push_endpoint = "https://example.com/push"
    attributes    = { x-goog-version = "v1" }

    oidc_token {
      service_account_email = google_service_account.main.email
    }
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.main.id
    max_delivery_attempts = 5
  }
}

resource "google_pubsub_topic_iam_member" "publisher" {
  topic  = google_pubsub_topic.main.name
  role   = "roles/pubsub.publisher"
  member = google_service_account.main.member
}

resource "google_secret_manager_secret" "main" {
  secret_id   = "password"
  labels      = { team = var.team }
  annotations = { "example.com/owner" = var.team }

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "main" {
  secret      = google_secret_manager_secret.main.id
  secret_data = "s3cret"
  enabled     = true
}

data "google_secret_manager_secret_version" "main" {
  secret     = google_secret_manager_secret.main.secret_id
  depends_on = [google_secret_manager_secret_version.main]
}

resource "google_artifact_registry_repository" "main" {
  location      = "europe-west1"
  repository_id = "images"
  description   = "of ${var.team}"
  format        = "DOCKER"
  labels        = { team = var.team }

  docker_config {
    immutable_tags = false
  }

  cleanup_policies {
    id     = "old"
    action = "DELETE"

    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s"
    }
  }
}

# ---- databases, functions, clusters ----

resource "google_sql_database_instance" "main" {
  name                = "server"
  database_version    = "MYSQL_8_0"
  deletion_protection = false
  depends_on          = [google_service_networking_connection.main]

  settings {
    tier        = "db-f1-micro"
    disk_size   = var.size
    user_labels = { team = var.team }

    backup_configuration {
      enabled            = true
      binary_log_enabled = true
    }

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.main.id

      dynamic "authorized_networks" {
        for_each = var.restart ? [] : ["198.51.100.0/24"]
        content {
          name  = "office"
          value = authorized_networks.value
        }
      }
    }

    database_flags {
      name  = "max_connections"
      value = "200"
    }
  }
}

data "google_sql_database_instance" "main" {
  name = google_sql_database_instance.main.name
}

resource "google_sql_database" "main" {
  name      = "app"
  instance  = google_sql_database_instance.main.name
  charset   = "utf8mb4"
  collation = "utf8mb4_general_ci"
}

resource "google_sql_user" "main" {
  name     = "app"
  host     = "%"
  instance = google_sql_database_instance.main.name
  password = "password of ${var.team}"
}

resource "google_cloudfunctions2_function" "main" {
  name        = "function"
  location    = "europe-west1"
  description = "of ${var.team}"
  labels      = { team = var.team }

  build_config {
    runtime     = "go122"
    entry_point = "Handle"

    source {
      storage_source {
        bucket = google_storage_bucket.main.name
        object = google_storage_bucket_object.text.name
      }
    }
  }

  service_config {
    available_memory      = "256M"
    timeout_seconds       = 60
    max_instance_count    = 3
    environment_variables = { TEAM = var.team }
  }
}

resource "google_container_cluster" "main" {
  name                     = "cluster"
  location                 = "europe-west1"
  description              = "the cluster"
  network                  = google_compute_network.main.name
  subnetwork               = google_compute_subnetwork.main.name
  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = false
  resource_labels          = { team = var.team }

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  release_channel {
    channel = var.channel
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = "172.16.0.0/28"
  }

  master_authorized_networks_config {
    cidr_blocks {
      cidr_block   = "203.0.113.0/24"
      display_name = var.team
    }
  }

  maintenance_policy {
    daily_maintenance_window {
      start_time = var.restart ? "03:00" : "04:00"
    }
  }

  logging_config {
    enable_components = var.restart ? ["SYSTEM_COMPONENTS", "WORKLOADS"] : ["SYSTEM_COMPONENTS"]
  }
}

resource "google_container_node_pool" "main" {
  name       = "main"
  cluster    = google_container_cluster.main.id
  location   = "europe-west1"
  node_count = var.nodes

  node_config {
    machine_type = "e2-small"
    labels       = { team = var.team }
    tags         = ["node"]
    oauth_scopes = ["https://www.googleapis.com/auth/cloud-platform"]

    taint {
      key    = "team"
      value  = var.team
      effect = "NO_SCHEDULE"
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = var.restart
  }

  upgrade_settings {
    max_surge       = 2
    max_unavailable = 1
  }
}

resource "google_container_node_pool" "scaled" {
  name               = "scaled"
  cluster            = google_container_cluster.main.name
  location           = "europe-west1"
  initial_node_count = 1

  autoscaling {
    min_node_count = 1
    max_node_count = var.nodes + 2
  }

  lifecycle {
    ignore_changes = [initial_node_count]
  }
}

data "google_container_cluster" "main" {
  name     = google_container_cluster.main.name
  location = "europe-west1"
}

resource "google_compute_instance_group_named_port" "http" {
  group = google_container_node_pool.main.managed_instance_group_urls[0]
  zone  = regex("/zones/([^/]+)/", google_container_node_pool.main.managed_instance_group_urls[0])[0]
  name  = "http"
  port  = 30080
}

# ---- monitoring ----

resource "google_monitoring_notification_channel" "mail" {
  display_name = "mail of ${var.team}"
  type         = "email"
  labels       = { email_address = "ops@example.com" }
  user_labels  = { team = var.team }
}

resource "google_monitoring_uptime_check_config" "http" {
  display_name = "up of ${var.team}"
  timeout      = "10s"
  period       = "60s"

  http_check {
    path    = "/healthz"
    port    = 443
    use_ssl = true
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = "demo-project", host = "example.com" }
  }
}

resource "google_monitoring_alert_policy" "cpu" {
  display_name          = "cpu of ${var.team}"
  combiner              = "OR"
  notification_channels = [google_monitoring_notification_channel.mail.name]

  conditions {
    display_name = "above ${var.interval}"

    condition_threshold {
      filter          = "metric.type = \"compute.googleapis.com/instance/cpu/utilization\" AND resource.type = \"gce_instance\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0.8
      duration        = "60s"

      trigger {
        count = 1
      }

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MEAN"
      }
    }
  }
}

resource "google_monitoring_dashboard" "main" {
  dashboard_json = jsonencode({
    displayName = "of ${var.team}"
    gridLayout  = { columns = "2", widgets = [{ title = "text", text = { content = var.team, format = "MARKDOWN" } }] }
  })
}

output "facts" {
  value = {
    project    = data.google_project.this.number
    zones      = length(data.google_compute_zones.all.names)
    image      = data.google_compute_image.debian.name
    versions   = length(data.google_container_engine_versions.all.valid_master_versions)
    network    = data.google_compute_network.main.self_link
    range      = data.google_compute_subnetwork.main.ip_cidr_range
    zone       = data.google_dns_managed_zone.public.dns_name
    account    = data.google_service_account.main.email
    bucket     = data.google_storage_bucket.main.location
    server     = data.google_sql_database_instance.main.private_ip_address
    endpoint   = data.google_container_cluster.main.endpoint
    authority  = length(data.google_container_cluster.main.master_auth[0].cluster_ca_certificate) > 0
    private_ip = google_compute_instance.main.network_interface[0].network_ip
    public_ip  = google_compute_instance.main.network_interface[0].access_config[0].nat_ip
    iap        = data.google_netblock_ip_ranges.iap.cidr_blocks_ipv4[0]
    health     = data.google_compute_lb_ip_ranges.all.http_ssl_tcp_internal
    region     = data.google_client_config.this.region
  }
}

output "secret" {
  value     = data.google_secret_manager_secret_version.main.secret_data
  sensitive = true
}

variable "team" {
  type = string
}

variable "restart" {
  type = bool
}

variable "disabled" {
  type = bool
}

variable "google_access" {
  type = bool
}

variable "routing_mode" {
  type = string
}

variable "range" {
  type = string
}

variable "channel" {
  type = string
}

variable "machine" {
  type = string
}

variable "secondary" {
  type = map(string)
}

variable "asn" {
  type = number
}

variable "interval" {
  type = number
}

variable "nodes" {
  type = number
}

variable "ports" {
  type = number
}

variable "priority" {
  type = number
}

variable "size" {
  type = number
}

variable "ttl" {
  type = number
}
