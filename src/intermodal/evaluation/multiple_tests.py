"""Holm's correction for many tests."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def holm(chances: Floats, level: float) -> tuple[Floats, Floats]:
    """Correct many tests so that with probability `level` at most any true null hypothesis is rejected (Holm, Scand. J. Statist. 6, 1979).

    Returns:
        The adjusted probabilities, and for each test the one that its own had to be below.
    """
    order = np.argsort(chances, kind="stable")
    factors = np.empty(len(chances))
    factors[order] = np.arange(len(chances), 0, -1)
    adjusted = np.empty(len(chances))
    adjusted[order] = np.minimum(np.maximum.accumulate(chances[order] * factors[order]), 1.0)
    rejected = int((adjusted <= level).sum())
    return adjusted, level / np.where(adjusted <= level, factors, len(chances) - rejected)
