"""The records in a run's folder: the request, whether the run is still going on, and the inputs of each task."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intermodal.runtime.artifacts import read_json, write_json
from intermodal.runtime.errors import PlatformError

#: The request: the specification and the arguments, from which `retry` starts the run again.
REQUEST = "run-request.json"
#: In a task's folder: its name, its component and its ExecutorInput, from which `replay` runs it again.
TASK = "task.json"
_LOCK = ".lock"


@contextmanager
def recorded(directory: Path, request: dict[str, Any]) -> Iterator[None]:
    """Write a run's request into its folder, and lock the folder while the run is going on.

    Args:
        directory: The run's folder.
        request: JSON values, and paths. A secret is in them as `${NAME}`: arguments that contain one are refused before.
    """
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_json(directory / REQUEST, json.loads(json.dumps(request, default=str)))
        yield


def is_running(directory: Path) -> bool:
    """Return whether a run is still going on. Its process holds a lock, which the kernel frees when the process is killed."""
    try:
        with (directory / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read_request(directory: Path) -> dict[str, Any]:
    """Return the request of a run.

    Raises:
        PlatformError: The run is older than this record.
    """
    if not (directory / REQUEST).exists():
        raise PlatformError(f"{directory}: an earlier version made this run and kept no {REQUEST}; start it again by `intermodal run`")
    request: dict[str, Any] = read_json(directory / REQUEST)
    return request


def record_task(folder: Path, name: str, component: str, executor_input: dict[str, Any]) -> None:
    """Write a task's inputs into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TASK, {"task": name, "component": component, "executor_input": executor_input})


def recorded_tasks(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the record of each task of a run by its name, in no particular order."""
    records = [read_json(path) for path in directory.rglob(TASK)]
    return {str(each["task"]): each for each in records}
