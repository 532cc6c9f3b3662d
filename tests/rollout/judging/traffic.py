"""Counts of two models, drawn quickly."""

import numpy as np

from intermodal.rollout.judging.counts import Counts, Histogram, Moments

BOUNDS = 0.001 * 1.2 ** np.arange(40)
SCORES = np.arange(1, 10) / 10


def traffic(
    slices: int = 60,
    *,
    seed: int = 1,
    requests: tuple[float, float] = (400.0, 100.0),
    errors: tuple[float, float] = (0.01, 0.01),
    slower: float = 1.0,
    scores: tuple[float, float] = (0.5, 0.5),
    seconds: float = 5.0,
) -> Counts:
    """Return slices of independent requests: latencies with a median of 40 ms and a deviation of .5 of the logarithm."""
    generator = np.random.default_rng(seed)
    of = generator.poisson(requests, size=(slices, 2)).astype(float)
    failed = generator.binomial(of.astype(int), errors).astype(float)
    latencies, predictions = np.zeros((slices, 2, len(BOUNDS) + 1)), np.zeros((slices, 2, len(SCORES) + 1))
    for at in range(slices):
        for model, factor in enumerate((1.0, slower)):
            drawn = 0.04 * factor * np.exp(0.5 * generator.normal(size=int(of[at, model])))
            latencies[at, model] = np.bincount(np.searchsorted(BOUNDS, drawn), minlength=len(BOUNDS) + 1)
            score = generator.beta(4 * scores[model], 4 * (1 - scores[model]), int(of[at, model]))
            predictions[at, model] = np.bincount(np.searchsorted(SCORES, score), minlength=len(SCORES) + 1)
    start = 1000.0 + np.arange(slices) * seconds
    return Counts(start, start + seconds, of, failed, Histogram(BOUNDS, latencies), Histogram(SCORES, predictions))


def values(mean: tuple[float, float], *, slices: int = 60, count: float = 100.0, deviation: float = 1.0, seed: int = 1) -> Moments:
    """Return a number that each request gives."""
    generator = np.random.default_rng(seed)
    of = np.full((slices, 2), count)
    return Moments(np.array(mean) + generator.normal(size=(slices, 2)) * deviation / np.sqrt(count), np.full((slices, 2), deviation**2), of)
