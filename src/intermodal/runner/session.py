"""One run of the local target, from its arguments to its end."""

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape

from intermodal.compiler.specification import Specification
from intermodal.execution import containers
from intermodal.execution.environments import image_digest
from intermodal.execution.processes import Processes
from intermodal.runner.cache import Cache
from intermodal.runner.commands import Commands
from intermodal.runner.engine import Engine, Outcome
from intermodal.runner.inputs import Artifact, Values
from intermodal.runner.order import Order
from intermodal.runner.progress import Progress
from intermodal.runner.records import recorded
from intermodal.runner.runs import Run, path_shown, task_names
from intermodal.runner.tasks import Tasks
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.errors import ConfigurationError, TaskError
from intermodal.runtime.redaction import remember
from intermodal.runtime.secret_values import named_variables, refuse_secrets


class Session:
    """Runs one pipeline once.

    Args:
        home: Folder for runs and cache.
        specification: The pipeline.
        mounts: With Docker: folders that containers see, beside `home`, to read only. None: no Docker.
        console: Where progress is shown.
        code: Folder that holds the package `intermodal` and nothing else.
        parallelism: How many tasks run at the same time.
        title: The run's name, for people. Default: the pipeline's.
        identity: The run's id, unlike any other's. Default: the pipeline's name and the time.
    """

    def __init__(
        self,
        home: Path,
        specification: Specification,
        *,
        mounts: list[Path] | None,
        console: Console,
        code: Path,
        parallelism: int,
        title: str = "",
        identity: str = "",
    ) -> None:
        self._home, self._specification, self._mounts, self._console = home, specification, mounts, console
        self._code, self._parallelism = code, parallelism
        self._name = specification["pipelineInfo"]["name"]
        self._title = title or self._name
        identity = identity or f"{self._name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        self._run = Run(identity, home / "runs" / identity)

    def run(self, arguments: dict[str, Any], *, cached: bool) -> Run:
        """Run it to its end; see `LocalTarget.run`."""
        started = time.monotonic()
        inputs = _inputs(self._specification, arguments)
        named = {name: os.environ[name] for name in named_variables(arguments) if name in os.environ}
        for name, value in named.items():
            remember(value, f"${{{name}}}")
        self._processes = Processes(own=named)
        commands = Commands(self._processes, home=self._home, code=self._code, mounts=self._mounts, named=named)
        commands.prepare(_images(self._specification), self._console.print)
        self._run.directory.mkdir(parents=True)
        self._console.print(f"[bold]{escape(self._title)}[/]  [dim]{escape(str(path_shown(self._run.directory)))}[/]", soft_wrap=True)
        cache = Cache(self._home / "cache", reading=cached, image_content=image_digest if self._mounts is None else containers.image_content)
        progress = Progress(self._console, [*task_names(self._specification).values()])
        order = Order(self._specification, commands.expect, cached=cached)
        tasks = Tasks(self._run, cache, commands, self._processes, progress, self._placeholders(), order.started)
        engine = Engine(self._specification, inputs, tasks.execute, parallelism=self._parallelism, stopping=lambda: self._processes.stopping)
        request = {"specification": self._specification, "arguments": arguments, "name": self._title, "docker": self._mounts is not None}
        stopped: list[int] = []
        try:
            with recorded(self._run.directory, request), self._signals(stopped), progress:
                order.begin()
                outcome = engine.run()
        finally:
            self._processes.stop()
            self._processes.close()
            cache.digests.save()
        self._run.seconds = time.monotonic() - started
        self._run.outputs, self._run.skipped = outcome.outputs.plain(), outcome.skipped
        if stopped:
            self._conclude_stopped(stopped[0])
        self._conclude(outcome)
        return self._run

    def _placeholders(self) -> dict[str, str]:
        """Return what the placeholders of the run stand for; make the workspace where the pipeline has one."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        workspace = self._run.directory / "workspace"
        if "workspace" in str(self._specification):
            workspace.mkdir()
        return {
            "pipeline_job_name": self._run.id,
            "pipeline_job_resource_name": self._run.id,
            "pipeline_job_uuid": str(uuid.uuid4()),
            "pipeline_root": str(self._home / "runs"),
            "pipeline_job_create_time_utc": now,
            "pipeline_job_schedule_time_utc": now,
            "workspace_path": str(workspace),
        }

    def _conclude(self, outcome: Outcome) -> None:
        """Print the summary, write how the run ended, raise the first failure."""
        states = [task.state for task in self._run.tasks]
        counts = [f"{states.count(state)} {state}" for state in ("done", "cached", "failed") if state in states]
        counts += [f"{len(self._run.skipped)} skipped"] if self._run.skipped else []
        self._console.print(f"  {', '.join(counts)} in {self._run.seconds:.1f} s", soft_wrap=True)
        self._run.succeeded = not outcome.failures
        errors = [f"{name}: {error.sentence if isinstance(error, TaskError) else error}" for name, error in outcome.failures]
        record = {
            "pipeline": self._name,
            "name": self._title,
            "seconds": self._run.seconds,
            "error": errors[0] if errors else "",
            "errors": errors,
            "tasks": {task.name: task.state for task in self._run.tasks},
        }
        write_json(self._run.directory / "run.json", record)  # what makes it an ended one
        if outcome.failures:
            raise outcome.failures[0][1]

    def _conclude_stopped(self, number: int) -> None:
        what = "interrupted" if number == signal.SIGINT else "terminated"
        self._console.print(f"  [yellow]{what}[/]: every task was ended; the same command goes on from what is finished", soft_wrap=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    @contextmanager
    def _signals(self, stopped: list[int]) -> Iterator[None]:
        """End every task on SIGINT, SIGTERM and SIGHUP; in another thread than the main one, where Python allows no handler, that is the caller's.

        The handler raises nothing: the tasks' threads would go on behind an exception. Its tasks end, no other starts, and the engine comes back.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.append(number)
            self._processes.stop()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _images(specification: Specification) -> set[str]:
    return {each["container"]["image"] for each in specification["deploymentSpec"]["executors"].values() if "container" in each}


