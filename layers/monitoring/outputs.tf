output "uptime_check" {
  description = "Id of the uptime check; null without one."
  value       = one(google_monitoring_uptime_check_config.main[*].uptime_check_id)
}

output "alerts" {
  description = "Names of the alert policies."
  value = sort(concat(
    [for policy in google_monitoring_alert_policy.threshold : policy.display_name],
    google_monitoring_alert_policy.error_ratio[*].display_name,
    google_monitoring_alert_policy.uptime[*].display_name,
  ))
}

output "dashboard" {
  description = "Full name of the dashboard; null without one."
  value       = one(google_monitoring_dashboard.main[*].id)
}
