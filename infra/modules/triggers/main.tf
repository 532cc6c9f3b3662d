# What starts builds: code (pull request, main, release), the clock, new data, drift.
variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of the triggers and of the scheduler."
  type        = string
}

variable "builder" {
  description = "Full resource name of the builder's service account."
  type        = string
}

variable "checker" {
  description = "Full resource name of the service account of pull requests."
  type        = string
}

variable "image_repository" {
  description = "Where images are pushed."
  type        = string
}

variable "settings_bucket" {
  description = "Bucket that holds targets.toml and digests.json."
  type        = string
}

variable "signing_key" {
  description = "Key of Cloud KMS that images are signed with; empty: none."
  type        = string
}

variable "repository" {
  description = "Cloud Build repository (2nd generation): projects/P/locations/R/connections/C/repositories/N."
  type        = string
}

variable "profile" {
  description = "Profile of targets.toml."
  type        = string
}

variable "topics" {
  description = "Event to Pub/Sub topic, as the messaging module gives them."
  type        = map(string)
}

variable "matches" {
  description = "Event to the glob that its subject must match."
  type        = map(string)
  default     = { new-data = "raw/*", drift = "*" }
}

variable "schedule" {
  description = "Cron of the regular run, five fields; empty: none."
  type        = string
  default     = ""
}

variable "time_zone" {
  description = "Time zone of the schedule."
  type        = string
  default     = "Etc/UTC"
}

locals {
  targets_uri = "gs://${var.settings_bucket}/targets.toml"
  code = {
    pull-request = { branch = "^main$", tag = null }
    main         = { branch = "^main$", tag = null }
    release      = { branch = null, tag = "^v.*$" }
  }
}

resource "google_cloudbuild_trigger" "code" {
  for_each        = local.code
  project         = var.project
  location        = var.region
  name            = "intermodal-${each.key}"
  filename        = "cloudbuild.yaml"
  service_account = each.key == "pull-request" ? var.checker : var.builder
  substitutions = {
    _KIND        = each.key
    _PROFILE     = var.profile
    _REPOSITORY  = var.image_repository
    _TARGETS_URI = local.targets_uri
    _SIGNING_KEY = var.signing_key == "" ? "" : "gcpkms://${var.signing_key}"
  }

  repository_event_config {
    repository = var.repository

    dynamic "pull_request" {
      for_each = each.key == "pull-request" ? [each.value.branch] : []
      content {
        branch          = pull_request.value
        comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
      }
    }

    dynamic "push" {
      for_each = each.key == "pull-request" ? [] : [each.value]
      content {
        branch = push.value.branch
        tag    = push.value.tag
      }
    }
  }
}

resource "google_pubsub_topic" "clock" {
  count   = var.schedule == "" ? 0 : 1
  project = var.project
  name    = "intermodal-clock"
}

resource "google_cloud_scheduler_job" "clock" {
  count     = var.schedule == "" ? 0 : 1
  project   = var.project
  region    = var.region
  name      = "intermodal-training"
  schedule  = var.schedule
  time_zone = var.time_zone

  pubsub_target {
    topic_name = google_pubsub_topic.clock[0].id
    data       = base64encode("{}")
  }
}

resource "google_cloudbuild_trigger" "event" {
  for_each        = merge(var.topics, var.schedule == "" ? {} : { clock = google_pubsub_topic.clock[0].id })
  project         = var.project
  location        = var.region
  name            = "intermodal-${each.key}"
  service_account = var.builder
  substitutions = {
    _PROFILE     = var.profile
    _TARGETS_URI = local.targets_uri
    _MATCH       = lookup(var.matches, each.key, "*")
    # The whole message, its id included: the submission's key is made from it.
    _EVENT = "$(body)"
  }

  pubsub_config {
    topic = each.value
  }

  source_to_build {
    repository = var.repository
    ref        = "refs/heads/main"
    repo_type  = "GITHUB"
  }

  git_file_source {
    path       = "cloudbuild.trigger.yaml"
    repository = var.repository
    revision   = "refs/heads/main"
    repo_type  = "GITHUB"
  }
}
