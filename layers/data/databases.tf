# One database and one user for each application that asks for them. When an application leaves the manifest, its
# database and user stay on the server: a mistake in a manifest never drops data, and PostgreSQL refuses to drop a
# role that owns something. Destroying the platform deletes the server with all of them.

resource "google_sql_database" "app" {
  for_each = var.sql == null ? toset([]) : var.databases

  instance        = google_sql_database_instance.main[0].name
  name            = each.value
  deletion_policy = "ABANDON"
}

resource "google_sql_user" "app" {
  for_each = var.sql == null ? toset([]) : var.users

  instance        = google_sql_database_instance.main[0].name
  name            = each.value
  password        = lookup(var.passwords, each.value, null)
  deletion_policy = "ABANDON"

  lifecycle {
    precondition {
      condition     = nonsensitive(contains(keys(var.passwords), each.value))
      error_message = "No password was given for the user ${each.value}."
    }
  }
}
