# The static files of the applications. Whoever knows the address may read them: the load balancer asks the bucket
# without an identity.

resource "google_storage_bucket" "static" {
  name     = "lp-static-bucket-${local.platform}"
  location = upper(var.region)

  uniform_bucket_level_access = true

  # The files come from the repository (key static-files of the manifest), so losing them loses nothing.
  force_destroy = true

  website {
    main_page_suffix = "index.html"
  }
}

resource "google_storage_bucket_iam_member" "public" {
  bucket = google_storage_bucket.static.name
  role   = "roles/storage.objectViewer"
  member = "allUsers"
}

resource "google_compute_backend_bucket" "static" {
  name        = "lp-static-${local.platform}"
  bucket_name = google_storage_bucket.static.name
  enable_cdn  = var.cdn
}
