"""The local target: kfp's own local orchestrator, with every task in the environment of its own image.

kfp.local runs a task through a task handler, and keeps outputs in a cache. Both are replaced while a run lasts: the handler by one that knows the
environments, watches over the task's processes and keeps a log file a task; the cache by one that goes by content.
"""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import kfp.local
import yaml
from kfp import components, dsl
from kfp.local import cache as kfp_cache
from kfp.local import logging_utils, subprocess_task_handler
from kfp.local.status import Status
from rich.console import Console

import intermodal
from intermodal.artifacts import whole_directory, whole_file
from intermodal.errors import ConfigurationError, MachineError, TaskError
from intermodal.images import image_of
from intermodal.targets import launcher
from intermodal.targets.cache import ContentCache
from intermodal.targets.compilation import compile_specification
from intermodal.targets.environments import environment
from intermodal.targets.progress import Progress
from intermodal.targets.specification import apply_cache_policy

#: Variables of this process that a task may see: where things are, how to reach the network, and credentials. Nothing else passes.
_PASSED = re.compile(
    r"HOME|LANG|LC_\w+|TZ|USER|LOGNAME|\w+_proxy|\w+_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|CUDA_VISIBLE_DEVICES"
    r"|LD_LIBRARY_PATH|GOOGLE_\w+|CLOUDSDK_\w+|AWS_\w+|AZURE_\w+|KUBECONFIG|MLFLOW_\w+|STORAGE_EMULATOR_HOST"
)
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit)\b(?::\s*(?P<sentence>.+))?$")


@dataclass
class Task:
    """One task of a run.

    Attributes:
        name: The task's name.
        state: `done`, `cached` or `failed`.
        seconds: How long it took.
        folder: Its folder: `log`, and the outputs; of the earlier run for a cached one.
        outputs: Name to value; an artifact's is its path.
    """

    name: str
    state: str
    seconds: float
    folder: Path
    outputs: dict[str, Any]

    @property
    def log(self) -> Path:
        """The file that holds all the task printed."""
        return self.folder / "log"


@dataclass
class Run:
    """A finished run.

    Attributes:
        id: Names the run.
        directory: Holds a folder a task.
        tasks: In the order they ended.
    """

    id: str
    directory: Path
    tasks: list[Task] = field(default_factory=list)


