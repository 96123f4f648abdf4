# The database server, on the private network only. docs/cloud-sql.md tells why its name ends in a number.

locals {
  sql = var.sql == null ? [] : [var.sql]

  # Google keeps the name of a deleted instance for a week.
  sql_name = var.sql == null ? "" : "lp-sql-${local.platform}-${var.sql.instance_num}"

  mysql = var.sql == null ? false : startswith(var.sql.version, "MYSQL_")
}

resource "google_sql_database_instance" "main" {
  count = length(local.sql)

  name                = local.sql_name
  region              = var.region
  database_version    = var.sql.version
  deletion_protection = var.sql.deletion_protection

  settings {
    tier                        = var.sql.tier
    edition                     = var.sql.edition
    availability_type           = upper(var.sql.availability)
    disk_type                   = "PD_SSD"
    disk_size                   = var.sql.disk_size
    disk_autoresize             = var.sql.disk_limit != null
    disk_autoresize_limit       = coalesce(var.sql.disk_limit, 0)
    deletion_protection_enabled = var.sql.deletion_protection

    ip_configuration {
      ipv4_enabled       = false
      private_network    = local.base.network_id
      allocated_ip_range = local.base.peering_range_name
      ssl_mode           = "ENCRYPTED_ONLY"
    }

    backup_configuration {
      enabled    = var.sql.backups.enabled
      start_time = var.sql.backups.start_time
      location   = var.sql.backups.location

      # The same wish has two names: the write-ahead log of PostgreSQL, the binary log of MySQL.
      point_in_time_recovery_enabled = local.mysql ? null : var.sql.backups.point_in_time_recovery
      binary_log_enabled             = local.mysql ? var.sql.backups.point_in_time_recovery : null
      transaction_log_retention_days = var.sql.backups.point_in_time_recovery ? var.sql.backups.log_retention_days : null

      backup_retention_settings {
        retained_backups = var.sql.backups.retained
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = var.sql.maintenance.day
      hour         = var.sql.maintenance.hour
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled = true
    }

    dynamic "database_flags" {
      for_each = var.sql.flags
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.sql.availability == "zonal" || (var.sql.backups.enabled && var.sql.backups.point_in_time_recovery)
      error_message = "A regional instance needs backups with point-in-time recovery."
    }

    precondition {
      condition     = var.sql.backups.enabled || !var.sql.backups.point_in_time_recovery
      error_message = "Point-in-time recovery starts from a backup: turn backups on as well."
    }
  }
}

resource "google_sql_database_instance" "replica" {
  count = var.sql == null ? 0 : var.sql.replicas

  name                 = "${local.sql_name}-replica-${count.index}"
  region               = var.region
  database_version     = var.sql.version
  master_instance_name = google_sql_database_instance.main[0].name
  deletion_protection  = var.sql.deletion_protection

  settings {
    tier                        = var.sql.tier
    edition                     = var.sql.edition
    availability_type           = "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.sql.disk_size
    disk_autoresize             = var.sql.disk_limit != null
    disk_autoresize_limit       = coalesce(var.sql.disk_limit, 0)
    deletion_protection_enabled = var.sql.deletion_protection

    ip_configuration {
      ipv4_enabled       = false
      private_network    = local.base.network_id
      allocated_ip_range = local.base.peering_range_name
      ssl_mode           = "ENCRYPTED_ONLY"
    }

    dynamic "database_flags" {
      for_each = var.sql.flags
      content {
        name  = database_flags.key
        value = database_flags.value
      }
    }
  }

  lifecycle {
    precondition {
      condition     = var.sql.backups.enabled && (var.sql.backups.point_in_time_recovery || !local.mysql)
      error_message = "Replicas need backups, and with MySQL point-in-time recovery (its binary log) as well."
    }
  }
}
