# Lets the Kubernetes service accounts of the applications act as the platform's application account, without a key.

resource "google_service_account_iam_member" "workload_identity" {
  for_each = toset(var.workload_identities)

  service_account_id = "projects/${var.gcp_project}/serviceAccounts/${local.base.apps_service_account}"
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.gcp_project}.svc.id.goog[${each.value}]"

  # The pool of identities exists from the project's first cluster on.
  depends_on = [google_container_cluster.main]
}
