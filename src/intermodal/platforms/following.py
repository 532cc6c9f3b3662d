"""Following a run on a platform to its end, a line a task."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

from intermodal.platforms.interface import FINAL, RemoteRun, RemoteTarget, RemoteTask
from intermodal.runner.progress import Progress
from intermodal.runtime.errors import DeniedError, PlatformError

_POLL_SECONDS = 10.0
_PATIENCE_SECONDS = 900.0


def follow(
    target: RemoteTarget,
    run: RemoteRun,
    console: Console,
    *,
    poll: float = _POLL_SECONDS,
    patience: float = _PATIENCE_SECONDS,
    start_timeout: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> RemoteRun:
    """Show a run's tasks as they start and end, until the run has ended.

    Args:
        target: The platform.
        run: The run, as submitted.
        console: Where it is shown.
        poll: Seconds between two looks.
        patience: Seconds for which the platform may not answer at all; the run goes on meanwhile.
        start_timeout: Seconds for which nothing of the run may be under way: its image cannot be pulled, no machine has room. 0: no limit.
        sleep: Waits.

    Returns:
        The run at its end, whatever that was.

    Raises:
        PlatformError: The platform did not answer for longer than `patience`, or nothing ran for longer than `start_timeout`; the run goes on.
        DeniedError: The credentials have expired or may not read the run; it goes on.
    """
    shown: dict[str, str] = {}
    silent = idle = 0.0
    with Progress(console, [task.name for task in run.tasks]) as progress:
        while True:
            try:
                run, silent = target.run(run.id), 0.0
            except DeniedError:
                raise  # waiting does not help
            except PlatformError:
                silent += poll
                if silent > patience:
                    raise
            for task in run.tasks:
                _show(progress, shown, task)
            if run.over:
                return run
            if not _waits(run):
                idle = 0.0
            elif start_timeout and idle >= start_timeout:
                raise PlatformError(_waiting(run, idle, target.name))
            sleep(poll)
            idle += poll


def _waits(run: RemoteRun) -> bool:
    """Whether all that is under way waits to start: what follows a task that runs may well wait long."""
    return run.state in ("pending", "running") and not any(each.state in ("running", "cancelling") and not each.group for each in run.tasks)


def _waiting(run: RemoteRun, seconds: float, target: str) -> str:
    waiting = [each for each in run.tasks if each.state == "pending" and each.started and not each.group]
    what = "; ".join(f"{each.name}: {each.reason or 'the platform gives no reason'}" for each in waiting)
    return (
        f"the run {run.id} has waited for {seconds:.0f} s to start {what or 'its first task'}; it goes on: `start_timeout` in targets.toml is the "
        f"limit, `intermodal status {run.id} --target {target}` shows it, `intermodal cancel {run.id} --target {target}` ends it"
    )


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
