project           = "my-project-prod"
github_repository = "my-team/my-fork"
build_repository  = "projects/my-project-prod/locations/europe-west4/connections/github/repositories/my-fork"
profile           = "prod"
retention_days    = 365
schedule          = "0 3 * * 1"
