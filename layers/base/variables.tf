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

variable "range_ip" {
  description = "Range of the subnet: nodes and bastion."
  type        = string

  validation {
    condition     = try(cidrhost(var.range_ip, 0) == split("/", var.range_ip)[0], false)
    error_message = "range_ip is not a network range such as 10.32.0.0/20."
  }
}

variable "range_ip_pod" {
  description = "Secondary range of the subnet: pods."
  type        = string

  validation {
    condition     = try(cidrhost(var.range_ip_pod, 0) == split("/", var.range_ip_pod)[0], false)
    error_message = "range_ip_pod is not a network range such as 10.36.0.0/14."
  }
}

variable "range_ip_svc" {
  description = "Secondary range of the subnet: Kubernetes services."
  type        = string

  validation {
    condition     = try(cidrhost(var.range_ip_svc, 0) == split("/", var.range_ip_svc)[0], false)
    error_message = "range_ip_svc is not a network range such as 10.33.0.0/20."
  }
}

variable "range_ip_peering" {
  description = "Range for Cloud SQL behind the peering, /24 or larger; null lets Google choose a /20."
  type        = string
  default     = null

  validation {
    condition = var.range_ip_peering == null || try(
      cidrhost(var.range_ip_peering, 0) == split("/", var.range_ip_peering)[0] &&
      tonumber(split("/", var.range_ip_peering)[1]) <= 24, false
    )
    error_message = "range_ip_peering is not a network range of /24 or larger, such as 10.34.0.0/20."
  }
}

variable "private_domain" {
  description = "Domain above the platform's private DNS zone, without dot at the end."
  type        = string
  default     = "lp.internal"

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)*[a-z][a-z0-9-]*$", var.private_domain))
    error_message = "private_domain is not a domain such as lp.internal."
  }
}

variable "application_roles" {
  description = "Roles of the account that the applications act as."
  type        = set(string)
  default     = ["roles/cloudsql.client", "roles/pubsub.publisher", "roles/pubsub.subscriber"]

  validation {
    condition     = alltrue([for r in var.application_roles : can(regex("^(roles|projects/[^/]+/roles)/", r))])
    error_message = "A role is named roles/... or projects/<project>/roles/..."
  }
}
