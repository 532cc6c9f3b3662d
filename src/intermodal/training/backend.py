"""What the loop asks of a framework: NumPy arrays in, sums out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from intermodal.training.batches import Batch

#: Prefix of the arrays in `state()` that are the model's own: what `early stopping` keeps, and what is exported.
MODEL: Final = "model/"
#: Thresholds of the area under the curve, as many as `keras.metrics.AUC` has.
THRESHOLDS: Final = 200
#: Numbers of a step before those of its scores: loss times rows, rows, penalty times rows, wishes to stop.
COUNTED: Final = 4


@dataclass(frozen=True)
class Sums:
    """Sums over rows. An average is a sum divided by `rows`.

    Attributes:
        loss: The loss, penalties of the weights included, times the rows of each step; shape (steps,).
        rows: Rows of each step, padding not counted; shape (steps,).
        scores: How many rows of each label (0, 1) fall between two thresholds of the probability; shape (2, THRESHOLDS).
        stops: How many workers asked to stop; 0 or more.
    """

    loss: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    stops: float = 0.0

    @classmethod
    def of_steps(cls, values: np.ndarray) -> "Sums":
        """Return the sums of some steps from what a compiled function returns, shape (steps, COUNTED + 2 * THRESHOLDS)."""
        wide = values.astype(np.float64)
        loss, rows, penalty, stops = wide[:, :COUNTED].T
        return cls(loss=loss + penalty, rows=rows, scores=wide[:, COUNTED:].sum(axis=0).reshape(2, THRESHOLDS), stops=float(stops.sum()))


class Backend(Protocol):
    """A framework that makes steps on this worker's devices, together with the other workers'."""

    @property
    def replicas(self) -> int:
        """Devices of this worker that share its part of a batch."""

    @property
    def activations(self) -> int | None:
        """Numbers that the model's layers compute from a row; None where that is not known before it runs."""

    @property
    def separable(self) -> bool:
        """Whether `attempt` needs no other worker: no layer exchanges numbers between them."""

    @property
    def hardware(self) -> str:
        """Strategy and devices, in words."""

    def begin(self, build: Callable[[], Any]) -> None:
        """Build the model and its optimizer, with the same weights on every worker.

        Args:
            build: Returns a Keras model with one logit.
        """

    def exportable(self, build: Callable[[], Any]) -> Any:
        """Return a Keras model with the present weights that is computed in float32 on one device.

        Args:
            build: As `begin` got it.
        """

    def train(self, batches: Sequence[Batch], stop: bool) -> Callable[[], Sums]:
        """Make one step with each batch, in one call of the compiled function.

        The gradient of a step is that of the sum of the losses of all workers' rows divided by `Batch.rows`, plus the model's own penalties.

        Args:
            batches: This worker's part of some steps; all workers make the same calls.
            stop: Whether this worker asks all to stop.

        Returns:
            What waits for the sums over all workers: call it late, for the devices work on.
        """

    def evaluate(self, batch: Batch) -> Callable[[], Sums]:
        """Return the sums of this worker's rows alone; the others need not make the same calls."""

    def attempt(self, batch: Batch) -> None:
        """Make the forward and backward pass of a batch on this worker's devices alone, and change nothing: to see what memory it takes.

        Args:
            batch: Rows of any number, a multiple of `replicas`.
        """

    def total(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array (float64 or int64) over all workers, which all give one of equal shape."""

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all that the steps change: the model's variables (`MODEL` before their places), the optimizer's, generators' states."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the variables that are named; others stay."""


def area_under_curve(scores: np.ndarray) -> float:
    """Return the area under the ROC curve from counts by threshold, by trapezoids, as `keras.metrics.AUC` with its defaults does.

    Args:
        scores: Shape (2, THRESHOLDS): rows of label 0 and of label 1 whose probability lies above each threshold and at most at the next.
    """
    above = np.cumsum(np.asarray(scores, np.float64)[:, ::-1], axis=1)[:, ::-1]
    totals = above[:, :1]
    negative, positive = np.divide(above, totals, out=np.zeros_like(above), where=totals > 0)
    return float(np.sum((negative[:-1] - negative[1:]) * (positive[:-1] + positive[1:]) / 2))
