"""A test of whether a sample and its reference are of one distribution, for rows that depend on each other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from intermodal.components.validate_data.distributions.references import Reference
from intermodal.components.validate_data.distributions.samples import Array

#: A cell has at least so many rows to be expected in the smaller of both samples, and is spread over at least half of the blocks; otherwise it is
#: joined with its neighbour. What happens in few blocks only says too little of how often it happens.
_EXPECTED: Final = 5.0

#: Fewer blocks than this say nothing of how much a feature varies.
_BLOCKS: Final = 4

#: What a share may be off for the quantile sketches' sake: shares are compared to this much and no finer.
_RESOLUTION: Final = 0.002


@dataclass(frozen=True)
class Homogeneity:
    """The outcome of one test.

    Attributes:
        statistic: Distributed as F under the null hypothesis.
        numerator: Its degrees of freedom; 0 where nothing could be tested: too few blocks, or fewer than two cells with enough rows and blocks.
        denominator: Its other degrees of freedom.
        effect: The design effect, at least 1: how many dependent rows say as much as one independent row.
        plain: The statistic with a design effect of 1: of chi-square over `degrees`, if the rows were independent.
        degrees: The degrees of freedom of that.
    """

    statistic: float = 0.0
    numerator: float = 0.0
    denominator: float = 1.0
    effect: float = 1.0
    plain: float = 0.0
    degrees: int = 1


def probabilities(tests: Sequence[Homogeneity]) -> tuple[Array, Array]:
    """Return for each test the probability of so great a statistic by chance, and what it would be if the rows were independent."""
    numbers = np.array([(each.statistic, max(each.numerator, 1.0), each.denominator, each.plain, each.degrees) for each in tests], float)
    statistic, numerator, denominator, plain, degrees = numbers.reshape(-1, 5).T
    # Chi-square over its degrees of freedom is F whose other degrees of freedom are without end.
    return f_tail(statistic, numerator, denominator), f_tail(plain, degrees, np.full_like(plain, 1e7))


def compare_counts(reference: Reference, sample: Array) -> Homogeneity:
    """Test whether a sample's shares in the reference's cells are the reference's, up to chance.

    Pearson's statistic of homogeneity, divided by the design effect: how many times as much as independent rows' the shares of the reference's
    own blocks vary (Rao and Scott, The Analysis of Categorical Data from Complex Sample Surveys, JASA 76, 1981; second-order correction with
    Satterthwaite's degrees of freedom and F for few clusters: Thomas and Rao, Small-Sample Comparisons of Level and Power, JASA 82, 1987). Blocks are
    consecutive, so that dependence within them counts; dependence that outlasts a block shows in windows of several blocks (Politis, Romano
    and Wolf, Subsampling, 1999), which raise the design effect. It is at least 1: a reference cannot vary less than independent rows do.

    Args:
        reference: What to compare with.
        sample: Rows of the sample in each of its cells; of shape (cells,).
    """
    whole, blocks = np.array(reference.counts), np.array(reference.blocks)
    blocks = blocks[blocks.sum(axis=1) > 0] if len(blocks) else blocks
    rows = sample.sum()
    if len(blocks) < _BLOCKS or not rows:
        return Homogeneity()
    # The cell without a value comes first: joined with the last, rare, cell it would hide in how few blocks that one is.
    whole, sample, blocks = np.roll(whole, 1), np.roll(sample, 1), np.roll(blocks, 1, axis=1)
    variance = 1 / rows + 1 / whole.sum()

    def join(groups: list[int]) -> tuple[float, int]:
        """Join neighbouring cells, and return Pearson's statistic over its degrees of freedom, and these."""
        nonlocal whole, sample, blocks
        whole, sample, blocks = np.add.reduceat(whole, groups), np.add.reduceat(sample, groups), np.add.reduceat(blocks, groups, axis=1)
        share = (whole + sample) / (whole.sum() + rows)
        squares = (sample / rows - whole / whole.sum()) ** 2
        return float((squares / (share * effect * variance + _RESOLUTION**2)).sum() / max(len(whole) - 1, 1)), len(whole) - 1

    effect = 1.0
    expected = (whole + sample) / (whole.sum() + rows) * min(rows, float(whole.sum()))
    plain, degrees = join(_groups(expected, lambda group: expected[group].sum() >= _EXPECTED))
    if not degrees:
        return Homogeneity()
    found_in = blocks / blocks.sum(axis=1, keepdims=True)
    join(_groups(whole, lambda group: _effective_blocks(found_in[:, group].sum(axis=1)) >= len(blocks) / 2))
    if len(whole) < 2:
        return Homogeneity(plain=plain, degrees=degrees)
    effect, freedom = _design_effect(blocks, rows)
    statistic, _ = join(list(range(len(whole))))
    # Thomas and Rao multiply the blocks' degrees of freedom by those of the cells; where one direction has most of the variance that is too many.
    denominator = len(blocks) - 1.0
    return Homogeneity(statistic, freedom, denominator, effect, plain, degrees)


def _groups(cells: Array, enough: Callable[[slice], bool]) -> list[int]:
    """Return where each group of neighbouring cells begins, so that each, the last one too, is enough."""
    starts = [0]
    for at in range(1, len(cells)):
        if enough(slice(starts[-1], at)) and enough(slice(at, len(cells))):
            starts.append(at)
    return starts


def _effective_blocks(shares: Array) -> float:
    """Return in how many blocks of equal shares a group of cells would be as unevenly spread: 1 where it is in a single block."""
    return float(shares.sum() ** 2 / max(float((shares**2).sum()), 1e-300))


def _design_effect(blocks: Array, rows: float) -> tuple[float, float]:
    """Return how many times as much as independent rows' the shares vary, and the degrees of freedom that are left of those of the cells.

    Args:
        blocks: Rows in each cell for each block; of shape (blocks, cells).
        rows: The rows of the sample, for the windows that are as long.
    """
    count, cells = blocks.shape
    each = blocks.sum(axis=1, keepdims=True)
    length = float(each.mean())
    share = (blocks.sum(axis=0) + 0.5) / (blocks.sum() + 0.5 * cells)
    scaled = (blocks / each - blocks.sum(axis=0) / blocks.sum()) * np.sqrt(length / share)
    degrees = count - 1
    products = scaled @ scaled.T / degrees
    trace, square = float(np.trace(products)), float((products**2).sum())  # The sum of the eigenvalues, and of their squares.
    freedom = trace**2 / max(square, trace**2 / (cells - 1), 1e-300) if trace > 0 else cells - 1.0
    window = int(min(max(round(rows / length), 1), count // 2))
    means = np.array([scaled[at : at + window].mean(axis=0) for at in range(count - window + 1)])
    longer = float((means**2).sum(axis=1).mean()) / (1 / window - 1 / count)
    effect = max(trace, longer) / (cells - 1)
    return max(1.0, effect), max(1.0, freedom)


def f_tail(value: Array, numerator: Array, denominator: Array) -> Array:
    """Return the probability of an F variable above each value.

    The incomplete beta function by Lentz's continued fraction (DiDonato and Morris, ACM TOMS 18, 1992; DLMF 8.17.22).
    """
    a, b = denominator / 2, numerator / 2
    x = denominator / (denominator + numerator * np.maximum(value, 0.0))
    swapped = x > (a + 1) / (a + b + 2)
    a, b, x = np.where(swapped, b, a), np.where(swapped, a, b), np.where(swapped, 1 - x, x)
    gamma = np.vectorize(math.lgamma, otypes=[float])
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        front = np.exp(gamma(a + b) - gamma(a) - gamma(b) + a * np.log(x) + b * np.log1p(-x)) / a
    tiny = 1e-300
    c, d = np.ones_like(x), 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(np.abs(d) < tiny, tiny, d)
    h = d.copy()
    for m in range(1, 400):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + term * d
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = 1 + term / c
            c = np.where(np.abs(c) < tiny, tiny, c)
            h = h * d * c
        if np.all(np.abs(d * c - 1) < 1e-12):
            break
    tail = np.where(x > 0, front * h, 0.0)
    return np.clip(np.where(swapped, 1 - tail, tail), 0.0, 1.0)


def unlikely(value: float, known: Array, longer: float, level: float, least: float) -> bool:
    """Say whether a t test finds a value too far from those of blocks; true of fewer than two blocks.

    Args:
        value: The value.
        known: Those of the blocks; of shape (blocks,).
        longer: How many times as many rows a block has as what has the value.
        level: Probability of a false alarm.
        least: Standard deviation that the blocks are taken to have at least.
    """
    blocks = len(known)
    if blocks < 2:
        return True
    deviation = max(float(known.std(ddof=1)), least)
    squared = (value - float(known.mean())) ** 2 / (deviation**2 * (1 / blocks + max(1.0, longer)))
    return bool(f_tail(np.array([squared]), np.array([1.0]), np.array([blocks - 1.0]))[0] < level)


def f_critical(level: Array, numerator: Array, denominator: Array) -> Array:
    """Return the value above which an F variable lies with each probability, to one part in a thousand; by bisection of its logarithm."""
    low, high = np.full_like(level, -5.0), np.full_like(level, 60.0)
    for _ in range(16):
        middle = (low + high) / 2
        above = f_tail(np.exp(middle), numerator, denominator) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(np.exp(high))
