terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }

  # Bucket and prefix come from -backend-config; the workspace is the platform's name.
  backend "gcs" {}
}

provider "google" {
  project        = var.gcp_project
  region         = var.region
  default_labels = local.labels
}
