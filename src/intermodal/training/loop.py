"""The loop over epochs and steps: early stopping, checkpoints, curves. The same for every framework and every number of workers.

What the loop decides, it decides by sums over all workers, so that all workers decide alike.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from intermodal.training.backend import MODEL, Backend, Sums, area_under_curve
from intermodal.training.batches import Batch
from intermodal.training.checkpoints.keeping import Checkpoints
from intermodal.training.cluster import Cluster
from intermodal.training.diagnosis.memory import is_out_of_memory
from intermodal.training.diagnosis.step_memory import StepMemory
from intermodal.training.diagnosis.stragglers import Stragglers
from intermodal.training.diagnosis.utilisation import watched
from intermodal.training.progress import Progress
from intermodal.training.rows import Part

_BEST: Final = "best/"
History = dict[str, list[float]]


@dataclass(frozen=True)
class Settings:
    """How long to train, and how often to write a checkpoint.

    Attributes:
        epochs: Passes over the rows at most.
        patience: Epochs without a lower validation loss after which training stops.
        steps_per_execution: Steps of one call of the compiled function.
        checkpoint_steps: Steps between checkpoints; 0: not by steps.
        checkpoint_minutes: Minutes between checkpoints; 0: not by time.
    """

    epochs: int
    patience: int
    steps_per_execution: int
    checkpoint_steps: int
    checkpoint_minutes: float


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        history: A list of values, one an epoch, for each curve.
        stopped: Whether a worker was asked to stop (SIGTERM) before the end; the weights are then those of the last step.
        seconds: Of all attempts.
        steps: Steps made by this attempt.
        rows: Rows that these took, of all workers.
        training_seconds: What they took, validation not counted.
        waited: Seconds of these in which this worker's step waited for its input.
        shares: How busy this worker's devices were (`watched`), and which worker was slow (`Stragglers.numbers`).
    """

    history: History
    stopped: bool
    seconds: float
    steps: int
    rows: float
    training_seconds: float
    waited: float
    shares: dict[str, float]


class DivergedError(Exception):
    """The loss is no number.

    Attributes:
        epoch: From 1.
        step: Of the epoch, from 1; 0: the validation's loss.
        batch: This worker's rows of that step; None after validation.
    """

    def __init__(self, epoch: int, step: int, batch: Batch | None) -> None:
        super().__init__(f"the loss of epoch {epoch}, step {step} is no number")
        self.epoch, self.step, self.batch = epoch, step, batch


class Curves(Protocol):
    """Where the numbers of each epoch go, beside the history."""

    def write(self, epoch: int, values: dict[str, float]) -> None:
        """Write the numbers of an epoch, from 1."""


@dataclass
class _Position:
    """All that a checkpoint holds beside the backend's arrays."""

    epoch: int = 0
    step: int = 0
    history: History = field(default_factory=dict)
    best: float = math.inf
    waited_epochs: int = 0
    loss: float = 0.0
    rows: float = 0.0
    scores: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    ended: bool = False


