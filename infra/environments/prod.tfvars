project              = "my-project-prod"
github_repository_id = "0" # gh api repos/my-team/my-fork --jq .id
github_owner_id      = "0" # gh api repos/my-team/my-fork --jq .owner.id
build_repository     = "projects/my-project-prod/locations/europe-west4/connections/github/repositories/my-fork"
profile              = "prod"
schedule             = "0 3 * * 1"
