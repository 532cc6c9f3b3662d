output "targets_toml" {
  description = "What to write into targets.toml for this environment."
  value = {
    project          = var.project
    region           = var.region
    root             = "gs://${module.storage.buckets["pipelines"]}"
    service_account  = module.identities.emails["pipelines"]
    image_repository = module.registry.path
  }
}

output "workload_identity_provider" {
  description = "What GitHub Actions authenticates with."
  value       = module.federation.provider
}
