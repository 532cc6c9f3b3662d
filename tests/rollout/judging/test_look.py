from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intermodal.rollout.judging.counts import Counts, Histogram, joined
from intermodal.rollout.judging.limits import DEFAULT_LIMITS, Limit, Settings
from intermodal.rollout.judging.look import Look, judge
from tests.rollout.judging.traffic import traffic, values

SETTINGS = Settings(bake=0, warm_up=0)


def found(look: Look, metric: str):
    return next(each for each in look.findings if each.metric == metric)


def test_a_candidate_as_good_is_promoted_with_the_numbers_of_every_metric():
    look = judge(traffic(120), SETTINGS)
    assert look.decision == "promote", look
    assert {each.metric: each.outcome for each in look.findings} == {
        "errors": "harmless",
        "p50": "within limits",
        "p95": "harmless",
        "p99": "within limits",
        "predictions": "harmless",
    }
    assert found(look, "p95").stable == pytest.approx(0.04 * np.exp(0.5 * 1.645), rel=0.02)
    assert "not worse by 1.0% of the answers" in str(look)
    assert "ratio 1.0" in str(look)


@pytest.mark.parametrize(
    ("change", "metric", "words"),
    [
        ({"slower": 1.3}, "p95", "ratio 1.29; worse than tolerated (5%), for at least"),
        ({"errors": (0.01, 0.03)}, "errors", "worse than tolerated (0.1% of the answers), by at least"),
        ({"scores": (0.3, 0.7)}, "predictions", "their cumulated shares differ by up to"),
    ],
)
def test_a_harmful_candidate_is_rolled_back_for_what_is_worse(change, metric, words):
    look = judge(traffic(120, **change), SETTINGS)
    assert look.decision == "roll back"
    assert found(look, metric).outcome == "worse"
    assert words in found(look, metric).sentence


def test_a_candidate_that_is_better_is_not_rolled_back_for_it():
    assert judge(traffic(120, slower=0.5, errors=(0.03, 0.0)), SETTINGS).decision == "promote"


def test_few_requests_are_too_little_data_and_it_says_how_many_more():
    look = judge(traffic(10, requests=(40, 10)), SETTINGS)
    assert look.decision == "too little data"
    assert found(look, "errors").more > 500
    assert "more requests of the candidate" in str(look)


def test_no_errors_of_few_requests_do_not_show_that_there_are_none():
    # Fourteen slices without an error are as many equal terms: only their chance of an error, not their spread, says how little that is.
    look = judge(traffic(40, requests=(40, 2), errors=(0.0, 0.0)), SETTINGS)
    assert found(look, "errors").outcome == "open"


@pytest.mark.parametrize(
    ("settings", "words"),
    [(Settings(bake=3600, warm_up=0), "has lasted 600 s of 3600"), (Settings(bake=0, warm_up=0, minimum_requests=10**6), "requests of 1,000,000")],
)
def test_bake_time_and_minimum_sample_come_before_promotion(settings, words):
    look = judge(traffic(120), settings)
    assert look.decision == "too little data"
    assert words in str(look)


def test_bad_requests_during_warm_up_are_not_compared():
    cold = traffic(4, slower=5.0, errors=(0.01, 0.3))
    warm = traffic(120, seed=2)
    both = replace_time(cold, warm)
    assert judge(both, Settings(bake=0, warm_up=20)).decision == "promote"
    assert judge(both, Settings(bake=0, warm_up=0)).decision != "promote"
    assert "first 20 s" in str(judge(cold, Settings(bake=0, warm_up=20)))


def replace_time(first: Counts, second: Counts) -> Counts:
    shift = first.end[-1] - second.start[0]
    return joined([first, replace(second, start=second.start + shift, end=second.end + shift)])


@pytest.mark.fault("rollout", "every request of the candidate fails for 15 s", "rolled back at once, also during the warm-up")
def test_an_outage_needs_no_statistics():
    look = judge(traffic(3, errors=(0.01, 1.0)), Settings())
    assert look.decision == "roll back"
    assert "failed, for 15 s; " in str(look)


@pytest.mark.fault("rollout", "both models fail for 15 s", "the candidate is not rolled back for it")
def test_an_outage_of_both_models_is_not_the_candidates():
    assert judge(traffic(3, errors=(0.9, 1.0)), Settings()).decision == "too little data"


@pytest.mark.fault("rollout", "one bad second of the candidate", "the candidate is not rolled back for it")
def test_one_bad_slice_is_no_harm():
    counts = traffic(120)
    errors = counts.errors.copy()
    errors[60, 1] = counts.requests[60, 1]
    for end in range(61, 121, 5):
        assert judge(replace(counts, errors=errors).taken(slice(0, end)), SETTINGS).decision != "roll back"


