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

variable "instance_type" {
  description = "Machine type of the bastion."
  type        = string
  default     = "e2-small"
}

variable "instance_image" {
  description = "Boot image: <project>/<family or image>. The start-up script expects Debian."
  type        = string
  default     = "debian-cloud/debian-12"

  validation {
    condition     = can(regex("^[^/ ]+(/[^/ ]+)*$", var.instance_image))
    error_message = "instance_image is not an image such as debian-cloud/debian-12."
  }
}

variable "preemptible" {
  description = "A Spot machine: cheaper, and Google may stop it at any time."
  type        = bool
  default     = true
}

variable "disk_size" {
  description = "Boot disk, in GB."
  type        = number
  default     = 10

  validation {
    condition     = var.disk_size >= 10 && floor(var.disk_size) == var.disk_size
    error_message = "disk_size is a whole number of GB, at least 10."
  }
}

variable "public_ip" {
  description = "Give the bastion a public address, which the whitelist may reach. Without one there is only IAP."
  type        = bool
  default     = true
}

variable "whitelist" {
  description = "Ranges that may reach SSH on the public address, in addition to IAP."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for range in var.whitelist : can(cidrhost(range, 0))])
    error_message = "Each element of whitelist is a range such as 198.51.100.0/24 or 203.0.113.10/32."
  }
}
