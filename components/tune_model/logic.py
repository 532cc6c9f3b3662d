"""Search hyperparameters: trials in processes of their own, judged by Optuna, kept in a study that a kill does not lose."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from intermodal.components.tune_model.arguments import METRICS, check_arguments, searched_space
from intermodal.components.tune_model.importance import importance_of
from intermodal.components.tune_model.search import Search, best_of, commonest_reason, open_search
from intermodal.components.tune_model.trial import BAD_DATA, DONE, EPOCH, run_trial, train_once
from intermodal.components.tune_model.trial import PRUNED as WAS_PRUNED
from intermodal.drawing.page import page
from intermodal.drawing.search import search_figures
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.datasets.listing import examples_hash
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.redaction import redacted
from intermodal.runtime.tree import tree_hash
from intermodal.training.checkpoints.resuming import lasting_folder
from intermodal.training.model.hyperparameters import NAMED, TUNED, check_hyperparameters
from intermodal.tuning.roles import FAILED, FINISHED, PRUNED, Ended, Plan, Tried, asked
from intermodal.tuning.values import decode

_LAST_LINES: Final = 20


def tune_model(
    *,
    examples_path: str,
    label: str,
    space: dict[str, Any],
    schema_path: str | None,
    statistics_path: str | None,
    code_path: str | None,
    model_function: str,
    hidden_units: list[int],
    dropout: float,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    hyperparameters: dict[str, Any],
    seed: int,
    steps_per_execution: int,
    precision: str,
    jit_compile: bool,
    metric: str,
    trials: int,
    parallel: int,
    early_stopping: str,
    timeout: float,
    study: str,
    best_path: str,
    history_path: str,
    metrics_path: str,
    plots_path: str,
) -> dict[str, float]:
    """Search, and write the best trial's parameters, all trials and a page of plots. See the component's contract.

    Where its trials run elsewhere it does one part of that (`tuning.roles`).

    Returns:
        `best_value`, `trials_finished`, `trials_pruned`, `trials_failed` and `seconds`; nothing where it is asked for a plan or a trial.

    Raises:
        ConfigurationError: An argument cannot be used, the study is of another search, or all trials failed.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
        MachineError: The study's folder cannot be written to, or another process searches there.
    """
    check_arguments(
        label=label,
        space=space,
        metric=metric,
        trials=trials,
        parallel=parallel,
        early_stopping=early_stopping,
        timeout=timeout,
        study=study,
        steps_per_execution=steps_per_execution,
        precision=precision,
        model_function=model_function,
        hyperparameters=hyperparameters,
    )
    space = dict(searched_space(space, model_function))
    fixed = {
        "hidden_units": hidden_units,
        "dropout": dropout,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
    }
    check_hyperparameters(fixed)
    training = {
        "examples_path": examples_path,
        "label": label,
        "schema_path": schema_path,
        "statistics_path": statistics_path,
        "code_path": code_path,
        "model_function": model_function,
        **fixed,
        "hyperparameters": hyperparameters,
        "seed": seed,
        "steps_per_execution": steps_per_execution,
        "precision": precision,
        "jit_compile": jit_compile,
    }
    started, role = time.monotonic(), asked()
    if role and role.part == "plan":
        others = [each for each in METRICS if each != metric]
        Plan(space, metric, others, METRICS[metric], int(trials), int(parallel), early_stopping, float(timeout), int(seed)).write(role.file)
        return {}
    if role and role.part == "trial":
        train_once(_training_arguments(training, decode(space, role.values)), list(METRICS))
        return {}
    if role:
        ended = Ended.read(role.file)
        tried = [replace(each, parameters=decode(space, each.parameters)) for each in ended.tried]
        return _write_outputs(tried, space, metric, int(seed), ended.seconds, best_path, history_path, metrics_path, plots_path)
    identity = {name: value for name, value in training.items() if not name.endswith("_path") and name not in space} | {
        "space": space,
        "metric": metric,
        "examples": examples_hash(Path(examples_path)),
        "schema": tree_hash(schema_path) if schema_path else "",
        "statistics": tree_hash(statistics_path) if statistics_path else "",
        "code": tree_hash(code_path) if code_path and model_function else "",
    }
    longest = int(space["epochs"].get("high") or max(space["epochs"]["choices"])) if "epochs" in space else int(epochs)
    folder, kept = lasting_folder(study, Path(best_path), "study")
    with open_search(
        folder,
        space,
        metric=metric,
        early_stopping=early_stopping,
        epochs=longest,
        seed=int(seed),
        identity=identity,
    ) as search:
        if before := search.tried():
            sys.stdout.write(f"study {folder}: goes on after {len(before)} trials\n")
        with _Trials(search, training, metric, int(parallel)) as under_way:
            deadline = started + timeout if timeout else None
            under_way.run(int(trials), deadline)
        tried = search.tried()
    written = _write_outputs(tried, space, metric, int(seed), time.monotonic() - started, best_path, history_path, metrics_path, plots_path)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    return written


def _write_outputs(
    tried: list[Tried],
    space: dict[str, Any],
    metric: str,
    seed: int,
    seconds: float,
    best_path: str,
    history_path: str,
    metrics_path: str,
    plots_path: str,
) -> dict[str, float]:
    """Write the best trial's parameters, all trials and the page of plots; return the numbers.

    Raises:
        ConfigurationError: No trial finished.
    """
    best = best_of(tried, metric)
    if best is None or best.value is None:
        failed = [each for each in tried if each.state == FAILED]
        why = f"; most often: {commonest_reason(tried)}" if failed else ""
        raise ConfigurationError(f"none of {len(tried)} trials finished, {len(failed)} failed{why}. Narrow the space, or correct the cause")
    counts = {f"trials_{state}": float(sum(each.state == state for each in tried)) for state in (FINISHED, PRUNED, FAILED)}
    metrics = {"best_value": best.value, **counts, "seconds": round(seconds, 3)}
    sys.stdout.write(f"best: trial {best.number}, {metric} {best.value:.6g}: {_written(best.parameters)}\n")
    with whole_directory(best_path) as written:
        write_json(written / TUNED, best.parameters)
    record = _record(tried, space, metric, seed)
    with whole_directory(history_path) as written:
        pq.write_table(_table(tried, space), written / "trials.parquet")
        write_json(written / "search.json", record)
    with whole_file(plots_path) as file:
        file.write_text(page("Search of hyperparameters", search_figures(record), "No trial has a value."), encoding="utf-8")
    write_json(metrics_path, metrics)
    return metrics


@dataclass
class _Running:
    """A trial under way."""

    number: int
    parameters: dict[str, Any]
    process: BaseProcess
    log: Path
    began: float


class _Trials:
    """Runs the trials of a search, some at a time; those under way end with the block."""

    def __init__(self, search: Search, training: Mapping[str, Any], metric: str, parallel: int) -> None:
        self._search, self._training, self._metric, self._parallel = search, training, metric, parallel
        self._running: dict[Connection, _Running] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="trials-")
        # Spawned: a fork of a process with threads may hang, and each trial is to have TensorFlow anew.
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> "_Trials":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._running.values():
            each.process.kill()
            each.process.join()
        self._scratch.cleanup()

    def run(self, trials: int, deadline: float | None) -> None:
        """Run until so many have ended, those of earlier attempts included, or the time is over."""
        left = trials - sum(each.state in (FINISHED, PRUNED, FAILED) for each in self._search.tried())
        while True:
            # At least one, whatever the time.
            while left > 0 and len(self._running) < self._parallel and not (deadline and time.monotonic() > deadline and self._has_begun()):
                self._start()
                left -= 1
            if not self._running:
                return
            for connection in wait(list(self._running)):
                assert isinstance(connection, Connection)
                self._hear(connection)

    def _has_begun(self) -> bool:
        return bool(self._running or self._search.tried())

    def _start(self) -> None:
        number, parameters = self._search.begin()
        folder = Path(self._scratch.name, str(number))
        folder.mkdir()
        ours, theirs = self._context.Pipe()
        threads = max(1, len(os.sched_getaffinity(0)) // self._parallel)
        process = self._context.Process(
            target=run_trial,
            args=(theirs, os.getpid(), str(folder / "log"), threads, _training_arguments(self._training, parameters)),
            daemon=True,
        )
        process.start()
        theirs.close()
        self._running[ours] = _Running(number, parameters, process, folder / "log", time.monotonic())

    def _hear(self, connection: Connection) -> None:
        """Take what a trial says."""
        trial = self._running[connection]
        try:
            what, value = connection.recv()
            if what == EPOCH:
                epoch, numbers = value
                connection.send(self._search.goes_on(trial.number, epoch, numbers[self._metric]))
                return
        except (EOFError, OSError):
            what, value = "died", None
        trial.process.join()
        connection.close()
        del self._running[connection]
        seconds = time.monotonic() - trial.began
        if what == BAD_DATA:
            raise DataError(value)  # no other trial would fare better
        if what == DONE:
            self._search.end(trial.number, seconds, value=float(value[self._metric]))
            said = f"{self._metric} {value[self._metric]:.6g} after {value['epochs']:.0f} epochs"
        elif what == WAS_PRUNED:
            self._search.end(trial.number, seconds)
            said = "ended early"
        else:
            reason = redacted(value if value else _death(trial))
            self._search.end(trial.number, seconds, reason=reason)
            said = f"failed: {reason}"
        sys.stdout.write(f"trial {trial.number}: {said}, {seconds:.1f} s; {_written(trial.parameters)}\n")
        sys.stdout.flush()
        shutil.rmtree(trial.log.parent, ignore_errors=True)


def _training_arguments(training: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a trial's training: those of the search with the trial's values."""
    named = {name: value for name, value in parameters.items() if name in NAMED}
    own = {name: value for name, value in parameters.items() if name not in NAMED}
    return {**training, **named, "hyperparameters": {**training["hyperparameters"], **own}, "backend": "tensorflow", "model_parallel": 1}