def test_no_requests_and_no_slices_are_too_little_data():
    assert "first" in str(judge(traffic(0), Settings()))
    look = judge(traffic(20, requests=(400, 0)), SETTINGS)
    assert (look.decision, str(look)) == ("too little data", "the candidate has no requests yet")


def test_without_a_stable_model_beside_it_the_earlier_span_is_compared_with_a_warning():
    alone = traffic(120, requests=(0, 500))
    assert "no earlier span" in str(judge(alone, SETTINGS))
    before = traffic(120, requests=(500, 0), seed=3)
    look = judge(alone, SETTINGS, before=before)
    assert look.decision == "promote", look
    assert "a change of the load counts as the candidate's" in look.warnings[0]
    assert judge(traffic(120, requests=(0, 500), slower=1.3), SETTINGS, before=before).decision == "roll back"
    assert judge(traffic(120, requests=(0, 500), errors=(0, 0.04)), SETTINGS, before=before).decision == "roll back"
    assert judge(traffic(120, requests=(0, 500), scores=(0.5, 0.9)), SETTINGS, before=before).decision == "roll back"


@pytest.mark.fault("rollout", "latencies come in buckets that are too wide", "no promotion; the remedy is named")
@pytest.mark.parametrize(
    ("bounds", "words"),
    [([0.01, 0.03, 1.2, 5.0], "one goes from 0.03 to 1.2 s"), ([0.001, 0.05, 0.06], "largest bound is 0.06 s"), ([0.5, 1.0], "from 0 to 0.5 s")],
)
def test_buckets_that_cannot_show_the_harm_are_refused(bounds, words):
    counts = traffic(120)
    edges = np.searchsorted(np.array(bounds), np.append(0.001 * 1.2 ** np.arange(40), np.inf))
    wide = np.stack([counts.latencies.counts[:, :, edges == each].sum(axis=2) for each in range(len(bounds) + 1)], axis=2)
    look = judge(replace(counts, latencies=Histogram(np.array(bounds), wide)), SETTINGS)
    assert look.decision == "too little data"
    assert words in str(look)
    assert "p95 cannot be compared" in str(look)


def test_a_metric_that_is_not_measured_stops_promotion_unless_it_has_no_limit():
    counts = replace(traffic(120), latencies=None)
    assert judge(counts, SETTINGS).decision == "too little data"
    errors_only = replace(SETTINGS, limits={"errors": DEFAULT_LIMITS["errors"]})
    assert judge(counts, errors_only).decision == "promote"


def test_shadow_answers_that_disagree_are_found():
    counts = traffic(60)
    compared = np.full(60, 100.0)
    same = replace(counts, compared=compared, agreed=compared - 1)
    other = replace(counts, compared=compared, agreed=compared * 0.8)
    assert judge(same, SETTINGS).decision == "promote"
    assert "disagreement: 20.00%" in str(judge(other, SETTINGS))


@pytest.mark.parametrize(("metric", "better", "worse"), [("business", (1.0, 1.5), (1.5, 1.0)), ("loss", (1.5, 1.0), (1.0, 1.5))])
def test_a_business_metric_is_better_when_higher_and_a_loss_when_lower(metric, better, worse):
    limits = replace(SETTINGS, limits={metric: Limit(0.02, 0.2)})
    assert judge(replace(traffic(60), **{metric: values(better)}), limits).decision == "promote"
    assert judge(replace(traffic(60), **{metric: values(worse)}), limits).decision == "roll back"
    assert f"name a query for `{metric}`" in str(judge(traffic(60), limits))


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1.2]), st.sampled_from([0.01, 0.03]))
def test_the_unit_of_latency_and_the_order_of_independent_slices_do_not_matter(seed, slower, errors):
    counts = traffic(10, seed=seed % 5, slower=slower, errors=(0.01, errors))
    look = judge(counts, SETTINGS)
    milliseconds = replace(counts, latencies=Histogram(counts.latencies.bounds * 1000, counts.latencies.counts))
    assert judge(milliseconds, SETTINGS).decision == look.decision
    order = np.random.default_rng(seed).permutation(len(counts))
    # Fewer than twelve slices: their correlation, which the order changes, is not estimated.
    shuffled = counts.taken(order)
    shuffled = replace(shuffled, start=counts.start, end=counts.end)
    for one, other in zip(look.findings, judge(shuffled, SETTINGS).findings, strict=True):
        assert (one.metric, one.outcome) == (other.metric, other.outcome)
        assert other.evidence == pytest.approx(one.evidence, rel=1e-6)


@settings(max_examples=8)
@given(st.integers(0, 4), st.integers(1, 6))
def test_more_errors_of_the_candidate_never_make_it_look_better(seed, more):
    counts = traffic(40, seed=seed)
    spread = replace(counts, errors=counts.errors + np.array([0.0, more]))
    before, after = (found(judge(each, SETTINGS), "errors") for each in (counts, spread))
    assert after.evidence >= before.evidence
    assert (after.outcome, before.outcome) != ("harmless", "open")
