"""A task's command run in the pods of a TrainJob: created or taken over, followed, and ended."""

import uuid
from typing import Final

from intermodal.cluster.cancellation import Cancelled
from intermodal.cluster.connection import connect, own_namespace
from intermodal.runtime.errors import IntermodalError
from intermodal.storage.object_store import endpoint_here
from intermodal.storage.sending import remove
from intermodal.workers.exchange import Exchange
from intermodal.workers.executor_input import Task
from intermodal.workers.ownership import create, end
from intermodal.workers.trainjob.api import Jobs
from intermodal.workers.trainjob.following import Follower, JobFailedError
from intermodal.workers.trainjob.manifest import EXCHANGE, Settings, checkpoints_of, folder_of, job_name, make
from intermodal.workers.words import say

#: Of the 30 seconds between SIGTERM and SIGKILL.
_CANCELLED_SECONDS: Final = 15.0
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
        job = create(jobs, wanted, f"{workers} pods of {wanted['spec']['trainer']['image']}")
        Follower(jobs, job, workers=workers, start_timeout=settings.start_timeout, say=say).run()
    except Cancelled as error:
        jobs.hurry()
        raise Cancelled(f"TrainJob {jobs.namespace}/{name} {end(jobs, job, _CANCELLED_SECONDS)}") from error
    except JobFailedError:
        raise
    except IntermodalError:
        end(jobs, job, 0.0)
        raise
    place = Exchange(job["metadata"]["annotations"][EXCHANGE])
    place.collect(task)
    place.remove()
    remove(checkpoints_of(task), endpoint_here())
