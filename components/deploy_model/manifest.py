"""The InferenceService as a plain dictionary."""

import json
from collections.abc import Mapping
from typing import Any, Final

#: Where KServe puts what STORAGE_URI names.
MODEL_DIRECTORY: Final = "/mnt/models"
HTTP_PORT: Final = 8080
#: Which version of the registered model a service holds.
VERSION_ANNOTATION: Final = "intermodal/model-version"
#: The specification as we applied it, to go back to: the live one also holds what others and the cluster's defaults put there.
APPLIED_ANNOTATION: Final = "intermodal/applied"


def inference_service(
    *,
    name: str,
    namespace: str,
    image: str,
    model_uri: str,
    version: str,
    resources: Mapping[str, Any] | None = None,
    service_account: str | None = None,
    port: int = HTTP_PORT,
) -> dict[str, Any]:
    """Return an InferenceService in Standard mode that serves one SavedModel with our predictor.

    KServe's pod webhook reads `STORAGE_URI` of the container called ``kserve-container``: it mounts a ``pvc://`` volume directly and has its
    storage initializer download ``gs://``, ``s3://`` and ``https://`` before the container starts.

    Args:
        name: Name of the service, a DNS label.
        namespace: Its namespace.
        image: Reference of the predictor's image.
        model_uri: What KServe loads.
        version: Version in the model registry; another version makes another revision.
        resources: Kubernetes requests and limits. Default: the cluster's.
        service_account: Account of the predictor's pod, which holds the credentials for `model_uri`. Default: the namespace's.
        port: Port of the predictor.
    """
    container: dict[str, Any] = {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "intermodal.components.serve_model.predictor"],
        "args": ["--model_dir", MODEL_DIRECTORY, "--model_name", name, "--http_port", str(port)],
        "env": [{"name": "STORAGE_URI", "value": model_uri}],
        "ports": [{"containerPort": port, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": f"/v2/models/{name}/ready", "port": port}, "periodSeconds": 2, "failureThreshold": 150},
    }
    if resources:
        container["resources"] = dict(resources)
    predictor: dict[str, Any] = {"annotations": {VERSION_ANNOTATION: version}, "minReplicas": 1, "containers": [container]}
    if service_account:
        predictor["serviceAccountName"] = service_account
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "intermodal"},
            "annotations": {"serving.kserve.io/deploymentMode": "Standard", VERSION_ANNOTATION: version},
        },
        "spec": {"predictor": predictor},
    }
    return with_annotation(manifest)


def with_annotation(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest that also carries itself, in `APPLIED_ANNOTATION`."""
    metadata = manifest["metadata"]
    annotations = metadata["annotations"] | {APPLIED_ANNOTATION: json.dumps(manifest, sort_keys=True)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}
