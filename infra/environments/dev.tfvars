project           = "my-project"
github_repository = "my-team/my-fork"
build_repository  = "projects/my-project/locations/europe-west4/connections/github/repositories/my-fork"
profile           = "dev"
retention_days    = 30
schedule          = ""
