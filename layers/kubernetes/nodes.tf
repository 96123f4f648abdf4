# Most changes of a pool are made in place. Some replace it; then the new pool is there, and the load balancer sends to
# it, before the old one goes: Google refuses to delete an instance group that a load balancer uses. Two pools cannot
# have one name, so the name ends in a digest of what makes a new pool necessary.

locals {
  pool_digest = substr(sha256(jsonencode([var.preemptible, local.base.nodes_service_account])), 0, 6)
}

resource "google_container_node_pool" "main" {
  name     = "main-${local.pool_digest}"
  cluster  = google_container_cluster.main.name
  location = var.region

  node_locations     = local.zones
  initial_node_count = ceil(var.min_nodes / length(local.zones))

  autoscaling {
    # Of the whole pool, not of each zone.
    total_min_node_count = var.min_nodes
    total_max_node_count = var.max_nodes
    location_policy      = var.preemptible ? "ANY" : "BALANCED"
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }

  upgrade_settings {
    strategy        = "SURGE"
    max_surge       = 1
    max_unavailable = 0
  }

  node_config {
    machine_type    = var.instance_type
    preemptible     = var.preemptible
    disk_size_gb    = var.disk_size
    disk_type       = "pd-balanced"
    image_type      = "COS_CONTAINERD"
    service_account = local.base.nodes_service_account
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    tags            = [local.nodes_tag]

    metadata = {
      disable-legacy-endpoints = "true"
    }

    # Pods see the metadata server of Workload Identity, never the node's own account.
    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  lifecycle {
    create_before_destroy = true

    # The autoscaler decides after the first minute.
    ignore_changes = [initial_node_count]

    precondition {
      condition     = var.min_nodes <= var.max_nodes
      error_message = "min_nodes (${var.min_nodes}) is above max_nodes (${var.max_nodes})."
    }
  }
}
