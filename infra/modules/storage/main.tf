# Buckets: artifacts of runs, raw data whose arrival starts a run, and the settings that builds read.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the buckets."
  type        = string
}

variable "retention_days" {
  description = "Days after which a run's artifacts are deleted."
  type        = number

  validation {
    condition     = var.retention_days >= 1
    error_message = "retention_days must be at least 1."
  }
}

locals {
  purposes = {
    pipelines = var.retention_days
    raw       = null
    settings  = null
  }
}

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

  dynamic "lifecycle_rule" {
    for_each = each.value == null ? [] : [each.value]
    content {
      condition {
        age = lifecycle_rule.value
      }
      action {
        type = "Delete"
      }
    }
  }
}

output "buckets" {
  description = "Purpose (pipelines, raw, settings) to bucket name."
  value       = { for purpose, bucket in google_storage_bucket.kept : purpose => bucket.name }
}
