# What the load balancer sends requests to: one port of every node, in HTTP/2, which is what gRPC needs.
# Instance groups and not network endpoint groups, because these exist as soon as the node pool does;
# docs/http-loadbalancer.md has the comparison.

locals {
  port_name = "https"

  # The pool has one instance group for each zone.
  instance_groups = {
    for zone in local.zones : zone => one([
      for url in google_container_node_pool.main.managed_instance_group_urls : url if strcontains(url, "/zones/${zone}/")
    ])
  }
}

resource "google_compute_instance_group_named_port" "https" {
  for_each = toset(local.zones)

  group = local.instance_groups[each.value]
  zone  = each.value
  name  = local.port_name
  port  = var.node_port

  # The load balancer never finds a group without the port.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_health_check" "nodes" {
  name                = "lp-health-${local.platform}"
  check_interval_sec  = 10
  timeout_sec         = 5
  healthy_threshold   = 1
  unhealthy_threshold = 3

  http2_health_check {
    port         = var.node_port
    request_path = var.health_path
  }
}

resource "google_compute_backend_service" "nodes" {
  name                  = "lp-backend-${local.platform}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTP2"
  port_name             = local.port_name
  health_checks         = [google_compute_health_check.nodes.id]

  # Also the longest time that a gRPC stream may last.
  timeout_sec                     = var.backend_timeout
  connection_draining_timeout_sec = 60

  dynamic "backend" {
    for_each = local.zones
    content {
      group          = local.instance_groups[backend.value]
      balancing_mode = "UTILIZATION"
    }
  }

  log_config {
    enable      = true
    sample_rate = var.log_sample_rate
  }

  # A backend service without its named port is accepted, and answers 502.
  depends_on = [google_compute_instance_group_named_port.https]
}
