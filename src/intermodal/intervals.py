"""Binary classification metrics with intervals from a block bootstrap: whole blocks of dependent rows are resampled together.

The method is the percentile bootstrap over blocks (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13); two models
are compared on the same resamples, so that what both share cancels out. Ranking metrics are resampled over fine bins of the score, which makes
a resample one row of a matrix product; their values themselves are exact.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ("auc", "pr_auc", "log_loss", "brier", "accuracy")
#: Metrics of which less is better.
LOSSES = frozenset({"log_loss", "brier"})
_BINS = 2048
_MANY_BLOCKS = 1000
_TINY = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A metric of one model.

    Attributes:
        value: On the rows as they are; NaN where it is not defined (a ranking of one class).
        resamples: On each resample, shape (resamples,).
    """

    value: float
    resamples: np.ndarray

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the percentile interval; NaN where too few resamples have a value."""
        known = self.resamples[np.isfinite(self.resamples)]
        if len(known) < 0.5 * len(self.resamples):
            return float("nan"), float("nan")
        low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    def minus(self, other: "Estimate") -> "Estimate":
        """Return the paired difference."""
        return Estimate(self.value - other.value, self.resamples - other.resamples)

    def as_json(self, confidence: float = 0.95) -> dict[str, float | None]:
        """Return value and interval, with None for what is not defined."""
        low, high = self.interval(confidence)
        return {name: value if np.isfinite(value) else None for name, value in (("value", self.value), ("low", low), ("high", high))}


class Blocks:
    """Groups of rows, and how often each is drawn in every resample."""

    def __init__(self, groups: np.ndarray | None, rows: int, *, resamples: int = 500, seed: int = 0) -> None:
        """Draw the resamples.

        Args:
            groups: Of each row, the value that rows of one block share; None: rows are independent, and beyond 1,000 of them are dealt at
                random into as many blocks, which changes no interval's expectation.
            rows: The number of rows.
            resamples: How many.
            seed: Equal seeds draw equal resamples.
        """
        generator = np.random.default_rng(seed)
        if groups is None:
            groups = np.arange(rows) if rows <= _MANY_BLOCKS else generator.permutation(rows) % _MANY_BLOCKS
        self.codes = np.unique(groups, return_inverse=True)[1]
        self.number = int(self.codes.max()) + 1 if rows else 0
        self.draws = generator.multinomial(self.number, np.full(self.number, 1 / self.number), size=resamples).astype(np.float64)

    def sums(self, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the sum of a value per row over each resample, shape (resamples,)."""
        return self.draws @ np.bincount(self.codes[mask], weights=values[mask], minlength=self.number)


def estimate(labels: np.ndarray, scores: np.ndarray, blocks: Blocks, mask: np.ndarray | None = None, metrics: tuple[str, ...] = METRICS) -> dict[str, Estimate]:
    """Return a model's metrics with their resamples.

    Args:
        labels: Shape (rows,), 0 or 1.
        scores: Shape (rows,), probabilities of 1.
        blocks: The resamples; the same object for models that are to be compared.
        mask: Which rows count; None: all.
        metrics: Of `METRICS`.
    """
    mask = np.ones(len(labels), bool) if mask is None else mask
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = blocks.sums(np.ones(len(labels)), mask)
        for name, values in _per_row(labels, scores, metrics).items():
            found[name] = Estimate(float(values[mask].mean()), blocks.sums(values, mask) / rows)
        if {"auc", "pr_auc"} & set(metrics):
            binned = _binned(labels[mask], scores[mask], blocks.codes[mask], blocks.number)
            ones, zeros = (blocks.draws @ counts for counts in binned)
            whole = [counts.sum(axis=0, keepdims=True) for counts in binned]
            for name, exact, approximate in (("auc", exact_auc, _binned_auc), ("pr_auc", exact_pr_auc, _binned_pr_auc)):
                if name in metrics:
                    value = exact(labels[mask], scores[mask])
                    # The bins shift all resamples and the whole alike.
                    found[name] = Estimate(value, approximate(ones, zeros) + (value - approximate(*whole)[0]))
    return {name: found[name] for name in metrics}


def _per_row(labels: np.ndarray, scores: np.ndarray, metrics: tuple[str, ...]) -> dict[str, np.ndarray]:
    bounded = np.clip(scores, _TINY, 1 - _TINY)
    every = {
        "log_loss": lambda: -np.where(labels == 1, np.log(bounded), np.log1p(-bounded)),
        "brier": lambda: (scores - labels) ** 2,
        "accuracy": lambda: ((scores >= 0.5) == (labels == 1)).astype(float),
    }
    return {name: compute() for name, compute in every.items() if name in metrics}


def exact_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve: the chance that a 1 scores above a 0, ties counting half (Mann-Whitney); NaN with one class."""
    values, places = np.unique(scores, return_inverse=True)
    ones = np.bincount(places, weights=labels, minlength=len(values))
    zeros = np.bincount(places, weights=1 - labels, minlength=len(values))
    return float(_binned_auc(ones[None], zeros[None])[0]) if ones.sum() and zeros.sum() else float("nan")


def exact_pr_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return average precision: precision at each threshold, weighted by the recall gained there; NaN without a 1."""
    values, places = np.unique(scores, return_inverse=True)
    ones = np.bincount(places, weights=labels, minlength=len(values))
    zeros = np.bincount(places, weights=1 - labels, minlength=len(values))
    return float(_binned_pr_auc(ones[None], zeros[None])[0]) if ones.sum() else float("nan")


def _binned(labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of ones and zeros by block and score bin, shape (blocks, bins); bins hold equally many rows."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(scores) else np.zeros(0)
    bins = np.searchsorted(edges, scores, side="right")
    width = len(edges) + 1
    cells = codes * width + bins
    shape = (blocks, width)
    return tuple(np.bincount(cells[labels == value], minlength=blocks * width).reshape(shape).astype(np.float64) for value in (1, 0))  # type: ignore[return-value]


def _binned_auc(ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return (ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))


def _binned_pr_auc(ones: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    ones, zeros = ones[:, ::-1], zeros[:, ::-1]
    hits = np.cumsum(ones, axis=1)
    flagged = hits + np.cumsum(zeros, axis=1)
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    return (precision * ones).sum(axis=1) / ones.sum(axis=1)


def wilson(hits: int, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927)."""
    share, spread = hits / rows, z * z / rows
    center = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / rows + spread / (4 * rows)) / (1 + spread)
    return float(max(0.0, center - half)), float(min(1.0, center + half))


def as_json(estimates: dict[str, Estimate]) -> dict[str, Any]:
    """Return estimates as JSON values."""
    return {name: each.as_json() for name, each in estimates.items()}
