# One address; HTTP on it, and HTTPS once the platform has a domain. With a domain, HTTP only redirects.

locals {
  https = length(var.domains) > 0
}

resource "google_compute_global_address" "load_balancer" {
  name = "lp-ip-${local.platform}"
}

resource "google_compute_url_map" "main" {
  name            = "lp-urls-${local.platform}"
  default_service = google_compute_backend_service.nodes.id

  host_rule {
    hosts        = ["*"]
    path_matcher = "all"
  }

  path_matcher {
    name            = "all"
    default_service = google_compute_backend_service.nodes.id

    # /static/image.svg is the object image.svg of the bucket.
    path_rule {
      paths   = ["/static/*"]
      service = google_compute_backend_bucket.static.id

      route_action {
        url_rewrite {
          path_prefix_rewrite = "/"
        }
      }
    }
  }
}

resource "google_compute_url_map" "redirect" {
  count = local.https ? 1 : 0

  name = "lp-redirect-${local.platform}"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "MOVED_PERMANENTLY_DEFAULT"
    strip_query            = false
  }

  # When the domains go, the proxy is sent elsewhere before this is deleted.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_target_http_proxy" "main" {
  name    = "lp-http-${local.platform}"
  url_map = local.https ? google_compute_url_map.redirect[0].id : google_compute_url_map.main.id
}

resource "google_compute_global_forwarding_rule" "http" {
  name                  = "lp-http-${local.platform}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.load_balancer.address
  ip_protocol           = "TCP"
  port_range            = "80"
  target                = google_compute_target_http_proxy.main.id
}

resource "google_compute_managed_ssl_certificate" "main" {
  count = local.https ? 1 : 0

  # A certificate cannot be changed, and one in use cannot be deleted: other domains make another certificate first.
  name = "lp-cert-${local.platform}-${substr(sha256(join(",", var.domains)), 0, 8)}"

  managed {
    domains = var.domains
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_target_https_proxy" "main" {
  count = local.https ? 1 : 0

  name             = "lp-https-${local.platform}"
  url_map          = google_compute_url_map.main.id
  ssl_certificates = [google_compute_managed_ssl_certificate.main[0].id]
}

resource "google_compute_global_forwarding_rule" "https" {
  count = local.https ? 1 : 0

  name                  = "lp-https-${local.platform}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.load_balancer.address
  ip_protocol           = "TCP"
  port_range            = "443"
  target                = google_compute_target_https_proxy.main[0].id
}