def _inputs(specification: Specification, arguments: dict[str, Any]) -> Values:
    """Return the arguments as the pipeline's inputs, artifacts given by path made artifacts."""
    name, inputs = specification["pipelineInfo"]["name"], specification["root"].get("inputDefinitions", {})
    parameters, artifacts = inputs.get("parameters", {}), inputs.get("artifacts", {})
    refuse_secrets(arguments, f"pipeline {name}")
    if unknown := sorted(set(arguments) - set(parameters) - set(artifacts)):
        raise ConfigurationError(
            f"pipeline {name} has no input {', '.join(unknown)}; its inputs are {', '.join([*parameters, *artifacts]) or 'none'}"
        )
    required = [key for key, each in parameters.items() if "defaultValue" not in each and not each.get("isOptional")]
    required += [key for key, each in artifacts.items() if not each.get("isOptional")]
    if missing := [key for key in required if key not in arguments]:
        raise ConfigurationError(f"pipeline {name} needs a value for {', '.join(missing)}")
    given = Values({key: value for key, value in arguments.items() if key in parameters})
    for key in (key for key in arguments if key in artifacts):
        value, kind = arguments[key], artifacts[key]["artifactType"]
        given.artifacts[key] = [_artifact(key, each, kind) for each in value] if isinstance(value, list | tuple) else _artifact(key, value, kind)
    return given


def _artifact(name: str, value: Any, kind: dict[str, Any]) -> Artifact:
    """Return an artifact that is given by its path, or as kfp's object."""
    if isinstance(value, str | Path):
        return {"name": name, "type": kind, "uri": str(value), "metadata": {}}
    return {"name": value.name or name, "type": kind, "uri": value.uri, "metadata": dict(value.metadata)}