class Loop:
    """One training.

    Args:
        backend: Its model is built already.
        train: This worker's rows to train on.
        validation: This worker's rows to validate on.
        settings: How long.
        cluster: Which worker this is.
        checkpoints: Where the chief writes checkpoints; None: on the other workers, and where there are to be none.
        curves: Where the chief writes the numbers of each epoch.
        progress: Where the chief says how far it is.
    """

    def __init__(
        self,
        backend: Backend,
        train: Part,
        validation: Part,
        settings: Settings,
        cluster: Cluster,
        checkpoints: Checkpoints | None,
        curves: Curves | None,
        progress: Progress,
    ) -> None:
        self._backend, self._train, self._validation, self._settings = backend, train, validation, settings
        self._cluster, self._checkpoints, self._curves, self._progress = cluster, checkpoints, curves, progress
        self._memory = StepMemory(backend, train, cluster, settings.steps_per_execution)
        self._at = _Position()
        self._best: dict[str, np.ndarray] = {}
        self._steps, self._rows, self._training_seconds, self._waited = 0, 0.0, 0.0, 0.0
        self._stragglers, self._validations = Stragglers(cluster, backend.total), 0
        self._began = self._saved_at = time.monotonic()
        self._saved_step = 0

    def run(self) -> Outcome:
        """Train from the newest checkpoint, or from the start; the backend has the best epoch's weights then.

        Raises:
            ConfigurationError: The newest checkpoint is of another training, or a step takes more memory than there is.
            DivergedError: A loss is no number.
            MachineError: A checkpoint cannot be written or read.
            PlatformError: The store of the checkpoints refuses.
        """
        self._resume()
        at = self._at
        self._began, self._saved_at, self._saved_step = time.monotonic() - at.seconds, time.monotonic(), self._step
        for epoch, numbers in enumerate(self._finished_epochs(), 1):
            if self._curves:
                self._curves.write(epoch, numbers)
        if not at.ended:
            self._memory.foresee()
        stopped = False
        with _asked_to_stop() as asked, watched() as utilisation:
            while not at.ended and not stopped:
                try:
                    stopped = self._run_epoch(asked)
                except Exception as error:  # each framework has types of its own
                    if not is_out_of_memory(error):
                        raise
                    raise self._memory.explained(error, at.epoch + 1, at.step + 1) from error
            if stopped:
                self._save()
        if self._checkpoints:
            self._checkpoints.close()
        if not stopped and self._best:
            self._backend.restore(self._best)
        spent = (self._training_seconds, self._waited)
        return Outcome(at.history, stopped, self._seconds(), self._steps, self._rows, *spent, utilisation.numbers | self._stragglers.numbers())

    def _run_epoch(self, asked: Callable[[], bool]) -> bool:
        """Make the steps of an epoch that are left; return whether to stop before its end."""
        at = self._at
        began = time.monotonic()
        if not at.scores:
            at.scores = [[0.0], [0.0]]
        with self._train.ahead(at.epoch, at.step) as ahead:
            stopped = self._run_steps(ahead, asked)
        self._waited += ahead.waited
        self._training_seconds += time.monotonic() - began
        if stopped:
            return True
        sums = self._validate()
        average = at.loss / at.rows
        validation = float(sums.loss.sum() / sums.rows.sum())
        if not math.isfinite(validation):
            raise DivergedError(at.epoch + 1, 0, None)
        numbers = {
            "auc": area_under_curve(np.array(at.scores)),
            "loss": average,
            "val_auc": area_under_curve(sums.scores),
            "val_loss": validation,
        }
        for name, value in numbers.items():
            at.history.setdefault(name, []).append(value)
        if validation < at.best:
            at.best, at.waited_epochs = validation, 0
            self._best = {name: value for name, value in self._backend.state().items() if name.startswith(MODEL)}
        else:
            at.waited_epochs += 1
        at.epoch, at.step, at.loss, at.rows, at.scores = at.epoch + 1, 0, 0.0, 0.0, []
        at.ended = at.epoch >= self._settings.epochs or at.waited_epochs >= self._settings.patience
        if self._curves:
            self._curves.write(at.epoch, numbers)
        self._progress.epoch(at.epoch, numbers, time.monotonic() - began)
        return False

    def _run_steps(self, batches: Iterable[Batch], asked: Callable[[], bool]) -> bool:
        """Make the steps that are left of an epoch; return whether a worker was asked to stop.

        The sums of a call are read when the next one is under way, so that devices need not wait for this process. All workers therefore stop after
        the call that follows the one in which one of them asked for it, even if the chief has read its sums earlier, for a checkpoint.
        """
        waiting: tuple[Callable[[], Sums], list[Batch]] | None = None
        stop = False
        for group in grouped(batches, self._settings.steps_per_execution):
            started = self._backend.train(group, asked())
            if waiting:
                stop = self._count(*waiting)
            waiting = (started, group)
            if stop:
                break
            if self._is_due(len(group)):
                stop, waiting = self._count(*waiting), None
                self._save()
        if waiting:
            stop = self._count(*waiting) or stop
        return stop

    def _count(self, sums: Callable[[], Sums], group: list[Batch]) -> bool:
        """Add the sums of a call; return whether a worker asked to stop."""
        at, found = self._at, sums()
        for batch, loss in zip(group, found.loss, strict=True):
            at.step += 1
            if not math.isfinite(loss):
                raise DivergedError(at.epoch + 1, at.step, batch)
        at.loss += float(found.loss.sum())
        at.rows += float(found.rows.sum())
        at.scores = (np.array(at.scores) + found.scores).tolist()
        self._steps += len(group)
        self._rows += float(found.rows.sum())
        self._progress.step(at.epoch + 1, self._settings.epochs, at.step, self._train.order.steps, at.loss / at.rows)
        return found.stops > 0

    def _validate(self) -> Sums:
        """Return the sums over all workers' validation rows."""
        found: Sums | None = None
        began = time.monotonic()
        with self._validation.ahead(0) as ahead:
            for batch in ahead:
                sums = self._backend.evaluate(batch)()
                found = _added(found, sums) if found else sums
        self._validations += 1
        if self._validations > 1:  # the first one compiles
            self._stragglers.look(time.monotonic() - began, float(found.rows.sum()) if found else 0.0)
        values = np.concatenate([[found.loss.sum(), found.rows.sum()], found.scores.ravel()]) if found else np.zeros(0)
        total = self._backend.total(values)
        return Sums(total[:1], total[1:2], total[2:].reshape(2, -1))

    @property
    def _step(self) -> int:
        return self._at.epoch * self._train.order.steps + self._at.step

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _is_due(self, under_way: int) -> bool:
        settings = self._settings
        if not self._checkpoints:
            return False
        by_steps = settings.checkpoint_steps and self._step + under_way - self._saved_step >= settings.checkpoint_steps
        by_time = settings.checkpoint_minutes and time.monotonic() - self._saved_at >= 60 * settings.checkpoint_minutes
        return bool(by_steps or by_time)

    def _save(self) -> None:
        if self._checkpoints:
            self._at.seconds = self._seconds()
            arrays = self._backend.state() | {_BEST + name: value for name, value in self._best.items()}
            self._checkpoints.save(self._step, arrays, asdict(self._at))
            self._saved_step, self._saved_at = self._step, time.monotonic()

    def _resume(self) -> None:
        """Go on from the newest checkpoint, which the chief reads and hands to the others."""
        found = self._checkpoints.newest() if self._checkpoints else None
        arrays, state = shared(found, self._backend, self._cluster)
        if state is not None:
            self._at = _Position(**state)
            self._best = {name.removeprefix(_BEST): value for name, value in arrays.items() if name.startswith(_BEST)}
            self._backend.restore({name: value for name, value in arrays.items() if not name.startswith(_BEST)})
            self._at.ended = self._at.epoch >= self._settings.epochs or self._at.waited_epochs >= self._settings.patience

    def _finished_epochs(self) -> Iterator[dict[str, float]]:
        history = self._at.history
        for epoch in range(self._at.epoch):
            yield {name: values[epoch] for name, values in history.items()}


