# A network of one's own lets nothing in. What a layer needs it opens itself; this one opens the subnet to itself.

resource "google_compute_firewall" "internal" {
  name          = "lp-allow-internal-${local.platform}"
  network       = google_compute_network.main.id
  direction     = "INGRESS"
  source_ranges = [var.range_ip]

  allow {
    protocol = "icmp"
  }

  allow {
    protocol = "tcp"
  }

  allow {
    protocol = "udp"
  }
}
