import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from intermodal.components.evaluate_model.measures import measure
from intermodal.evaluation.intervals import blocks_needed, estimate, group_blocks, interval, jackknifed_metrics, pooled_estimates


def blocks_of(values, ordered=False):
    return group_blocks(np.asarray(values), ordered=ordered)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.01, 0.2, 0.2000001, 0.5, 0.77, 0.99])), min_size=4, max_size=60))
def test_metrics_equal_scikit_learn(rows):
    label = np.array([each[0] for each in rows], float)
    score = np.array([each[1] for each in rows])
    blocks = blocks_of(np.arange(len(rows)))
    found = {name: values[0] for name, values in jackknifed_metrics(label, score, blocks).items()}
    assert found["log_loss"] == pytest.approx(log_loss(label, score, labels=[0, 1]))
    assert found["brier"] == pytest.approx(brier_score_loss(label, score))
    if 0 < label.mean() < 1:
        assert found["auc"] == pytest.approx(roc_auc_score(label, score))
        assert found["pr_auc"] == pytest.approx(average_precision_score(label, score))
    else:
        assert np.isnan(found["auc"])
        assert interval(np.full(len(rows) + 1, np.nan), blocks) == {"value": None, "low": None, "high": None}


def test_what_is_left_without_a_block_equals_the_exact_metrics_of_its_rows():
    generator = np.random.default_rng(1)
    score = generator.random(20_000)
    label = (generator.random(20_000) < score).astype(float)
    blocks = blocks_of(generator.integers(0, 40, 20_000))
    found = jackknifed_metrics(label, score, blocks)
    for number in range(5):
        rows = blocks.codes != number
        assert found["auc"][number + 1] == pytest.approx(roc_auc_score(label[rows], score[rows]), abs=2e-5)
        assert found["pr_auc"][number + 1] == pytest.approx(average_precision_score(label[rows], score[rows]), abs=2e-4)
        assert found["log_loss"][number + 1] == pytest.approx(log_loss(label[rows], score[rows]))
        assert found["brier"][number + 1] == pytest.approx(brier_score_loss(label[rows], score[rows]))


def test_the_calibration_error_is_the_mean_gap_between_prediction_and_share_without_what_chance_adds():
    generator = np.random.default_rng(0)
    score = generator.random(5000)
    for told, true, plain in ((score, 0.0, 0.005), (np.clip(score + 0.1, 0, 1), 0.1, 0.0)):
        found, alone = [], []
        for _ in range(20):
            label = (generator.random(5000) < score).astype(float)
            found.append(jackknifed_metrics(label, told, blocks_of(np.arange(5000)))["ece"][0])
            alone.append(jackknifed_metrics(label, told, blocks_of(np.zeros(5000)))["ece"][0])  # of one block chance is not known
        assert np.mean(found) == pytest.approx(true, abs=0.012)
        assert np.mean(alone) >= np.mean(found) + plain


@pytest.mark.parametrize(("count", "correlation"), [(10, 0.0), (60, 0.5)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(count, correlation):
    """300 samples of days that depend on each other; `benchmarks/gate.py` has the full table."""
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        day = generator.normal(0, 0.1, count)
        for number in range(1, count):
            day[number] = correlation * day[number - 1] + np.sqrt(1 - correlation**2) * day[number]
        label = (generator.random(count * 20) < np.repeat(0.5 + day, 20)).astype(float)
        blocks = blocks_of(np.repeat(np.arange(count), 20), ordered=True)
        found = interval(jackknifed_metrics(label, np.ones(count * 20), blocks)["accuracy"], blocks)
        covered += found["low"] <= 0.5 <= found["high"]
    assert 0.92 <= covered / 300 <= 0.98


def test_many_blocks_give_the_interval_of_independent_rows():
    generator = np.random.default_rng(4)
    label = (generator.random(30_000) < 0.3).astype(float)
    blocks = blocks_of(np.arange(30_000))
    found = interval(jackknifed_metrics(label, np.zeros(30_000), blocks)["accuracy"], blocks)
    assert (found["high"] - found["low"]) == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 30_000), rel=0.1)


