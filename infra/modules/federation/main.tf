# GitHub Actions as the builder, without a key: only tokens of one repository, and of its main branch and release tags.
variable "project" {
  description = "Project id."
  type        = string
}

variable "github_repository" {
  description = "owner/name."
  type        = string

  validation {
    condition     = can(regex("^[\\w.-]+/[\\w.-]+$", var.github_repository))
    error_message = "github_repository must be owner/name."
  }
}

variable "builder" {
  description = "Full resource name of the builder's service account."
  type        = string
}

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project
  workload_identity_pool_id = "github"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "actions"
  attribute_condition                = "assertion.repository == '${var.github_repository}' && (assertion.ref == 'refs/heads/main' || assertion.ref.startsWith('refs/tags/v'))"
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "builder" {
  service_account_id = var.builder
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.repository/${var.github_repository}"
}

output "provider" {
  description = "What WORKLOAD_IDENTITY_PROVIDER is in .github/workflows/train.yaml."
  value       = google_iam_workload_identity_pool_provider.github.name
}
