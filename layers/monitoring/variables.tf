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

variable "emails" {
  description = "Addresses that the alerts are sent to."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "Each element of emails is an e-mail address."
  }
}

variable "uptime" {
  description = "The check from outside: path, and period in seconds (60, 300, 600 or 900). Null means none."
  type = object({
    path   = optional(string, "/healthz")
    period = optional(number, 60)
  })
  default = null

  validation {
    condition     = var.uptime == null || try(startswith(var.uptime.path, "/"), false)
    error_message = "uptime.path begins with a slash."
  }

  validation {
    condition     = var.uptime == null || try(contains([60, 300, 600, 900], var.uptime.period), false)
    error_message = "uptime.period is 60, 300, 600 or 900 seconds."
  }
}

variable "alerts" {
  description = "Thresholds by name; a name that is absent raises no alert. latency and sql-replica-lag in seconds, else parts of 1."
  type        = map(number)
  default     = {}

  validation {
    condition = alltrue([
      for name in keys(var.alerts) :
      contains(["error-ratio", "latency", "node-cpu", "sql-cpu", "sql-disk", "sql-replica-lag"], name)
    ])
    error_message = "alerts knows error-ratio, latency, node-cpu, sql-cpu, sql-disk and sql-replica-lag."
  }

  validation {
    condition     = alltrue([for threshold in values(var.alerts) : threshold > 0])
    error_message = "A threshold is above 0."
  }
}

variable "dashboard" {
  description = "Make a dashboard."
  type        = bool
  default     = true
}
