from dataclasses import replace

import numpy as np
import pytest

from intermodal.rollout.judging.counts import Histogram, Moments, joined
from intermodal.runtime.errors import DataError
from tests.rollout.judging.traffic import traffic, values


def test_merged_slices_have_the_same_sums_and_moments():
    counts = replace(traffic(11), business=values((1.0, 2.0), slices=11))
    merged = counts.merged(4)
    assert len(merged) == 2
    assert (merged.start[0], merged.end[-1]) == (counts.start[0], counts.end[-1])
    for name in ("requests", "errors"):
        assert getattr(merged, name).sum() == getattr(counts, name).sum()
    assert merged.latencies.counts.sum() == counts.latencies.counts.sum()
    whole, parts = merged.merged(2).business, counts.business
    assert len(merged.merged(2)) == 1
    assert whole.mean[0] == pytest.approx(parts.mean.mean(axis=0))
    assert whole.variance[0] == pytest.approx((parts.variance + parts.mean**2).mean(axis=0) - parts.mean.mean(axis=0) ** 2)


def test_parts_that_follow_each_other_are_joined():
    counts = traffic(10)
    again = joined([counts.taken(slice(0, 3)), counts.taken(slice(3, 10))])
    assert np.array_equal(again.requests, counts.requests)
    assert np.array_equal(again.predictions.counts, counts.predictions.counts)
    with pytest.raises(DataError, match="follow each other"):
        joined([counts, counts])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"errors": np.full((5, 2), 1e6)}, "errors of"),
        ({"requests": np.full((5, 2), np.nan)}, "requests has a value that is negative or not finite"),
        ({"requests": np.full((5, 2), -1.0)}, "negative"),
        ({"requests": np.ones((4, 2))}, r"shape \(4, 2\); it must be \(5, 2\)"),
        ({"end": np.arange(5) + 1000.0}, "longer than 0 s"),
        ({"latencies": Histogram(np.array([2.0, 1.0]), np.ones((5, 2, 3)))}, "must be finite and rise"),
        ({"business": Moments(np.ones((5, 2)), -np.ones((5, 2)), np.ones((5, 2)))}, "business.variance"),
    ],
)
def test_counts_that_cannot_be_are_refused(change, words):
    with pytest.raises(DataError, match=words):
        replace(traffic(5), **change)
