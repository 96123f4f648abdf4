# GKE opens by itself what the cluster needs inside; these rules add what comes from outside of it.

resource "google_compute_firewall" "load_balancer" {
  name        = "lp-allow-lb-${local.platform}"
  network     = local.base.network_id
  direction   = "INGRESS"
  target_tags = [local.nodes_tag]

  # Google's front ends and their health checks ("Firewall rules" of the external Application Load Balancer).
  source_ranges = ["130.211.0.0/22", "35.191.0.0/16"]

  allow {
    protocol = "tcp"
    ports    = [tostring(var.node_port)]
  }
}

resource "google_compute_firewall" "platform" {
  name          = "lp-allow-platform-${local.platform}"
  network       = local.base.network_id
  direction     = "INGRESS"
  source_ranges = [var.range_platform]
  target_tags   = [local.nodes_tag]

  allow {
    protocol = "icmp"
  }

  allow {
    protocol = "tcp"
    ports    = ["80", "443", "30000-32767"]
  }
}

# The masters call admission webhooks in pods. In a private cluster GKE opens only 443 and 10250 for them; those of
# the ingress controller (8443), the Prometheus operator (10250) and cert-manager (10250, 9443) need the rest.
resource "google_compute_firewall" "webhooks" {
  name          = "lp-allow-webhooks-${local.platform}"
  network       = local.base.network_id
  direction     = "INGRESS"
  source_ranges = [var.range_ip_master]
  target_tags   = [local.nodes_tag]

  allow {
    protocol = "tcp"
    ports    = ["8443", "9443", "10250"]
  }
}
