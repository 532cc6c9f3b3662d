"""The pods of a TrainJob in words: why one does not start, and how one ended."""

from typing import Any, Final

from intermodal.workers.trainjob.api import index_of
from intermodal.workers.trainjob.manifest import NODE

#: States of a container that does not start, and the seconds after which they count as lasting.
_WAITING: Final = {
    "ErrImageNeverPull": 0.0,
    "InvalidImageName": 0.0,
    "CreateContainerConfigError": 20.0,
    "CreateContainerError": 20.0,
    "RunContainerError": 20.0,
    "StartError": 0.0,
    "ImagePullBackOff": 15.0,
    "ErrImagePull": 30.0,
    "CrashLoopBackOff": 60.0,
}
_IMAGE: Final = ("ErrImage", "ImagePull", "InvalidImage")


def started(pod: dict[str, Any]) -> bool:
    """Return whether the worker's container has started; it may have ended since."""
    state = _status(pod).get("state", {})
    return "running" in state or "terminated" in state


def ended_badly(pod: dict[str, Any]) -> bool:
    """Return whether a worker's container ended, and not by success."""
    return bool(_status(pod).get("state", {}).get("terminated", {}).get("exitCode")) or pod.get("status", {}).get("phase") == "Failed"


def ran_out_of_memory(pod: dict[str, Any]) -> bool:
    """Return whether Kubernetes says that a worker's container was killed for its memory."""
    return bool(_status(pod).get("state", {}).get("terminated", {}).get("reason") == "OOMKilled")


def obstacle(pod: dict[str, Any]) -> tuple[str, str, float] | None:
    """Return what keeps a pod from starting: (its kind, a sentence, the seconds after which it counts as lasting), or None."""
    waiting = _status(pod).get("state", {}).get("waiting", {})
    reason, name = waiting.get("reason", ""), pod["metadata"]["name"]
    if reason in _WAITING:
        message = waiting.get("message") or "no message"
        if reason.startswith(_IMAGE):
            image = next((each["image"] for each in pod["spec"]["containers"] if each["name"] == NODE), "?")
            remedy = "push it, correct image_repository in targets.toml, or give the task's account the registry's secret"
            return reason, f"pod {name} cannot get its image {image} ({reason}: {message}); {remedy}", _WAITING[reason]
        return reason, f"pod {name} cannot start its container ({reason}: {message})", _WAITING[reason]
    for each in pod.get("status", {}).get("conditions", []):
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return "Unschedulable", f"no node takes pod {name}: {each.get('message', each.get('reason'))}", float("inf")
    return None


def ending(pod: dict[str, Any]) -> str:
    """Return in words how a worker's pod ended."""
    terminated = _status(pod).get("state", {}).get("terminated", {})
    said, name = (terminated.get("message") or "").strip(), pod["metadata"]["name"]
    if disruption := next((each for each in pod.get("status", {}).get("conditions", []) if each["type"] == "DisruptionTarget"), None):
        return f"pod {name} was evicted from its node ({disruption.get('reason')}: {disruption.get('message')})"
    if ran_out_of_memory(pod) and "out of memory" not in said:
        limit = next((each.get("resources", {}).get("limits", {}).get("memory") for each in pod["spec"]["containers"] if each["name"] == NODE), None)
        at = f" at its limit of {limit}" if limit else ""
        remedy = "give the task a shape with more memory, or take a smaller batch_size or more workers"
        return f"worker {index_of(pod)} ran out of memory{at} and was killed; {remedy}"
    if said.startswith("worker "):
        return said
    if not terminated:
        status = pod.get("status", {})
        return f"pod {name} ended without its container: {status.get('reason', 'no reason')}: {status.get('message', 'no message')}"
    code = f"status {terminated.get('exitCode')}, {terminated.get('reason', 'no reason')}"
    # Without words of the worker's own Kubernetes takes the end of its log.
    return f"worker {index_of(pod)} ended ({code}): {said.splitlines()[-1] if said else 'it said nothing'}"


def was_asked_to_end(pod: dict[str, Any]) -> bool:
    """Return whether a worker ended because its pod was deleted: by a person, or because another worker failed."""
    terminated = _status(pod).get("state", {}).get("terminated", {})
    return terminated.get("exitCode") == 143 or "deletionTimestamp" in pod["metadata"]


def _status(pod: dict[str, Any]) -> dict[str, Any]:
    found = pod.get("status", {}).get("containerStatuses", [])
    return next((each for each in found if each["name"] == NODE), {})
