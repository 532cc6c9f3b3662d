"""Metrics of a binary classifier, and how far chance may have moved them.

Rows of one block (a day, say) depend on each other, so the error of a metric is taken from the *blocks*: each metric is computed again without one
block at a time (the delete-one jackknife over blocks: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11; for AUC: Obuchowski,
Biometrics 53, 1997). Two models are compared by the metric's difference on the same rows, left out together.

Days that follow each other depend on each other too. Blocks that are in the order of time therefore get the equal-weighted cosine estimate of their
long-run variance, with Student's t of as many degrees of freedom as it has cosines, 0.4 T^(2/3) for T blocks (Lazarus, Lewis, Stock and Watson,
Journal of Business & Economic Statistics 36, 2018). That estimate is too small where blocks correlate and are few. So it is multiplied by what it
lacks of the variance where each block correlates with the one before by `CORRELATION`: by 1.32 for 10 blocks, 1.12 for 30, 1.04 for 90. Blocks
without an order get the jackknife's own variance, with T - 1 degrees of freedom. How often intervals cover the truth and the gate errs:
`benchmarks/gate.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from intermodal.evaluation.metrics import MINIMUM_BLOCKS

Floats = NDArray[np.float64]

#: Blocks beyond this number are put together: neighbours where they have an order, else at random.
LARGEST_BLOCKS: Final = 1000
#: Scores are ranked into this many bins of equal size before blocks are left out; rows of one bin count as ties.
BINS: Final = 4096
#: The bins of calibration, of equal size, over which the expected calibration error is taken.
CALIBRATION_BINS: Final = 10
#: Of a block with the one before, for which the variance of few ordered blocks is corrected; that of the flights' days is 0.47.
CORRELATION: Final = 0.4
_CORRELATIONS: Final = np.arange(10) / 10
_EPSILON: Final = 1e-7


@dataclass(frozen=True)
class Blocks:
    """Which rows depend on each other.

    Attributes:
        codes: The block of each row, shape (rows,), from 0 on.
        count: How many there are.
        ordered: Whether they are in the order of time.
    """

    codes: NDArray[np.int64]
    count: int
    ordered: bool

    def of(self, rows: NDArray[np.bool_]) -> "Blocks":
        """Return the blocks of some of the rows, those without rows left out."""
        found, codes = np.unique(self.codes[rows], return_inverse=True)
        return Blocks(codes.reshape(-1).astype(np.int64), len(found), self.ordered)


def group_blocks(blocks: NDArray[Any], *, ordered: bool, seed: int = 0) -> Blocks:
    """Return the blocks of rows, at most `LARGEST_BLOCKS`.

    Args:
        blocks: The block of each row, shape (rows,), of any type that sorts.
        ordered: Whether their order is that of time.
        seed: Of the draw by which blocks without an order are put together. Default: 0.
    """
    codes = np.unique(blocks, return_inverse=True)[1].astype(np.int64).reshape(-1)
    count = int(codes.max()) + 1
    if count > LARGEST_BLOCKS:
        places = np.arange(count) * LARGEST_BLOCKS // count
        codes, count = (places if ordered else np.random.default_rng(int(seed)).permutation(places))[codes], LARGEST_BLOCKS
    return Blocks(codes, count, ordered)


def jackknifed_metrics(label: Floats, score: Floats, blocks: Blocks, bins: int = BINS) -> dict[str, Floats]:
    """Return each metric's values, shape (blocks + 1,): the first of all rows, exact; then one without each block.

    Where one class is left, AUC and PR-AUC are NaN.

    Args:
        label: 0 or 1, shape (rows,).
        score: Probabilities, shape (rows,).
        blocks: Of the same rows.
        bins: Of ranks, for AUC and PR-AUC without a block. Default: 4096.
    """
    codes, count = blocks.codes, blocks.count
    positive = np.asarray(label, np.float64)
    score = np.asarray(score, np.float64)
    values, place = np.unique(-score, return_inverse=True)
    place, unique = place.reshape(-1), len(values)
    exact_auc, exact_pr = _ranking(*(np.bincount(place, of, unique)[None, :].astype(np.float64) for of in (positive, 1 - positive)))
    # By rank of the row, not of the distinct score: bins then hold equally many rows, however uneven the scores.
    reached = np.bincount(place, minlength=unique).cumsum()
    coarse = np.minimum((reached - 1) * bins // len(score), bins - 1)[place] if unique > bins else place
    width = min(bins, unique)
    # Bins move AUC and PR-AUC a little, so what a block adds is taken from bins on both sides.
    auc, pr_auc = _ranking(*(_without_each(coarse, codes, of, width, count) for of in (positive, 1 - positive)))
    clipped = np.clip(score, _EPSILON, 1 - _EPSILON)
    losses = {
        "log_loss": -(positive * np.log(clipped) + (1 - positive) * np.log1p(-clipped)),
        "brier": (score - positive) ** 2,
        "accuracy": ((score >= 0.5) == (positive == 1)).astype(np.float64),
    }
    nowhere = np.zeros_like(codes)
    rows = _without_each(nowhere, codes, np.ones_like(score), 1, count)[:, 0]
    gaps = _without_each(calibration_bins(score), codes, positive - score, CALIBRATION_BINS, count)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {name: _without_each(nowhere, codes, each, 1, count)[:, 0] / rows for name, each in losses.items()}
        means["ece"] = _calibration_error(gaps / rows[:, None], blocks)
    return {"auc": auc + (exact_auc - auc[0]), "pr_auc": pr_auc + (exact_pr - pr_auc[0])} | means


def _calibration_error(gaps: Floats, blocks: Blocks) -> Floats:
    """Return the expected calibration error from the gaps of each bin, as shares of all rows: shape (blocks + 1, bins).

    The sum of absolute gaps is too large by what chance adds to each. That is taken off, the same from all values: squared gaps are reduced by their
    squared errors (Kumar, Liang and Ma, Verified Uncertainty Calibration, 2019).
    """
    errors = [estimate(gap, blocks).error or 0.0 for gap in gaps.T]
    found: Floats = np.abs(gaps).sum(1)
    found -= found[0] - np.sqrt(np.maximum(gaps[0] ** 2 - np.square(errors), 0)).sum()
    return found


def calibration_bins(score: Floats, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """Return the calibration bin of each row: as many rows in each, by rank of the score."""
    places = np.empty(len(score), np.int64)
    places[np.argsort(score, kind="stable")] = np.arange(len(score)) * bins // len(score)
    return places


def _without_each(place: NDArray[Any], codes: NDArray[np.int64], of: Floats, bins: int, blocks: int) -> Floats:
    """Return sums by bin, shape (blocks + 1, bins): of all rows, then without each block."""
    sums = np.bincount(codes * bins + place, of, blocks * bins).astype(np.float64).reshape(blocks, bins)
    whole = sums.sum(0, keepdims=True)
    return np.vstack([whole, whole - sums])


def _ranking(positives: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Return AUC (Mann-Whitney, ties half) and average precision of counts by score, best first: shape (rows, places) each."""
    true, false = positives.cumsum(1), negatives.cumsum(1)
    total, other = true[:, -1], false[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (positives * (other[:, None] - false + negatives / 2)).sum(1) / (total * other)
        pr_auc = (positives * np.nan_to_num(true / (true + false))).sum(1) / np.where(other > 0, total, np.nan)
    return auc, pr_auc


@dataclass(frozen=True)
class Estimate:
    """A number, and how far chance may have moved it.

    Attributes:
        value: The number of all rows; None where it is undefined.
        error: Its standard error; None where the blocks do not tell it: there are fewer than `MINIMUM_BLOCKS`, or it is undefined without one.
            0: it is the same without any block, as the difference of two models that predict the same is.
        freedom: Degrees of freedom of Student's t.
    """

    value: float | None
    error: float | None
    freedom: float

    def above(self, confidence: float) -> float | None:
        """Return what the true number is below, with this (one-sided) confidence."""
        return self._shifted(confidence)

    def below(self, confidence: float) -> float | None:
        """Return what the true number is above, with this (one-sided) confidence."""
        return self._shifted(1 - confidence)

    def p_value(self, bound: float) -> float:
        """Return how likely chance alone gives such a number, or a larger one, if the true number is `bound`; 1 where that cannot be told."""
        if self.value is None or self.error is None:
            return 1.0
        if self.error == 0:
            return float(self.value <= bound)
        return 1.0 - _student_t_share((self.value - bound) / self.error, self.freedom)

    def _shifted(self, share: float) -> float | None:
        if self.value is None or self.error is None:
            return None
        return self.value + self.error * _student_t_quantile(share, self.freedom)


def estimate(values: Floats, blocks: Blocks) -> Estimate:
    """Return the estimate that a number's values, as `jackknifed_metrics` gives them, stand for."""
    value = float(values[0]) if np.isfinite(values[0]) else None
    if value is None or blocks.count < MINIMUM_BLOCKS or not np.isfinite(values).all():
        return Estimate(value, None, 0)
    influence = _influence(values, blocks)
    if not blocks.ordered:
        return Estimate(value, _independent(influence) ** 0.5, blocks.count - 1)
    return Estimate(value, _long_run(influence) ** 0.5, len(_waves(blocks.count)))


def pooled_estimates(values: Sequence[Floats], blocks: Sequence[Blocks]) -> list[Estimate]:
    """Return the estimates of one number in several slices of the same rows.

    The order of few blocks says little about one slice, and with many slices the limits are far out in the tails of a t with few degrees of freedom.
    So each slice has its own variance of independent blocks, times how much larger the long-run variance is, which is taken from all slices together:
    the mean, at least 1; or, where that is more, what it is for the correlation of blocks with the one before, r, that gives estimates of that mean.
    With T blocks, S slices and B cosines the degrees of freedom are 1 / (1 / F + 1 / (S B)), where F = (T - 1) (1 - r^2) / (1 + r^2).
    """
    found = [estimate(each, its) for each, its in zip(values, blocks, strict=True)]
    known = {number: blocks[number].count for number, each in enumerate(found) if each.error and blocks[number].ordered}
    if not known:
        return found
    independent = {number: _independent(_influence(values[number], blocks[number])) for number in known}
    mean = float(np.mean([(found[number].error or 0.0) ** 2 / independent[number] for number in known]))
    expected = np.mean([_correlated(count)[0] for count in known.values()], axis=0)
    correlation = float(np.interp(mean, expected, _CORRELATIONS))
    shrunk = (1 - correlation**2) / (1 + correlation**2)
    cosines = sum(found[number].freedom for number in known)
    for number, count in known.items():
        excess = max(1.0, mean, float(np.interp(correlation, _CORRELATIONS, _correlated(count)[1])))
        freedom = 1 / (1 / ((count - 1) * shrunk) + 1 / cosines)
        found[number] = Estimate(found[number].value, math.sqrt(independent[number] * excess), freedom)
    return found


def _influence(values: Floats, blocks: Blocks) -> Floats:
    """Return what each block adds to a number, times the number of blocks."""
    influence: Floats = (blocks.count - 1) * (values[1:].mean() - values[1:])
    return influence


def _independent(influence: Floats) -> float:
    """Return the variance of a number whose blocks do not depend on each other."""
    return float((influence**2).sum() / (len(influence) - 1) / len(influence))


def _long_run(influence: Floats) -> float:
    """Return the variance of a number whose blocks follow each other in time."""
    return float(np.mean((_waves(len(influence)) @ influence) ** 2) / len(influence))


def blocks_needed(found: Estimate, blocks: Blocks, within: float, confidence: float) -> int:
    """Return about how many blocks such as these bring a one-sided limit within a distance, above 0, of the number."""

    def distance(count: int) -> float:
        freedom = _freedom(count) if blocks.ordered else count - 1
        return (found.error or 0.0) * math.sqrt(blocks.count / count) * _student_t_quantile(confidence, freedom)

    low, high = blocks.count, 2 * blocks.count
    while distance(high) > within:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if distance(middle) > within else (low, middle)
    return high


def _freedom(count: int) -> int:
    """Return the number of cosines for as many ordered blocks."""
    return max(1, round(0.4 * math.pow(count, 2 / 3)))


@lru_cache(maxsize=256)
def _correlated(count: int) -> tuple[Floats, Floats]:
    """Return what correlated blocks do to variances: as multiples of the independent blocks' estimate.

    For each of `_CORRELATIONS` between a block and the one before.

    Returns:
        What the long-run estimate is on average, and what the variance is.
    """
    waves, found = _waves(count), []
    for correlation in _CORRELATIONS:
        correlations = correlation ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
        variance = correlations.sum() / count
        found.append(np.array([np.mean((waves @ correlations * waves).sum(1)), variance]) * (count - 1) / (count - variance))
    estimated, true = np.array(found).T
    return estimated, true


@lru_cache(maxsize=256)
def _waves(count: int) -> Floats:
    """Return the cosines of the long-run variance of as many blocks, shape (degrees of freedom, count), scaled by the correction for few blocks."""
    waves = np.sqrt(2 / count) * np.cos(np.pi * np.arange(1, _freedom(count) + 1)[:, None] * (np.arange(count) + 0.5) / count)
    correlations = CORRELATION ** np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    expected = np.mean((waves @ correlations * waves).sum(1))
    scaled: Floats = waves * np.sqrt(correlations.sum() / count / expected)
    return scaled


def interval(values: Floats, blocks: Blocks, confidence: float = 0.95) -> dict[str, float | None]:
    """Return `value` and its two-sided interval `low`, `high`; None where nothing is defined or can be said."""
    found = estimate(values, blocks)
    one_sided = (1 + confidence) / 2
    return {"value": found.value, "low": found.below(one_sided), "high": found.above(one_sided)}


def _student_t_quantile(share: float, freedom: float) -> float:
    from scipy.special import stdtrit  # not with the module: whoever only reads decisions need not wait

    return float(stdtrit(freedom, share))


def _student_t_share(value: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, value))
