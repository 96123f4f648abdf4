resource "google_pubsub_topic" "events" {
  name                       = "lp-events-${local.platform}"
  message_retention_duration = "${var.message_retention}s"
}

resource "google_pubsub_subscription" "events" {
  name  = "lp-events-${local.platform}"
  topic = google_pubsub_topic.events.id

  ack_deadline_seconds       = var.ack_deadline
  message_retention_duration = "${var.message_retention}s"

  # A subscription that nobody reads from stays: it would be gone after a month.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }
}
