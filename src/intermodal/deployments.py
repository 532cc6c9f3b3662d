"""Models served on this machine: the records of them, and how one is ended. Standard library alone."""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from intermodal.artifacts import write_json
from intermodal.errors import StoreError

_RECORD = "record.json"


@dataclass(frozen=True)
class Deployment:
    """One served model.

    Attributes:
        name: Its name; one server a name.
        url: Where it answers.
        version: The registered version.
        pid: Its process.
        started: The process's start time in clock ticks since boot, by which a reused pid is told from it.
        port: The public port.
        model_sha256: What it serves.
        log: Its log file.
        since: When it began to answer, ISO 8601.
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

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return start_time(self.pid) == self.started

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
    found = deployment(home, name)
    if found is None:
        names = ", ".join(each.name for each in deployments(home)) or "nothing is"
        raise StoreError(
            f"{home}: {name!r} is not served; {names} served there"
            if names == "nothing is"
            else f"{home}: {name!r} is not served; these are: {names}"
        )
    end_process(found.pid, found.started, patience=patience)
    (home / name / _RECORD).unlink(missing_ok=True)
    return found


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
