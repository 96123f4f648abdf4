# The account that the nodes act as: what the kubelet and Google's agents on it need, nothing of the applications.

resource "google_service_account" "nodes" {
  account_id   = "lp-nodes-${local.platform}"
  display_name = "Kubernetes nodes of ${local.platform}"
}

resource "google_project_iam_member" "nodes" {
  for_each = toset([
    "roles/artifactregistry.reader",
    "roles/container.defaultNodeServiceAccount",
  ])

  project = var.gcp_project
  role    = each.value
  member  = google_service_account.nodes.member
}

# The account that the applications act as, through Workload Identity (layer kubernetes).

resource "google_service_account" "apps" {
  account_id   = "lp-apps-${local.platform}"
  display_name = "Applications of ${local.platform}"
}

resource "google_project_iam_member" "apps" {
  for_each = var.application_roles

  project = var.gcp_project
  role    = each.value
  member  = google_service_account.apps.member
}
