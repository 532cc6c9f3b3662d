# Topics whose messages start runs: new raw data, drift. What cannot be delivered goes to a topic of its own.
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
  for_each                   = toset(["new-data", "drift", "undelivered"])
  project                    = var.project
  name                       = "intermodal-${each.key}"
  message_retention_duration = "604800s"
}

# Kept, so that undelivered messages can be read.
resource "google_pubsub_subscription" "undelivered" {
  project                    = var.project
  name                       = "intermodal-undelivered"
  topic                      = google_pubsub_topic.events["undelivered"].id
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
  value       = { for name in ["new-data", "drift"] : name => google_pubsub_topic.events[name].id }
}
