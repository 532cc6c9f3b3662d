"""Whether a revision of an InferenceService is ready, and in words why it is not."""

import time
from typing import Any, Final

from intermodal.components.deploy_model.cluster import Namespace
from intermodal.components.deploy_model.manifest import VERSION_ANNOTATION
from intermodal.errors import DeploymentError

_POLL_SECONDS: Final = 1.0
#: Container states that do not mend themselves while the manifest stays as it is.
_HOPELESS: Final = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError"})
#: States that may pass: given up only when seen for this long.
_DOUBTFUL: Final = {"ImagePullBackOff": 15.0, "ErrImagePull": 30.0, "CrashLoopBackOff": 0.0}


def wait_until_ready(namespace: Namespace, service: str, *, generation: int, version: str, image: str, timeout: float) -> Any:
    """Wait until the controller has seen `generation` and a pod of `version` is ready; return that pod.

    Raises:
        DeploymentError: It is not ready after `timeout` seconds, or earlier: its pods cannot become ready. Says why.
    """
    deadline = time.monotonic() + timeout
    since: dict[str, float] = {}
    while True:
        pods = [pod for pod in namespace.pods(service) if _is_of(pod, version, image)]
        if _observed_ready(namespace.service(service) or {}, generation):
            for pod in pods:
                if pod.metadata.deletion_timestamp is None and _condition(pod, "Ready") == "True":
                    return pod
        for reason in {reason for pod in pods for reason in _waiting(pod)}:
            seen = time.monotonic() - since.setdefault(reason, time.monotonic())
            if reason in _HOPELESS or seen >= _DOUBTFUL.get(reason, timeout):
                raise DeploymentError(f"{namespace.name}/{service} cannot become ready: {explain(namespace, pods)}")
        if time.monotonic() >= deadline:
            raise DeploymentError(f"{namespace.name}/{service} is not ready after {timeout:g} s: {explain(namespace, pods)}")
        time.sleep(_POLL_SECONDS)


def explain(namespace: Namespace, pods: list[Any]) -> str:
    """Return in words what keeps these pods from being ready."""
    if not pods:
        return "the controller has made no pod; look at the InferenceService's conditions and the namespace's events (quota, admission)"
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
    names = [status.name for status in pods[0].status.container_statuses or [] if not status.ready]
    tail = namespace.last_lines(pods[0].metadata.name, names[0]) if names else ""
    return f"pod {pods[0].metadata.name} runs but is not ready; its last lines:\n{tail}" if tail else f"pod {pods[0].metadata.name} has not started"


def _crash(namespace: Namespace, pod: Any, status: Any) -> str:
    ended = status.state.terminated or status.last_state.terminated
    code = f"exit status {ended.exit_code} ({ended.reason})" if ended else "no exit status"
    return f"container {status.name} crashes, {code}; its last lines:\n{namespace.last_lines(pod.metadata.name, status.name) or '(no log)'}"


def _is_of(pod: Any, version: str, image: str) -> bool:
    images = [container.image for container in pod.spec.containers]
    return (pod.metadata.annotations or {}).get(VERSION_ANNOTATION) == version and image in images


def _waiting(pod: Any) -> list[str]:
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    return [status.state.waiting.reason for status in statuses if status.state.waiting and status.state.waiting.reason]


def _condition(pod: Any, kind: str) -> str:
    return next((condition.status for condition in pod.status.conditions or [] if condition.type == kind), "Unknown")


def _observed_ready(service: dict[str, Any], generation: int) -> bool:
    status = service.get("status", {})
    ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", []))
    return ready and int(status.get("observedGeneration", 0)) >= generation
