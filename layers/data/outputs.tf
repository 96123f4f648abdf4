output "topic" {
  description = "Name of the Pub/Sub topic."
  value       = google_pubsub_topic.events.name
}

output "subscription" {
  description = "Name of the Pub/Sub subscription."
  value       = google_pubsub_subscription.events.name
}

output "sql_instance" {
  description = "Name of the database server; empty without one."
  value       = local.sql_name
}

output "sql_connection_name" {
  description = "<project>:<region>:<instance> for the Cloud SQL proxies; empty without a server."
  value       = one(google_sql_database_instance.main[*].connection_name)
}

output "sql_private_ip" {
  description = "Address of the server in the private network; null without one."
  value       = one(google_sql_database_instance.main[*].private_ip_address)
}

output "sql_host" {
  description = "Name of the server in the private zone, without dot at the end; null without one."
  value       = var.sql == null ? null : trimsuffix("sql.${local.base.dns_domain}", ".")
}

output "sql_replicas_host" {
  description = "Name of the read replicas in the private zone; null without any."
  value       = length(google_dns_record_set.sql_replicas) > 0 ? trimsuffix("sql-replicas.${local.base.dns_domain}", ".") : null
}

output "sql_port" {
  description = "Port of the server; null without one."
  value       = var.sql == null ? null : local.mysql ? 3306 : 5432
}

output "sql_replicas" {
  description = "Names of the read replicas."
  value       = google_sql_database_instance.replica[*].name
}

output "databases" {
  description = "Databases of the applications."
  value       = sort([for database in google_sql_database.app : database.name])
}

output "users" {
  description = "Database users of the applications."
  value       = sort([for user in google_sql_user.app : user.name])
}
