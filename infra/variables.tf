variable "project" {
  description = "Project id."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id: 6 to 30 lowercase letters, digits and hyphens."
  }
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "europe-west4"
}

variable "github_repository_id" {
  description = "Number of the repository whose Actions may act as the builder: gh api repos/OWNER/NAME --jq .id."
  type        = string
}

variable "github_owner_id" {
  description = "Number of that repository's owner: gh api repos/OWNER/NAME --jq .owner.id."
  type        = string
}

variable "build_repository" {
  description = "Cloud Build repository (2nd generation), made when the repository is connected."
  type        = string
}

variable "schedule" {
  description = "Cron of the regular run, five fields; empty: none."
  type        = string
}

variable "profile" {
  description = "Profile of targets.toml that builds here submit with."
  type        = string
}

variable "signing_key" {
  description = "Key of Cloud KMS that images are signed with: projects/P/locations/L/keyRings/R/cryptoKeys/K; empty: unsigned."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)?$", var.signing_key))
    error_message = "signing_key must be empty or projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version."
  }
}
