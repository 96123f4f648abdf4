output "services" {
  description = "Services that are on because of this layer."
  value       = sort([for s in google_project_service.enabled : s.service])
}
