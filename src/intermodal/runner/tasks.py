"""Runs the tasks of one run: each is taken from the cache, imported, or run, with its retries."""

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from intermodal.execution.processes import Processes
from intermodal.runner.cache import Cache
from intermodal.runner.commands import Commands
from intermodal.runner.engine import Instance
from intermodal.runner.inputs import Values, executor_input
from intermodal.runner.outputs import read_outputs
from intermodal.runner.placeholders import command_line, imported, replaced, resolved
from intermodal.runner.progress import Progress
from intermodal.runner.records import TASK, record_task
from intermodal.runner.runs import LOG, Run, Task, path_shown, why_it_failed
from intermodal.runtime.disk import NO_ROOM, full_disk, is_full
from intermodal.runtime.errors import IntermodalError, TaskError
from intermodal.runtime.provenance import IMAGE_VARIABLE
from intermodal.runtime.redaction import redact_file, redacted

_LONGEST_BACKOFF = "3600s"
_CHECKPOINTS_KEPT_SECONDS = 7 * 24 * 3600


class Tasks:
    """Runs tasks and records them in their run; several threads may call it at the same time.

    Args:
        run: Gets a record of each.
        cache: Keeps the finished ones.
        commands: Runs their commands.
        processes: Says whether the run is being stopped.
        progress: Shows them.
        placeholders: Values of the run's placeholders.
        started: Called with the task's definition when its command is about to run, not for a cached one; returns whether everything that it may
            need is imported before its process is forked.
    """

    def __init__(
        self,
        run: Run,
        cache: Cache,
        commands: Commands,
        processes: Processes,
        progress: Progress,
        placeholders: Mapping[str, str],
        started: Callable[[dict[str, Any]], bool],
    ) -> None:
        self._run, self._cache, self._commands, self._processes = run, cache, commands, processes
        self._progress, self._placeholders, self._started = progress, placeholders, started
        self._lock = threading.Lock()

    def execute(self, instance: Instance) -> Values:
        """Run one task to its end and return its outputs.

        Raises:
            TaskError: It failed.
        """
        own = self._run.directory / instance.place
        started = time.monotonic()
        self._progress.started(instance.name, own / LOG)
        try:
            outputs, state, folder = self._outputs(instance, own)
        except (OSError, ValueError, IntermodalError) as error:
            state = "stopped" if self._processes.stopping else "failed"
            self._finish(instance.name, state, started, own, Values())
            sentence, status = (error.sentence, error.status) if isinstance(error, TaskError) else (str(error), 1)
            raise TaskError(instance.name, self._sentence(sentence), str(path_shown(own / LOG)), status) from error
        self._finish(instance.name, state, started, folder, outputs)
        return outputs

    def _outputs(self, instance: Instance, folder: Path) -> tuple[Values, str, Path]:
        """Return the task's outputs, whether they were `done` or `cached`, and the folder of the task that made them."""
        own = {"pipeline_task_name": instance.name.partition("[")[0], "pipeline_task_uuid": str(uuid.uuid4())}
        placeholders = {**self._placeholders, **own}
        if "importer" in instance.executor:
            return Values(artifacts={"artifact": imported(instance.executor["importer"], instance.inputs, placeholders)}), "done", folder
        container, options = instance.executor["container"], instance.task.get("cachingOptions", {})
        words = [*container.get("command", []), *container.get("args", [])]
        # The image that the file was compiled for: here it runs in another, or in none, which the command's variables say.
        variables = {each["name"]: each.get("value", "") for each in container.get("env", []) if each["name"] != IMAGE_VARIABLE}
        component = instance.task["componentRef"]["name"]
        inputs = Values(resolved(instance.inputs.parameters, placeholders), instance.inputs.artifacts)
        given = executor_input(instance.component, inputs, str(folder))
        record_task(folder, instance.name, component, given)
        key = ""
        # An exit task reacts to the end of this run, with a message for instance. On Kubeflow its input differs in each run, so it is never cached.
        at_exit = any("taskFinalStatus" in source for source in instance.task.get("inputs", {}).get("parameters", {}).values())
        if options.get("enableCache") and not at_exit:
            key = self._cache.key(component, container["image"], words, instance.inputs, variables, options.get("cacheKey", ""))
            if found := self._cache.get(key):
                return found[0], "cached", found[1]
        command = command_line(words, given, placeholders)
        variables = {name: replaced(value, given, placeholders) for name, value in variables.items()}
        # The same task of a later run goes on from what this one leaves when it is killed.
        checkpoints = self._run.directory.parent.parent / "checkpoints" / (key or f"{self._run.id}.{instance.place.replace('/', '.')}")
        outputs = self._attempts(instance, folder, given, command, variables, checkpoints)
        _forget(checkpoints)
        if key:
            self._cache.put(key, outputs, folder)
        return outputs, "done", folder

    def _attempts(
        self, instance: Instance, folder: Path, given: dict[str, Any], command: list[str], variables: dict[str, str], checkpoints: Path
    ) -> Values:
        policy = instance.task.get("retryPolicy", {})
        retries, factor = int(policy.get("maxRetryCount", 0)), float(policy.get("backoffFactor") or 2.0)
        first, longest = _seconds(policy.get("backoffDuration", "0s")), _seconds(policy.get("backoffMaxDuration", _LONGEST_BACKOFF))
        whole = self._started(instance.task)
        for number in count(1):
            try:
                _empty(folder)
                try:
                    attempt = (self._run.id, instance.name, number)
                    image = instance.executor["container"]["image"]
                    status = self._commands.run(image, command, variables, folder=folder, checkpoints=checkpoints, attempt=attempt, whole=whole)
                finally:
                    redact_file(folder / LOG)
                if status:
                    raise TaskError(instance.name, why_it_failed(folder / LOG, status), str(folder / LOG), status)
                return read_outputs(instance.component, folder, command)
            except (OSError, IntermodalError):
                if number > retries or self._processes.stopping:
                    raise
            self._processes.sleep(min(first * factor ** (number - 1), longest))
        raise AssertionError

    def _sentence(self, sentence: str) -> str:
        home = self._run.directory.parent.parent
        said = RuntimeError(sentence)
        if NO_ROOM not in sentence and (is_full(said) or shutil.disk_usage(home).free < 2**20):
            sentence = f"{sentence}\n{full_disk(said, home)} and run again; finished tasks are kept"
        return redacted(sentence)

    def _finish(self, name: str, state: str, started: float, folder: Path, outputs: Values) -> None:
        seconds = time.monotonic() - started
        with self._lock:
            self._run.tasks.append(Task(name, state, seconds, folder, outputs.plain()))
        log = folder / LOG
        self._progress.finished(name, state, seconds, note=f"log {path_shown(log)}" if state == "failed" and log.exists() else "")


def _empty(folder: Path) -> None:
    """Remove everything of an earlier attempt, except its log and the task's record."""
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name not in (LOG, TASK):
            each.unlink()


def _forget(checkpoints: Path) -> None:
    """Remove the checkpoints of a finished task, and old ones of tasks that were never run again."""
    for each in checkpoints.glob("*"):
        each.unlink(missing_ok=True)  # the folder stays: the same task of another run may be writing there
    for other in checkpoints.parent.glob("*"):
        if time.time() - other.stat().st_mtime > _CHECKPOINTS_KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)


def _seconds(duration: str) -> float:
    """Return a duration as compiled files have it, `10s`, in seconds."""
    return float(duration.rstrip("s"))
