locals {
  tag = "lp-bastion-${local.platform}"

  # The range that Identity-Aware Proxy forwards TCP connections from ("Using IAP for TCP forwarding").
  iap_range = "35.235.240.0/20"
}

resource "google_compute_firewall" "ssh" {
  name          = "lp-allow-bastion-ssh-${local.platform}"
  network       = local.base.network_id
  direction     = "INGRESS"
  source_ranges = concat([local.iap_range], var.public_ip ? sort(var.whitelist) : [])
  target_tags   = [local.tag]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}
