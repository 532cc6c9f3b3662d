"""The local target: runs pipelines on this machine, each task in the environment or container of its image."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

import intermodal
from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import Specification, apply_cache_policy
from intermodal.runner.runs import Run, Task
from intermodal.runner.session import Session
from intermodal.runtime.errors import ConfigurationError
from intermodal.storage.staging import stage_here

__all__ = ["LocalTarget", "Run", "Task"]


class LocalTarget:
    """Runs pipelines on this machine.

    Args:
        home: Folder for runs, cache and staged code.
        docker: Whether tasks run in containers of their images, rather than in the images' environments.
        project: With Docker: the folder, besides `home`, whose files tasks may read. Default: the working directory.
        console: Where progress is shown. Default: standard output.
        parallelism: Most tasks of a run that run at the same time. Default: the number of cores.

    Raises:
        ConfigurationError: `parallelism` is less than 1.
    """

    def __init__(
        self, home: Path, docker: bool = False, project: Path | None = None, console: Console | None = None, parallelism: int | None = None
    ) -> None:
        self._parallelism = len(os.sched_getaffinity(0)) if parallelism is None else parallelism
        if self._parallelism < 1:
            raise ConfigurationError(f"parallelism is {parallelism}: at least one task must run at a time")
        self.home = home.resolve()
        self.docker = docker
        self._project = (project or Path.cwd()).resolve()
        self._console = console or Console(highlight=False)

    def stage(self, path: Path) -> str:
        """Copy a file or folder to a path named after its content, and return that path: the URI of an artifact.

        Raises:
            ConfigurationError: There is nothing at `path`.
            DataError: A link leads to one of its own parent folders, or files keep changing while they are copied.
        """
        return str(stage_here(path, self.home / "staged"))

    def run(self, pipeline: Any, arguments: dict[str, Any], *, cached: bool = True, name: str = "", identity: str = "") -> Run:
        """Run a pipeline or a single component to its end.

        Args:
            pipeline: A pipeline or component object, the path of a compiled one, or its specification.
            arguments: The pipeline's parameters, and input artifacts by their path.
            cached: Whether tasks reuse outputs of earlier tasks with equal inputs, also those of a run that was killed.
            name: The run's display name. Default: the pipeline's.
            identity: The run's id, which must be unique (see `platforms.local.keys`). Default: the pipeline's name and the time.

        Raises:
            TaskError: A task failed; the message has the last error in its log, and the log's path.
            MachineError: This machine lacks what a task needs.
            ConfigurationError: The arguments are not what the pipeline takes.
            KeyboardInterrupt: The run was interrupted, and all its tasks have ended. For SIGTERM and SIGHUP: `SystemExit`.
        """
        specification = _specification(pipeline)
        apply_cache_policy(specification)
        mounts = [self._project] if self.docker else None
        session = Session(
            self.home,
            specification,
            mounts=mounts,
            console=self._console,
            code=self._code_folder(),
            parallelism=self._parallelism,
            title=name,
            identity=identity,
        )
        return session.run(arguments, cached=cached)

    def _code_folder(self) -> Path:
        """Return a folder with our package only, so that an image's environment sees no other package of this one.

        It is not removed: a server that a task started may import from it later.
        """
        package = Path(intermodal.__file__).resolve().parent
        folder = self.home / "code" / hashlib.sha256(os.fsencode(package)).hexdigest()[:12]
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (folder / "intermodal").symlink_to(package)
        return folder


def read_specification(path: Path) -> Specification:
    """Return the specification in a compiled file; a second document, the options of a cluster, is ignored.

    Raises:
        ConfigurationError: It is no compiled pipeline, or one that every platform would refuse.
    """
    from intermodal.linting.admission import read_pipeline, refuse_errors  # slow to import, and not needed for a pipeline in memory

    documents = read_pipeline(path)
    refuse_errors(documents[:2], None, str(path))
    specification: Specification = documents[0].get("pipelineSpec", documents[0])
    return specification


def _specification(pipeline: Any) -> Specification:
    if isinstance(pipeline, dict):
        return pipeline
    return read_specification(Path(pipeline)) if isinstance(pipeline, str | Path) else compile_specification(pipeline)