def _death(trial: _Running) -> str:
    """Return why a trial's process ended without a word of its own."""
    code = trial.process.exitcode or 0
    if code == -signal.SIGKILL:
        return "its process was killed by SIGKILL, most likely for want of memory"
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    lines = trial.log.read_text(encoding="utf-8", errors="replace").splitlines() if trial.log.exists() else []
    last = next((line.strip() for line in reversed(lines[-_LAST_LINES:]) if line.strip()), "")
    return f"its process {how}: {last}"[:500]


def _record(tried: list[Tried], space: Mapping[str, Any], metric: str, seed: int) -> dict[str, Any]:
    """Return a search as `drawing.search` takes it."""
    trials = [asdict(each) | {"seconds": each.seconds if math.isfinite(each.seconds) else None} for each in tried]
    importance = importance_of(tried, space, maximize=METRICS[metric], seed=seed)
    return {"metric": metric, "maximize": METRICS[metric], "space": space, "importance": importance, "trials": trials}


def _table(tried: list[Tried], space: Mapping[str, Any]) -> pa.Table:
    columns: dict[str, Any] = {
        "number": pa.array([each.number for each in tried], pa.int64()),
        "state": pa.array([each.state for each in tried], pa.string()),
        "value": pa.array([each.value for each in tried], pa.float64()),
        "epochs": pa.array([each.epochs for each in tried], pa.int64()),
        "seconds": pa.array([each.seconds for each in tried], pa.float64(), from_pandas=True),
        "reason": pa.array([each.reason or None for each in tried], pa.string()),
    }
    for name in sorted(space):
        values = [each.parameters.get(name) for each in tried]
        kind = {"float": pa.float64(), "int": pa.int64()}.get(space[name]["type"])
        # Choices may be of any type: as JSON.
        columns[f"parameters.{name}"] = pa.array(values if kind else [json.dumps(value) for value in values], kind or pa.string())
    return pa.table(columns)


def _written(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in parameters.items())
