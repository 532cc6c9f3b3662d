"""The search itself: which parameters are tried, what is kept of each trial, and when one ends early. By Optuna.

The study is one file of JSON lines in a folder: no database. One process writes it, and holds the folder's lock while it lives.
"""

import fcntl
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from intermodal.components.tune_model.arguments import METRICS
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, MachineError
from intermodal.tuning.roles import FAILED, FINISHED, INTERRUPTED, PRUNED, Tried

_FILE: Final = "study.jsonl"
_NAME: Final = "search"
_IDENTITY, _SECONDS, _REASON = "identity", "seconds", "reason"
_STATES: Final = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}


class Search:
    """A study that may be gone on with. Made by `open_search`."""

    def __init__(self, study: optuna.Study, space: Mapping[str, Any], seed: int) -> None:
        self._study, self._seed = study, seed
        self._distributions = {name: distribution_of(searched) for name, searched in sorted(space.items())}
        self._open: dict[int, optuna.Trial] = {}

    def begin(self) -> tuple[int, dict[str, Any]]:
        """Return the number and parameters of a new trial.

        They follow from the seed, the trials that have ended and how many have begun, so that a search that was interrupted goes on as it would have.
        """
        begun = sum(each.state != INTERRUPTED for each in self.tried()) + len(self._open)
        seed = int(np.random.SeedSequence([self._seed, begun]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(seed=seed)
        trial = self._study.ask(self._distributions)
        self._open[trial.number] = trial
        return trial.number, _plain(trial.params, self._distributions)

    def goes_on(self, number: int, epoch: int, value: float) -> bool:
        """Keep a trial's metric after an epoch, from 1; return whether the trial goes on."""
        trial = self._open[number]
        trial.report(value, epoch)
        return not trial.should_prune()

    def end(self, number: int, seconds: float, *, value: float | None = None, reason: str = "") -> None:
        """Keep how a trial ended: with a value, pruned (neither value nor reason), or failed for a reason."""
        trial = self._open.pop(number)
        trial.set_user_attr(_SECONDS, round(seconds, 3))
        if reason:
            trial.set_user_attr(_REASON, reason)
            self._study.tell(trial, state=TrialState.FAIL)
        elif value is None:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, value)

    def tried(self) -> list[Tried]:
        """Return the trials that have ended."""
        return [self._tried(each) for each in self._study.get_trials(deepcopy=False) if each.state.is_finished()]

    def _tried(self, trial: FrozenTrial) -> Tried:
        attributes = trial.user_attrs
        return Tried(
            number=trial.number,
            parameters=_plain(trial.params, self._distributions),
            state=INTERRUPTED if trial.state == TrialState.FAIL and _REASON not in attributes else _STATES[trial.state],
            value=trial.value if trial.state == TrialState.COMPLETE else _last(trial),
            epochs=max(trial.intermediate_values, default=0),
            seconds=float(attributes.get(_SECONDS, math.nan)),
            reason=str(attributes.get(_REASON, "")),
        )


def best_of(tried: list[Tried], metric: str) -> Tried | None:
    """Return the best trial that finished, the first of equals; None where none did."""
    finished = [each for each in tried if each.state == FINISHED and each.value is not None]
    sign = -1 if METRICS[metric] else 1
    return min(finished, key=lambda each: (sign * (each.value or 0.0), each.number), default=None)


def commonest_reason(tried: list[Tried]) -> str:
    """Return why most of the failed trials failed, and how many did."""
    [(reason, count)] = Counter(each.reason for each in tried if each.state == FAILED).most_common(1)
    return f"{reason} ({count} of them)"


@contextmanager
def open_search(
    folder: Path,
    space: Mapping[str, Any],
    *,
    metric: str,
    early_stopping: str,
    epochs: int,
    seed: int,
    identity: Mapping[str, Any],
) -> Iterator[Search]:
    """Give the search whose study is in a folder, or a new one there; trials that were under way when it was killed are interrupted.

    Args:
        folder: Made where there is none.
        space: See the component.
        metric: What is searched for.
        early_stopping: See the component.
        epochs: Epochs of a trial at most.
        seed: Of the parameters.
        identity: What the study is of; JSON.

    Raises:
        ConfigurationError: The study is of another search.
        MachineError: Another process searches there, or the folder cannot be written to.
    """
    with _locked(folder), room(folder / _FILE, folder):
        file = folder / _FILE
        _drop_torn_line(file)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(file), lock_obj=_Held(str(file)))),
            study_name=_NAME,
            direction="maximize" if METRICS[metric] else "minimize",
            pruner=_pruner(early_stopping, epochs),
            load_if_exists=True,
        )
        # Through JSON, as what was kept has been: a tuple is a list there.
        _check_identity(study, json.loads(json.dumps(identity)), folder)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # without a reason: interrupted
        yield Search(study, space, seed)


class _Held(JournalFileOpenLock):  # type: ignore[misc]
    """No lock of a line's own: the folder's is held, and ends with its process, whatever ends that."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise MachineError(f"study {folder}: cannot be written to ({error.strerror}); name a folder that can be") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(f"study {folder}: another process searches there; wait until it has ended, or name another folder") from None
        yield


def _drop_torn_line(file: Path) -> None:
    """Cut off what a killed process has left of a line, for the next line would be appended to it."""
    if file.exists():
        with file.open("rb+") as lines:
            content = lines.read()
            lines.truncate(content.rfind(b"\n") + 1)
            os.fsync(lines.fileno())


def _check_identity(study: optuna.Study, identity: dict[str, Any], folder: Path) -> None:
    before = study.user_attrs.get(_IDENTITY)
    if before is None:
        study.set_user_attr(_IDENTITY, identity)
        return
    differ = sorted(name for name in {*before, *identity} if before.get(name) != identity.get(name))
    if differ:
        raise ConfigurationError(f"study {folder} is of another search: {', '.join(differ)} differ; name another folder, or remove this one")


def distribution_of(searched: Mapping[str, Any]) -> BaseDistribution:
    """Return what Optuna calls the values that a hyperparameter may have."""
    if searched["type"] == "categorical":
        return CategoricalDistribution([json.dumps(choice) for choice in searched["choices"]])  # as text: a choice may be a list
    low, high, log, step = searched["low"], searched["high"], searched.get("log", False), searched.get("step")
    if searched["type"] == "int":
        step = int(step or 1)
        return IntDistribution(int(low), int(low) + (int(high) - int(low)) // step * step, log=log, step=step)
    if step is not None:  # in decimals, as Optuna counts: 0.5, 0.6 and a step of 0.1 are one step
        first, last, each = (Decimal(str(float(value))) for value in (low, high, step))
        high = first + (last - first) // each * each
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _plain(parameters: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    return {name: json.loads(value) if isinstance(distributions[name], CategoricalDistribution) else value for name, value in parameters.items()}


def _last(trial: FrozenTrial) -> float | None:
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _pruner(early_stopping: str, epochs: int) -> BasePruner:
    if early_stopping == "median":
        return MedianPruner()
    if early_stopping == "halving":
        return SuccessiveHalvingPruner()
    return HyperbandPruner(max_resource=epochs) if early_stopping == "hyperband" else NopPruner()
