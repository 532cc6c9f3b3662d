# Who may do what: `checker` builds pull requests, whose build files are anyone's, and may only log; `builder` builds, pushes and submits; `pipelines` is what tasks run as; `predictor` is what endpoints run as and may do nothing
# but read models. Rights are given on the bucket or repository where the service has such rights, on the project only where it has none.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the repository."
  type        = string
}

variable "repositories" {
  description = "Purpose (images, signatures) to Artifact Registry repository, as the registry module gives them."
  type        = map(string)
}

variable "signing_key" {
  description = "Key of Cloud KMS that the builder signs with; empty: none."
  type        = string
}

variable "buckets" {
  description = "Purpose to bucket name, as the storage module gives them."
  type        = map(string)
}

locals {
  accounts = {
    checker   = "Builds pull requests"
    builder   = "Builds, pushes, submits"
    pipelines = "Runs the tasks of pipelines"
    predictor = "Runs deployed models"
  }
  project_roles = {
    "checker/logging.logWriter"   = { account = "checker", role = "roles/logging.logWriter" }
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
    "builder/images"     = { account = "builder", repository = "images", role = "roles/artifactregistry.writer" }
    "builder/signatures" = { account = "builder", repository = "signatures", role = "roles/artifactregistry.writer" }
    "pipelines/images"   = { account = "pipelines", repository = "images", role = "roles/artifactregistry.reader" }
    "predictor/images"   = { account = "predictor", repository = "images", role = "roles/artifactregistry.reader" }
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
  repository = var.repositories[each.value.repository]
  role       = each.value.role
  member     = google_service_account.accounts[each.value.account].member
}

# cosign looks the key's version up before it signs with it.
resource "google_kms_crypto_key_iam_member" "signs" {
  for_each      = var.signing_key == "" ? toset([]) : toset(["roles/cloudkms.signerVerifier", "roles/cloudkms.viewer"])
  crypto_key_id = var.signing_key
  role          = each.key
  member        = google_service_account.accounts["builder"].member
}

# A submission names the account that its tasks run as, which takes the right to act as it, and a deployment the account of its predictor.
resource "google_service_account_iam_member" "acts_as" {
  for_each           = { builder = "pipelines", pipelines = "predictor" }
  service_account_id = google_service_account.accounts[each.value].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.accounts[each.key].member
}

output "emails" {
  description = "Account (checker, builder, pipelines, predictor) to its address."
  value       = { for name, account in google_service_account.accounts : name => account.email }
}

output "ids" {
  description = "Account to its full resource name."
  value       = { for name, account in google_service_account.accounts : name => account.name }
}
