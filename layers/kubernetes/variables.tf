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

variable "kubernetes_version" {
  description = "Version of the masters at least, such as 1.33; the release channel may be ahead."
  type        = string

  validation {
    condition     = can(regex("^(latest|1\\.[0-9]+(\\.[0-9]+(-gke\\.[0-9]+)?)?)$", var.kubernetes_version))
    error_message = "kubernetes_version is a version such as 1.33, 1.33.4 or 1.33.4-gke.1134000, or \"latest\"."
  }
}

variable "release_channel" {
  description = "RAPID, REGULAR or STABLE: how early Google upgrades masters and nodes."
  type        = string
  default     = "REGULAR"

  validation {
    condition     = contains(["RAPID", "REGULAR", "STABLE", "EXTENDED"], var.release_channel)
    error_message = "release_channel is RAPID, REGULAR, STABLE or EXTENDED."
  }
}

variable "maintenance_start" {
  description = "Start of the daily maintenance window of four hours, HH:MM in UTC."
  type        = string
  default     = "03:00"

  validation {
    condition     = can(regex("^([01][0-9]|2[0-3]):[0-5][0-9]$", var.maintenance_start))
    error_message = "maintenance_start is a time such as 03:00."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the cluster."
  type        = bool
  default     = false
}

variable "zones" {
  description = "Zones of the nodes; empty takes three of the region."
  type        = list(string)
  default     = []
}

variable "instance_type" {
  description = "Machine type of the nodes."
  type        = string
  default     = "e2-standard-2"
}

variable "disk_size" {
  description = "Boot disk of a node, in GB."
  type        = number
  default     = 50

  validation {
    condition     = var.disk_size >= 10 && floor(var.disk_size) == var.disk_size
    error_message = "disk_size is a whole number of GB, at least 10."
  }
}

variable "preemptible" {
  description = "Preemptible nodes: cheaper, gone after a day at most."
  type        = bool
  default     = false
}

variable "min_nodes" {
  description = "Least number of nodes of the whole pool."
  type        = number
  default     = 1

  validation {
    condition     = var.min_nodes >= 0 && floor(var.min_nodes) == var.min_nodes
    error_message = "min_nodes is a whole number, 0 or more."
  }
}

variable "max_nodes" {
  description = "Greatest number of nodes of the whole pool."
  type        = number
  default     = 3

  validation {
    condition     = var.max_nodes >= 1 && floor(var.max_nodes) == var.max_nodes
    error_message = "max_nodes is a whole number, 1 or more."
  }
}

variable "range_ip_master" {
  description = "Range of the masters; GKE wants exactly /28."
  type        = string

  validation {
    condition = try(
      cidrhost(var.range_ip_master, 0) == split("/", var.range_ip_master)[0] && endswith(var.range_ip_master, "/28"), false
    )
    error_message = "range_ip_master is not a /28 network range such as 10.32.240.0/28."
  }
}

variable "range_platform" {
  description = "Private range that may reach the nodes on 80, 443 and the node ports."
  type        = string

  validation {
    condition     = can(cidrhost(var.range_platform, 0))
    error_message = "range_platform is not a network range such as 10.32.0.0/13."
  }
}

variable "whitelist" {
  description = "Public ranges that may reach the masters; any number."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for range in var.whitelist : can(cidrhost(range, 0))])
    error_message = "Each element of whitelist is a range such as 198.51.100.0/24 or 203.0.113.10/32."
  }
}

variable "workload_identities" {
  description = "Kubernetes service accounts that act as the platform's application account, as <namespace>/<name>."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for w in var.workload_identities : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", w))])
    error_message = "Each element of workload_identities is <namespace>/<service account>."
  }
}

variable "node_port" {
  description = "Port of the nodes that the load balancer sends to, with TLS and HTTP/2: the ingress controller's."
  type        = number
  default     = 30443

  validation {
    condition     = var.node_port >= 30000 && var.node_port <= 32767
    error_message = "node_port is a Kubernetes node port: 30000 to 32767."
  }
}

variable "health_path" {
  description = "Path of the health check on that port."
  type        = string
  default     = "/healthz"

  validation {
    condition     = startswith(var.health_path, "/")
    error_message = "health_path begins with a slash."
  }
}

variable "backend_timeout" {
  description = "Longest time of a request or of a gRPC stream, in seconds."
  type        = number
  default     = 300

  validation {
    condition     = var.backend_timeout >= 1 && var.backend_timeout <= 86400
    error_message = "backend_timeout is between 1 and 86400 seconds."
  }
}

variable "log_sample_rate" {
  description = "Part of the requests that is logged, 0 to 1."
  type        = number
  default     = 1

  validation {
    condition     = var.log_sample_rate >= 0 && var.log_sample_rate <= 1
    error_message = "log_sample_rate is between 0 and 1."
  }
}

variable "domains" {
  description = "Domains of the managed certificate; empty means HTTP only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for d in var.domains : can(regex("^([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,}$", d))])
    error_message = "Each element of domains is a domain name such as app.example.com; wildcards are not possible here."
  }
}

variable "cdn" {
  description = "Cloud CDN in front of the static bucket."
  type        = bool
  default     = false
}
