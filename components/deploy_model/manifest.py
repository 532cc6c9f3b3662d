"""The InferenceService as a plain dictionary."""

from collections.abc import Mapping
from typing import Any, Final

#: Where KServe puts what STORAGE_URI names.
MODEL_DIRECTORY: Final = "/mnt/models"
HTTP_PORT: Final = 8080
#: Which version of the registered model a service holds.
VERSION_ANNOTATION: Final = "intermodal/model-version"


def inference_service(
    *,
    name: str,
    namespace: str,
    image: str,
    model_uri: str,
    version: str,
    resources: Mapping[str, Any] | None = None,
    service_account: str | None = None,
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
    """
    container: dict[str, Any] = {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "intermodal.components.serve_model.predictor"],
        "args": ["--model_dir", MODEL_DIRECTORY, "--model_name", name, "--http_port", str(HTTP_PORT)],
        "env": [{"name": "STORAGE_URI", "value": model_uri}],
        "ports": [{"containerPort": HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": f"/v2/models/{name}/ready", "port": HTTP_PORT}, "periodSeconds": 2, "failureThreshold": 150},
    }
    if resources:
        container["resources"] = dict(resources)
    predictor: dict[str, Any] = {"annotations": {VERSION_ANNOTATION: version}, "minReplicas": 1, "containers": [container]}
    if service_account:
        predictor["serviceAccountName"] = service_account
    return {
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
