import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from intermodal.evaluation.intervals import interval, resample, resampled_metrics


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.2, 0.2000001, 0.5, 0.77, 0.99])), min_size=4, max_size=60))
def test_metrics_equal_scikit_learn(rows):
    label = np.array([each[0] for each in rows], float)
    score = np.array([each[1] for each in rows])
    found = {name: values[0] for name, values in resampled_metrics(label, score, resample(np.arange(len(rows)), 0, 2)).items()}
    assert found["log_loss"] == pytest.approx(log_loss(label, score, labels=[0, 1]))
    assert found["brier"] == pytest.approx(brier_score_loss(label, score))
    if 0 < label.mean() < 1:
        assert found["auc"] == pytest.approx(roc_auc_score(label, score))
        assert found["pr_auc"] == pytest.approx(average_precision_score(label, score))
    else:
        assert np.isnan(found["auc"])
        assert interval(np.array([np.nan, np.nan])) == {"value": None, "low": None, "high": None}


def test_binned_resamples_equal_the_exact_metrics_of_the_drawn_rows():
    generator = np.random.default_rng(1)
    score = generator.random(20_000)
    label = (generator.random(20_000) < score).astype(float)
    drawn = resample(generator.integers(0, 40, 20_000), 3, 5)
    found = resampled_metrics(label, score, drawn)
    for index in range(1, 6):
        weight = drawn.weights[index][drawn.codes]
        assert found["auc"][index] == pytest.approx(roc_auc_score(label, score, sample_weight=weight), abs=1e-4)
        assert found["pr_auc"][index] == pytest.approx(average_precision_score(label, score, sample_weight=weight), abs=1e-4)
        assert found["log_loss"][index] == pytest.approx(log_loss(label, score, sample_weight=weight))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(2)
    covered = 0
    for turn in range(200):
        day = np.repeat(generator.normal(0, 0.15, 60), 20)
        label = (generator.random(1200) < np.clip(0.5 + day, 0, 1)).astype(float)
        found = interval(resampled_metrics(label, np.ones(1200), resample(np.repeat(np.arange(60), 20), turn, 300))["accuracy"])
        covered += found["low"] <= 0.5 <= found["high"]
    assert 0.88 <= covered / 200 <= 0.99


def test_many_blocks_give_the_interval_of_independent_rows():
    generator = np.random.default_rng(4)
    label = (generator.random(30_000) < 0.3).astype(float)
    found = interval(resampled_metrics(label, np.zeros(30_000), resample(np.arange(30_000), 5))["accuracy"])
    assert (found["high"] - found["low"]) == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 30_000), rel=0.2)
