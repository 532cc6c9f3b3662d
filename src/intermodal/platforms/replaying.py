"""A task of a run, run again on this machine with the inputs it had."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from intermodal.compiler.specification import changed_by
from intermodal.platforms.interface import Artifact, TaskInputs
from intermodal.runner.local import LocalTarget
from intermodal.runner.replay import single_task
from intermodal.runner.runs import LOG
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.storage.fetching import REMOTE, fetch


@dataclass(frozen=True)
class Replay:
    """A replay, about to run.

    Attributes:
        id: Its name among the runs of this machine.
        inputs: Folder of its input artifacts, and of `parameters.json`.
        folder: Where its log and its outputs will be.
        start: Runs it to its end; raises `errors.TaskError`, with the task's exit status, where that is not 0.
    """

    id: str
    inputs: Path
    folder: Path
    start: Callable[[], None]

    @property
    def log(self) -> Path:
        """The file of all that it prints."""
        return self.folder / LOG


def prepare_replay(given: TaskInputs, home: Path, console: Console, *, changes: str = "", docker: bool = False) -> Replay:
    """Fetch a task's inputs, as copies: the task may change them, and never what the run itself has.

    Args:
        given: What the task was given.
        home: Folder for runs, cache, stores and deployments of this machine.
        console: Where its progress is shown.
        changes: What the task may change outside the run, as its component's contract names it; empty: nothing.
        docker: Whether it runs in a container of its image, rather than in the image's environment.

    Raises:
        ConfigurationError: The task changes something outside the run, and `changes` does not name it.
        PlatformError: An artifact cannot be fetched.
    """
    changed = changed_by(given.container)
    if changed != changes:
        _refuse(given, changed, changes)
    task = given.task.partition("[")[0]
    identity = f"replay-{task}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    home = home.resolve()
    inputs = home / "replays" / identity
    inputs.mkdir(parents=True)
    write_json(inputs / "parameters.json", given.parameters)
    artifacts = {name: (_copied(name, each, inputs, given.storage_endpoint), each.type, each.metadata) for name, each in given.artifacts.items()}
    specification = single_task(given.task, given.component, given.container, artifacts)
    declared = given.component.get("inputDefinitions", {}).get("parameters", {})
    arguments: dict[str, Any] = {name: value for name, value in given.parameters.items() if name in declared}

    def start() -> None:
        target = LocalTarget(home, docker=docker, console=console)
        target.run(specification, arguments, cached=False, name=f"replay of {given.task}", identity=identity)

    return Replay(identity, inputs, home / "runs" / identity / task, start)


def _copied(name: str, artifact: Artifact, folder: Path, endpoint: str | None) -> Path | str:
    """Return the path of a copy of an artifact; the URI of one that is not a file, such as a model in a registry, as it is."""
    scheme, target = urlsplit(artifact.uri).scheme, folder / name
    if scheme in REMOTE:
        fetch(artifact.uri, target, endpoint)
        return target
    if scheme not in ("", "file"):
        return artifact.uri
    source = Path(artifact.uri.removeprefix("file://"))
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copyfile(source, target)
    else:
        raise DataError(f"{source}: the input {name!r} is no longer there; run the pipeline again")
    return target


def _refuse(given: TaskInputs, changed: str, changes: str) -> None:
    if not changed:
        raise ConfigurationError(f"--changes {changes}: {given.task} changes nothing outside the run; leave the option out")
    values = ", ".join(f"{name}={value}" for name, value in given.parameters.items() if isinstance(value, str) and value)
    what = changed.replace("-", " ")
    raise ConfigurationError(f"{given.task} changes the {what} when it runs ({values}); add --changes {changed} to run it nevertheless")
