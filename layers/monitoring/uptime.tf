# Asks the load balancer from several continents, as a user would.

locals {
  https = length(local.kubernetes.domains) > 0
  host  = local.https ? local.kubernetes.domains[0] : local.kubernetes.load_balancer_ip
}

resource "google_monitoring_uptime_check_config" "main" {
  count = var.uptime == null ? 0 : 1

  display_name = "${local.platform}: ${var.uptime.path}"
  period       = "${var.uptime.period}s"
  timeout      = "10s"
  user_labels  = local.labels

  http_check {
    path         = var.uptime.path
    port         = local.https ? 443 : 80
    use_ssl      = local.https
    validate_ssl = local.https

    accepted_response_status_codes {
      status_class = "STATUS_CLASS_2XX"
    }
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.gcp_project
      host       = local.host
    }
  }
}

resource "google_monitoring_alert_policy" "uptime" {
  count = var.uptime == null ? 0 : 1

  display_name          = "${local.platform}: does not answer"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "Less than half of the checkers get an answer from ${local.host}${var.uptime.path}"

    condition_threshold {
      filter = join(" AND ", [
        "metric.type = \"monitoring.googleapis.com/uptime_check/check_passed\"",
        "resource.type = \"uptime_url\"",
        "metric.labels.check_id = \"${google_monitoring_uptime_check_config.main[0].uptime_check_id}\"",
      ])
      comparison      = "COMPARISON_LT"
      threshold_value = 0.5
      duration        = "${max(60, var.uptime.period)}s"

      aggregations {
        alignment_period     = "${max(60, var.uptime.period)}s"
        per_series_aligner   = "ALIGN_FRACTION_TRUE"
        cross_series_reducer = "REDUCE_MEAN"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The load balancer of ${local.platform} does not answer on `${var.uptime.path}`: docs/http-loadbalancer.md, \"Check\"."
  }
}
