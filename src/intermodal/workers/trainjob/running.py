"""A task's command run in the pods of a TrainJob: created or taken over, followed, and ended."""

import time
import uuid
from typing import Any, Final

from intermodal.cluster.calls import Conflict
from intermodal.cluster.cancellation import Cancelled
from intermodal.cluster.connection import connect, own_namespace
from intermodal.runtime.errors import IntermodalError, PlatformError
from intermodal.storage.object_store import endpoint_here
from intermodal.storage.sending import remove
from intermodal.workers.exchange import Exchange
from intermodal.workers.executor_input import Task
from intermodal.workers.trainjob.api import Jobs
from intermodal.workers.trainjob.following import Follower, JobFailedError
from intermodal.workers.trainjob.manifest import EXCHANGE, SPECIFICATION, Settings, checkpoints_of, folder_of, job_name, make, owner_reference
from intermodal.workers.words import say

_GONE_SECONDS: Final = 300.0
#: Of the 30 seconds between SIGTERM and SIGKILL.
_CANCELLED_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.5
_RUN_LABEL: Final = "pipeline/runid"


def run(task: Task, command: list[str], workers: int, settings: Settings) -> None:
    """Run a task's command in the pods of a TrainJob.

    Args:
        task: The task.
        command: Its command.
        workers: How many pods.
        settings: What the platform's settings say.

    Raises:
        PlatformError: The TrainJob cannot be created, its pods cannot start or have not in time, it failed, or it was deleted.
        DeniedError: The task's account lacks a permission.
        ConfigurationError: The task has no artifact in an object store, or no pod.
    """
    jobs = Jobs(connect(), own_namespace())
    fields, pod = jobs.fields(), jobs.own_pod()
    name = job_name(task, pod["metadata"].get("labels", {}).get(_RUN_LABEL, ""))
    exchange = f"{folder_of(task)}/.workers/{uuid.uuid4().hex[:12]}"
    wanted = make(name=name, exchange=exchange, task=task, command=command, workers=workers, settings=settings, pod=pod, fields=fields)
    Exchange(exchange).check()
    job = wanted
    try:
        job = _create(jobs, wanted, pod)
        Follower(jobs, job, workers=workers, start_timeout=settings.start_timeout, say=say).run()
    except Cancelled as error:
        jobs.hurry()
        raise Cancelled(f"TrainJob {jobs.namespace}/{name} {_end(jobs, job, _CANCELLED_SECONDS)}") from error
    except JobFailedError:
        raise
    except IntermodalError:
        _end(jobs, job, 0.0)
        raise
    place = Exchange(job["metadata"]["annotations"][EXCHANGE])
    place.collect(task)
    place.remove()
    remove(checkpoints_of(task), endpoint_here())


def _create(jobs: Jobs, wanted: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    """Create a TrainJob, or take over that of an earlier attempt of the same task.

    One that runs, or has ended well, and that has the same specification is taken over. One that failed, is being deleted or has another
    specification is replaced; the new one starts from its checkpoints.
    """
    name, deadline = wanted["metadata"]["name"], time.monotonic() + _GONE_SECONDS
    what = f"TrainJob {jobs.namespace}/{name}"
    while True:
        try:
            made = jobs.create(wanted)
        except Conflict:
            pass
        else:
            say(f"{what} created: {wanted['spec']['trainer']['numNodes']} pods of {wanted['spec']['trainer']['image']}")
            return made
        if (found := jobs.find(name)) is None:
            continue
        metadata = found["metadata"]
        failed = any(each["type"] == "Failed" and each["status"] == "True" for each in found.get("status", {}).get("conditions", []))
        same = metadata.get("annotations", {}).get(SPECIFICATION) == wanted["metadata"]["annotations"][SPECIFICATION]
        if same and not failed and "deletionTimestamp" not in metadata:
            say(f"{what} is there already, from an earlier attempt of this task: it is followed")
            jobs.own(name, metadata["uid"], owner_reference(pod))
            return found
        if "deletionTimestamp" not in metadata:
            say(f"{what} of an earlier attempt {'failed' if failed else 'differs'}: it is replaced")
            jobs.delete(name, metadata["uid"])
        # Its pods too: they have the names and labels of those of the next one.
        while not _gone(jobs, name, metadata["uid"]):
            if time.monotonic() > deadline:
                raise PlatformError(f"{what} is being deleted and is not gone after {_GONE_SECONDS:g} s; look at its finalizers and pods")
            time.sleep(_POLL_SECONDS)


def _gone(jobs: Jobs, name: str, uid: str) -> bool:
    """Return whether a TrainJob, and all of its pods, are gone."""
    found = jobs.find(name)
    return (found is None or found["metadata"]["uid"] != uid) and not jobs.pods(name)


def _end(jobs: Jobs, job: dict[str, Any], seconds: float) -> str:
    """Delete a TrainJob, and wait until it and its pods are gone; return in words what became of it."""
    uid = job["metadata"].get("uid")
    name, deadline = job["metadata"]["name"], time.monotonic() + seconds
    if not uid:
        return "was not created"
    try:
        jobs.delete(name, uid)
        while not _gone(jobs, name, uid):
            if time.monotonic() >= deadline:
                return "is deleted, its pods are ending"
            time.sleep(_POLL_SECONDS)
    except IntermodalError as error:
        return f"may still run: {error}"
    return "is deleted, and its pods"
