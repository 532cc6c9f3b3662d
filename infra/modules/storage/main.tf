# Buckets: artifacts of runs, raw data whose arrival starts a run, and the settings that builds read.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the buckets."
  type        = string
}

locals {
  purposes = toset(["pipelines", "raw", "settings"])
}

# Nothing is deleted by age: a schedule names the code and data that were staged when it was made, a cache entry names artifacts of the run
# that made them, and a served model is fetched from its run's artifacts. What nobody reads costs less by Autoclass instead.
resource "google_storage_bucket" "kept" {
  for_each                    = local.purposes
  project                     = var.project
  name                        = "${var.project}-intermodal-${each.key}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = each.key != "pipelines"
  }

  autoclass {
    enabled = true
  }

  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
}

output "buckets" {
  description = "Purpose (pipelines, raw, settings) to bucket name."
  value       = { for purpose, bucket in google_storage_bucket.kept : purpose => bucket.name }
}
