# Applications find the server by these names, whatever its number and address are.

resource "google_dns_record_set" "sql" {
  count = length(local.sql)

  managed_zone = local.base.dns_zone
  name         = "sql.${local.base.dns_domain}"
  type         = "A"
  ttl          = 60
  rrdatas      = [google_sql_database_instance.main[0].private_ip_address]
}

resource "google_dns_record_set" "sql_replicas" {
  count = length(google_sql_database_instance.replica) > 0 ? 1 : 0

  managed_zone = local.base.dns_zone
  name         = "sql-replicas.${local.base.dns_domain}"
  type         = "A"
  ttl          = 60
  rrdatas      = google_sql_database_instance.replica[*].private_ip_address
}
