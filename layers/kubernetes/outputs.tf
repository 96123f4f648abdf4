output "cluster_name" {
  description = "Name of the cluster."
  value       = google_container_cluster.main.name
}

output "cluster_location" {
  description = "Region of the cluster."
  value       = google_container_cluster.main.location
}

output "cluster_endpoint" {
  description = "Public address of the masters."
  value       = google_container_cluster.main.endpoint
}

output "cluster_ca_certificate" {
  description = "Certificate of the cluster's authority, PEM in base64."
  value       = google_container_cluster.main.master_auth[0].cluster_ca_certificate
}

output "cluster_version" {
  description = "Version that the masters run."
  value       = google_container_cluster.main.master_version
}

output "zones" {
  description = "Zones of the nodes."
  value       = local.zones
}

output "node_port" {
  description = "Port of the nodes that the load balancer sends to."
  value       = var.node_port
}

output "apps_service_account" {
  description = "E-mail of the account that the applications act as."
  value       = local.base.apps_service_account
}

output "static_bucket" {
  description = "Bucket of the static files."
  value       = google_storage_bucket.static.name
}

output "load_balancer_ip" {
  description = "Public address of the load balancer; the domains' A records point here."
  value       = google_compute_global_address.load_balancer.address
}

output "load_balancer_url" {
  description = "Where the platform answers."
  value       = local.https ? "https://${var.domains[0]}" : "http://${google_compute_global_address.load_balancer.address}"
}

output "url_map" {
  description = "Name of the URL map, under which the load balancer's metrics are kept."
  value       = google_compute_url_map.main.name
}

output "domains" {
  description = "Domains of the certificate."
  value       = var.domains
}
