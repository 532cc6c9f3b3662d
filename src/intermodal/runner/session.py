"""One run of the local target: where its tasks go, what they run in, and how it ends."""

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from kfp import components, dsl
from kfp.local.status import Status
from rich.console import Console
from rich.markup import escape

from intermodal.authoring.images import image_of
from intermodal.compiler.specification import executor_of, graphs
from intermodal.runner import containers
from intermodal.runner.cache import ContentCache
from intermodal.runner.environments import disposable_environment, environment
from intermodal.runner.orchestration import orchestrate
from intermodal.runner.outputs import missing_outputs
from intermodal.runner.processes import Processes, passed_on
from intermodal.runner.progress import Progress
from intermodal.runner.runs import LOG, Run, Task, last_word
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.disk import NO_ROOM, full_disk, is_full
from intermodal.runtime.errors import ConfigurationError, IntermodalError, MachineError, TaskError
from intermodal.runtime.redaction import redact_file, redacted, remember
from intermodal.runtime.secret_values import named_variables, refuse_secrets

#: kfp.local keeps its settings in module variables: one run at a time in a process.
_ONE_RUN = threading.Lock()


class _Current(threading.local):
    """What the thread is executing."""

    name = ""
    folder = Path()
    component: Any = None
    attempts = 0
    status = 0
    reason = ""


