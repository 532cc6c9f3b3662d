"""Runs: what a pipeline's tasks are called, what became of them, and the sentence in which a failed one said why."""

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
        """The file that holds all the task printed."""
        return self.folder / LOG


#: The log's name: the names of outputs, its neighbours, have no dot.
LOG = "log.txt"


@dataclass
class Run:
    """A finished run.

    Attributes:
        id: Names the run.
        directory: Holds a folder a task.
        tasks: In the order they ended.
        skipped: Names of tasks that did not run, by a condition or after a failure.
        outputs: The pipeline's own outputs, as a task's.
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
    """Return a name for each task that a container or an importer runs, by the way that leads to it.

    The task's own; of the tasks of a sub-pipeline that is used twice, the second's has `-2` at its end.
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
    """Return a path as short as it can be said from here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def why_it_failed(log: Path, status: int) -> str:
    """Return the last error that a task's log names: what a person needs to read.

    Args:
        log: Its log.
        status: Its exit status; 128 and more: the signal that killed it.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    if status in (128 + signal.SIGKILL, 128 + signal.SIGSEGV, 128 + signal.SIGBUS, 128 + signal.SIGABRT):
        hint = "; the machine may have run out of memory" if status == 128 + signal.SIGKILL else ""
        return f"killed by {signal.Signals(status - 128).name}{hint}"
    return last_error(lines) or f"ended with status {status} and said nothing"


def last_error(lines: list[str]) -> str:
    """Return the last error that the lines of a log name, else the last line; empty when that is."""
    for number in range(len(lines) - 1, -1, -1):
        if found := _ERROR.match(lines[number]):
            ours = lines[number].startswith("intermodal.runtime.errors.")
            sentence = found["sentence"] if ours and found["sentence"] else lines[number]
            return "\n".join([sentence, *(lines[number + 1 :] if ours else [])]).strip()[:4000]
    return lines[-1].strip() if lines else ""
