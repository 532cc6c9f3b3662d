"""Whether a change of an InferenceService is rolled out, and in words why it is not."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.components.deploy_kserve.manifest import REVISION_ANNOTATION
from intermodal.runtime.errors import DeploymentError

_POLL_SECONDS: Final = 0.5
#: Container states that do not pass while the manifest stays as it is.
_PERMANENT: Final = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"})
#: What KServe says where the cluster refuses what it makes of a service.
_REFUSED: Final = "ReconcileFailed"
#: States that may pass: given up only when seen for this long.
_TRANSIENT: Final = {"ImagePullBackOff": 15.0, "ErrImagePull": 30.0, "CrashLoopBackOff": 0.0, _REFUSED: 30.0}


def of_revision(revision: str | None) -> Callable[[Any], bool]:
    """Return the question whether a pod is of a revision; None: of none of ours."""
    return lambda pod: (pod.metadata.annotations or {}).get(REVISION_ANNOTATION) == revision


def wait_until_rolled_out(namespace: Namespace, service: str, wanted: Callable[[Any], bool], *, timeout: float) -> list[Any]:
    """Wait until a service is ready and all of its pods are the wanted ones; return those that are ready, one at least.

    The InferenceService's own status does not tell: it stays Ready while its pods are replaced, and its `observedGeneration` is, in Standard mode,
    the one of its Deployment.

    Raises:
        DeploymentError: It did not come about in `timeout` seconds, or earlier: its pods cannot become ready. Says why.
    """
    deadline = time.monotonic() + timeout
    since: dict[str, float] = {}
    while True:
        living = _living(namespace.pods(service))
        pods = [pod for pod in living if wanted(pod)]
        ready = [pod for pod in pods if _condition(pod, "Ready") == "True"]
        found = namespace.service(service) or {}
        if ready and len(pods) == len(living) and _ready(found):
            return ready
        refusals = _refusals(found)
        if not refusals:
            since.pop(_REFUSED, None)  # a pod's reasons come and go while it is tried again; a refusal that is gone is gone
        if refusal := _no_runtime(found):
            wanted_format = found["spec"]["predictor"].get("model", {}).get("modelFormat", {}).get("name")
            raise DeploymentError(
                f"{namespace.name}/{service}: KServe has no server for the format {wanted_format!r} ({refusal}); correct model_format, protocol or "
                "runtime, or have a ServingRuntime installed (kubectl get clusterservingruntimes,servingruntimes)"
            )
        for reason in {reason for pod in pods for reason in _waiting(pod)} | refusals:
            seen = time.monotonic() - since.setdefault(reason, time.monotonic())
            if reason in _PERMANENT or seen >= _TRANSIENT.get(reason, timeout):
                raise DeploymentError(f"{namespace.name}/{service} cannot become ready: {explain(namespace, pods, found)}")
        if time.monotonic() >= deadline:
            raise DeploymentError(f"{namespace.name}/{service} is not ready after {timeout:g} s: {explain(namespace, pods, found)}")
        time.sleep(_POLL_SECONDS)


def is_rolled_out(namespace: Namespace, service: Mapping[str, Any], wanted: Callable[[Any], bool]) -> bool:
    """Say whether a service is ready and all of its pods are the wanted ones."""
    pods = _living(namespace.pods(service["metadata"]["name"]))
    return bool(pods) and all(wanted(pod) and _condition(pod, "Ready") == "True" for pod in pods) and _ready(service)


def wait_until_gone(namespace: Namespace, service: str, *, timeout: float) -> None:
    """Wait until a service that was deleted, and all that was made for it, is gone.

    Raises:
        DeploymentError: It is not, after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while namespace.service(service):
        if time.monotonic() >= deadline:
            raise DeploymentError(
                f"InferenceService {namespace.name}/{service} is being deleted and is not gone after {timeout:g} s; look at its finalizers and pods"
            )
        time.sleep(_POLL_SECONDS)


def explain(namespace: Namespace, pods: list[Any], service: Mapping[str, Any] | None = None) -> str:
    """Return in words what keeps these pods from being ready, or the service where they are."""
    if not pods:
        return f"the controller has made no pod ({_conditions(service)}); look at the namespace's events (quota, admission)"
    for pod in pods:
        for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
            if waiting := status.state.waiting:
                if waiting.reason in ("CrashLoopBackOff", "Error") or status.last_state.terminated:
                    return _crash(namespace, pod, status)
                if waiting.reason not in ("ContainerCreating", "PodInitializing"):
                    return f"container {status.name}, image {status.image}: {waiting.reason}: {waiting.message or 'no message'}"
            if status.state.terminated and status.state.terminated.exit_code:
                return _crash(namespace, pod, status)
    for condition in pods[0].status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"no node takes the pod: {condition.message}"
    if all(_condition(pod, "Ready") == "True" for pod in pods):
        return f"its pods are ready; {_conditions(service)}"
    names = [status.name for status in pods[0].status.container_statuses or [] if not status.ready]
    tail = namespace.last_lines(pods[0].metadata.name, names[0]) if names else ""
    return f"pod {pods[0].metadata.name} runs but is not ready; its last lines:\n{tail}" if tail else f"pod {pods[0].metadata.name} has not started"


def _crash(namespace: Namespace, pod: Any, status: Any) -> str:
    ended = status.state.terminated or status.last_state.terminated
    code = f"exit status {ended.exit_code} ({ended.reason})" if ended else "no exit status"
    return f"container {status.name} crashes, {code}; its last lines:\n{namespace.last_lines(pod.metadata.name, status.name) or '(no log)'}"


def _living(pods: list[Any]) -> list[Any]:
    """Return the pods that are there to stay: none that is being deleted, and none that ended, as an evicted one, which is kept."""
    return [pod for pod in pods if pod.metadata.deletion_timestamp is None and pod.status.phase in ("Pending", "Running")]


def _waiting(pod: Any) -> list[str]:
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    return [status.state.waiting.reason for status in statuses if status.state.waiting and status.state.waiting.reason]


def _refusals(service: Mapping[str, Any]) -> set[str]:
    return {each["reason"] for each in service.get("status", {}).get("conditions", []) if each.get("reason") == _REFUSED}


def _no_runtime(service: Mapping[str, Any]) -> str:
    """Return KServe's words where it finds no ServingRuntime for the model; empty where it found one, or has not looked yet."""
    status = service.get("status", {}).get("modelStatus", {})
    failure: dict[str, Any] = status.get("lastFailureInfo") or {}
    if status.get("transitionStatus") != "InvalidSpec" or not failure:
        return ""
    return " ".join(filter(None, (failure.get("reason"), failure.get("message"))))


def _condition(pod: Any, kind: str) -> str:
    return next((condition.status for condition in pod.status.conditions or [] if condition.type == kind), "Unknown")


def _ready(service: Mapping[str, Any]) -> bool:
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in service.get("status", {}).get("conditions", []))


def _conditions(service: Mapping[str, Any] | None) -> str:
    """Return what an InferenceService says of itself, where it is not fine."""
    if not service:
        return "there is no InferenceService any more"
    found = [each for each in service.get("status", {}).get("conditions", []) if each["status"] != "True" and each.get("severity") != "Info"]
    texts = [" ".join(filter(None, (each["type"], each.get("reason"), each.get("message")))) for each in found]
    return f"the InferenceService says: {'; '.join(texts)}" if texts else "the InferenceService says nothing"
