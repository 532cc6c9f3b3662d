"""InferenceServices as plain dictionaries: the one that serves, the candidate that is tried first, and what served before."""

import copy
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from intermodal.runtime.errors import ConfigurationError

#: Where KServe puts what STORAGE_URI names.
MODEL_DIRECTORY: Final = "/mnt/models"
HTTP_PORT: Final = 8080
#: Which version of the registered model a service holds.
VERSION_ANNOTATION: Final = "intermodal/model-version"
#: On the service's pods: which change of the service made them.
REVISION_ANNOTATION: Final = "intermodal/revision"
#: On a candidate: the service that it is tried for.
CANDIDATE_ANNOTATION: Final = "intermodal/candidate-of"
#: KServe labels the pods with `isvc.NAME-predictor`, and a label has 63 characters.
LONGEST_NAME: Final = 48
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


def check_name(service: str) -> None:
    """Refuse a name that KServe cannot give to a service's pods.

    Raises:
        ConfigurationError: It is not 1 to 48 lowercase letters, digits and hyphens, a letter first and no hyphen last.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service) or len(service) > LONGEST_NAME:
        raise ConfigurationError(
            f"service_name {service!r}: use lowercase letters, digits and hyphens, {LONGEST_NAME} at most, a letter first and no hyphen last"
        )


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
    minimum_replicas: int | None = None,
    maximum_replicas: int | None = None,
) -> dict[str, Any]:
    """Return an InferenceService in Standard mode that serves one SavedModel with our predictor.

    KServe's pod webhook reads `STORAGE_URI` of the container called ``kserve-container``: it mounts a ``pvc://`` volume directly and has its
    storage initializer download ``gs://``, ``s3://`` and ``https://`` before the container starts.

    Args:
        name: Name of the service, a DNS label.
        namespace: Its namespace.
        image: Reference of the predictor's image.
        model_uri: What KServe loads.
        version: Version in the model registry.
        resources: Kubernetes requests and limits. Default: the cluster's.
        service_account: Account of the predictor's pod, which holds the credentials for `model_uri`. Default: the namespace's.
        port: Port of the predictor.
        minimum_replicas: How many pods there always are. Default: what the service has, or 1; whoever scales it by hand is left alone.
        maximum_replicas: How many there may be. Default: as above.
    """
    container: dict[str, Any] = {
        "name": "kserve-container",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "intermodal.serving.predictor"],
        "args": ["--model_dir", MODEL_DIRECTORY, "--model_name", name, "--http_port", str(port)],
        "env": [{"name": "STORAGE_URI", "value": model_uri}],
        "ports": [{"containerPort": port, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": f"/v2/models/{name}/ready", "port": port}, "periodSeconds": 2, "failureThreshold": 150},
    }
    if resources:
        container["resources"] = dict(resources)
    predictor: dict[str, Any] = {"annotations": {VERSION_ANNOTATION: version}, "containers": [container]}
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


def revision_of(service: Mapping[str, Any]) -> str | None:
    """Return which change made a service's pods; None where it was none of ours."""
    found: str | None = (service["spec"].get("predictor", {}).get("annotations") or {}).get(REVISION_ANNOTATION)
    return found


def with_revision(manifest: dict[str, Any], revision: str) -> dict[str, Any]:
    """Return a manifest whose pods carry a revision."""
    made = copy.deepcopy(manifest)
    made["spec"]["predictor"]["annotations"][REVISION_ANNOTATION] = revision
    return made


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
