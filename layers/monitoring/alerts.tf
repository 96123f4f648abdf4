# One policy for each threshold that the manifest sets. All speak after five minutes above it.

locals {
  # Every row: the metric's filter, how points become one curve, and what the message says. The thresholds of the
  # manifest are in its own units; scale turns them into the metric's.
  rows = {
    latency = {
      summary  = "95th percentile of the load balancer's answers is above %s s"
      filter   = "metric.type = \"loadbalancing.googleapis.com/https/total_latencies\" AND ${local.from_load_balancer}"
      aligner  = "ALIGN_DELTA"
      reducer  = "REDUCE_PERCENTILE_95"
      scale    = 1000
      severity = "WARNING"
      present  = true
    }
    node-cpu = {
      summary  = "a node uses more than %s of the CPU that pods may have"
      filter   = "metric.type = \"kubernetes.io/node/cpu/allocatable_utilization\" AND ${local.from_nodes}"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      scale    = 1
      severity = "WARNING"
      present  = true
    }
    sql-cpu = {
      summary  = "the database server uses more than %s of its CPU"
      filter   = "metric.type = \"cloudsql.googleapis.com/database/cpu/utilization\" AND ${local.from_sql}"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      scale    = 1
      severity = "WARNING"
      present  = local.has_sql
    }
    sql-disk = {
      summary  = "the database server's disk is more than %s full"
      filter   = "metric.type = \"cloudsql.googleapis.com/database/disk/utilization\" AND ${local.from_sql}"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      scale    = 1
      severity = "CRITICAL"
      present  = local.has_sql
    }
    sql-replica-lag = {
      summary  = "a read replica is more than %s s behind"
      filter   = "metric.type = \"cloudsql.googleapis.com/database/replication/replica_lag\" AND ${local.from_replicas}"
      aligner  = "ALIGN_MEAN"
      reducer  = "REDUCE_MAX"
      scale    = 1
      severity = "WARNING"
      present  = length(local.data.sql_replicas) > 0
    }
  }

  thresholds = { for name, row in local.rows : name => row if row.present && lookup(var.alerts, name, null) != null }
}

resource "google_monitoring_alert_policy" "threshold" {
  for_each = local.thresholds

  display_name          = "${local.platform}: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = format(each.value.summary, var.alerts[each.key])

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = var.alerts[each.key] * each.value.scale
      duration        = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "On ${local.platform}, ${format(each.value.summary, var.alerts[each.key])} for five minutes."
  }
}

# Errors are a ratio of two curves, so their policy has another shape.
resource "google_monitoring_alert_policy" "error_ratio" {
  count = lookup(var.alerts, "error-ratio", null) == null ? 0 : 1

  display_name          = "${local.platform}: error-ratio"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "more than ${var.alerts["error-ratio"]} of the answers are 5xx"

    condition_threshold {
      filter = join(" AND ", [
        "metric.type = \"loadbalancing.googleapis.com/https/request_count\"",
        local.from_load_balancer,
        "metric.labels.response_code_class = 500",
      ])
      denominator_filter = join(" AND ", [
        "metric.type = \"loadbalancing.googleapis.com/https/request_count\"",
        local.from_load_balancer,
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = var.alerts["error-ratio"]
      duration        = "300s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }

      denominator_aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "More than ${var.alerts["error-ratio"]} of the answers of ${local.platform}'s load balancer are 5xx for five minutes."
  }
}
