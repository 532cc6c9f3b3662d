"""What a splitter counts of each model, in slices of time."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from intermodal.rollout.judging import counts as judging

#: Upper bounds of the latencies' buckets, seconds: 1 ms to 66 s, each 1.15 times the one before; slower ones have a bucket of their own.
LATENCY_BOUNDS: Final = tuple(round(0.001 * 1.15**power, 6) for power in range(80))
#: Upper bounds of the predictions' buckets.
PREDICTION_BOUNDS: Final = tuple(round(0.05 * step, 2) for step in range(1, 20))
_SLICES_KEPT: Final = 8640


@dataclass
class Counts:
    """One model's requests in one slice.

    Attributes:
        requests: Those that were sent to it, copies included.
        errors: Those that it answered with a status of 500 or more, or not at all.
        latencies: By `LATENCY_BOUNDS`, and one more; of all that it answered.
        predictions: By `PREDICTION_BOUNDS`, and one more: the numbers that it predicted, one a row.
        compared: Rows that both models answered, where its requests are copies.
        agreed: Those of them where both are on the same side of .5, or equal.
    """

    requests: int = 0
    errors: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS) + 1))
    predictions: list[int] = field(default_factory=lambda: [0] * (len(PREDICTION_BOUNDS) + 1))
    compared: int = 0
    agreed: int = 0

    def add(self, *, seconds: float | None, error: bool, predictions: Iterable[float] = ()) -> None:
        """Count one request; no `seconds`: it was not answered."""
        self.requests += 1
        self.errors += error
        if seconds is not None:
            self.latencies[bisect_left(LATENCY_BOUNDS, seconds)] += 1
        for each in predictions:
            self.predictions[bisect_left(PREDICTION_BOUNDS, each)] += 1

    def compare(self, theirs: list[float], ours: list[float]) -> None:
        """Count the rows of one request that two models answered."""
        self.compared += max(len(theirs), len(ours))
        self.agreed += sum(one == other or (one >= 0.5) == (other >= 0.5) for one, other in zip(theirs, ours, strict=False))


class SplitCounts:
    """The counts of all models, by slices of time."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """Begin without any; a slice lasts so many seconds."""
        self._seconds, self._clock = seconds, clock
        self._slices: deque[tuple[float, dict[str, Counts]]] = deque(maxlen=_SLICES_KEPT)

    def of(self, member: str) -> Counts:
        """Return a model's counts of the slice that it is now."""
        start = self._clock() // self._seconds * self._seconds
        if not self._slices or self._slices[-1][0] < start:
            self._slices.append((start, {}))
        return self._slices[-1][1].setdefault(member, Counts())

    def since(self, start: float) -> list[dict[str, Any]]:
        """Return the slices that began at `start` or later, oldest first: `start`, `end`, `members` (name to counts)."""
        return [
            {"start": begun, "end": begun + self._seconds, "members": {member: asdict(counts) for member, counts in members.items()}}
            for begun, members in self._slices
            if begun >= start
        ]


def numbers_of(answer: Any) -> list[float]:
    """Return the numbers that an answer of V1 or V2 predicts, one a row; none where it predicts something else."""
    if not isinstance(answer, dict):
        return []
    rows = answer.get("predictions")
    if rows is None and isinstance(outputs := answer.get("outputs"), list) and outputs and isinstance(outputs[0], dict):
        rows = outputs[0].get("data")
    if not isinstance(rows, list):
        return []
    flat = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in rows]
    return [float(each) for each in flat if isinstance(each, int | float) and not isinstance(each, bool)]


def judged_counts(slices: Sequence[Mapping[str, Any]], stable: str, candidate: str, *, copies: bool = False) -> judging.Counts:
    """Return slices of `SplitCounts.since` as the judge takes them.

    Args:
        slices: Those of the step.
        stable: Name of the stable model.
        candidate: Name of the candidate.
        copies: Whether the candidate's requests are copies, whose answers were compared.
    """
    none = asdict(Counts())
    pairs = [[each["members"].get(name, none) for name in (stable, candidate)] for each in slices]

    def values(name: str, width: int | None = None) -> judging.Floats:
        shape = (len(pairs), 2) if width is None else (len(pairs), 2, width + 1)
        return np.array([[each[name] for each in pair] for pair in pairs], np.float64).reshape(shape)

    start = np.array([each["start"] for each in slices], np.float64)
    return judging.Counts(
        start=start,
        end=np.array([each["end"] for each in slices], np.float64),
        requests=values("requests"),
        errors=values("errors"),
        latencies=judging.Histogram(np.array(LATENCY_BOUNDS), values("latencies", len(LATENCY_BOUNDS))),
        predictions=judging.Histogram(np.array(PREDICTION_BOUNDS), values("predictions", len(PREDICTION_BOUNDS))),
        compared=values("compared")[:, judging.CANDIDATE] if copies else None,
        agreed=values("agreed")[:, judging.CANDIDATE] if copies else None,
    )
