"""Deployment on Vertex AI by its managed steps, google-cloud-pipeline-components, wired to our artifacts.

`deploy_on_vertex` has the artifacts and the output of `serve_model` and `deploy_kserve`, so that the same pipeline function takes it. Its tasks: list
what the endpoint runs and the registry has (ours), test the predictor (ours), upload the model as a new version of the model labelled with the
service's name, or as a new model (Google's `model_upload`), deploy it with all of the endpoint's traffic (`model_deploy`), verify the endpoint or
give its traffic back and take the new model off (ours), and undeploy what the endpoint ran before (`model_undeploy`), for a deployed model holds its
machines, with traffic or without.

google-cloud-pipeline-components, an extra of ours, is imported where the tasks are added: the parameters can be read without it.
"""

from typing import Any, Final

from kfp import dsl

from intermodal.authoring.images import image_reference
from intermodal.components.test_predictor.component import test_predictor
from intermodal.platforms.vertex.tasks.component import describe_endpoint, describe_upload, list_served, verify_deployment

#: Filled in by Vertex AI when the task starts: the region and project that the pipeline runs in.
LOCATION: Final = "{{$.pipeline_google_cloud_location}}"
PROJECT: Final = "{{$.pipeline_google_cloud_project_id}}"
_API: Final = f"https://{LOCATION}-aiplatform.googleapis.com/v1"
_PORT: Final = 8080
_NAME: Final = "model"


def container_specification() -> dict[str, Any]:
    """Return how Vertex AI runs the predictor (ModelContainerSpec); `compiler.build.set_images` points the image to the registry.

    The model's name in the routes is the same for every service: there is one model in a container, and the endpoint has the name.
    """
    return {
        "imageUri": image_reference("serve"),
        "command": ["python3", "-m", "intermodal.serving.predictor"],
        "args": ["--model_name", _NAME],
        "ports": [{"containerPort": _PORT}],
        "predictRoute": f"/v1/models/{_NAME}:predict",
        "healthRoute": f"/v2/models/{_NAME}/ready",
    }


def _uploaded(container: Any, upload: Any, name: Any) -> Any:
    """Upload a version of the parent model where there is one, else a model of its own; return whichever was made."""
    from google_cloud_pipeline_components.types.artifact_types import VertexModel
    from google_cloud_pipeline_components.v1.model import ModelUploadOp

    common = {"display_name": name, "unmanaged_container_model": container, "labels": upload.outputs["labels"], "location": LOCATION}
    parent = upload.outputs["parent_model"]
    with dsl.If(parent != "", "next version"):
        earlier = dsl.importer(artifact_uri=f"{_API}/{parent}", artifact_class=VertexModel, metadata={"resourceName": parent})
        version = ModelUploadOp(parent_model=earlier.output, **common).set_caching_options(False)
    with dsl.Else("first version"):
        first = ModelUploadOp(**common).set_caching_options(False)
    return dsl.OneOf(version.outputs["model"], first.outputs["model"])


def deploy_on_vertex(
    *,
    model: Any,
    evaluation: Any,
    registration: Any,
    name: str,
    endpoint: str,
    parent_model: str = "",
    machine_type: str = "n1-standard-2",
    minimum_replicas: int = 1,
    maximum_replicas: int = 0,
    service_account: str = "",
    timeout: float = 120.0,
    tolerance: float = 1e-4,
) -> Any:
    """Add to the pipeline under way the tasks that bring a model to serve on a Vertex AI endpoint.

    A function and not a pipeline of its own: kfp 2.17 mixes up the importers of a nested pipeline with those around it, by chance.

    Args:
        model: A SavedModel as `train_model` writes it.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is deployed.
        name: The model's display name.
        endpoint: `projects/PROJECT/locations/REGION/endpoints/ID`, which exists.
        parent_model: `projects/PROJECT/locations/REGION/models/ID`, which gets a new version; empty: the model labelled with the service's name.
        machine_type: The machine of a replica.
        minimum_replicas: How many replicas there always are.
        maximum_replicas: How many there may be; 0: as many as there always are.
        service_account: The account that the predictor runs as; empty: the service's own.
        timeout: Seconds until the predictor must be ready, and until the endpoint must answer right.
        tolerance: How far a served probability may be from the expected one.

    Returns:
        The task whose output is `deployment.json`, as `serve_model` writes it.
    """
    from google_cloud_pipeline_components.types.artifact_types import UnmanagedContainerModel, VertexEndpoint, VertexModel
    from google_cloud_pipeline_components.v1.endpoint import ModelDeployOp, ModelUndeployOp

    running = describe_endpoint(url=f"{_API}/{endpoint}")
    labelled = f"filter=labels.service%3D%22{name}%22&orderBy=create_time"
    registry = f"{_API}/projects/{PROJECT}/locations/{LOCATION}/models"
    known = list_served(url=f"{registry}?{labelled}", member="models", form="{name}")
    # An endpoint that is not there ends the run before anything is uploaded.
    tested = test_predictor(model=model, evaluation=evaluation, timeout=timeout, tolerance=tolerance).after(running)
    upload = describe_upload(
        model=model,
        registration=registration,
        name=name,
        parent_model=parent_model,
        known_models=known.output,
        minimum_replicas=minimum_replicas,
        maximum_replicas=maximum_replicas,
    ).after(tested)
    container = dsl.importer(
        artifact_uri=upload.outputs["uri"],
        artifact_class=UnmanagedContainerModel,
        reimport=True,  # an artifact of the same URI may have been imported with an older image
        metadata={"containerSpec": container_specification()},
    )
    uploaded = _uploaded(container.output, upload, name)
    place = dsl.importer(artifact_uri=f"{_API}/{endpoint}", artifact_class=VertexEndpoint, metadata={"resourceName": endpoint})
    deployed = ModelDeployOp(
        model=uploaded,
        endpoint=place.output,
        traffic_split={"0": "100"},  # "0" is the model deployed by this very call
        dedicated_resources_machine_type=machine_type,
        dedicated_resources_min_replica_count=minimum_replicas,
        dedicated_resources_max_replica_count=upload.outputs["maximum_replicas"],
        service_account=service_account,
    ).set_caching_options(False)
    verified = verify_deployment(
        url=f"{_API}/{endpoint}",
        uploaded=uploaded,
        evaluation=evaluation,
        model=model,
        registration=registration,
        name=name,
        traffic_before=running.outputs["traffic"],
        timeout=timeout,
        tolerance=tolerance,
    ).after(deployed)
    with dsl.ParallelFor(running.outputs["models"], name="what was served before", parallelism=1) as before:  # an endpoint takes one change at a time
        earlier = dsl.importer(artifact_uri=f"{_API}/{before}", artifact_class=VertexModel, metadata={"resourceName": before})
        ModelUndeployOp(model=earlier.output, endpoint=place.output).set_caching_options(False).after(verified)
    return verified
