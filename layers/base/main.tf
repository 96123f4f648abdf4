# The network that everything else of a platform stands on: network.tf, nat.tf, dns.tf, peering.tf, firewall.tf,
# and the accounts that machines and applications act as: accounts.tf.

locals {
  # Every name ends in the platform's name, which is the workspace, so that platforms share a project.
  platform = terraform.workspace

  labels = {
    platform       = local.platform
    type           = var.platform_type
    infrastructure = replace(var.infrastructure_version, ".", "-")
  }
}
