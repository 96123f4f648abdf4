# Watches a platform: who is told in channels.tf, the check from outside in uptime.tf, thresholds in alerts.tf, and
# one page with the curves in dashboard.tf.

locals {
  platform = terraform.workspace

  labels = {
    platform       = local.platform
    type           = var.platform_type
    infrastructure = replace(var.infrastructure_version, ".", "-")
  }

  kubernetes = data.terraform_remote_state.kubernetes.outputs
  data       = data.terraform_remote_state.data.outputs

  # What the metrics of the platform are found by.
  from_load_balancer = join(" AND ", [
    "resource.type = \"https_lb_rule\"",
    "resource.labels.url_map_name = \"${local.kubernetes.url_map}\"",
  ])
  from_nodes = join(" AND ", [
    "resource.type = \"k8s_node\"",
    "resource.labels.cluster_name = \"${local.kubernetes.cluster_name}\"",
  ])
  from_sql = join(" AND ", [
    "resource.type = \"cloudsql_database\"",
    "resource.labels.database_id = \"${local.sql_id}\"",
  ])
  from_replicas = join(" AND ", [
    "resource.type = \"cloudsql_database\"",
    "resource.labels.database_id = starts_with(\"${local.sql_id}-replica-\")",
  ])

  has_sql = local.data.sql_instance != ""
  sql_id  = "${var.gcp_project}:${local.data.sql_instance}"
}

data "terraform_remote_state" "kubernetes" {
  backend   = "gcs"
  workspace = terraform.workspace

  config = {
    bucket = var.remote_bucket
    prefix = join("/", compact([var.remote_prefix, "kubernetes"]))
  }
}

data "terraform_remote_state" "data" {
  backend   = "gcs"
  workspace = terraform.workspace

  config = {
    bucket = var.remote_bucket
    prefix = join("/", compact([var.remote_prefix, "data"]))
  }
}
