# Who may do what: `builder` builds, pushes and submits; `pipelines` is what tasks run as; `predictor` is what endpoints run as and may do nothing
# but read models. Rights are given on the bucket or repository where the service has such rights, on the project only where it has none.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the repository."
  type        = string
}

variable "repository" {
  description = "Artifact Registry repository, short name."
  type        = string
}

variable "buckets" {
  description = "Purpose to bucket name, as the storage module gives them."
  type        = map(string)
}

locals {
  accounts = {
    builder   = "Builds, pushes, submits"
    pipelines = "Runs the tasks of pipelines"
    predictor = "Runs deployed models"
  }
  project_roles = {
    "builder/aiplatform.user"     = { account = "builder", role = "roles/aiplatform.user" }
    "builder/logging.logWriter"   = { account = "builder", role = "roles/logging.logWriter" }
    "pipelines/aiplatform.user"   = { account = "pipelines", role = "roles/aiplatform.user" }
    "pipelines/logging.logWriter" = { account = "pipelines", role = "roles/logging.logWriter" }
    "predictor/logging.logWriter" = { account = "predictor", role = "roles/logging.logWriter" }
  }
  bucket_roles = {
    "builder/pipelines"   = { account = "builder", bucket = "pipelines", role = "roles/storage.objectUser" }
    "builder/settings"    = { account = "builder", bucket = "settings", role = "roles/storage.objectUser" }
    "pipelines/pipelines" = { account = "pipelines", bucket = "pipelines", role = "roles/storage.objectUser" }
    "pipelines/raw"       = { account = "pipelines", bucket = "raw", role = "roles/storage.objectViewer" }
    "predictor/pipelines" = { account = "predictor", bucket = "pipelines", role = "roles/storage.objectViewer" }
  }
  repository_roles = {
    builder   = "roles/artifactregistry.writer"
    pipelines = "roles/artifactregistry.reader"
    predictor = "roles/artifactregistry.reader"
  }
}

resource "google_service_account" "accounts" {
  for_each     = local.accounts
  project      = var.project
  account_id   = "intermodal-${each.key}"
  display_name = each.value
}

resource "google_project_iam_member" "granted" {
  for_each = local.project_roles
  project  = var.project
  role     = each.value.role
  member   = google_service_account.accounts[each.value.account].member
}

resource "google_storage_bucket_iam_member" "granted" {
  for_each = local.bucket_roles
  bucket   = var.buckets[each.value.bucket]
  role     = each.value.role
  member   = google_service_account.accounts[each.value.account].member
}

resource "google_artifact_registry_repository_iam_member" "granted" {
  for_each   = local.repository_roles
  project    = var.project
  location   = var.region
  repository = var.repository
  role       = each.value
  member     = google_service_account.accounts[each.key].member
}

# A submission names the account that its tasks run as, which takes the right to act as it, and a deployment the account of its predictor.
resource "google_service_account_iam_member" "acts_as" {
  for_each           = { builder = "pipelines", pipelines = "predictor" }
  service_account_id = google_service_account.accounts[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.accounts[each.key].member
}

output "emails" {
  description = "Account (builder, pipelines, predictor) to its address."
  value       = { for name, account in google_service_account.accounts : name => account.email }
}

output "ids" {
  description = "Account to its full resource name."
  value       = { for name, account in google_service_account.accounts : name => account.name }
}
