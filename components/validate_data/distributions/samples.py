"""One feature of one part, as far as comparisons need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """Numbers, as a distribution function.

    Attributes:
        rows: The rows of the part.
        missing: How many of them have no value, or NaN.
        knots: Values in ascending order, of shape (knots,); the first is the least and the last the greatest.
        below: For each knot how many rows have a value of at most that; of the same shape.
    """

    rows: float
    missing: float
    knots: Array
    below: Array

    def at_most(self, edges: Array) -> Array:
        """Return how many rows have a value of at most each of some edges."""
        return np.concatenate([[0.0], self.below])[np.searchsorted(self.knots, edges, side="right")]

    def less_than(self, edge: float) -> float:
        """Return how many rows have a value below an edge."""
        return float(np.concatenate([[0.0], self.below])[np.searchsorted(self.knots, edge, side="left")])

    def quantiles(self, levels: Array) -> Array:
        """Return the values at some levels, 0 to 1."""
        at = np.searchsorted(self.below, levels * self.below[-1] * (1 - 1e-12))
        found: Array = self.knots[np.minimum(at, len(self.knots) - 1)]
        return found

    def converted(self, factor: float, shift: float) -> "Numbers":
        """Return the numbers times a factor, plus a shift."""
        knots = self.knots * factor + shift
        if factor > 0:
            return Numbers(self.rows, self.missing, knots, self.below)
        # Between two knots lie the values of the upper one's share: mirrored, they are counted with the other.
        shares = self._shares[::-1]
        return Numbers(self.rows, self.missing, knots[::-1], np.cumsum(shares))

    @cached_property
    def _shares(self) -> Array:
        """How many rows each knot stands for."""
        return np.diff(self.below, prepend=0.0)

    @cached_property
    def _nonzero(self) -> tuple[Array, Array]:
        """The values that are not 0, and how many rows have each."""
        there = (self.knots != 0) & (self._shares > 0)
        return self.knots[there], self._shares[there]

    def nonzero_quantiles(self, levels: Array) -> Array:
        """Return the values at some levels, 0 to 1, of those that are not 0; none where there are none."""
        values, shares = self._nonzero
        reached = np.cumsum(shares)
        found: Array = values[np.searchsorted(reached, reached[-1] * levels * (1 - 1e-12))] if len(values) else values
        return found

    @property
    def values(self) -> Array:
        """The different values that are not 0, ascending."""
        return np.unique(self._nonzero[0])

    @property
    def nonzero(self) -> float:
        """How many values are not 0."""
        return float(self._nonzero[1].sum())

    def near(self, steps: Array, distance: float) -> float:
        """Return the share of the values other than 0 that are within a distance of one of some values, ascending; NaN where there are none."""
        values, shares = self._nonzero
        if not len(values):
            return float("nan")
        above = np.searchsorted(steps, values).clip(1, len(steps) - 1)
        with np.errstate(over="ignore"):
            away = np.minimum(np.abs(values - steps[above - 1]), np.abs(values - steps[above]))
        return float(shares[away <= distance].sum() / shares.sum())

    @cached_property
    def zeros(self) -> float:
        """The share of 0 among the values."""
        return float(1 - self._nonzero[1].sum() / self.below[-1])

    @cached_property
    def size(self) -> float:
        """The median of the absolute values that are not 0; NaN where there are none."""
        values, shares = np.abs(self._nonzero[0]), self._nonzero[1]
        if not len(values):
            return float("nan")
        order = np.argsort(values, kind="stable")
        reached = np.cumsum(shares[order])
        return float(values[order][np.searchsorted(reached, reached[-1] / 2)])

    @cached_property
    def spread(self) -> float:
        """The distance of the 0.1 and the 0.9 quantile of the values that are not 0; NaN where there are none."""
        ends = self.nonzero_quantiles(np.array([0.1, 0.9]))
        with np.errstate(over="ignore", invalid="ignore"):
            return float(ends[1] - ends[0]) if len(ends) else float("nan")

    @cached_property
    def lean(self) -> float:
        """Kelley's skewness, -1 to 1: where the median lies between the 0.1 and the 0.9 quantile; NaN where these are equal."""
        low, median, high = self.quantiles(np.array([0.1, 0.5, 0.9])) / 4  # A quarter, lest the sum overflow.
        with np.errstate(invalid="ignore"):
            return float((high + low - 2 * median) / (high - low)) if high > low else float("nan")

    @cached_property
    def commonest(self) -> float:
        """The share of the most frequent value among those that there are; of numbers that hardly repeat about 0.001."""
        last = np.append(np.diff(self.knots) > 0, True)
        return float(np.diff(self.below[last], prepend=0.0).max() / self.below[-1])

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return bool(self.knots[0] == self.knots[-1])


@dataclass(frozen=True)
class Texts:
    """Texts, counted.

    Attributes:
        rows: The rows of the part.
        missing: How many of them have no value.
        counts: How often there is each value, of the 1,000 most frequent.
        different: How many different values there are.
    """

    rows: float
    missing: float
    counts: dict[str, float]
    different: int

    @property
    def commonest(self) -> float:
        """The share of the most frequent value among those that there are."""
        return max(self.counts.values()) / (self.rows - self.missing)

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return self.different == 1


Sample: TypeAlias = Numbers | Texts


@dataclass(frozen=True)
class Words:
    """A column of texts in some rows.

    Attributes:
        values: The different texts.
        codes: For each row the number of its text, -1 where it has none; of shape (rows,).
    """

    values: list[str]
    codes: npt.NDArray[np.int64]


#: Some rows of a part, by column: numbers, of shape (rows,), NaN where there is none, or texts.
Rows: TypeAlias = Mapping[str, Array | Words]
