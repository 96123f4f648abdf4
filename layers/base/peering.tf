# Cloud SQL runs in a network of Google's. The peering makes that network reachable by private addresses, which come
# from the range reserved here.

resource "google_compute_global_address" "peering" {
  name          = "lp-peering-${local.platform}"
  network       = google_compute_network.main.id
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  address       = var.range_ip_peering == null ? null : split("/", var.range_ip_peering)[0]
  prefix_length = var.range_ip_peering == null ? 20 : tonumber(split("/", var.range_ip_peering)[1])
}

resource "google_service_networking_connection" "main" {
  network                 = google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.peering.name]
}
