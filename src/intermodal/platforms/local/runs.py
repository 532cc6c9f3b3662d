"""The runs of this machine, as `status`, `logs` and `list` show them; what this machine does not do is said."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from intermodal.compiler.specification import graphs
from intermodal.platforms.interface import RemoteRun, RemoteSchedule, RemoteTask, State, TaskInputs, refuse_retry, task_inputs
from intermodal.runner.records import is_running, read_request, recorded_tasks
from intermodal.runner.runs import LOG
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError, PlatformError, nearest

_STATES: dict[str, State] = {"done": "succeeded", "cached": "cached", "failed": "failed", "stopped": "cancelled"}


class LocalRuns:
    """Runs in the folder of the local target. See `interface.RemoteTarget`; runs are started by `LocalTarget.run`, and end with it.

    Args:
        home: Folder for runs, cache, stores and deployments.
        console: Where a run that is retried shows its progress. Default: standard output.
    """

    name = "local"

    def __init__(self, home: Path, console: Console | None = None) -> None:
        self._home = home
        self._runs = home.resolve() / "runs"
        self._console = console

    def run(self, run_id: str) -> RemoteRun:
        """Return a run with its tasks."""
        return self._read(self._folder(run_id))

    def runs(self, limit: int = 20) -> list[RemoteRun]:
        """Return the newest runs first, without tasks."""
        folders = sorted((each for each in self._runs.glob("*") if each.is_dir()), key=lambda each: each.stat().st_mtime, reverse=True)
        return [self._read(each) for each in folders[:limit]]

    def logs(self, run_id: str, task: str | None = None) -> Iterator[tuple[str, str]]:
        """Yield (task, line) of what this run's own tasks printed; a cached task's log is in the run that made it."""
        logs = {path.parent.relative_to(self._folder(run_id)).as_posix(): path for path in sorted(self._folder(run_id).rglob(LOG))}
        if task and task not in logs:
            raise PlatformError(f"{run_id}: there is no log of a task {task!r}; {nearest(task, logs)}")
        for name, path in logs.items():
            if task in (None, name):
                yield from ((name, line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())

    def cancel(self, run_id: str) -> RemoteRun:
        """Not here: Ctrl-C ends a run on this machine."""
        raise ConfigurationError(f"--target local: {run_id} belongs to the command that started it; press Ctrl-C there")

    def retry(self, run_id: str) -> RemoteRun:
        """Run the same specification with the same arguments again, to its end; the cache answers what was finished."""
        folder = self._folder(run_id)
        refuse_retry(self._read(folder), self.name)
        request = read_request(folder)
        match = re.fullmatch(r"(.+)-retry-(\d+)", run_id)
        next_id = f"{match[1]}-retry-{int(match[2]) + 1}" if match else f"{run_id}-retry-1"
        if (self._runs / next_id).exists():
            later = self._read(self._runs / next_id)
            remedy = f"; `intermodal retry {next_id} --target local` retries that" if later.state in ("failed", "cancelled") else ""
            raise PlatformError(f"the run {run_id} was retried already, by {next_id} ({later.state}){remedy}")
        from intermodal.runner.local import LocalTarget  # heavy, and of no use to those who look

        target = LocalTarget(self._home, docker=request["docker"], console=self._console)
        target.run(request["specification"], request["arguments"], name=request["name"], identity=next_id)
        return self.run(next_id)

    def inputs(self, run_id: str, task: str) -> TaskInputs:
        """Return what a task was given, from the record in its folder."""
        folder = self._folder(run_id)
        specification, tasks = read_request(folder)["specification"], recorded_tasks(folder)
        if task not in tasks:
            declared = {name for graph in graphs(specification) for name in graph["tasks"]}
            why = "it did not start" if task in declared else nearest(task, tasks)
            raise PlatformError(f"{run_id}: there is no record of a task {task!r}; {why}")
        return task_inputs(task, specification, tasks[task]["component"], tasks[task]["executor_input"])

    def schedules(self) -> list[RemoteSchedule]:
        """Return none: this machine keeps no schedules."""
        return []

    def pause_schedule(self, name: str) -> RemoteSchedule:
        """Not here."""
        raise ConfigurationError(f"--target local: this machine keeps no schedules ({name!r}); have its cron run `intermodal run`")

    resume_schedule = delete_schedule = pause_schedule

    def _folder(self, run_id: str) -> Path:
        folder = self._runs / run_id
        if "/" in run_id or run_id in ("", ".", "..") or not folder.is_dir():
            raise PlatformError(f"{self._runs}: there is no run {run_id!r}; {nearest(run_id, [each.name for each in self._runs.glob('*')])}")
        return folder

    def _read(self, folder: Path) -> RemoteRun:
        record = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
        tasks = tuple(RemoteTask(name, _STATES.get(state, "unknown")) for name, state in record.get("tasks", {}).items())
        if not record and is_running(folder):
            return RemoteRun(folder.name, "", "", "running", folder.as_uri())
        if not record:
            return RemoteRun(folder.name, "", "", "cancelled", folder.as_uri(), error="the process that ran it was killed")
        state: State = "failed" if record["error"] else "succeeded"
        ended = datetime.fromtimestamp((folder / "run.json").stat().st_mtime, UTC)
        created = ended - timedelta(seconds=record["seconds"])
        return RemoteRun(
            folder.name, str(record.get("name", record["pipeline"])), "", state, folder.as_uri(), created, ended, str(record["error"]), tasks
        )
