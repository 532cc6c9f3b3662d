project              = "my-project"
github_repository_id = "0" # gh api repos/my-team/my-fork --jq .id
github_owner_id      = "0" # gh api repos/my-team/my-fork --jq .owner.id
build_repository     = "projects/my-project/locations/europe-west4/connections/github/repositories/my-fork"
profile              = "dev"
schedule             = ""
