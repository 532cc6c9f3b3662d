"""How a task's command runs on this machine: in the environment of its image, or in a container of it."""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from intermodal.authoring.images import image_of
from intermodal.execution import containers
from intermodal.execution.checkout import source_commit
from intermodal.execution.environments import disposable_environment, environment, environment_digest
from intermodal.execution.processes import Processes, passed_on
from intermodal.runner.runs import LOG
from intermodal.runtime.errors import MachineError
from intermodal.runtime.provenance import COMMIT_VARIABLE, IMAGE_VARIABLE
from intermodal.training import CHECKPOINTS_VARIABLE


class Commands:
    """Runs the commands of one run's tasks; everything that this package starts is started here.

    Args:
        processes: Starts them, and ends them with the run.
        home: Folder for runs, cache and stores.
        code: Folder with the package `intermodal` and nothing else.
        mounts: With Docker: folders, besides `home`, that containers can read. None: no Docker.
        named: Environment variables that arguments name, with their values.
    """

    def __init__(self, processes: Processes, *, home: Path, code: Path, mounts: list[Path] | None, named: dict[str, str]) -> None:
        self._processes, self._home, self._code, self._mounts, self._named = processes, home, code, mounts, named

    def prepare(self, images: set[str], say: Callable[[str], None]) -> None:
        """Make the environments of images, before the first task.

        Raises:
            MachineError: One cannot be made, an image is unknown here, or Docker does not answer.
        """
        if self._mounts is not None:
            containers.check_docker()
            return
        for image in sorted(images):
            started = time.monotonic()
            made: list[str] = []

            def announce(group: str, made: list[str] = made) -> None:
                say(f"  making the environment {group} ...")
                made.append(group)

            self._programs(image, announce)
            if made:
                say(f"  environment {made[0]} made in {time.monotonic() - started:.1f} s")

    def expect(self, image: str, command: list[str], variables: dict[str, str], *, next_one: bool = False, whole: bool = True) -> None:
        """Import ahead what a task will import, in the prestarted process of its image; returns at once.

        Args:
            image: The task's image.
            command: Program and arguments; the arguments do not count.
            variables: What the component sets in its environment: a task with such variables gets a process of its own.
            next_one: Whether it goes before earlier requests.
            whole: Whether to import also what its functions import.
        """
        if self._mounts is None and not variables and not _installs(command):
            programs = self._programs(image)
            self._processes.prepare(command, python=programs / "python3", variables=self._variables(programs), next_one=next_one, whole=whole)

    def run(
        self,
        image: str,
        command: list[str],
        variables: dict[str, str],
        *,
        folder: Path,
        checkpoints: Path,
        attempt: tuple[str, str, int],
        whole: bool = True,
    ) -> int:
        """Run a task's command once; its output is appended to the log in the task's folder.

        Args:
            image: The task's image.
            command: Program and arguments.
            variables: What the component sets in its environment.
            folder: The task's folder.
            checkpoints: A folder below `home` that outlives the attempt, for what a later one goes on from; it need not exist.
            attempt: The run's id, the task's name and the attempt's number.
            whole: See `expect`.

        Returns:
            The exit status; 128 plus the signal for a killed process.

        Raises:
            MachineError: This machine lacks what the task needs.
        """
        scratch = Path(tempfile.mkdtemp(prefix="intermodal-"))
        try:
            work, temporary = scratch / "work", scratch / "tmp"
            work.mkdir()
            temporary.mkdir()
            stop_command: list[str] = []
            python: Path | None = None
            place = {CHECKPOINTS_VARIABLE: str(checkpoints)} | self._provenance(image)
            if self._mounts is None:
                programs = self._programs(image)
                installer: dict[str, str] = {}
                if _installs(command):
                    programs, installer = self._disposable(image, scratch), _environment_of("PIP_", "UV_")
                elif not variables:
                    python = programs / "python3"
                passed = self._named | installer | self._variables(programs) | {"TMPDIR": str(temporary)} | place | variables
            else:
                container = containers.container_name(*attempt)
                stop_command = ["docker", "kill", container]
                passed = passed_on(os.environ) | self._named
                command = containers.run_command(
                    image, command, name=container, home=self._home, mounts=self._mounts, variables=place | variables, passed=sorted(passed)
                )
                passed |= {"PATH": os.environ.get("PATH", os.defpath)} | _environment_of("DOCKER_")
            return self._processes.run(
                command, variables=passed, scratch=scratch, folder=work, log=folder / LOG, stop_command=stop_command, python=python, whole=whole
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _variables(self, programs: Path) -> dict[str, str]:
        """Return the environment variables of every task of an image, without secrets and those that differ from task to task."""
        path = os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])
        ours = {"PYTHONPATH": str(self._code), "_KFP_RUNTIME": "true", "TF_CPP_MIN_LOG_LEVEL": "2", "PATH": path, "PYTHONUNBUFFERED": "1"}
        return passed_on(os.environ) | ours

    def _provenance(self, image: str) -> dict[str, str]:
        """Return the variables that say what code a task runs. With Docker the image has the commit from its build."""
        if self._mounts is not None:
            content = containers.image_content(image)
            return {IMAGE_VARIABLE: f"{image} with the id {content}"} if content != image else {}  # not there yet: Docker is about to pull it
        ran_in = f"none: environment {group} {environment_digest(group)}" if (group := image_of(image)) else "none: the runner's own environment"
        return {COMMIT_VARIABLE: self._commit, IMAGE_VARIABLE: ran_in}

    @cached_property
    def _commit(self) -> str:
        return source_commit()

    def _disposable(self, image: str, scratch: Path) -> Path:
        """Return the programs of an environment for a task that installs packages."""
        if image_of(image):
            raise MachineError(
                f"the task installs packages into image {image}, which all its tasks share here: add them to its group in pyproject.toml"
            )
        return disposable_environment(scratch / "environment")

    def _programs(self, image: str, announce: Callable[[str], None] = lambda group: None) -> Path:
        """Return the folder of programs that a task of an image finds first."""
        if ours := image_of(image):
            return environment(ours, announce).parent
        if re.fullmatch(r"(.*/)?python(:.*)?", image):
            return Path(sys.executable).parent
        raise MachineError(f"image {image} is not one of the project's, so its packages are not known here; run with --docker")


def _environment_of(*prefixes: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith(prefixes)}


def _installs(command: list[str]) -> bool:
    return any("pip install" in part for part in command)
