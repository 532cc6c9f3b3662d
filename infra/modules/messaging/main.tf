# Topics whose messages start runs: new raw data, drift. The subscriptions are Cloud Build's own, which its triggers make.
variable "project" {
  description = "Project id."
  type        = string
}

variable "raw_bucket" {
  description = "Bucket whose new objects are announced."
  type        = string
}

data "google_storage_project_service_account" "storage" {
  project = var.project
}

resource "google_pubsub_topic" "events" {
  for_each                   = toset(["new-data", "drift"])
  project                    = var.project
  name                       = "intermodal-${each.key}"
  message_retention_duration = "604800s"
}

resource "google_pubsub_topic_iam_member" "storage" {
  project = var.project
  topic   = google_pubsub_topic.events["new-data"].name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${data.google_storage_project_service_account.storage.email_address}"
}

resource "google_storage_notification" "new_data" {
  bucket         = var.raw_bucket
  topic          = google_pubsub_topic.events["new-data"].id
  event_types    = ["OBJECT_FINALIZE"]
  payload_format = "JSON_API_V1"
  depends_on     = [google_pubsub_topic_iam_member.storage]
}

output "topics" {
  description = "Event (new-data, drift) to its topic."
  value       = { for name, topic in google_pubsub_topic.events : name => topic.id }
}
