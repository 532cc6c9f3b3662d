"""Deployment on Vertex AI by its managed steps, google-cloud-pipeline-components, wired to our artifacts.

`deploy_on_vertex` has the inputs and the output of `serve_model` and `deploy_kserve`, so that the same pipeline function takes it. Its tasks: our
question what there is already, and our rehearsal of the predictor; Google's `model_upload` (a new version of the model labelled with the service's
name, or a new model) and `model_deploy` (onto the endpoint that `deployments` names, with all of its traffic); our question to the endpoint; Google's
`model_undeploy` of what the endpoint ran before, for a deployed model holds its machines, with traffic or without.

This module imports google-cloud-pipeline-components: only import it where a pipeline for Vertex AI is compiled.
"""

from typing import Any, Final

from google_cloud_pipeline_components.types.artifact_types import UnmanagedContainerModel, VertexEndpoint, VertexModel
from google_cloud_pipeline_components.v1.endpoint import ModelDeployOp, ModelUndeployOp
from google_cloud_pipeline_components.v1.model import ModelUploadOp
from kfp import dsl

from intermodal.authoring.images import image_reference
from intermodal.components.list_served.component import list_served
from intermodal.components.test_predictor.component import test_predictor
from intermodal.components.verify_endpoint.component import verify_endpoint

#: Filled in by Vertex AI when the task starts: the region and project that the pipeline runs in.
LOCATION: Final = "{{$.pipeline_google_cloud_location}}"
PROJECT: Final = "{{$.pipeline_google_cloud_project_id}}"
_API: Final = f"https://{LOCATION}-aiplatform.googleapis.com/v1"
_PORT: Final = 8080
_NAME: Final = "model"


def container_specification() -> dict[str, Any]:
    """Return how Vertex AI runs the predictor (ModelContainerSpec); `compilation.set_images` points the image to the registry.

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


def _uploaded(container: Any, service: Any, name: Any) -> Any:
    """Upload a version of the parent model where there is one, else a model of its own; return whichever came about."""
    common = {"display_name": name, "unmanaged_container_model": container, "labels": service.outputs["labels"], "location": LOCATION}
    parent = service.outputs["parent_model"]
    with dsl.If(parent != "", "next version"):
        earlier = dsl.importer(artifact_uri=f"{_API}/{parent}", artifact_class=VertexModel, metadata={"resourceName": parent})
        version = ModelUploadOp(parent_model=earlier.output, **common).set_caching_options(False)
    with dsl.Else("first version"):
        first = ModelUploadOp(**common).set_caching_options(False)
    return dsl.OneOf(version.outputs["model"], first.outputs["model"])


def deploy_on_vertex(*, model: Any, evaluation: Any, registration: Any, deployments: Any, service_name: Any, serving: Any) -> Any:
    """Add to the pipeline under way the tasks that bring a model to serve on a Vertex AI endpoint.

    A function and not a pipeline of its own: kfp 2.17 mixes up the importers of a nested pipeline with those around it, by chance.

    Args:
        model: A SavedModel as `train_model` writes it.
        evaluation: `smoke.json`: rows and the probabilities they must give.
        registration: As `register_model` writes it: the version that is deployed.
        deployments: The endpoint: `projects/PROJECT/locations/REGION/endpoints/ID`, which exists.
        service_name: The model's display name.
        serving: See `test_predictor` and `verify_endpoint`.

    Returns:
        The task whose output is `deployment.json`, as `serve_model` writes it.
    """
    running = list_served(url=f"{_API}/{deployments}", credentials="google", member="deployedModels", form="{model}@{modelVersionId}")
    labelled = f"filter=labels.service%3D%22{service_name}%22&orderBy=create_time"
    known = list_served(url=f"{_API}/projects/{PROJECT}/locations/{LOCATION}/models?{labelled}", credentials="google", member="models", form="{name}")
    service = test_predictor(
        model=model,
        evaluation=evaluation,
        registration=registration,
        service_name=service_name,
        serving=serving,
        known_models=known.output,
    ).after(running)  # an endpoint that is not there ends the run before anything is uploaded
    container = dsl.importer(
        artifact_uri=service.outputs["uri"],
        artifact_class=UnmanagedContainerModel,
        reimport=True,  # an artifact of the same URI may have been imported with an older image
        metadata={"containerSpec": container_specification()},
    )
    uploaded = _uploaded(container.output, service, service_name)
    endpoint = dsl.importer(artifact_uri=f"{_API}/{deployments}", artifact_class=VertexEndpoint, metadata={"resourceName": deployments})
    deployed = ModelDeployOp(
        model=uploaded,
        endpoint=endpoint.output,
        traffic_split={"0": "100"},  # "0" is the model deployed by this very call
        dedicated_resources_machine_type=service.outputs["machine_type"],
        dedicated_resources_min_replica_count=service.outputs["minimum_replicas"],
        dedicated_resources_max_replica_count=service.outputs["maximum_replicas"],
        service_account=service.outputs["service_account"],
    ).set_caching_options(False)
    asked = verify_endpoint(
        model=model,
        evaluation=evaluation,
        registration=registration,
        url=f"{_API}/{deployments}:predict",
        credentials="google",
        service_name=service_name,
        serving=serving,
    ).after(deployed)
    with dsl.ParallelFor(running.output, name="what was served before", parallelism=1) as before:  # an endpoint takes one change at a time
        earlier = dsl.importer(artifact_uri=f"{_API}/{before}", artifact_class=VertexModel, metadata={"resourceName": before})
        ModelUndeployOp(model=earlier.output, endpoint=endpoint.output).set_caching_options(False).after(asked)
    return asked
