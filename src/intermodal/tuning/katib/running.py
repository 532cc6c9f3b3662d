"""A task's search by Katib: planned, created or taken over, followed, ended, and its outputs written."""

import json
import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Final

from intermodal.cluster.calls import Conflict
from intermodal.cluster.cancellation import Cancelled
from intermodal.cluster.connection import connect, own_namespace
from intermodal.runtime.errors import IntermodalError, PlatformError
from intermodal.storage.object_store import endpoint_here, place_of
from intermodal.tuning.katib.api import Experiments
from intermodal.tuning.katib.following import Follower
from intermodal.tuning.katib.manifest import dropped, make
from intermodal.tuning.roles import Asked, Ended, Plan
from intermodal.tuning.trial import Report
from intermodal.workers.exchange import Exchange
from intermodal.workers.executor_input import Task
from intermodal.workers.ownership import create, end
from intermodal.workers.trainjob.following import JobFailedError
from intermodal.workers.trainjob.manifest import EXCHANGE, folder_of, job_name
from intermodal.workers.words import say

#: Of the 30 seconds between SIGTERM and SIGKILL.
_CANCELLED_SECONDS: Final = 15.0
_RUN_LABEL: Final = "pipeline/runid"


class CommandFailedError(PlatformError):
    """The task's own command failed, and has said why.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the command ended with status {status}")
        self.status = status


def run(task: Task, command: list[str], start_timeout: float) -> None:
    """Search by Katib, and leave the outputs where the command would have written them.

    Args:
        task: The task.
        command: Its command.
        start_timeout: Seconds for which a trial's pod may wait for its image and a machine. 0: no limit.

    Raises:
        CommandFailedError: The arguments are wrong, or no trial finished.
        PlatformError: The Experiment cannot be created, its trials cannot start, it failed, or it was deleted.
        DeniedError: The task's account lacks a permission.
        ConfigurationError: Katib cannot express the search, or the task has no artifact in an object store.
        DataError: A trial found data that no other could train on.
    """
    started = time.monotonic()
    experiments = Experiments(connect(), own_namespace())
    with tempfile.TemporaryDirectory(prefix="search-") as folder:
        file = str(Path(folder, "search.json"))
        _ask(command, Asked("plan", file))
        plan = Plan.read(file)
        experiments.check()
        pod = experiments.own_pod()
        name = job_name(task, pod["metadata"].get("labels", {}).get(_RUN_LABEL, ""))
        exchange = f"{folder_of(task)}/.trials/{uuid.uuid4().hex[:12]}"
        wanted = make(name=name, exchange=exchange, plan=plan, command=command, pod=pod)
        made = wanted
        try:
            _check(experiments, wanted)
            Exchange(exchange).check()
            made = create(experiments, wanted, f"{plan.trials} trials, {plan.parallel} at a time")
            place = made["metadata"]["annotations"][EXCHANGE]
            follower = Follower(experiments, made, plan, lambda trial: _report(place, trial), start_timeout=start_timeout, say=say)
            tried = follower.run()
        except Cancelled as error:
            experiments.hurry()
            raise Cancelled(f"Experiment {experiments.namespace}/{name} {end(experiments, made, _CANCELLED_SECONDS)}") from error
        except JobFailedError:
            raise
        except IntermodalError:
            end(experiments, made, 0.0)
            raise
        Ended(tried, time.monotonic() - started).write(file)
        _ask(command, Asked("outputs", file))
    Exchange(place).remove()


def _check(experiments: Experiments, wanted: dict[str, Any]) -> None:
    """Check that the installed Katib takes all of a search, before anything is created.

    Raises:
        PlatformError: It does not.
    """
    try:
        taken = experiments.create(wanted, dry=True)
    except Conflict:
        return  # an earlier attempt has created it
    if lost := dropped(wanted, taken):
        raise PlatformError(f"the installed Katib does not know {lost}; install a newer one (0.18 has distributions), or take that out of the search")


def _ask(command: list[str], asked: Asked) -> None:
    """Ask the command for a part of its work.

    Raises:
        CommandFailedError: It failed.
    """
    status = subprocess.run(command, env=os.environ | asked.variables(), check=False).returncode
    if status:
        raise CommandFailedError(status if status > 0 else 128 - status)


def _report(exchange: str, trial: str) -> Report | None:
    """Return what a trial left in the object store; None where it left nothing."""
    store, key = place_of(f"{exchange}/{trial}", endpoint_here())
    if key not in store.keys(key):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report")
        store.get(key, path)
        return Report(**json.loads(path.read_text(encoding="utf-8")))
