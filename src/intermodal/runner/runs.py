"""The result of a run: the names and states of its tasks, and the error of a failed one."""

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intermodal.compiler.specification import Specification

_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|Warning)\b(?::\s*(?P<sentence>.+))?$")


@dataclass
class Task:
    """One task of a run.

    Attributes:
        name: The task's name; inside a loop with the iteration, `score[0]`.
        state: `done`, `cached`, `failed` or `stopped`.
        seconds: How long it took.
        folder: Its folder: the log, and the outputs; of the earlier run for a cached one.
        outputs: Name to value; an artifact's is its path.
    """

    name: str
    state: str
    seconds: float
    folder: Path
    outputs: dict[str, Any]

    @property
    def log(self) -> Path:
        """The file with everything the task printed."""
        return self.folder / LOG


#: The log's name: outputs, in the same folder, have no dot in their names.
LOG = "log.txt"


@dataclass
class Run:
    """A finished run.

    Attributes:
        id: The run's id.
        directory: Its folder, with a folder for each task.
        tasks: In the order they ended.
        skipped: Names of tasks that did not run, because of a condition or after a failure.
        outputs: The pipeline's own outputs, in the form of a task's.
        seconds: How long it took.
        succeeded: Whether every task that ran succeeded.
    """

    id: str
    directory: Path
    tasks: list[Task] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    succeeded: bool = False


def task_names(specification: Specification) -> dict[tuple[str, ...], str]:
    """Return a name for each task that a container or an importer runs, by its path.

    It is the task's own name, with `-2` at its end in the second use of a sub-pipeline.
    """
    names: dict[tuple[str, ...], str] = {}
    used: set[str] = set()

    def visit(dag: dict[str, Any], path: tuple[str, ...]) -> None:
        inner: list[tuple[dict[str, Any], tuple[str, ...]]] = []
        for task, entry in dag["tasks"].items():
            component = specification["components"][entry["componentRef"]["name"]]
            if "dag" in component:
                inner.append((component["dag"], (*path, task)))
                continue
            name = next(each for each in _numbered(task) if each not in used)
            used.add(name)
            names[(*path, task)] = name
        for each in inner:
            visit(*each)

    visit(specification["root"]["dag"], ())
    return names


def _numbered(name: str) -> Iterable[str]:
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}-{number}"


def path_shown(path: Path) -> Path:
    """Return a path relative to the working directory, if it is below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def why_it_failed(log: Path, status: int) -> str:
    """Return why a task failed: the last error in its log, or the signal that killed it.

    Args:
        log: Its log.
        status: Its exit status; 128 plus the signal for a killed process.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    if status in (128 + signal.SIGKILL, 128 + signal.SIGSEGV, 128 + signal.SIGBUS, 128 + signal.SIGABRT):
        hint = "; the machine may have run out of memory" if status == 128 + signal.SIGKILL else ""
        return f"killed by {signal.Signals(status - 128).name}{hint}"
    return last_error(lines) or f"ended with status {status} and printed nothing"


def last_error(lines: list[str]) -> str:
    """Return the last error in the lines of a log, or the last line where there is none; may be empty."""
    for number in range(len(lines) - 1, -1, -1):
        if found := _ERROR.match(lines[number]):
            ours = lines[number].startswith("intermodal.runtime.errors.")
            sentence = found["sentence"] if ours and found["sentence"] else lines[number]
            return "\n".join([sentence, *(lines[number + 1 :] if ours else [])]).strip()[:4000]
    return lines[-1].strip() if lines else ""
