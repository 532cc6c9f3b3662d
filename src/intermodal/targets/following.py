"""Following a run on a platform to its end, a line a task."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

from intermodal.errors import PlatformError
from intermodal.targets.progress import Progress
from intermodal.targets.remote import FINAL, RemoteRun, RemoteTarget, RemoteTask

_POLL_SECONDS = 10.0
_PATIENCE_SECONDS = 900.0


def follow(
    target: RemoteTarget,
    run: RemoteRun,
    console: Console,
    *,
    poll: float = _POLL_SECONDS,
    patience: float = _PATIENCE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> RemoteRun:
    """Show a run's tasks as they start and end, until the run has ended.

    Args:
        target: The platform.
        run: The run, as submitted.
        console: Where it is shown.
        poll: Seconds between two looks.
        patience: Seconds for which the platform may not answer at all; the run goes on meanwhile.
        sleep: Waits.

    Returns:
        The run at its end, whatever that was.

    Raises:
        PlatformError: The platform did not answer for longer than `patience`.
    """
    shown: dict[str, str] = {}
    silent = 0.0
    with Progress(console, [task.name for task in run.tasks]) as progress:
        while True:
            try:
                run, silent = target.run(run.id), 0.0
            except PlatformError:
                silent += poll
                if silent > patience:
                    raise
            for task in run.tasks:
                _show(progress, shown, task)
            if run.over:
                return run
            sleep(poll)


def _show(progress: Progress, shown: dict[str, str], task: RemoteTask) -> None:
    before, shown[task.name] = shown.get(task.name), task.state
    if task.state == before:
        return
    if task.state == "running":
        progress.started(task.name)
    elif task.state in FINAL:
        state = "done" if task.state == "succeeded" else task.state
        progress.finished(task.name, state, _seconds(task), task.error)


def _seconds(task: RemoteTask) -> float:
    if task.started is None:
        return 0.0
    return ((task.ended or datetime.now(UTC)) - task.started).total_seconds()
