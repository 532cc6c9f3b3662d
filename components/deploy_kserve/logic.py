"""Deployment of a model as an InferenceService of KServe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.cluster.cancellation import cancellable
from intermodal.cluster.connection import connect, own_namespace
from intermodal.components.deploy_kserve.arguments import PREDICTOR, check_arguments
from intermodal.components.deploy_kserve.cluster import Namespace, own_image
from intermodal.components.deploy_kserve.formats import format_of, protocol_of
from intermodal.components.deploy_kserve.lock import Lock
from intermodal.components.deploy_kserve.manifest import inference_service
from intermodal.components.deploy_kserve.rollout import Rollout
from intermodal.serving.endpoint import open_inference, version_of, write_deployment
from intermodal.serving.smoke_test import SmokeTest


def deploy_kserve(
    *,
    model_path: str,
    model_uri: str,
    name: str,
    namespace: str,
    evaluation_path: str | None,
    registration_path: str | None,
    model_format: str,
    protocol: str,
    runtime: str,
    image: str,
    timeout: float,
    tolerance: float,
    resources: Mapping[str, Any],
    service_account: str,
    minimum_replicas: int,
    maximum_replicas: int,
    port: int,
    version: str,
    deployment_path: str,
) -> dict[str, Any]:
    """Deploy a model as an InferenceService and write `deployment.json`. See the contract for the arguments.

    The model first comes up as a candidate beside the service; only when that answers right does the service change. Deploying the same model again
    changes nothing. Whatever stops the attempt, what served before still does, or is what the next attempt goes back to.

    The model need not be at `model_path` where `model_format` is given; `model_uri` is what KServe loads: ``gs://``, ``s3://``, ``https://`` or
    ``pvc://CLAIM/PATH``.

    Returns:
        The metadata of the deployment: `url`, `name`, `version`, `tested`.

    Raises:
        ConfigurationError: An argument is wrong, or the model or the task does not tell what has no value.
        DataError: An input cannot be read.
        StoreError: The cluster cannot be reached, lacks KServe, or the account lacks a permission.
        DeploymentError: The service was refused, did not become ready or answered wrong; another attempt is at it; or the task was asked to end.
    """
    check_arguments(
        name=name,
        namespace=namespace,
        model_format=model_format,
        protocol=protocol,
        runtime=runtime,
        timeout=timeout,
        tolerance=tolerance,
        resources=resources,
        minimum_replicas=minimum_replicas,
        maximum_replicas=maximum_replicas,
        port=port,
    )
    server = model_format or format_of(Path(model_path))
    smoke_test = SmokeTest.read(model_path, evaluation_path, tolerance)
    version = version_of(registration_path, version)
    api = connect()
    space = Namespace(api, namespace or own_namespace())
    spoken = ("v1", "v2") if server == PREDICTOR else (protocol or protocol_of(server),)
    manifest = inference_service(
        name=name,
        namespace=space.name,
        model_uri=model_uri,
        version=version,
        model_format=server,
        protocol=spoken[0],
        runtime=runtime,
        image=(image or own_image(api)) if server == PREDICTOR else "",
        resources=resources,
        service_account=service_account,
        minimum_replicas=int(minimum_replicas),
        maximum_replicas=int(maximum_replicas),
        port=int(port),
    )
    with cancellable(), Lock(space, name, version) as lock:
        service, exchange = Rollout(space, lock, manifest, smoke_test, protocols=spoken, timeout=timeout).run()
    url = service.get("status", {}).get("url", "")
    protocols = {each: address for each, address in open_inference(url, name).items() if each in spoken}
    return write_deployment(deployment_path, name=name, url=url, version=version, protocols=protocols, exchange=exchange)
