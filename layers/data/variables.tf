variable "gcp_project" {
  description = "Id of the Google Cloud project that holds the platform."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.gcp_project))
    error_message = "gcp_project is not a project id: 6 to 30 lower case letters, digits and dashes, a letter first."
  }
}

variable "region" {
  description = "Region of the platform, such as europe-west1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is not the name of a region, such as europe-west1."
  }
}

variable "platform_type" {
  description = "dev, staging or prod; the label \"type\" of every object."
  type        = string
  default     = "dev"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]{0,62}$", var.platform_type))
    error_message = "platform_type becomes a label: lower case letters, digits, dashes and underscores."
  }
}

variable "infrastructure_version" {
  description = "Version of the layers that the manifest asks for; the label \"infrastructure\" of every object."
  type        = string
  default     = "1.0"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{0,62}$", var.infrastructure_version))
    error_message = "infrastructure_version becomes a label: lower case letters, digits, dots and dashes."
  }
}

variable "remote_bucket" {
  description = "Bucket of the Terraform states, where the outputs of the other layers are read."
  type        = string
}

variable "remote_prefix" {
  description = "Folder of the states in that bucket, without slash at the end; empty for the top."
  type        = string
  default     = ""
}

variable "message_retention" {
  description = "How long Pub/Sub keeps a message that was not acknowledged, in seconds."
  type        = number
  default     = 604800

  validation {
    condition     = var.message_retention >= 600 && var.message_retention <= 2678400
    error_message = "message_retention is between 600 seconds and 2678400 (31 days)."
  }
}

variable "ack_deadline" {
  description = "Time that a subscriber has to acknowledge a message, in seconds."
  type        = number
  default     = 20

  validation {
    condition     = var.ack_deadline >= 10 && var.ack_deadline <= 600
    error_message = "ack_deadline is between 10 and 600 seconds."
  }
}

variable "sql" {
  description = "The database server; null means none. Disk sizes in GB, times in UTC, day 1 is Monday."
  type = object({
    instance_num        = number
    version             = string
    tier                = string
    disk_size           = number
    disk_limit          = optional(number)
    edition             = optional(string, "ENTERPRISE")
    availability        = optional(string, "zonal")
    replicas            = optional(number, 0)
    deletion_protection = optional(bool, false)
    flags               = optional(map(string), {})
    backups = optional(object({
      enabled                = optional(bool, true)
      start_time             = optional(string, "02:00")
      retained               = optional(number, 7)
      location               = optional(string)
      point_in_time_recovery = optional(bool, false)
      log_retention_days     = optional(number, 7)
    }), {})
    maintenance = optional(object({
      day  = optional(number, 7)
      hour = optional(number, 3)
    }), {})
  })
  default = null

  validation {
    condition     = var.sql == null || try(var.sql.instance_num >= 1 && floor(var.sql.instance_num) == var.sql.instance_num, false)
    error_message = "sql.instance_num is a whole number, 1 or more; it is drawn when the platform is created."
  }

  validation {
    condition     = var.sql == null || can(regex("^(POSTGRES|MYSQL)_[0-9]+(_[0-9]+)*$", var.sql.version))
    error_message = "sql.version is a version of PostgreSQL or MySQL as Google names it: POSTGRES_16, MYSQL_8_0."
  }

  validation {
    condition     = var.sql == null || can(regex("^db-[a-z0-9-]+$", var.sql.tier))
    error_message = "sql.tier is an instance type such as db-f1-micro or db-custom-4-15360."
  }

  validation {
    condition     = var.sql == null || try(var.sql.disk_size >= 10 && floor(var.sql.disk_size) == var.sql.disk_size, false)
    error_message = "sql.disk_size is a whole number of GB, at least 10."
  }

  validation {
    condition = var.sql == null || try(
      var.sql.disk_limit == null ? true : var.sql.disk_limit == 0 || var.sql.disk_limit >= var.sql.disk_size, false
    )
    error_message = "sql.disk_limit is not below sql.disk_size; 0 means no limit, null means that the disk does not grow."
  }

  validation {
    condition     = var.sql == null || try(contains(["ENTERPRISE", "ENTERPRISE_PLUS"], var.sql.edition), false)
    error_message = "sql.edition is ENTERPRISE or ENTERPRISE_PLUS."
  }

  validation {
    condition     = var.sql == null || try(contains(["zonal", "regional"], var.sql.availability), false)
    error_message = "sql.availability is zonal or regional."
  }

  validation {
    condition     = var.sql == null || try(var.sql.replicas >= 0 && var.sql.replicas <= 10, false)
    error_message = "sql.replicas is between 0 and 10."
  }

  validation {
    condition     = var.sql == null || can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", var.sql.backups.start_time))
    error_message = "sql.backups.start_time is a time such as 02:00."
  }

  validation {
    condition = var.sql == null || try(
      var.sql.backups.retained >= 1 && var.sql.backups.retained <= 365 &&
      var.sql.backups.log_retention_days >= 1 && var.sql.backups.log_retention_days <= 35, false
    )
    error_message = "sql.backups.retained is between 1 and 365, log_retention_days between 1 and 35."
  }

  validation {
    condition = var.sql == null || try(
      var.sql.maintenance.day >= 1 && var.sql.maintenance.day <= 7 &&
      var.sql.maintenance.hour >= 0 && var.sql.maintenance.hour <= 23, false
    )
    error_message = "sql.maintenance.day is between 1 (Monday) and 7, hour between 0 and 23."
  }
}

variable "databases" {
  description = "Databases of the applications."
  type        = set(string)
  default     = []
}

variable "users" {
  description = "Database users of the applications; each needs an entry in passwords."
  type        = set(string)
  default     = []
}

variable "passwords" {
  description = "Passwords by user. They end up in the state, so the bucket of the states is as secret as they are."
  type        = map(string)
  default     = {}
  sensitive   = true
}
