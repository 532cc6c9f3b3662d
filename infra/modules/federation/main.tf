# GitHub Actions as the builder, without a key: only tokens of one repository, and of its main branch and release tags. The repository and its owner
# are known by number: a name that is given up can be taken by anybody, a number never.
variable "project" {
  description = "Project id."
  type        = string
}

variable "github_repository_id" {
  description = "The repository's number."
  type        = string

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.github_repository_id))
    error_message = "github_repository_id must be a number: gh api repos/OWNER/NAME --jq .id."
  }
}

variable "github_owner_id" {
  description = "The number of the repository's owner."
  type        = string

  validation {
    condition     = can(regex("^[1-9][0-9]*$", var.github_owner_id))
    error_message = "github_owner_id must be a number: gh api repos/OWNER/NAME --jq .owner.id."
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
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.github_repository_id}'",
    "assertion.repository_owner_id == '${var.github_owner_id}'",
    "(assertion.ref == 'refs/heads/main' || assertion.ref.startsWith('refs/tags/v'))",
  ])
  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

resource "google_service_account_iam_member" "builder" {
  service_account_id = var.builder
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.repository_id/${var.github_repository_id}"
}

output "provider" {
  description = "What WORKLOAD_IDENTITY_PROVIDER is in .github/workflows/train.yaml."
  value       = google_iam_workload_identity_pool_provider.github.name
}
