# What the applications keep: messages in pubsub.tf; a database server in sql.tf, its databases and users in
# databases.tf, its name in the private zone in dns.tf.

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
