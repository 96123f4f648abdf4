# A small machine inside the platform's network, from which one reaches what has no public address:
# instance.tf, and who may open an SSH connection to it: firewall.tf.

locals {
  platform = terraform.workspace

  labels = {
    platform       = local.platform
    type           = var.platform_type
    infrastructure = replace(var.infrastructure_version, ".", "-")
  }

  base = data.terraform_remote_state.base.outputs
}

data "terraform_remote_state" "base" {
  backend   = "gcs"
  workspace = terraform.workspace

  config = {
    bucket = var.remote_bucket
    prefix = join("/", compact([var.remote_prefix, "base"]))
  }
}
