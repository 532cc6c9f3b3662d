"""InferenceServices as plain dictionaries: the service, the candidate that is tried first, and what served before."""

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from intermodal.components.deploy_kserve.arguments import LONGEST_NAME, PREDICTOR

#: Where KServe puts what STORAGE_URI names.
MODEL_DIRECTORY: Final = "/mnt/models"
#: Which version of the registered model a service holds.
VERSION_ANNOTATION: Final = "intermodal/model-version"
#: On the service's pods: which change of the service made them.
REVISION_ANNOTATION: Final = "intermodal/revision"
#: On a candidate: the service that it is tried for.
CANDIDATE_ANNOTATION: Final = "intermodal/candidate-of"
#: Of KServe's own runtimes.
_DEFAULT_PORT: Final = 8080
#: The container that serves, in every pod that KServe makes.
SERVER: Final = "kserve-container"
_SUFFIX: Final = "-candidate"


def candidate_name(service: str, namespace: str) -> str:
    """Return the name of a service's candidate: of a length that KServe takes wherever it takes the service's own."""
    # KServe makes a host name's label of it, NAME-predictor-NAMESPACE, without a route too; a cluster with another template may take longer names.
    longest = max(min(LONGEST_NAME, 63 - len(f"-predictor-{namespace}")), len(service))
    if len(service) + len(_SUFFIX) <= longest:
        return service + _SUFFIX
    digest = hashlib.sha256(service.encode()).hexdigest()[:6]
    head = service[: max(longest - len(digest) - 1, 0)].rstrip("-")
    return f"{head}-{digest}" if head else f"c{digest}"


def inference_service(
    *,
    name: str,
    namespace: str,
    model_uri: str,
    version: str,
    model_format: str,
    protocol: str,
    runtime: str,
    image: str,
    resources: Mapping[str, Any],
    service_account: str,
    minimum_replicas: int,
    maximum_replicas: int,
    port: int,
) -> dict[str, Any]:
    """Return an InferenceService in Standard mode that serves a model, with our predictor or a ServingRuntime of the cluster.

    Args:
        name: Name of the service, a DNS label.
        namespace: Its namespace.
        model_uri: What KServe loads: ``gs://``, ``s3://``, ``https://`` or ``pvc://CLAIM/PATH``.
        version: Version in the model registry; empty where there is none.
        model_format: `PREDICTOR`, or a format of a ServingRuntime.
        protocol: Of a ServingRuntime.
        runtime: Name of the ServingRuntime; empty: KServe finds one.
        image: Of the predictor.
        resources: Kubernetes requests and limits; empty: the cluster's or the runtime's.
        service_account: Account of the pods, which holds the credentials for `model_uri`; empty: the namespace's.
        minimum_replicas: How many pods there always are; 0: what the service has, so that whoever scales it by hand is left alone.
        maximum_replicas: How many there may be; 0: as above.
        port: Port of the predictor.
    """
    predictor: dict[str, Any] = {"annotations": {VERSION_ANNOTATION: version}}
    if model_format == PREDICTOR:
        predictor["containers"] = [_container(name, image, model_uri, port) | ({"resources": dict(resources)} if resources else {})]
    else:
        predictor["model"] = {"modelFormat": {"name": model_format}, "protocolVersion": protocol, "storageUri": model_uri}
        predictor["model"] |= ({"runtime": runtime} if runtime else {}) | ({"resources": dict(resources)} if resources else {})
    if service_account:
        predictor["serviceAccountName"] = service_account
    if minimum_replicas:
        predictor["minReplicas"] = minimum_replicas
    if maximum_replicas:
        predictor["maxReplicas"] = maximum_replicas
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


def _container(name: str, image: str, model_uri: str, port: int) -> dict[str, Any]:
    """Return the predictor's container.

    KServe's pod webhook reads `STORAGE_URI` of the container called ``kserve-container``: it mounts a ``pvc://`` volume directly and has its storage
    initializer download ``gs://``, ``s3://`` and ``https://`` before the container starts.
    """
    return {
        "name": SERVER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "intermodal.serving.predictor"],
        "args": ["--model_dir", MODEL_DIRECTORY, "--model_name", name, "--http_port", str(port)],
        "env": [{"name": "STORAGE_URI", "value": model_uri}],
        "ports": [{"containerPort": port, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": f"/v2/models/{name}/ready", "port": port}, "periodSeconds": 2, "failureThreshold": 150},
    }


def revision_of(service: Mapping[str, Any]) -> str | None:
    """Return which change made a service's pods; None where it was none of ours."""
    found: str | None = (service["spec"].get("predictor", {}).get("annotations") or {}).get(REVISION_ANNOTATION)
    return found


def with_revision(manifest: dict[str, Any], revision: str) -> dict[str, Any]:
    """Return a manifest whose pods carry a revision."""
    made = copy.deepcopy(manifest)
    made["spec"]["predictor"]["annotations"][REVISION_ANNOTATION] = revision
    return made


def server_of(pod: Any, service: str) -> tuple[int, str]:
    """Return the port of a pod's HTTP server, and what the model is called there.

    A ServingRuntime gives its server the name of the InferenceService, which is not the service's own in a candidate's pod.
    """
    container = next((each for each in pod.spec.containers if each.name == SERVER), pod.spec.containers[0])
    ports = [each.container_port for each in container.ports or [] if each.name not in ("h2c", "grpc")]
    words = " ".join([*(container.command or []), *(container.args or [])])
    named = re.search(r"--model_name[= ](\S+)", words)
    return (ports or [_DEFAULT_PORT])[0], named[1] if named else service


def as_manifest(service: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest that brings a live service back: all of its specification, and of its metadata what `ours` is about to change."""
    kept = {kind: {key: value for key, value in (service["metadata"].get(kind) or {}).items() if key in ours["metadata"][kind]} for kind in _KINDS}
    return {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "metadata": {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"], **kept},
        "spec": service["spec"],
    }


_KINDS: Final = ("labels", "annotations")


def candidate(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the candidate of a service: the same pod, one of it, that no client is led to.

    Args:
        planned: The service as the cluster would have it, so with what others set in it (tolerations, say) and the cluster's defaults.
    """
    name = planned["metadata"]["name"]
    predictor = copy.deepcopy(planned["spec"]["predictor"]) | {"minReplicas": 1, "maxReplicas": 1}
    return {
        "apiVersion": planned["apiVersion"],
        "kind": planned["kind"],
        "metadata": {
            "name": candidate_name(name, planned["metadata"]["namespace"]),
            "namespace": planned["metadata"]["namespace"],
            # KServe makes no route for it.
            "labels": {"app.kubernetes.io/managed-by": "intermodal", "networking.kserve.io/visibility": "cluster-local"},
            "annotations": {"serving.kserve.io/deploymentMode": "Standard", CANDIDATE_ANNOTATION: name},
        },
        "spec": {"predictor": predictor},
    }
