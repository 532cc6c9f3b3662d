"""What both models did in slices of time."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from intermodal.runtime.errors import DataError

Floats = NDArray[np.float64]
#: Positions of the models in every array.
STABLE: Final = 0
CANDIDATE: Final = 1


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between bounds.

    Attributes:
        bounds: Upper bounds, rising, shape (bounds,). A value that equals a bound is counted below it, as Prometheus does.
        counts: Shape (slices, 2, bounds + 1); the last one is what exceeds every bound. Not cumulated.
    """

    bounds: Floats
    counts: Floats


@dataclass(frozen=True, eq=False)
class Moments:
    """A number that each request, or each label that has come, gives: revenue, loss.

    Attributes:
        mean: Shape (slices, 2); any number where `count` is 0.
        variance: Of single values, shape (slices, 2); 0 where it is not known.
        count: How many there were, shape (slices, 2).
    """

    mean: Floats
    variance: Floats
    count: Floats


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of the stable model (position 0) and of the candidate (1) in the same slices of time, which follow each other.

    Attributes:
        start: When each slice begins, in seconds by the clock of the metrics, rising, shape (slices,).
        end: When it ends.
        requests: Shape (slices, 2).
        errors: Those of them that failed, shape (slices, 2).
        latencies: In seconds; None: not measured.
        predictions: Of scores, values or classes, one or more a request; None: not measured.
        compared: Shadow: requests that both models answered, shape (slices,); None: no shadow.
        agreed: Those of them with the same answer.
        business: A metric that is better when it is higher.
        loss: A loss by labels that came later.
    """

    start: Floats
    end: Floats
    requests: Floats
    errors: Floats
    latencies: Histogram | None = None
    predictions: Histogram | None = None
    compared: Floats | None = None
    agreed: Floats | None = None
    business: Moments | None = None
    loss: Moments | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            DataError: Slices overlap, a count is negative or not finite, or errors exceed requests.
        """
        slices = len(self.start)
        wanted = {"start": (slices,), "end": (slices,), "requests": (slices, 2), "errors": (slices, 2), "compared": (slices,), "agreed": (slices,)}
        for name, shape in wanted.items():
            _check(name, getattr(self, name), shape, least=None if name in ("start", "end") else 0.0)
        for name in ("latencies", "predictions"):
            if (histogram := getattr(self, name)) is not None:
                _check(f"{name}.counts", histogram.counts, (slices, 2, len(histogram.bounds) + 1))
                if len(histogram.bounds) == 0 or np.any(np.diff(histogram.bounds) <= 0) or not np.isfinite(histogram.bounds).all():
                    raise DataError(f"{name}: the bounds {histogram.bounds.tolist()[:8]} must be finite and rise")
        for name in ("business", "loss"):
            if (moments := getattr(self, name)) is not None:
                _check(f"{name}.count", moments.count, (slices, 2))
                _check(f"{name}.variance", moments.variance, (slices, 2))
                _check(f"{name}.mean", np.where(moments.count > 0, moments.mean, 0.0), (slices, 2), least=None)
        if np.any(self.end <= self.start) or np.any(self.start[1:] < self.end[:-1] - 1e-6):
            raise DataError("slices of time must follow each other, each longer than 0 s, in the order of time")
        if np.any(self.errors > self.requests):
            worst = int(np.argmax((self.errors - self.requests).max(axis=1)))
            raise DataError(
                f"slice {worst}: {self.errors[worst].tolist()} errors of {self.requests[worst].tolist()} requests; the queries count other things"
            )

    def __len__(self) -> int:
        return len(self.start)

    def taken(self, rows: Any) -> "Counts":
        """Return the counts of some of the slices: a mask, a slice or positions in the order of time."""
        return self._each(lambda values: values[rows])

    def merged(self, size: int) -> "Counts":
        """Return the counts with each `size` neighbours put together; a rest at the end joins the last group."""
        if size <= 1 or len(self) < 2 * size:
            return self if size <= 1 else self._grouped(np.array([0]))
        return self._grouped(np.arange(0, len(self) - size + 1, size))

    def _grouped(self, first: NDArray[np.int64]) -> "Counts":
        def total(values: Floats) -> Floats:
            return np.add.reduceat(values, first, axis=0)

        def moments(of: Moments | None) -> Moments | None:
            if of is None:
                return None
            value = np.where(of.count > 0, of.mean, 0.0)
            count = total(of.count)
            whole = np.maximum(count, 1.0)
            mean = total(of.count * value) / whole
            square = total(of.count * (of.variance + value**2)) / whole
            return Moments(mean, np.maximum(square - mean**2, 0.0), count)

        if len(self) == 0:
            return self
        summed = self._each(lambda values: total(values), moments=False)
        last = np.append(first[1:], len(self)) - 1
        return replace(summed, start=self.start[first], end=self.end[last], business=moments(self.business), loss=moments(self.loss))

    def _each(self, change: Any, *, moments: bool = True) -> "Counts":
        """Return the counts with every array changed alike."""

        def changed(value: Any) -> Any:
            if isinstance(value, Histogram):
                return Histogram(value.bounds, change(value.counts))
            if isinstance(value, Moments):
                return Moments(change(value.mean), change(value.variance), change(value.count)) if moments else None
            return value if value is None else change(value)

        made = object.__new__(Counts)  # checked already
        for each in fields(self):
            object.__setattr__(made, each.name, changed(getattr(self, each.name)))
        return made


def joined(parts: Sequence[Counts]) -> Counts:
    """Return the slices of several counts, in the order of time, as one.

    Raises:
        DataError: There are none, they overlap, or their histograms have different bounds.
    """
    if not parts:
        raise DataError("there are no counts")

    def together(values: list[Any]) -> Any:
        if any(each is None for each in values):
            return None
        if isinstance(values[0], Histogram):
            if any(not np.array_equal(each.bounds, values[0].bounds) for each in values):
                raise DataError("the histograms have different bounds")
            return Histogram(values[0].bounds, np.concatenate([each.counts for each in values]))
        if isinstance(values[0], Moments):
            return Moments(*(np.concatenate([getattr(each, name) for each in values]) for name in ("mean", "variance", "count")))
        return np.concatenate(values)

    return Counts(**{each.name: together([getattr(part, each.name) for part in parts]) for each in fields(Counts)})


def _check(name: str, values: Any, shape: tuple[int, ...], *, least: float | None = 0.0) -> None:
    if values is None:
        return
    if values.shape != shape:
        raise DataError(f"{name} has shape {values.shape}; it must be {shape}")
    if not np.isfinite(values).all() or (least is not None and values.size and values.min() < least):
        raise DataError(f"{name} has a value that is negative or not finite")
