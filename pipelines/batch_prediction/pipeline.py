"""Batch prediction: wiring only."""

from typing import Any, Final

from kfp import dsl

#: Filled in by Vertex AI when the task starts: the region that the pipeline runs in.
LOCATION: Final = "{{$.pipeline_google_cloud_location}}"


def batch_prediction(settings: Any) -> dsl.Artifact:
    """Score rows in Cloud Storage with an uploaded model; nothing has to be deployed.

    Args:
        settings: The channels of `BatchPredictionConfiguration`.

    Returns:
        The directory made: JSON lines of `{"instance": ..., "prediction": ...}`, and what could not be scored.
    """
    from google_cloud_pipeline_components.types.artifact_types import VertexModel  # an extra of ours
    from google_cloud_pipeline_components.v1.batch_predict_job import ModelBatchPredictOp

    address = f"https://{LOCATION}-aiplatform.googleapis.com/v1/{settings.model}"
    uploaded = dsl.importer(artifact_uri=address, artifact_class=VertexModel, metadata={"resourceName": settings.model})
    scored = ModelBatchPredictOp(
        job_display_name=settings.name,
        model=uploaded.output,
        location=LOCATION,
        gcs_source_uris=settings.instances,
        gcs_destination_output_uri_prefix=settings.output,
        machine_type=settings.machine_type,
        starting_replica_count=1,
        max_replica_count=settings.replicas,
    ).set_caching_options(False)
    return scored.outputs["gcs_output_directory"]
