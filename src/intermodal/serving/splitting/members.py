"""The models that are loaded for one service on this machine, each a predictor on a port of its own, behind the service's splitter."""

import contextlib
import json
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import DeploymentError
from intermodal.serving.records import MEMBERS, end_process, start_time
from intermodal.serving.server import HOST, approve, is_ready, last_lines, start_server


@dataclass(frozen=True)
class Member:
    """A predictor's process.

    Attributes:
        name: Which model: the first 12 digits of its SHA-256.
        pid: The process.
        started: Its start time in clock ticks since boot.
        port: Of 127.0.0.1.
        log: Its log file.
        version: The registered version; empty where there is none.
        model_sha256: What it serves.
    """

    name: str
    pid: int
    started: int
    port: int
    log: str
    version: str
    model_sha256: str

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return start_time(self.pid) == self.started

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"


def member(folder: Path, name: str) -> Member | None:
    """Return the record of a member; None where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return Member(**json.loads((folder / MEMBERS / f"{name}.json").read_text(encoding="utf-8")))
    return None


def members(folder: Path) -> list[Member]:
    """Return the members of the service whose folder this is."""
    found = (member(folder, path.stem) for path in sorted((folder / MEMBERS).glob("*.json")))
    return [each for each in found if each]


def start_member(folder: Path, name: str, *, service: str, model: Path, version: str, model_sha256: str, timeout: float) -> Member:
    """Start a member and wait until its model answers; one that runs is left as it is.

    Args:
        folder: The service's folder.
        name: The member's name.
        service: What the model is called in the URLs.
        model: The directory of the model, which must stay.
        version: The registered version.
        model_sha256: The model's hash.
        timeout: Seconds until it must be ready.

    Raises:
        DeploymentError: It ended, or is not ready in time; with the end of its log.
    """
    found = member(folder, name)
    if found is None or not found.alive:
        found = _started(folder, name, service, model, version, model_sha256)
    deadline = time.monotonic() + timeout
    while True:
        if is_ready(found.url, service):
            return found
        late = time.monotonic() > deadline
        if late or not found.alive:
            said = last_lines(Path(found.log))
            stop_member(folder, name)
            what = f"did not answer within {timeout:g} s; raise timeout, or see" if late else "ended; see"
            raise DeploymentError(f"the server of {service} {what} {said}")
        time.sleep(0.05)


def stop_member(folder: Path, name: str) -> None:
    """End a member, once its requests are answered; nothing where it has ended."""
    if found := member(folder, name):
        end_process(found.pid, found.started)
        (folder / MEMBERS / f"{name}.json").unlink(missing_ok=True)


def _started(folder: Path, name: str, service: str, model: Path, version: str, model_sha256: str) -> Member:
    log = folder / f"{name}.log"
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen()
        process = start_server("intermodal.serving.predictor", ["--model_dir", str(model), "--model_name", service], {"public": listening}, log)
        # It serves only once there is a record of it: if this process dies before, so does it.
        made = Member(name, process.pid, start_time(process.pid) or 0, listening.getsockname()[1], str(log), version, model_sha256)
        (folder / MEMBERS).mkdir(exist_ok=True)
        write_json(folder / MEMBERS / f"{name}.json", asdict(made))
        approve(process)
    return made
