"""Deployment of a model as an InferenceService: apply, wait, test over HTTP, and go back where that fails."""

import json
from collections.abc import Mapping
from typing import Any

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.components.deploy_model.cluster import Namespace, connect
from intermodal.components.deploy_model.manifest import APPLIED_ANNOTATION, HTTP_PORT, inference_service, with_annotation
from intermodal.components.deploy_model.readiness import wait_until_ready
from intermodal.errors import ConfigurationError, DeploymentError, StoreError


def deploy_model(
    *,
    model_uri: str,
    evaluation_path: str,
    registration_path: str,
    namespace: str,
    service_name: str,
    serving: Mapping[str, Any],
    deployment_path: str,
) -> None:
    """Deploy a SavedModel as an InferenceService and write `deployment.json`.

    Applying the same model again changes nothing. When the new revision does not become ready or answers wrong, the service's earlier
    specification is applied again; a service that did not exist before is deleted.

    Args:
        model_uri: What KServe loads: ``gs://``, ``s3://``, ``https://`` or ``pvc://CLAIM/PATH``.
        evaluation_path: Directory with `smoke.json`.
        registration_path: Directory with `registration.json`.
        namespace: The namespace.
        service_name: The InferenceService's name.
        serving: `image` (required), `timeout` in seconds (default 600), `tolerance` (default 1e-4), `resources`,
            `service_account`, `port` of the predictor (default 8080).
        deployment_path: Directory to write.

    Raises:
        ConfigurationError: `serving` names no image.
        StoreError: The cluster cannot be reached, lacks KServe, or the account lacks a permission.
        DeploymentError: The service was refused, did not become ready or answered wrong.
    """
    if not serving.get("image"):
        raise ConfigurationError("serving.image: missing; name the predictor's image (docs/images.md says how it is built)")
    version = str(read_json(f"{registration_path}/registration.json")["version"])
    smoke = read_json(f"{evaluation_path}/smoke.json")
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
    )
    space = Namespace(connect(), namespace)
    before = space.service(service_name)
    applied = space.apply(manifest)
    try:
        pod = wait_until_ready(
            space,
            service_name,
            generation=applied["metadata"]["generation"],
            version=version,
            image=serving["image"],
            timeout=float(serving.get("timeout") or 600),
        )
        response = smoke_test(space, pod, port, service_name, smoke, tolerance=float(serving.get("tolerance") or 1e-4))
    except (DeploymentError, StoreError) as error:
        raise DeploymentError(f"{error}\n{_go_back(space, service_name, before)}") from error
    url = (space.service(service_name) or applied).get("status", {}).get("url", "")
    with whole_directory(deployment_path) as folder:
        write_json(folder / "deployment.json", _record(service_name, url, version, {"instances": smoke["instances"][:1]}, response))


def smoke_test(space: Namespace, pod: Any, port: int, service: str, smoke: dict[str, Any], *, tolerance: float) -> dict[str, Any]:
    """Ask the pod for the expected rows (V1) and return its answer to the first.

    Raises:
        DeploymentError: A probability is further than `tolerance` from the expected one, or their number differs.
    """
    path = f"v1/models/{service}:predict"
    answer = space.post_json(pod, port, path, {"instances": smoke["instances"]})
    served, expected = answer.get("predictions", []), smoke["probabilities"]
    if len(served) != len(expected):
        raise DeploymentError(
            f"pod {pod.metadata.name} answers {len(served)} predictions to {len(expected)} rows; is it the model that was evaluated?"
        )
    for row, (got, wanted) in enumerate(zip(served, expected, strict=True)):
        if not abs(_probability(got) - wanted) <= tolerance:
            raise DeploymentError(f"row {row} of smoke.json: pod {pod.metadata.name} answers {got}, expected {wanted} within {tolerance:g}")
    return {"predictions": served[:1]}


def _probability(prediction: Any) -> float:
    return float(prediction[0] if isinstance(prediction, list) else prediction)


def _go_back(space: Namespace, name: str, before: dict[str, Any] | None) -> str:
    if before is None:
        space.delete(name)
        return "There was no such service before: it is deleted again."
    applied = (before["metadata"].get("annotations") or {}).get(APPLIED_ANNOTATION)
    if applied is None:
        return f"The service was made by somebody else, so its earlier specification is not known here: apply it again, or delete {name}."
    space.apply(with_annotation(json.loads(applied)))
    return "The service's earlier specification is applied again."


def _record(name: str, url: str, version: str, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    v1 = f"{url}/v1/models/{name}:predict"
    return {
        "name": name,
        "url": url,
        "version": version,
        "protocols": {"v1": v1, "v2": f"{url}/v2/models/{name}/infer"},
        "request": request,
        "response": response,
        "command": f"curl -s -H 'Content-Type: application/json' {v1} -d '{json.dumps(request)}'",
    }
