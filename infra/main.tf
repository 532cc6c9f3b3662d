# One environment in one project; environments/*.tfvars say what differs. State lives in a bucket that is made by hand, once:
#   terraform init -backend-config=bucket=NAME -backend-config=prefix=intermodal/dev
terraform {
  required_version = "~> 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.12"
    }
  }

  backend "gcs" {}
}

provider "google" {
  project = var.project
  region  = var.region
}

module "apis" {
  source  = "./modules/apis"
  project = var.project
}

module "storage" {
  source     = "./modules/storage"
  project    = var.project
  region     = var.region
  depends_on = [module.apis]
}

module "registry" {
  source     = "./modules/registry"
  project    = var.project
  region     = var.region
  depends_on = [module.apis]
}

module "identities" {
  source       = "./modules/identities"
  project      = var.project
  region       = var.region
  repositories = module.registry.names
  buckets      = module.storage.buckets
  signing_key  = var.signing_key
  depends_on   = [module.apis]
}

module "federation" {
  source               = "./modules/federation"
  project              = var.project
  github_repository_id = var.github_repository_id
  github_owner_id      = var.github_owner_id
  builder              = module.identities.ids["builder"]
  depends_on           = [module.apis]
}

module "messaging" {
  source     = "./modules/messaging"
  project    = var.project
  raw_bucket = module.storage.buckets["raw"]
  depends_on = [module.apis]
}

module "triggers" {
  source           = "./modules/triggers"
  project          = var.project
  region           = var.region
  builder          = module.identities.ids["builder"]
  checker          = module.identities.ids["checker"]
  image_repository = module.registry.path
  settings_bucket  = module.storage.buckets["settings"]
  signing_key      = var.signing_key
  repository       = var.build_repository
  profile          = var.profile
  topics           = module.messaging.topics
  schedule         = var.schedule
  depends_on       = [module.apis]
}
