"""Evidence that holds at every look.

A sum of terms, one a slice of time, whose expectation under the hypothesis is 0 or less whatever came before, is a supermartingale. With the
terms' own squares as its variance, `exp(rate * sum - rate^2 * variance / 2)` has expectation 1 at most for symmetric terms (de la Peña, Annals of
Probability 27, 1999; Howard, Ramdas, McAuliffe and Sekhon, Probability Surveys 17, 2020, table 3), and as closely as a central limit theorem holds
for others (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Annals of Statistics 52, 2024). Mixed over positive rates by half a normal distribution
it is an e-process: the chance that it ever reaches 1 / a, over all looks, is a at most (Ville; Robbins, 1970; Howard et al., Annals of Statistics 49,
2021). The mixture is the one of the sequential probability ratio test of Johari, Koomen, Pekelis and Walsh (Operations Research 70, 2022).

One request is no unit, for requests of one second share its load: a slice is. Slices that still correlate get a larger variance
(`correlation_factor`).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from intermodal.rollout.judging.counts import Floats

#: Fewer slices tell nothing of how they correlate.
_FEWEST_CORRELATED: Final = 12
_LARGEST_LAG: Final = 12


@dataclass(frozen=True)
class Evidence:
    """A sum that grows where the hypothesis is wrong.

    Attributes:
        total: The sum of the terms.
        variance: Its variance, no less than chance alone gives.
        weight: Sum of the slices' weights; `total / weight` estimates the effect beyond the hypothesis.
        scale: The variance around which the mixture is narrow: where a decision is expected.
    """

    total: float
    variance: float
    weight: float
    scale: float

    @property
    def log_value(self) -> float:
        """The logarithm of the e-process."""
        if self.variance <= 0 or self.scale <= 0:
            return 0.0
        spread = self.variance + self.scale
        below = 0.5 * math.erfc(-self.total / math.sqrt(2 * spread))
        if below <= 0:
            return -math.inf
        return (
            math.log(2 * below) + 0.5 * math.log(self.scale / spread) + self.total**2 / (2 * spread)
            if self.total > -30 * math.sqrt(spread)
            else -math.inf
        )

    def least_effect(self, level: float) -> float:
        """Return what the effect beyond the hypothesis is at least, at every look, but for a chance of `level` (Howard et al., 2021)."""
        if self.weight <= 0 or self.scale <= 0:
            return -math.inf
        spread = self.variance + self.scale
        return (self.total - math.sqrt(2 * spread * math.log(math.sqrt(spread / self.scale) / (2 * level) + 1))) / self.weight

    def grown(self, factor: float) -> "Evidence":
        """Return what it will be with `factor` times the requests, if all goes on as it did."""
        return Evidence(self.total * factor, self.variance * factor, self.weight * factor, self.scale)


def gather(terms: Floats, weights: Floats, floors: Floats, effect: float) -> Evidence:
    """Return the evidence of some slices.

    Args:
        terms: Of each slice; expectation 0 or less under the hypothesis. Shape (slices,).
        weights: What a slice counts; a term's expectation is its weight times the effect. Shape (slices,).
        floors: The variance of each term by chance alone, shape (slices,).
        effect: The effect beyond the hypothesis that is looked for.
    """
    weight = float(weights.sum())
    if weight <= 0:
        return Evidence(0.0, 0.0, 0.0, 0.0)
    total = float(terms.sum())
    variance = max(float(terms @ terms), float(floors.sum())) * correlation_factor(terms - weights * (total / weight))
    # The best rate for this effect is effect / (variance a weight); the mixture's rates are normal with that deviation.
    return Evidence(total, variance, weight, (variance / weight / max(effect, 1e-12)) ** 2)


def correlation_factor(residuals: Floats) -> float:
    """Return how many times the sum of their squares the variance of the residuals' sum is, 1 at least (Newey and West, Econometrica 55, 1987)."""
    count = len(residuals)
    squares = float(residuals @ residuals)
    if count < _FEWEST_CORRELATED or squares <= 0:
        return 1.0
    lags = min(_LARGEST_LAG, count // 4)
    sums = [float(residuals[lag:] @ residuals[:-lag]) * (1 - lag / (lags + 1)) for lag in range(1, lags + 1)]
    return max(1.0, 1.0 + 2.0 * float(np.sum(sums)) / squares)
