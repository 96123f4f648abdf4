# One page with two columns: what users feel on the left, what it stands on to the right.

locals {
  widgets = concat(
    [
      {
        title   = "Requests per second, by class of the answer"
        filter  = "metric.type = \"loadbalancing.googleapis.com/https/request_count\" AND ${local.from_load_balancer}"
        aligner = "ALIGN_RATE"
        reducer = "REDUCE_SUM"
        groups  = ["metric.label.response_code_class"]
      },
      {
        title   = "Nodes: CPU of what pods may have"
        filter  = "metric.type = \"kubernetes.io/node/cpu/allocatable_utilization\" AND ${local.from_nodes}"
        aligner = "ALIGN_MEAN"
        reducer = "REDUCE_MEAN"
        groups  = ["resource.label.node_name"]
      },
      {
        title   = "Latency of the load balancer, 95th percentile, ms"
        filter  = "metric.type = \"loadbalancing.googleapis.com/https/total_latencies\" AND ${local.from_load_balancer}"
        aligner = "ALIGN_DELTA"
        reducer = "REDUCE_PERCENTILE_95"
        groups  = []
      },
      {
        title   = "Nodes: memory of what pods may have"
        filter  = "metric.type = \"kubernetes.io/node/memory/allocatable_utilization\" AND ${local.from_nodes}"
        aligner = "ALIGN_MEAN"
        reducer = "REDUCE_MEAN"
        groups  = ["resource.label.node_name"]
      },
    ],
    [
      for widget in [
        { title = "Database: CPU", metric = "cpu/utilization" },
        { title = "Database: disk", metric = "disk/utilization" },
        ] : {
        title   = widget.title
        filter  = "metric.type = \"cloudsql.googleapis.com/database/${widget.metric}\" AND ${local.from_sql}"
        aligner = "ALIGN_MEAN"
        reducer = "REDUCE_MEAN"
        groups  = []
      } if local.has_sql
    ],
  )
}

resource "google_monitoring_dashboard" "main" {
  count = var.dashboard ? 1 : 0

  dashboard_json = jsonencode({
    displayName = "Platform ${local.platform}"
    gridLayout = {
      columns = "2"
      widgets = [
        for widget in local.widgets : {
          title = widget.title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = widget.filter
                  aggregation = {
                    alignmentPeriod    = "60s"
                    perSeriesAligner   = widget.aligner
                    crossSeriesReducer = widget.reducer
                    groupByFields      = widget.groups
                  }
                }
              }
            }]
          }
        }
      ]
    }
  })
}
