data "google_compute_zones" "available" {
  region = var.region
  status = "UP"
}

resource "google_compute_instance" "bastion" {
  name         = "lp-bastion-${local.platform}"
  zone         = sort(data.google_compute_zones.available.names)[0]
  machine_type = var.instance_type
  tags         = [local.tag]

  allow_stopping_for_update = true

  boot_disk {
    initialize_params {
      image = var.instance_image
      size  = var.disk_size
      type  = "pd-balanced"
    }
  }

  network_interface {
    subnetwork = local.base.subnetwork_id

    dynamic "access_config" {
      for_each = var.public_ip ? ["ephemeral"] : []
      content {}
    }
  }

  metadata = {
    # Logins are Google accounts with the role roles/compute.osLogin, not keys in the metadata.
    enable-oslogin         = "TRUE"
    block-project-ssh-keys = "TRUE"
    startup-script         = file("${path.module}/startup.sh")
  }

  scheduling {
    preemptible                 = var.preemptible
    automatic_restart           = !var.preemptible
    provisioning_model          = var.preemptible ? "SPOT" : "STANDARD"
    instance_termination_action = var.preemptible ? "STOP" : null
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }
}

resource "google_dns_record_set" "bastion" {
  managed_zone = local.base.dns_zone
  name         = "bastion.${local.base.dns_domain}"
  type         = "A"
  ttl          = 60
  rrdatas      = [google_compute_instance.bastion.network_interface[0].network_ip]
}
