"""Batch prediction: score rows in Cloud Storage with an uploaded model, as a managed job of Vertex AI."""

from intermodal.authoring.pipeline import Pipeline
from intermodal.pipelines.batch_prediction.configuration import BatchPredictionConfiguration
from intermodal.pipelines.batch_prediction.pipeline import batch_prediction

pipeline = Pipeline("batch_prediction", batch_prediction, BatchPredictionConfiguration, platforms=("vertex",))
