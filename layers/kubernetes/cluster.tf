# Nodes have private addresses only; the masters have a public one, which answers to the whitelist and nobody else.

resource "google_container_cluster" "main" {
  name     = "lp-cluster-${local.platform}"
  location = var.region

  network    = local.base.network_id
  subnetwork = local.base.subnetwork_id

  deletion_protection = var.deletion_protection

  # The cluster is born with a pool that cannot be changed later without replacing the cluster: it is removed at once
  # and nodes.tf has one that can.
  remove_default_node_pool = true
  initial_node_count       = 1
  node_locations           = local.zones

  node_config {
    service_account = local.base.nodes_service_account
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    tags            = [local.nodes_tag]
  }

  min_master_version = var.kubernetes_version

  release_channel {
    channel = var.release_channel
  }

  maintenance_policy {
    daily_maintenance_window {
      start_time = var.maintenance_start
    }
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = var.range_ip_master
  }

  # No client certificate: clients prove who they are by a Google access token.
  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  master_authorized_networks_config {
    gcp_public_cidrs_access_enabled = false

    dynamic "cidr_blocks" {
      for_each = toset(var.whitelist)
      content {
        cidr_block   = cidr_blocks.value
        display_name = "whitelist ${cidr_blocks.value}"
      }
    }
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = local.base.pods_range_name
    services_secondary_range_name = local.base.services_range_name
  }

  # Dataplane V2: network policies are enforced, and services need no iptables.
  datapath_provider = "ADVANCED_DATAPATH"

  workload_identity_config {
    workload_pool = "${var.gcp_project}.svc.id.goog"
  }

  addons_config {
    http_load_balancing {
      disabled = false
    }
    horizontal_pod_autoscaling {
      disabled = false
    }
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]

    # The platform brings Prometheus itself (dependancies: prometheus-operator).
    managed_prometheus {
      enabled = false
    }
  }

  lifecycle {
    # They describe the pool that is gone.
    ignore_changes = [node_config, initial_node_count]

    precondition {
      condition     = alltrue([for zone in local.zones : startswith(zone, "${var.region}-")])
      error_message = "Every zone must be one of the region ${var.region}."
    }
  }
}
