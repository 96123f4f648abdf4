output "network" {
  description = "Name of the network."
  value       = google_compute_network.main.name
}

output "network_id" {
  description = "The network as projects/<project>/global/networks/<name>."
  value       = google_compute_network.main.id
}

output "subnetwork" {
  description = "Name of the private subnet."
  value       = google_compute_subnetwork.private.name
}

output "subnetwork_id" {
  description = "The private subnet as projects/<project>/regions/<region>/subnetworks/<name>."
  value       = google_compute_subnetwork.private.id
}

output "pods_range_name" {
  description = "Name of the secondary range for pods."
  value       = google_compute_subnetwork.private.secondary_ip_range[0].range_name
}

output "services_range_name" {
  description = "Name of the secondary range for Kubernetes services."
  value       = google_compute_subnetwork.private.secondary_ip_range[1].range_name
}

output "dns_zone" {
  description = "Name of the private DNS zone."
  value       = google_dns_managed_zone.private.name
}

output "dns_domain" {
  description = "Domain of the private DNS zone, with dot at the end."
  value       = google_dns_managed_zone.private.dns_name
}

output "peering_range_name" {
  description = "Name of the range that Cloud SQL takes its addresses from. Known once the peering exists."
  value       = google_service_networking_connection.main.reserved_peering_ranges[0]
}

output "nodes_service_account" {
  description = "E-mail of the account that the nodes act as."
  value       = google_service_account.nodes.email
}

output "apps_service_account" {
  description = "E-mail of the account that the applications act as."
  value       = google_service_account.apps.email
}