def test_days_that_follow_each_other_make_the_interval_wider_only_where_their_order_counts():
    wave = np.repeat(0.5 + 0.3 * np.sin(np.arange(120) / 12), 50)
    label = (np.random.default_rng(3).random(6000) < wave).astype(float)
    days = np.repeat(np.arange(120), 50)
    widths = []
    for ordered in (False, True):
        blocks = blocks_of(days, ordered=ordered)
        found = interval(jackknifed_metrics(label, np.ones(6000), blocks)["accuracy"], blocks)
        widths.append(found["high"] - found["low"])
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_from_few_blocks_nothing_is_said_about_chance(count):
    label = np.arange(100) % 2.0
    blocks = blocks_of(np.arange(100) * count // 100)
    found = estimate(jackknifed_metrics(label, np.full(100, 0.5), blocks)["log_loss"], blocks)
    assert (found.error, found.above(0.95), found.p_value(0.0)) == (None, None, 1.0)
    assert found.value == pytest.approx(np.log(2))


def test_a_class_that_only_one_block_has_leaves_the_error_unknown():
    label = np.zeros(200)
    label[:3] = 1
    blocks = blocks_of(np.arange(200) // 10)
    found = jackknifed_metrics(label, np.linspace(0, 1, 200), blocks)
    assert estimate(found["auc"], blocks).error is None
    assert estimate(found["log_loss"], blocks).error is not None


def test_an_estimate_tells_one_sided_limits_and_their_p_values():
    generator = np.random.default_rng(5)
    blocks = blocks_of(np.arange(400) // 20)
    found = estimate(jackknifed_metrics(np.ones(400), generator.uniform(0.3, 0.9, 400), blocks)["log_loss"], blocks)
    for confidence in (0.8, 0.95, 0.999):
        assert found.below(confidence) < found.value < found.above(confidence)
        assert found.p_value(found.below(confidence)) == pytest.approx(1 - confidence)


@pytest.mark.parametrize(
    ("label", "score", "value"),
    [(np.arange(400) % 2.0, np.full(400, 0.5), 0.5), (np.arange(400) % 2.0, np.arange(400) % 2, 1.0)],
    ids=["all predictions equal", "every prediction right"],
)
def test_a_number_that_no_block_changes_has_no_interval(label, score, value):
    numbers = measure(label, score.astype(float), blocks_of(np.arange(400) // 20), {})[0]["metrics"]
    assert numbers["auc"] == {"value": value, "low": None, "high": None}


@pytest.mark.parametrize("count", [1, 9, 30])
def test_one_class_leaves_only_the_ranking_undefined(count):
    score = np.linspace(0.1, 0.9, 300)
    numbers = measure(np.zeros(300), score, blocks_of(np.arange(300) * count // 300, ordered=True), {})[0]["metrics"]
    assert numbers["auc"] == numbers["pr_auc"] == {"value": None, "low": None, "high": None}
    assert numbers["log_loss"]["value"] == pytest.approx(-np.log(1 - score).mean())
    assert (numbers["log_loss"]["low"] is None) == (count < 10)


def test_blocks_without_a_positive_count_as_any_others():
    generator = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        label = (generator.random(600) < 0.05).astype(float)
        blocks = blocks_of(np.arange(600) // 20, ordered=True)
        assert (np.bincount(blocks.codes, label) == 0).any()
        found = interval(jackknifed_metrics(label, np.full(600, 0.1), blocks)["brier"], blocks)
        covered += found["low"] <= 0.05 * 0.81 + 0.95 * 0.01 <= found["high"]
    assert 0.9 <= covered / 200 <= 0.99


def test_slices_pool_what_the_order_of_blocks_adds():
    """Independent slices of correlated blocks: together they know the long-run variance better than each."""
    generator = np.random.default_rng(7)
    blocks = blocks_of(np.arange(20), ordered=True)
    for correlation, truth in ((0.0, 1.0), (0.6, 2.0)):
        slices = []
        for _ in range(60):
            noise = generator.normal(size=20)
            for number in range(1, 20):
                noise[number] = correlation * noise[number - 1] + np.sqrt(1 - correlation**2) * noise[number]
            slices.append(np.append(noise.mean(), (noise.sum() - noise) / 19))
        found = pooled_estimates(slices, [blocks] * 60)
        plain = [estimate(each, blocks_of(np.arange(20))).error for each in slices]
        assert np.mean([each.error for each in found]) / np.mean(plain) == pytest.approx(truth, rel=0.35)
        assert found[0].value == slices[0][0]
        assert found[0].freedom == pytest.approx(1 / (1 / (19 if not correlation else 19 * 0.64 / 1.36) + 1 / 180), rel=0.3)
    one = pooled_estimates(slices[:1], [blocks])[0]
    assert one.freedom < 3
    assert one.error >= plain[0]


def test_the_blocks_that_are_needed_bring_a_limit_that_near():
    generator = np.random.default_rng(8)
    values = generator.normal(size=4000)
    for ordered in (False, True):
        blocks = blocks_of(np.arange(40), ordered=ordered)
        day = values.reshape(40, 100).mean(1)
        found = estimate(np.append(day.mean(), (day.sum() - day) / 39), blocks)
        distance = found.above(0.95) - found.value
        assert blocks_needed(found, blocks, distance, 0.95) == 41
        assert 41 < blocks_needed(found, blocks, distance / 2, 0.95) <= 160
