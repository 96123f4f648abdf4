# Names that only the platform's network resolves, such as sql.dev-seb.lp.internal.

resource "google_dns_managed_zone" "private" {
  name       = "lp-private-${local.platform}"
  dns_name   = "${local.platform}.${var.private_domain}."
  visibility = "private"

  # Outside production, records added by hand do not keep the platform from being destroyed.
  force_destroy = var.platform_type != "prod"

  private_visibility_config {
    networks {
      network_url = google_compute_network.main.id
    }
  }
}
