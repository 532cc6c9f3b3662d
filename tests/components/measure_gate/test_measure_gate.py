"""The gate's error rates on rows of which the truth is known, with the gate as it is and with gates that are broken on purpose."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.gate_model import comparison
from intermodal.components.gate_model.comparison import level
from intermodal.components.gate_model.logic import gate_model
from intermodal.components.measure_gate.logic import measure_gate
from intermodal.evaluation.intervals import Estimate
from intermodal.runtime.errors import ConfigurationError, DataError

DAYS, A_DAY, DRAWS = 60, 100, 600


@pytest.fixture
def decided(tmp_path, defaults_of):
    """Return a function that judges two models that are equally good, on days that do not depend on each other, and measures the gate on them."""

    def run(draws=DRAWS, seed=1, champion=True, reference=False, days=DAYS, ordered=True, **given):
        generator = np.random.default_rng(7)
        rows = days * A_DAY
        signal = generator.normal(size=rows)
        label = (generator.random(rows) < 1 / (1 + np.exp(-signal))).astype(float)
        scores = {name: 1 / (1 + np.exp(-signal - 0.5 * generator.normal(size=rows))) for name in ("challenger", "champion")}
        columns = {"label": label, "block": [f"{each:03}" for each in np.arange(rows) // A_DAY], "group": np.array(["a", "b"])[np.arange(rows) % 2]}
        if reference:
            scores["reference"] = 1 / (1 + np.exp(-signal - 0.5 * generator.normal(size=rows)))
        if not champion:
            scores["champion"] = pa.nulls(rows, pa.float64())
        pq.write_table(pa.table(columns | scores), tmp_path / "predictions.parquet")
        models = {"challenger": {"metrics": {}}, "champion": {"metrics": {}} if champion else None}
        evaluation = {
            "models": models,
            "champion_version": "3" if champion else None,
            "champion_error": None,
            "ordered": ordered,
            "window": "w1",
            "reference_version": "1",
        }
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
        defaults = {name: value for name, value in defaults_of("gate_model").items() if name != "predictions"}
        paths = {"evaluation_path": str(tmp_path), "predictions_path": str(tmp_path)}
        gate_model(**defaults | given, **paths, decision_path=str(tmp_path / "decision"), summary_path=str(tmp_path / "summary"))
        kept = measure_gate(
            decision_path=str(tmp_path / "decision"),
            **paths,
            draws=draws,
            seed=seed,
            rates_path=str(tmp_path / "rates"),
            summary_path=str(tmp_path / "rates.md"),
        )
        found = json.loads((tmp_path / "rates" / "rates.json").read_text())
        assert found["kept"] == kept
        return kept, {each["question"]: each for each in found["rates"]}, (tmp_path / "rates.md").read_text()

    return run


def rate(found, words):
    (only,) = [each for question, each in found.items() if words in question]
    return only


def near(measured, truth, draws=DRAWS):
    """Whether a share of draws is what chance makes of the true one: within three standard errors."""
    return abs(measured - truth) <= 3 * math.sqrt(truth * (1 - truth) / draws)


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
@pytest.mark.parametrize(("confidence", "judged"), [(0.95, {}), (0.8, {}), (0.95, {"w1": ["0" * 12]})])
def test_where_nothing_is_different_the_measured_rates_are_the_nominal_ones(decided, metric, confidence, judged):
    kept, found, page = decided(margin={metric: 0.0}, confidence=confidence, judged=judged, slice_margin={"auc": 0.0, "log_loss": 0.0})
    nominal = 1 - level(confidence, 2 if judged else 1)
    passed, blocked = rate(found, "the margin, passes"), rate(found, "is blocked by its")
    assert passed["promised"] == blocked["promised"] == pytest.approx(nominal)
    assert near(passed["measured"], nominal)
    assert near(blocked["measured"], nominal)
    assert rate(found, "blocked by a slice")["measured"] <= 1 - confidence + 3 * math.sqrt(confidence * (1 - confidence) / DRAWS)
    assert kept
    assert page.startswith("# The gate errs no more often than promised\n")


def test_the_three_verdicts_of_an_equal_model_add_up_and_a_wide_margin_lets_it_pass(decided):
    found = decided(margin={"log_loss": 0.0})[1]
    shares = [rate(found, f": {verdict}")["measured"] for verdict in ("passed", "too little data", "blocked")]
    assert sum(shares) == pytest.approx(1.0)
    assert shares[1] > 0.5
    wide = decided(margin={"log_loss": 0.1})[1]
    assert rate(wide, ": passed")["measured"] == 1.0


@pytest.mark.parametrize("metric", ["log_loss", "auc"])
def test_a_gate_whose_intervals_are_half_as_wide_is_seen(decided, monkeypatch, metric):
    shifted = Estimate._shifted
    monkeypatch.setattr(Estimate, "_shifted", lambda self, share: shifted(Estimate(self.value, self.error and self.error / 2, self.freedom), share))
    kept, found, page = decided(margin={metric: 0.0})
    assert not kept
    assert not rate(found, "the margin, passes")["kept"]
    assert rate(found, "the margin, passes")["measured"] > 3 * rate(found, "the margin, passes")["promised"]
    assert "**more often**" in page
    assert page.startswith("# The gate errs more often than promised on these rows\n")


def test_a_gate_that_takes_dependent_days_for_independent_ones_is_seen(decided, monkeypatch, tmp_path):
    """The days' differences are the mean of five days', and the gate looks at them as at days of their own."""
    from intermodal.components.measure_gate import draws as drawing

    def dependent(self, *arguments):
        added = self.added
        return drawing.Differences({name: None if each is None else smooth(each) for name, each in added.items()}, self.present, self.rows)

    def smooth(values):
        return np.mean([np.roll(values, shift) for shift in range(5)], axis=0)

    whole = drawing.Differences.of.__func__
    monkeypatch.setattr(drawing.Differences, "of", classmethod(lambda cls, *given: dependent(whole(cls, *given))))
    assert decided(margin={"log_loss": 0.0})[0], "the gate as it is takes their order into account"
    estimate = comparison.estimate
    monkeypatch.setattr(comparison, "estimate", lambda values, blocks: estimate(values, drawing.Blocks(blocks.codes, blocks.count, False)))
    kept, found, _ = decided(margin={"log_loss": 0.0})
    assert not kept
    assert rate(found, "the margin, passes")["measured"] > 0.08


def test_a_gate_that_asks_whether_a_model_is_worse_beyond_chance_is_seen(decided, monkeypatch):
    judged = comparison._judged

    def careless(kind, metric, worse, margin, *others):
        outcome = judged(kind, metric, worse, margin, *others)
        return comparison.Outcome(outcome.name, "passed", outcome.text) if outcome.verdict == "too little data" else outcome

    monkeypatch.setattr(comparison, "_judged", careless)
    kept, found, _ = decided()
    assert not kept
    assert rate(found, "the margin, passes")["measured"] > 0.9


def test_slices_that_are_not_corrected_for_their_number_are_seen(decided, monkeypatch):
    from intermodal.components.gate_model import slices

    monkeypatch.setattr(slices, "holm", lambda chances, level: (chances, chances))
    kept, found, _ = decided(slice_margin={"auc": 0.0, "log_loss": 0.0, "brier": 0.0}, confidence=0.9)
    assert not kept
    assert not rate(found, "blocked by a slice")["kept"]


def test_the_same_seed_gives_the_same_rates_and_another_gives_others(decided):
    one, again, other = (decided(draws=200, seed=seed, margin={"log_loss": 0.002})[2] for seed in (1, 1, 2))
    assert one == again != other


def test_the_reference_is_measured_as_the_champion_is(decided):
    _, found, _ = decided(draws=200, reference=True)
    assert rate(found, "worse than the reference by 0.005 log loss")["kept"]
    assert rate(found, "as good as the reference is blocked by its log loss")["kept"]


def test_blocks_without_an_order_are_drawn_one_by_one(decided):
    _, found, page = decided(ordered=False, margin={"log_loss": 0.0})
    assert "block by block" in page
    assert near(rate(found, "the margin, passes")["measured"], 1 - level(0.95, 1))


@pytest.mark.fault("Gate", "error rates asked of a decision that compared nothing, or of too few days or draws", "refused with the reason")
def test_what_cannot_be_measured_is_refused_with_the_reason(decided, tmp_path):
    with pytest.raises(DataError, match=r"the decision compared no models \(there is no champion to compare with"):
        decided(champion=False)
    with pytest.raises(DataError, match="its margin is empty"):
        decided(margin={})
    with pytest.raises(DataError, match="the rows are 9 blocks, and chance is judged from 10 on"):
        decided(days=9)
    with pytest.raises(ConfigurationError, match="draws: 99 must be a whole number, at least 100"):
        decided(draws=99)
    assert not (tmp_path / "rates").exists()
    file = tmp_path / "decision" / "decision.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"window": {"name": "w1", "use": 1}}))
    paths = {f"{name}_path": str(tmp_path) for name in ("evaluation", "predictions", "rates", "summary")}
    with pytest.raises(DataError, match="not what gate_model writes; give its output `decision`, of this version of intermodal"):
        measure_gate(decision_path=str(file.parent), **paths, draws=100, seed=0)
