"""Models served on this machine: the records of them, and how one is ended. Standard library alone."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import StoreError

_RECORD = "record.json"
#: In a deployment's folder: the records of the models behind a splitter, and the state of their rollout.
MEMBERS, ROLLOUT = "members", "rollout.json"


@dataclass(frozen=True)
class Deployment:
    """One served model.

    Attributes:
        name: Its name; one server a name.
        url: Where it answers.
        version: The registered version; empty where there is none.
        pid: Its process.
        started: The process's start time in clock ticks since boot, which tells it from a later process with the same pid.
        port: The public port.
        model_sha256: What it serves.
        log: Its log file.
        since: When it began to answer, ISO 8601.
        control: Name of the Unix socket, beside the record, on which it lends its public socket to a successor.
        predecessor: While it takes over: the record of the server that it replaces.
        splits: Whether it is a splitter, in front of models with processes of their own (`members`).
    """

    name: str
    url: str
    version: str
    pid: int
    started: int
    port: int
    model_sha256: str
    log: str
    since: str
    control: str = ""
    predecessor: dict[str, Any] | None = None
    splits: bool = False

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return start_time(self.pid) == self.started

    @property
    def replaced(self) -> "Deployment | None":
        """What it replaces, while that is not ended yet."""
        return Deployment(**self.predecessor) if self.predecessor else None

    def save(self, home: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(home / self.name / _RECORD, asdict(self))


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def deployment(home: Path, name: str) -> Deployment | None:
    """Return the record of a name; None when there is none.

    Raises:
        StoreError: The record cannot be read.
    """
    path = home / name / _RECORD
    try:
        return Deployment(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path}: not the record of a deployment ({error}); end its server by hand and delete the file") from error


def deployments(home: Path) -> list[Deployment]:
    """Return all records, sorted by name."""
    found = (deployment(home, path.parent.name) for path in sorted(home.glob(f"*/{_RECORD}")))
    return [each for each in found if each]


def stop(home: Path, name: str, *, patience: float = 15.0) -> Deployment:
    """End a served model and forget it; requests under way are answered first.

    Args:
        home: The folder of the records.
        name: The deployment's name.
        patience: Seconds until it is killed.

    Raises:
        StoreError: Nothing of that name is served.
    """
    if deployment(home, name) is None:
        served = ", ".join(each.name for each in deployments(home))
        raise StoreError(f"{home}: {name!r} is not served; {f'these are: {served}' if served else 'nothing is served there'}")
    with locked(home, name):
        found = deployment(home, name)
        if found is None:
            raise StoreError(f"{home}: {name!r} is not served any more")
        for each in filter(None, (found.replaced, found)):
            end_process(each.pid, each.started, patience=patience)
        end_members(home, name)
        (home / name / _RECORD).unlink()
        shutil.rmtree(home / name / "models", ignore_errors=True)
        for control in (home / name).glob("control-*"):
            control.unlink(missing_ok=True)
    return found


def end_members(home: Path, name: str) -> None:
    """End the processes of the models behind a splitter, and forget its rollout; nothing where there is none."""
    folder = home / name
    for path in (folder / MEMBERS).glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        end_process(found["pid"], found["started"])
    shutil.rmtree(folder / MEMBERS, ignore_errors=True)
    (folder / ROLLOUT).unlink(missing_ok=True)


def forget(home: Path, name: str) -> None:
    """Remove the record of a name, if there is one; its process is left alone."""
    (home / name / _RECORD).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(home: Path, name: str) -> Iterator[None]:
    """Let one process at a time change the deployment of a name; others wait."""
    (home / name).mkdir(parents=True, exist_ok=True)
    with (home / name / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_process(pid: int, started: int, *, patience: float = 15.0) -> None:
    """End a process of ours: asked first, killed when it has not ended in time; a pid that another process has since is left alone."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        if start_time(pid) != started:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while start_time(pid) == started and time.monotonic() < deadline:
            time.sleep(0.02)
