resource "google_compute_network" "main" {
  name                    = "lp-net-${local.platform}"
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"

  lifecycle {
    precondition {
      condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", local.platform)) && local.platform != "default"
      error_message = "The workspace is the platform's name: at most 20 lower case letters, digits and dashes, not \"default\"."
    }
  }
}

resource "google_compute_subnetwork" "private" {
  name          = "lp-subnet-${local.platform}"
  region        = var.region
  network       = google_compute_network.main.id
  ip_cidr_range = var.range_ip

  # Machines without a public address still reach Google's services: the registry, Cloud Storage, logging.
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = var.range_ip_pod
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = var.range_ip_svc
  }
}