class Session:
    """Runs one pipeline once.

    Args:
        home: Folder for runs and cache.
        specification: The pipeline.
        mounts: With Docker: folders that containers see, beside `home`, to read only. None: no Docker.
        console: Where progress is shown.
        code: Folder that holds the package `intermodal` and nothing else.
        title: The run's name, for people. Default: the pipeline's.
        identity: The run's id, unlike any other's. Default: the pipeline's name and the time.
    """

    def __init__(
        self,
        home: Path,
        specification: dict[str, Any],
        *,
        mounts: list[Path] | None,
        console: Console,
        code: Path,
        title: str = "",
        identity: str = "",
    ) -> None:
        self._home, self._specification, self._mounts, self._console, self._code = home, specification, mounts, console, code
        self._name = specification["pipelineInfo"]["name"]
        self._title = title or self._name
        identity = identity or f"{self._name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        self._run = Run(identity, home / "runs" / identity)
        self._progress = Progress(console, [name for graph in graphs(specification) for name in graph["tasks"]])
        self._processes = Processes()
        self._current = _Current()
        self._named: dict[str, str] = {}
        self._lock = threading.Lock()
        self._folders: set[Path] = set()
        self._failures: list[tuple[str, str, Path]] = []

    def run(self, arguments: dict[str, Any], *, cached: bool) -> Run:
        """Run it to its end; see `LocalTarget.run`."""
        started = time.monotonic()
        values = _checked(self._specification, arguments)
        self._specification = _without_absent(self._specification, values)
        self._named = {name: os.environ[name] for name in named_variables(arguments) if name in os.environ}
        for name, value in self._named.items():
            remember(value, f"${{{name}}}")
        self._prepare()
        self._run.directory.mkdir(parents=True)
        self._console.print(f"[bold]{escape(self._title)}[/]  [dim]{escape(str(_shown(self._run.directory)))}[/]", soft_wrap=True)
        content = str if self._mounts is None else containers.image_content
        cache = ContentCache(self._home / "cache", reading=cached, image_content=content)
        stopped: list[int] = []
        try:
            with _ONE_RUN, self._signals(stopped), self._progress:
                self._run.outputs = _plain(self._orchestrate(values, cache))
            self._run.succeeded = True
        except (RuntimeError, IntermodalError) as error:
            if not self._failures and not stopped:
                self._run.seconds = time.monotonic() - started
                self._record(str(error))
                if isinstance(error, IntermodalError):
                    raise
                raise ConfigurationError(str(error)) from error
        self._run.seconds = time.monotonic() - started
        self._run.skipped = self._skipped()
        if stopped:
            self._conclude_stopped(stopped[0])
        cache.digests.save()
        self._conclude()
        return self._run

    def _orchestrate(self, values: dict[str, Any], cache: ContentCache) -> dict[str, Any]:
        return orchestrate(
            components.load_component_from_text(yaml.safe_dump(self._specification)).pipeline_spec,
            values,
            run_id=self._run.id,
            root=str(self._home / "runs"),
            workspace=str(self._run.directory / ".workspace"),
            task_cache=cache,
            execute=self._execute,
            launch=self._launch,
            task_folder=lambda: str(self._current.folder),
            sleep=self._processes.sleep,
        )

    def _prepare(self) -> None:
        """Make the environments that the run needs, before its first task."""
        images = {each.get("container", {}).get("image", "") for each in self._specification["deploymentSpec"]["executors"].values()} - {""}
        if self._mounts is not None:
            containers.check_docker()
            return
        for image in sorted(images):
            started = time.monotonic()
            made: list[str] = []
            self._binaries(image, made.append)
            if made:
                self._console.print(f"  environment {made[0]} made in {time.monotonic() - started:.1f} s")

    def _binaries(self, image: str, made: Callable[[str], None] = lambda group: None) -> Path:
        """Return the folder of programs that a task of an image finds first."""
        if ours := image_of(image):

            def announce(group: str) -> None:
                self._console.print(f"  making the environment {group} ...")
                made(group)

            return environment(ours, announce).parent
        if re.fullmatch(r"(.*/)?python(:.*)?", image):
            return Path(sys.executable).parent
        raise MachineError(f"image {image} is not one of the project's, so what it holds is not known here; run with --docker")

    def _execute(self, original: Callable[..., tuple[dict[str, Any], Status]], **details: Any) -> tuple[dict[str, Any], Status]:
        """Execute one task: called by kfp's orchestrator, in any thread, in place of `original`."""
        if self._processes.stopping:
            return {}, Status.FAILURE
        current = self._current
        current.name, current.folder = self._place(details["task_name"], details["pipeline_resource_name"])
        current.component = details["components"][details["task_spec"].component_ref.name]
        current.attempts, current.status, current.reason = 0, 0, ""
        self._progress.started(current.name)
        started = time.monotonic()
        try:
            outputs, status = original(**details)
        except (OSError, ValueError, IntermodalError) as error:
            # kfp would skip the exit handler's task, or in a loop lose the message.
            outputs, status = {}, Status.FAILURE
            self._fail(str(error))
        state = "done" if status == Status.SUCCESS else "stopped" if self._processes.stopping else "failed"
        container = details["executors"][current.component.executor_label].WhichOneof("spec") == "container"
        if state == "done" and container and not current.attempts:
            state = "cached"
        if state == "failed" and current.name not in [name for name, _, _ in self._failures]:
            self._fail(current.reason or last_word(current.folder / LOG, current.status))
        self._finish(state, time.monotonic() - started, _plain(outputs))
        return outputs, status

    def _place(self, task: str, resource: str) -> tuple[str, Path]:
        """Return the name and the folder of a task, unlike any other's of this run."""
        inner = resource.removeprefix(self._run.id).strip("/")
        name = task + "".join(f"[{index}]" for index in re.findall(r"-iteration-(\d+)", inner)) if inner else task
        folder = wanted = self._run.directory / inner / task
        with self._lock:
            number = 1
            while folder in self._folders:
                number += 1
                folder = wanted.with_name(f"{wanted.name}-{number}")
            self._folders.add(folder)
        return (name if number == 1 else f"{name}-{number}"), folder

    def _launch(self, image: str, command: list[str], variables: dict[str, str]) -> Status:
        """Run the current task's command once; called again for a retry."""
        current = self._current
        current.attempts += 1
        current.reason = ""
        try:
            _emptied(current.folder)
            scratch = Path(tempfile.mkdtemp(prefix="intermodal-"))
            try:
                current.status = self._start(image, command, variables, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
                redact_file(current.folder / LOG)
            if not current.status:
                current.reason = missing_outputs(current.component, current.folder, command)
        except (OSError, MachineError) as error:
            current.reason = str(error)
        return Status.FAILURE if current.status or current.reason else Status.SUCCESS

    def _start(self, image: str, command: list[str], variables: dict[str, str], scratch: Path) -> int:
        folder, temporary = scratch / "work", scratch / "tmp"
        folder.mkdir()
        temporary.mkdir()
        passed = passed_on(os.environ) | self._named
        stop_command: list[str] = []
        if self._mounts is None:
            binaries = self._binaries(image)
            if any("pip install" in part for part in command):
                if image_of(image):
                    raise MachineError(
                        f"the task installs packages into image {image}, which all its tasks share here: add them to its group in pyproject.toml"
                    )
                binaries = disposable_environment(scratch / "environment")
                passed |= {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "UV_"))}
            path = os.pathsep.join([str(binaries), os.environ.get("PATH", os.defpath)])
            passed |= {"PYTHONPATH": str(self._code), "_KFP_RUNTIME": "true", "TF_CPP_MIN_LOG_LEVEL": "2", "PATH": path, "TMPDIR": str(temporary)}
            passed |= variables
        else:
            name = containers.container_name(self._run.id, self._current.name, self._current.attempts)
            command = containers.run_command(
                image, command, name=name, home=self._home, mounts=self._mounts, variables=variables, passed=sorted(passed)
            )
            stop_command = ["docker", "kill", name]
            passed |= {"PATH": os.environ.get("PATH", os.defpath)} | {key: value for key, value in os.environ.items() if key.startswith("DOCKER_")}
        log = self._current.folder / LOG
        passed["PYTHONUNBUFFERED"] = "1"
        return self._processes.run(command, variables=passed, scratch=scratch, folder=folder, log=log, stop_command=stop_command)

    def _fail(self, sentence: str) -> None:
        said = RuntimeError(sentence)
        if NO_ROOM not in sentence and (is_full(said) or shutil.disk_usage(self._home).free < 2**20):
            sentence = f"{sentence}\n{full_disk(said, self._home)} and run again; what is finished is kept"
        self._failures.append((self._current.name, redacted(sentence), self._current.folder / LOG))

    def _finish(self, state: str, seconds: float, outputs: dict[str, Any]) -> None:
        current = self._current
        folder = current.folder
        if state == "cached":
            folder = next((Path(value).parent for value in outputs.values() if isinstance(value, str) and os.path.isabs(value)), folder)  # noqa: PTH117
        self._run.tasks.append(Task(current.name, state, seconds, folder, outputs))
        log = current.folder / LOG
        self._progress.finished(current.name, state, seconds, note=f"log {_shown(log)}" if state == "failed" and log.exists() else "")

    def _skipped(self) -> list[str]:
        ran = {re.sub(r"\[.*", "", task.name) for task in self._run.tasks}
        names = [name for graph in graphs(self._specification) for name, task in graph["tasks"].items() if executor_of(self._specification, task)]
        return [name for name in dict.fromkeys(names) if name not in ran]

    def _conclude(self) -> None:
        """Print the summary; raise the first failure."""
        states = [task.state for task in self._run.tasks]
        counts = [f"{states.count(state)} {state}" for state in ("done", "cached", "failed") if state in states]
        counts += [f"{len(self._run.skipped)} skipped"] if self._run.skipped else []
        self._console.print(f"  {', '.join(counts)} in {self._run.seconds:.1f} s", soft_wrap=True)
        self._record(f"{self._failures[0][0]}: {self._failures[0][1]}" if self._failures else "")
        if self._failures:
            task, sentence, log = self._failures[0]
            raise TaskError(task, sentence, str(_shown(log)))

    def _record(self, error: str) -> None:
        """Write how the run ended: what makes it an ended one."""
        record = {
            "pipeline": self._name,
            "name": self._title,
            "seconds": self._run.seconds,
            "error": error,
            "tasks": {task.name: task.state for task in self._run.tasks},
        }
        write_json(self._run.directory / "run.json", record)

    def _conclude_stopped(self, number: int) -> None:
        what = "interrupted" if number == signal.SIGINT else "terminated"
        self._console.print(f"  [yellow]{what}[/]: every task was ended; the same command goes on from what is finished", soft_wrap=True)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    @contextmanager
    def _signals(self, stopped: list[int]) -> Iterator[None]:
        """End every task on SIGINT, SIGTERM and SIGHUP, in loops' threads too.

        The handler raises nothing: kfp's threads would go on behind an exception. Its tasks end, no other starts, and kfp comes back by itself.
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


def _checked(specification: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, artifacts given by path made artifacts."""
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
    return {key: _artifact(key, value, artifacts[key]) if key in artifacts else value for key, value in arguments.items()}


def _without_absent(specification: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return a copy in which no task reads an optional artifact that the pipeline was not given: kfp.local looks for it and fails."""
    copy = deepcopy(specification)
    absent = set(copy["root"].get("inputDefinitions", {}).get("artifacts", {})) - set(given)
    for task in copy["root"]["dag"]["tasks"].values():
        artifacts = task.get("inputs", {}).get("artifacts", {})
        for name in [name for name, each in artifacts.items() if each.get("componentInputArtifact") in absent]:
            del artifacts[name]
    return copy


def _artifact(name: str, value: Any, definition: dict[str, Any]) -> Any:
    if not isinstance(value, str | Path):
        return value
    title = definition["artifactType"].get("schemaTitle", "system.Artifact").removeprefix("system.")
    return getattr(dsl, title, dsl.Artifact)(name=name, uri=str(value))


def _emptied(folder: Path) -> None:
    """Leave nothing of an earlier attempt but its log."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != LOG:
            each.unlink()


def _plain(value: Any) -> Any:
    if isinstance(value, dsl.Artifact):
        return value.uri
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _shown(path: Path) -> Path:
    """Return a path as short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
