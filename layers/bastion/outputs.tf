output "name" {
  description = "Name of the machine."
  value       = google_compute_instance.bastion.name
}

output "zone" {
  description = "Zone of the machine."
  value       = google_compute_instance.bastion.zone
}

output "private_ip" {
  description = "Address in the private network."
  value       = google_compute_instance.bastion.network_interface[0].network_ip
}

output "public_ip" {
  description = "Public address; empty without one."
  value       = var.public_ip ? google_compute_instance.bastion.network_interface[0].access_config[0].nat_ip : ""
}

output "ssh" {
  description = "Command that opens a session through Identity-Aware Proxy."
  value = join(" ", [
    "gcloud compute ssh ${google_compute_instance.bastion.name} --tunnel-through-iap",
    "--project ${var.gcp_project} --zone ${google_compute_instance.bastion.zone}",
  ])
}
