# The images. Tags cannot be moved; untagged images go after a month, the newest ten of each stay whatever their age.
# Signatures and attestations lie beside them: cosign moves its tag with each attestation, so tags can move there.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the repository."
  type        = string
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = "intermodal"
  format        = "DOCKER"

  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s"
    }
  }
}

resource "google_artifact_registry_repository" "signatures" {
  project       = var.project
  location      = var.region
  repository_id = "intermodal-signatures"
  format        = "DOCKER"
}

output "names" {
  description = "Purpose (images, signatures) to the repository's short name."
  value = {
    images     = google_artifact_registry_repository.images.repository_id
    signatures = google_artifact_registry_repository.signatures.repository_id
  }
}

output "path" {
  description = "What image_repository in targets.toml is."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}
