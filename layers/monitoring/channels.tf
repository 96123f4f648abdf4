resource "google_monitoring_notification_channel" "email" {
  for_each = var.emails

  display_name = "${local.platform}: ${each.value}"
  type         = "email"
  labels = {
    email_address = each.value
  }
  user_labels = local.labels
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.name]
}