class LocalTarget:
    """Runs pipelines on this machine.

    Attributes:
        home: Folder for runs, cache and staged code.
        docker: Whether tasks run in containers of their images, rather than in the images' environments.
    """

    def __init__(self, home: Path, docker: bool = False, console: Console | None = None) -> None:
        self.home = home.resolve()
        self.docker = docker
        self._console = console or Console(highlight=False)

    def stage(self, path: Path) -> str:
        """Copy a file or folder to a place named by its content, and return that place: the URI of an artifact.

        Raises:
            ConfigurationError: There is nothing at `path`.
        """
        from intermodal.targets.cache import Digests

        path = path.resolve()
        digest = Digests(self.home / "cache" / "staged").of(path)
        if digest is None:
            raise ConfigurationError(f"{path}: no such file or folder; correct the configuration")
        target = self.home / "sources" / digest[:16] / path.name
        if not target.exists():
            if path.is_dir():
                with whole_directory(target) as scratch:
                    shutil.copytree(path, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                with whole_file(target) as scratch:
                    shutil.copyfile(path, scratch)
        return str(target)

    def run(self, pipeline: Any, arguments: dict[str, Any], *, cached: bool = True) -> Run:
        """Run a pipeline or a single component to its end.

        Args:
            pipeline: A pipeline or component object, or the path of a compiled one.
            arguments: The pipeline's parameters.
            cached: Whether outputs of earlier runs on equal inputs are taken. What one run finished, killed or not, the next one finds.

        Raises:
            TaskError: A task failed; the message is the task's own last word, with the path of its log.
            MachineError: This machine lacks what a task needs.
        """
        specification = _specification(pipeline)
        apply_cache_policy(specification)
        session = _Session(self, specification, self._console)
        return session.run(arguments, cached=cached)


class _Session:
    """One run: what the replaced handler and cache report to."""

    def __init__(self, target: LocalTarget, specification: dict[str, Any], console: Console) -> None:
        self.target = target
        self.specification = specification
        self.console = console
        self.progress = Progress(console)
        self.tasks: list[Task] = []
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()
        self.code = target.home / "code" / uuid.uuid4().hex

    def run(self, arguments: dict[str, Any], *, cached: bool) -> Run:
        root = self.target.home / "runs"
        root.mkdir(parents=True, exist_ok=True)
        before = time.monotonic()
        self._prepare()
        component = components.load_component_from_text(yaml.safe_dump(self.specification))
        cache = ContentCache(self.target.home / "cache", self._on_hit)
        try:
            with _code_folder(self.code), self._signals(), self.progress, _replaced(self, cache if cached else None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kfp.local.init(kfp.local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True, enable_caching=cached)
                if self.specification["root"].get("dag"):
                    component(**arguments)
        except RuntimeError as error:
            raise TaskError(self.failures[-1] if self.failures else str(error)) from error
        finally:
            cache.digests.save()
        done = sum(task.state == "cached" for task in self.tasks)
        self.console.print(f"  {len(self.tasks)} tasks, {done} of them cached, in {time.monotonic() - before:.1f} s")
        fresh = next((task.folder.parent for task in self.tasks if task.state != "cached"), root)
        return Run(fresh.name, fresh, self.tasks)

    def _prepare(self) -> None:
        """Make the environments that the run needs, before its first task."""
        if self.target.docker:
            return
        images = {image_of(each.get("container", {}).get("image", "")) for each in self.specification["deploymentSpec"]["executors"].values()}
        for image in sorted(filter(None, images)):
            started = time.monotonic()
            made: list[str] = []
            environment(image, made.append)
            if made:
                self.progress.finished(f"environment {image}", "done", time.monotonic() - started)

    def _on_hit(self, component: str, outputs: dict[str, Any]) -> None:
        paths = [Path(value.uri) for value in outputs.values() if isinstance(value, dsl.Artifact)]
        folder = paths[0].parent if paths else self.target.home
        name = component.removeprefix("comp-")
        self._finish(Task(name, "cached", 0.0, folder, _plain(outputs)))

    def _finish(self, task: Task, note: str = "") -> None:
        with self.lock:
            self.tasks.append(task)
        self.progress.finished(task.name, task.state, task.seconds, note)

    def execute(self, image: str, command: list[str], variables: dict[str, str]) -> Status:
        """Run one task's command; called by kfp's orchestrator through the handler, in any thread."""
        executor_input = _executor_input(command)
        folder = Path(executor_input["outputs"]["outputFile"]).parent
        name = folder.name
        _emptied(folder)
        started = time.monotonic()
        self.progress.started(name)
        try:
            status = self._launch(folder, self._command(image, command, folder), self._variables(image, variables))
        except MachineError as error:
            (folder / "log").write_text(f"{type(error).__name__}: {error}\n")
            status = 1
        seconds = time.monotonic() - started
        if status == 0:
            self._finish(Task(name, "done", seconds, folder, _outputs(executor_input)))
            return Status.SUCCESS
        sentence = _sentence(folder / "log", status)
        self.failures.append(f"{name}: {sentence}\nIts log: {folder / 'log'}")
        self._finish(Task(name, "failed", seconds, folder, {}))
        return Status.FAILURE

    def _command(self, image: str, command: list[str], folder: Path) -> list[str]:
        if not self.target.docker:
            return command
        if shutil.which("docker") is None:
            raise MachineError("docker is not on PATH: install it, or run without --docker")
        home = str(self.target.home)
        user = f"{os.getuid()}:{os.getgid()}"
        mounts = ["--volume", f"{home}:{home}", "--user", user, "--network", "host", "--workdir", "/tmp", "--env", "HOME=/tmp"]  # noqa: S108
        return ["docker", "run", "--rm", "--init", "--name", f"intermodal-{folder.parent.name}-{folder.name}"[:120], *mounts, image, *command]

    def _variables(self, image: str, variables: dict[str, str]) -> dict[str, str]:
        passed = {key: value for key, value in os.environ.items() if _PASSED.fullmatch(key)}
        path = os.environ.get("PATH", os.defpath)
        if not self.target.docker:
            path = os.pathsep.join([str(self._binaries(image)), path])
            passed |= {"PYTHONPATH": str(self.code), "_KFP_RUNTIME": "true", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
        return passed | {"PATH": path, "PYTHONUNBUFFERED": "1"} | variables

    def _binaries(self, image: str) -> Path:
        ours = image_of(image)
        if ours:
            return environment(ours).parent
        if re.match(r"(.*/)?python:", image) or not image:
            return Path(sys.executable).parent
        raise MachineError(
            f"image {image} is not one of ours, so its packages are not known here: run with --docker, or base the component on python:3.11"
        )

    def _launch(self, folder: Path, command: list[str], variables: dict[str, str]) -> int:
        with tempfile.TemporaryDirectory(prefix="intermodal-") as scratch, (folder / "log").open("ab") as log:
            with self.lock:
                if self.stopping.is_set():
                    return 128 + signal.SIGTERM
                process = subprocess.Popen(
                    [sys.executable, "-IS", launcher.__file__, "[]", scratch, *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=scratch,
                    env=variables | {"TMPDIR": scratch},
                    start_new_session=True,
                )
                self.running.add(process)
            try:
                return process.wait()
            finally:
                with self.lock:
                    self.running.discard(process)
                if process.stdin:
                    process.stdin.close()
                process.wait()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """End every task on SIGINT and SIGTERM, in loops' threads too, before the run unwinds."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopping.set()
            for process in list(self.running):
                process.terminate()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _replaced(session: _Session, cache: ContentCache | None) -> Iterator[None]:
    """Put our task handler and cache in kfp's place, and silence its log, while a run lasts."""

    class Handler:
        def __init__(self, image: str, full_command: list[str], env_vars: dict[str, str] | None = None, **_: Any) -> None:
            self.run: Callable[[], Status] = lambda: session.execute(image, full_command, env_vars or {})

    handler, keeper, ruler = subprocess_task_handler.SubprocessTaskHandler, kfp_cache.get_local_cache, logging_utils.print_horizontal_line
    subprocess_task_handler.SubprocessTaskHandler = Handler
    logging_utils.print_horizontal_line = lambda: None
    kfp_cache.get_local_cache = lambda: cache
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        subprocess_task_handler.SubprocessTaskHandler, kfp_cache.get_local_cache, logging_utils.print_horizontal_line = handler, keeper, ruler


@contextmanager
def _code_folder(folder: Path) -> Iterator[None]:
    """Make a folder that holds our package alone, so that an image's environment sees nothing else of this one."""
    folder.mkdir(parents=True)
    (folder / "intermodal").symlink_to(Path(intermodal.__file__).resolve().parent)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _specification(pipeline: Any) -> dict[str, Any]:
    if isinstance(pipeline, str | Path):
        loaded: dict[str, Any] = yaml.safe_load(Path(pipeline).read_text(encoding="utf-8"))
        return loaded
    return compile_specification(pipeline)


def _executor_input(command: list[str]) -> dict[str, Any]:
    for text in command:
        if text.startswith("{") and '"outputFile"' in text:
            found: dict[str, Any] = json.loads(text)
            return found
    raise ConfigurationError(f"the task's command has no executor input: {command[:3]}")


def _outputs(executor_input: dict[str, Any]) -> dict[str, Any]:
    outputs = executor_input["outputs"]
    written = Path(outputs["outputFile"])
    told = json.loads(written.read_text()) if written.exists() else {}
    values = {name: artifacts["artifacts"][0]["uri"] for name, artifacts in outputs.get("artifacts", {}).items()}
    return values | told.get("parameterValues", {})


def _plain(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.uri if isinstance(value, dsl.Artifact) else value for name, value in outputs.items()}


def _emptied(folder: Path) -> None:
    """Leave nothing of an earlier attempt but its log."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != "log":
            each.unlink()


def _sentence(log: Path, status: int) -> str:
    """Return the last error that a task's log names: what a person needs to read."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for number in range(len(lines) - 1, -1, -1):
        if found := _ERROR.match(lines[number]):
            return "\n".join([found["sentence"] or lines[number], *lines[number + 1 :]]).strip()[:4000]
    if status > 128:
        return f"ended by signal {signal.Signals(status - 128).name}"
    return lines[-1] if lines else f"ended with status {status}"