def shared(
    found: tuple[dict[str, np.ndarray], dict[str, Any]] | None, backend: Backend, cluster: Cluster
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Return on every worker the arrays and the state that the chief has; no arrays and None where it has none.

    The arrays go as sums over all workers, to which the others add zeros: the one way that every framework has.
    """
    arrays, state = found or ({}, None)
    if cluster.count == 1:
        return arrays, state
    header = b""
    if cluster.chief and state is not None:
        header = json.dumps({"state": state, "arrays": [[name, value.dtype.name, value.shape] for name, value in arrays.items()]}).encode()
    size = int(backend.total(np.array([len(header)], np.int64))[0])
    if not size:
        return {}, None
    mine = np.frombuffer(header, np.uint8).astype(np.int64) if header else np.zeros(size, np.int64)
    read = json.loads(backend.total(mine).astype(np.uint8).tobytes())
    whole = {}
    for name, kind, shape in read["arrays"]:
        given = arrays.get(name) if cluster.chief else None
        carried = np.float64 if kind == "float64" else np.float32 if "float" in kind else np.int64
        value = np.zeros(shape, carried) if given is None else given.astype(carried)
        summed = backend.total(value)
        whole[name] = given if given is not None else summed.astype(kind if kind != "bfloat16" else np.float32)
    return whole, read["state"]


def _added(first: Sums, second: Sums) -> Sums:
    return Sums(np.append(first.loss, second.loss), np.append(first.rows, second.rows), first.scores + second.scores)


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield groups of so many batches; the last may have fewer."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Give what says whether this process got SIGTERM within the block, which does not end it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
