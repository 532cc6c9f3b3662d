import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.rollout.judging.evidence import correlation_factor, gather

COUNT = 400


def paths(draw, chains: int = 100) -> float:
    """Return the share of chains whose evidence ever reaches 20, looked at after every twentieth slice."""
    generator, reached = np.random.default_rng(5), 0
    for _ in range(chains):
        terms = draw(generator)
        ones = np.ones(COUNT)
        reached += any(gather(terms[:end], ones[:end], ones[:end] * 1e-9, 0.3).log_value >= math.log(20) for end in range(2, COUNT, 20))
    return reached / chains


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: generator.normal(size=COUNT),
        lambda generator: generator.standard_t(2.5, size=COUNT),
        lambda generator: generator.normal(size=COUNT) * np.exp(generator.normal(size=COUNT)),
        lambda generator: (generator.random(COUNT) < 0.05) - 0.05,
        lambda generator: np.convolve(generator.normal(size=COUNT + 4), np.ones(5), "valid"),  # each correlates with four neighbours
    ],
    ids=["normal", "heavy tails", "changing variance", "rare events", "correlated"],
)
def test_evidence_of_nothing_rarely_grows_at_any_look(draw):
    assert paths(draw) <= 0.05


def test_an_effect_is_found_and_bounded_from_below():
    generator = np.random.default_rng(1)
    terms, ones = generator.normal(0.5, 1.0, COUNT), np.ones(COUNT)
    evidence = gather(terms, ones, ones * 1e-9, 0.5)
    assert evidence.log_value > math.log(1e6)
    assert 0.2 < evidence.least_effect(0.05) < 0.5
    assert evidence.grown(2.0).log_value > evidence.log_value


@given(st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_evidence_has_no_unit(unit, seed):
    generator = np.random.default_rng(seed)
    terms, ones = generator.normal(0.2, 1.0, 50), np.ones(50)
    one, other = gather(terms, ones, ones, 0.3), gather(terms * unit, ones, ones * unit**2, 0.3 * unit)
    assert other.log_value == pytest.approx(one.log_value, rel=1e-6, abs=1e-6)


def test_correlated_residuals_have_a_larger_variance():
    noise = np.random.default_rng(0).normal(size=2000)
    assert correlation_factor(noise) < 1.3
    assert correlation_factor(np.convolve(noise, np.ones(5), "valid")) > 3
    assert correlation_factor(np.ones(5)) == 1.0
