"""Deployment of a model as an InferenceService of KServe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.components.deploy_kserve.cancellation import cancellable
from intermodal.components.deploy_kserve.cluster import Namespace, connect
from intermodal.components.deploy_kserve.lock import Lock
from intermodal.components.deploy_kserve.manifest import HTTP_PORT, check_name, inference_service
from intermodal.components.deploy_kserve.rollout import Rollout
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import ConfigurationError
from intermodal.serving.endpoint import endpoint, open_inference
from intermodal.serving.smoke_test import SmokeTest


def deploy_kserve(
    *,
    model_path: str,
    model_uri: str,
    evaluation_path: str,
    registration_path: str,
    namespace: str,
    service_name: str,
    serving: Mapping[str, Any],
    deployment_path: str,
) -> None:
    """Deploy a SavedModel as an InferenceService and write `deployment.json`.

    The model first comes up as a candidate beside the service; only when that answers right does the service change. Deploying the same model again
    changes nothing. Whatever stops the attempt, what served before still does, or is what the next attempt goes back to.

    Args:
        model_path: The SavedModel as this machine reads it.
        model_uri: What KServe loads: ``gs://``, ``s3://``, ``https://`` or ``pvc://CLAIM/PATH``.
        evaluation_path: Directory with `smoke.json`.
        registration_path: Directory with `registration.json`.
        namespace: The namespace.
        service_name: The InferenceService's name.
        serving: `image` (required), `timeout` in seconds (default 600), `tolerance` (default 1e-4), `resources`,
            `service_account`, `port` of the predictor (default 8080), `minimum_replicas`, `maximum_replicas`.
        deployment_path: Directory to write.

    Raises:
        ConfigurationError: `serving` names no image, or a name cannot be one.
        DataError: An input cannot be read.
        StoreError: The cluster cannot be reached, lacks KServe, or the account lacks a permission.
        DeploymentError: The service was refused, did not become ready or answered wrong; another attempt is at it; or the task was asked to end.
    """
    if not serving.get("image"):
        raise ConfigurationError("serving.image: missing; name the predictor's image (docs/how-to/images.md says how it is built)")
    check_name(service_name)
    version = str(read_json(Path(registration_path) / "registration.json")["version"])
    smoke_test = SmokeTest.read(evaluation_path, model_path, serving.get("tolerance"))
    port = int(serving.get("port") or HTTP_PORT)
    manifest = inference_service(
        name=service_name,
        namespace=namespace,
        image=serving["image"],
        model_uri=model_uri,
        version=version,
        resources=serving.get("resources"),
        service_account=serving.get("service_account"),
        port=port,
        minimum_replicas=int(serving.get("minimum_replicas") or 0),
        maximum_replicas=int(serving.get("maximum_replicas") or 0),
    )
    space = Namespace(connect(), namespace)
    with cancellable(), Lock(space, service_name, version) as lock:
        live, exchange = Rollout(space, lock, manifest, smoke_test, port=port, timeout=float(serving.get("timeout") or 600)).run()
    url = live.get("status", {}).get("url", "")
    described = endpoint(name=service_name, url=url, version=version, protocols=open_inference(url, service_name), exchange=exchange)
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", described)
