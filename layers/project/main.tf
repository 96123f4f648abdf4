# Turns on the services that the other layers use. Run once for a project, not for each platform: the services
# belong to the project, so they stay on when this layer is destroyed.

resource "google_project_service" "enabled" {
  for_each = var.services

  project = var.gcp_project
  service = each.value

  disable_on_destroy = false
}
