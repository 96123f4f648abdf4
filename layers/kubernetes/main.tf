# The cluster and the way to it: cluster.tf, nodes.tf, identity.tf, firewall.tf; the load balancer in front of it:
# backend.tf, frontend.tf; the bucket of the static files: static.tf.

locals {
  platform = terraform.workspace

  labels = {
    platform       = local.platform
    type           = var.platform_type
    infrastructure = replace(var.infrastructure_version, ".", "-")
  }

  base = data.terraform_remote_state.base.outputs

  # Tag of the nodes, which the firewall rules name.
  nodes_tag = "lp-cluster-${local.platform}"

  # Three zones are enough for a majority; some regions have more.
  zones_of_region = slice(
    sort(data.google_compute_zones.available.names), 0, min(3, length(data.google_compute_zones.available.names))
  )
  zones = length(var.zones) > 0 ? sort(var.zones) : local.zones_of_region
}

data "google_compute_zones" "available" {
  region = var.region
  status = "UP"
}

data "terraform_remote_state" "base" {
  backend   = "gcs"
  workspace = terraform.workspace

  config = {
    bucket = var.remote_bucket
    prefix = join("/", compact([var.remote_prefix, "base"]))
  }
}
