"""Metrics of a binary classifier, and what they become when whole blocks of rows are resampled (block bootstrap).

Rows of one block (a day, say) depend on each other; blocks are drawn with replacement, so that an interval is as wide as the number of
*blocks* warrants (percentile intervals: Efron and Tibshirani, An Introduction to the Bootstrap, 1993). Two models are compared on the same
draws.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 500
#: Scores are ranked into this many bins of equal size before resampling; rows of one bin count as ties.
BINS = 4096
#: More blocks than this are first put together at random into this many: groups of exchangeable blocks are exchangeable.
LARGEST_BLOCKS = 1000
_EPSILON = 1e-7


@dataclass(frozen=True)
class Resampling:
    """How rows are drawn.

    Attributes:
        codes: The block of each row, shape (rows,).
        weights: How often each resample drew each block, shape (resamples + 1, blocks); the first row is ones, the rows as they are.
    """

    codes: NDArray[np.int64]
    weights: Floats

    @property
    def blocks(self) -> int:
        """The number of blocks that are drawn."""
        return int(self.weights.shape[1])


def resample(blocks: NDArray[Any], seed: int, resamples: int = RESAMPLES) -> Resampling:
    """Draw whole blocks with replacement.

    Args:
        blocks: The block of each row, shape (rows,), of any type that sorts.
        seed: Same seed and blocks, same draws.
        resamples: How many times. Default: 500.
    """
    generator = np.random.default_rng(int(seed))
    codes = np.unique(blocks, return_inverse=True)[1].astype(np.int64).reshape(-1)
    count = int(codes.max()) + 1
    if count > LARGEST_BLOCKS:
        codes = generator.permutation(np.arange(count) % LARGEST_BLOCKS)[codes]
        count = LARGEST_BLOCKS
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    return Resampling(codes, np.vstack([np.ones((1, count)), drawn]).astype(np.float64))


def resampled_metrics(label: Floats, score: Floats, resampling: Resampling, bins: int = BINS) -> dict[str, Floats]:
    """Return each metric's values, shape (resamples + 1,): the first of the rows as they are, exact; then one a resample.

    Where a resample (or the data) holds one class only, AUC and PR-AUC are NaN.

    Args:
        label: 0 or 1, shape (rows,).
        score: Probabilities, shape (rows,).
        resampling: Of the same rows.
        bins: Of ranks; AUC and PR-AUC of the resamples treat rows of one bin as ties. Default: 4096.
    """
    codes, weights = resampling.codes, resampling.weights
    positive = np.asarray(label, np.float64)
    score = np.asarray(score, np.float64)
    values, place = np.unique(-score, return_inverse=True)
    place, unique = place.reshape(-1), len(values)
    exact_auc, exact_pr = _ranking(*(np.bincount(place, of, unique)[None, :].astype(np.float64) for of in (positive, 1 - positive)))
    # By rank of the row, not of the distinct score: bins then hold equally many rows, however uneven the scores.
    reached = np.bincount(place, minlength=unique).cumsum()
    coarse = np.minimum((reached - 1) * bins // len(score), bins - 1)[place] if unique > bins else place
    width = min(bins, unique)
    auc, pr_auc = _ranking(*(weights[1:] @ _histogram(coarse, codes, of, width, resampling.blocks) for of in (positive, 1 - positive)))
    clipped = np.clip(score, _EPSILON, 1 - _EPSILON)
    losses = {
        "log_loss": -(positive * np.log(clipped) + (1 - positive) * np.log1p(-clipped)),
        "brier": (score - positive) ** 2,
        "accuracy": ((score >= 0.5) == (positive == 1)).astype(np.float64),
    }
    rows = weights @ np.bincount(codes, minlength=resampling.blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {name: weights @ np.bincount(codes, each, resampling.blocks) / rows for name, each in losses.items()}
    return {"auc": np.append(exact_auc, auc), "pr_auc": np.append(exact_pr, pr_auc)} | means


def _histogram(place: NDArray[Any], codes: NDArray[np.int64], of: Floats, bins: int, blocks: int) -> Floats:
    return np.bincount(codes * bins + place, of, blocks * bins).astype(np.float64).reshape(blocks, bins)


def _ranking(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Return AUC (Mann-Whitney, ties half) and average precision of weighted counts by score, best first: (resamples, places) each."""
    true, false = positives.cumsum(1), negatives.cumsum(1)
    total, other = true[:, -1], false[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (positives * (other[:, None] - false + negatives / 2)).sum(1) / (total * other)
        pr_auc = (positives * np.nan_to_num(true / (true + false))).sum(1) / np.where(other > 0, total, np.nan)
    return auc, pr_auc


def interval(values: Floats, confidence: float = 0.95) -> dict[str, float | None]:
    """Return `value` (the first) and the percentile interval `low`, `high` of the others; None where nothing is defined."""
    drawn = values[1:][np.isfinite(values[1:])]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) if drawn.size else (np.nan, np.nan)
    return {name: float(each) if np.isfinite(each) else None for name, each in (("value", values[0]), ("low", low), ("high", high))}
