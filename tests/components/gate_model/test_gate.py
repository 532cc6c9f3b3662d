import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.gate_model.comparison import compare, level
from intermodal.components.gate_model.logic import gate_model
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.runtime.errors import ConfigurationError, DataError

MODEL = "abcdef0123456789" * 4


@pytest.fixture
def judge(tmp_path, defaults_of):
    def run(
        noise=0.0,
        champion=True,
        error=None,
        auc=0.76,
        spoiled=None,
        cooled=None,
        predictions=True,
        blocks=60,
        reference=None,
        window="w1",
        reference_error=None,
        changed=None,
        **given,
    ):
        generator = np.random.default_rng(0)
        truth = generator.normal(size=12_000)
        label = (generator.random(12_000) < 1 / (1 + np.exp(-truth))).astype(float)
        logit = truth + noise * generator.normal(size=12_000)
        group = np.array(["a", "b", "c"])[np.arange(12_000) % 3]
        group[:100] = "d"
        if spoiled:
            logit = np.where(group == spoiled, -logit, logit)
        probability = 1 / (1 + np.exp(-logit))
        if cooled:
            probability = np.where(group == cooled, probability / 5, probability)
        columns = {
            "label": label,
            "block": [f"{each:05}" for each in np.arange(12_000) * blocks // 12_000],
            "group": group,
            "challenger": probability,
        }
        old = truth + 0.5 * generator.normal(size=12_000)
        columns["champion"] = pa.array(1 / (1 + np.exp(-old))) if champion else pa.nulls(12_000, pa.float64())
        if reference is not None:  # the noise of its logits
            columns["reference"] = 1 / (1 + np.exp(-truth - reference * generator.normal(size=12_000)))
        pq.write_table(pa.table(changed(columns) if changed else columns), tmp_path / "predictions.parquet")
        metrics = {name: {"value": auc, "low": 0.7, "high": 0.8} for name in ("auc", "pr_auc", "log_loss", "brier", "accuracy")}
        model = {"metrics": metrics}
        evaluation = {
            "models": {"challenger": model, "champion": model if champion else None},
            "model_sha256": MODEL,
            "champion_version": "4" if champion else None,
            "champion_error": error,
            "window": window,
            "reference_version": None if reference is None and not reference_error else "1",
            "reference_error": reference_error,
            "ordered": True,
        }
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
        out = tmp_path / "decision"
        defaults = {name: value for name, value in defaults_of("gate_model").items() if name != "predictions"}
        passed = gate_model(
            evaluation_path=str(tmp_path),
            predictions_path=str(tmp_path) if predictions else None,
            decision_path=str(out),
            summary_path=str(tmp_path / "summary.md"),
            **{**defaults, "seed": 1.0, **given},
        )
        decision = json.loads((out / "decision.json").read_text())
        assert passed == (decision["verdict"] == "passed")
        return passed, decision

    return run


def test_a_better_challenger_passes(judge):
    passed, decision = judge(noise=0.0)
    assert passed
    assert "better than that of champion 4" in " ".join(decision["reasons"])
    assert set(decision["inputs"]) == {"evaluation.json", "predictions.parquet"}
    assert decision["uncompared"] is None


def test_the_summary_has_the_verdict_and_every_rule_in_words(judge, tmp_path):
    _, decision = judge(minimum={"auc": 0.9}, blocks=60)
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[0] == "# The gate: blocked"
    assert lines[4] == "| minimum auc | blocked | AUC 0.760 [0.700, 0.800] is below 0.9 |"
    assert len(lines) == 6 + len(decision["rules"])
    assert lines[-1] == "No model was judged on these rows before: the comparison is made with 97.0% confidence."
    judge(champion=False)
    assert "Not compared with a champion: there is no champion" in (tmp_path / "summary.md").read_text()


def test_a_worse_challenger_is_blocked_with_the_reason(judge):
    passed, decision = judge(noise=1.5)
    assert not passed
    assert decision["verdict"] == "blocked"
    assert any(
        "log loss" in reason and "at least" in reason and "not shown to be within the margin of 0.005" in reason for reason in decision["reasons"]
    )


def test_worse_within_the_margin_passes(judge):
    assert judge(noise=1.5, margin={"log_loss": 0.5, "auc": 0.3}, slice_margin={"auc": 0.5})[0]


def test_a_model_that_is_within_the_margin_of_the_champion_and_not_of_the_reference_is_blocked(judge):
    margin = {"log_loss": 0.02}
    assert judge(noise=0.5, margin=margin)[0]
    passed, decision = judge(noise=0.5, reference=0.0, margin=margin)
    assert not passed
    assert [(rule["name"], rule["passed"]) for rule in decision["rules"][:2]] == [("champion log_loss", True), ("reference log_loss", False)]
    assert "that of reference 1" in decision["rules"][1]["text"]
    assert not decision["supersedes_reference"]


def test_the_more_models_the_same_rows_have_judged_the_surer_a_comparison_must_be(judge):
    margin = {"log_loss": 0.0075}
    first = judge(noise=0.5, margin=margin)[1]
    assert first["window"] == {"name": "w1", "use": 1, "confidence": level(0.95, 1)}
    assert "with 97.0% confidence" in first["rules"][0]["text"]
    again = judge(noise=0.5, margin=margin, judged={"w1": [MODEL[:12]], "w2": ["0" * 12]})[1]
    assert again["rules"] == first["rules"], "the same model, and other rows, do not count"
    later = judge(noise=0.5, margin=margin, judged={"w1": [f"{number:012}" for number in range(19)]})[1]
    assert later["window"]["use"] == 20
    assert "with 99.992% confidence" in later["rules"][0]["text"]
    assert later["rules"][0]["interval"][1] > first["rules"][0]["interval"][1]
    assert sum(1 - level(0.95, use) for use in range(1, 10_000)) == pytest.approx(0.05, abs=1e-4)


def test_a_model_that_was_judged_on_some_of_the_days_of_a_window_counts_once(judge, tmp_path):
    judged = {
        "aaa@2024-01-01..2024-03-31": ["1" * 12, "2" * 12],
        "bbb@2024-01-02..2024-04-01": ["2" * 12, "3" * 12],
        "ccc@2023-12-01..2024-01-03": ["4" * 12],
        "ddd@2023-10-01..2024-01-02": ["5" * 12],  # ends on the day on which the window begins: a neighbour
        "eee": ["6" * 12],  # rows whose days are not known
    }
    decision = judge(noise=0.5, window="abc@2024-01-02..2024-04-01", judged=judged)[1]
    assert decision["window"] == {"name": "abc@2024-01-02..2024-04-01", "use": 5, "confidence": level(0.95, 5)}
    assert (
        "These rows, or some of them, judged 4 other models before: the comparison is made with 99.9% confidence."
        in (tmp_path / "summary.md").read_text()
    )
    assert judge(noise=0.5, window="abc@2024-04-01..2024-05-01", judged=judged)[1]["window"]["use"] == 1
    assert judge(noise=0.5, window="eee", judged=judged)[1]["window"]["use"] == 2


def test_only_what_is_shown_to_be_better_than_the_reference_supersedes_it(judge):
    assert judge(noise=0.0)[1]["supersedes_reference"]
    assert judge(noise=0.0, reference=0.9)[1]["supersedes_reference"]
    assert not judge(noise=0.0, reference=0.0)[1]["supersedes_reference"]
    assert not judge(noise=0.5, margin={"log_loss": 0.02})[1]["supersedes_reference"]
    assert judge(champion=False)[1]["supersedes_reference"], "the first model"


def test_a_reference_that_cannot_score_blocks_unless_it_may_pass_and_then_the_model_takes_its_place(judge):
    passed, decision = judge(reference_error="column x is gone")
    assert not passed
    assert decision["reasons"][0].startswith(
        "the reference cannot score these rows: column x is gone; set `incomparable` to pass to replace it, or give"
    )
    assert not decision["supersedes_reference"], "it was not compared"
    passed, decision = judge(reference_error="column x is gone", incomparable="pass")
    assert passed
    assert decision["supersedes_reference"]


def test_the_reference_counts_where_the_champion_cannot_score(judge):
    given = {"champion": False, "error": "column x is gone", "incomparable": "pass", "slice_margin": {}}
    passed, decision = judge(noise=1.5, reference=0.0, **given)
    assert not passed
    assert [rule["name"] for rule in decision["rules"] if not rule["passed"]] == ["reference log_loss"]
    assert not decision["supersedes_reference"]
    assert judge(noise=0.0, reference=0.9, **given)[1]["supersedes_reference"]


def test_a_slice_that_is_much_worse_than_the_reference_blocks_though_the_champion_is_as_bad_there(judge):
    """Many small losses in a slice: each model is within the margin of the champion of its time."""

    def champion_sank(columns):
        return columns | {"champion": columns["challenger"], "reference": np.where(columns["group"] == "b", 0.9 * columns["label"] + 0.05, 0.5)}

    wide = {"margin": {"auc": 0.9}, "slice_margin": {"auc": 0.05}}
    assert judge(spoiled="b", changed=lambda columns: columns | {"champion": columns["challenger"]}, **wide)[0]
    passed, decision = judge(spoiled="b", changed=champion_sank, reference=0.0, **wide)
    assert not passed
    assert re.search(r"where group is b \(AUC worse by 0\.\d+ than the reference, allowed 0\.05\)", decision["reasons"][0])


def test_a_slice_of_one_class_is_judged_by_its_probabilities(judge):
    def one_class(columns):
        here = columns["group"] == "b"
        return columns | {"label": np.where(here, 0.0, columns["label"]), "challenger": np.where(here, 0.9, columns["challenger"])}

    passed, decision = judge(changed=one_class, margin={"log_loss": 9})
    assert not passed
    assert "where group is b (log loss worse by" in decision["reasons"][0]
    assert {"slice": "b", "why": "too few rows of a class for AUC"} in decision["rules"][-1]["unjudged"]


def test_one_slice_of_many_that_collapses_is_found_in_two_weeks(judge):
    def many(columns):
        group = np.arange(12_000) % 20
        return columns | {
            "group": group.astype(str),
            "challenger": np.where(group == 7, columns["challenger"] / 5, columns["challenger"]),
        }

    passed, decision = judge(changed=many, blocks=14, margin={"log_loss": 9})
    assert not passed
    assert "where group is 7 (log loss worse by" in decision["reasons"][0]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("challenger", [np.nan, 0.5], r"'challenger' is no probability in 6000 of 12000 rows"),
        ("challenger", [1.5, 0.5], r"'challenger' is no probability"),
        ("champion", [None, 0.5], r"'champion' is no probability"),
        ("label", [2.0, 0.0], r"'label' is not 0 or 1"),
        ("block", [None, "a"], "rows without a block"),
    ],
    ids=["not a number", "above 1", "null in some rows", "another class", "no block"],
)
def test_predictions_that_are_none_are_refused(judge, column, values, message):
    with pytest.raises(DataError, match=message):
        judge(changed=lambda columns: columns | {column: pa.array(values * 6000)})


def test_predictions_without_a_column_or_rows_are_refused(judge):
    with pytest.raises(DataError, match="no column challenger"):
        judge(changed=lambda columns: {name: values for name, values in columns.items() if name != "challenger"})
    with pytest.raises(DataError, match="have no rows"):
        judge(changed=lambda columns: {name: values[:0] for name, values in columns.items()})
    with pytest.raises(DataError, match="no probabilities of the champion, which the evaluation has"):
        judge(changed=lambda columns: columns | {"champion": pa.nulls(12_000, pa.float64())})


def test_rows_of_one_class_are_too_little_data_for_a_ranking_and_enough_for_probabilities(judge):
    margin = {"auc": 0.01, "log_loss": 9.0}
    decision = judge(changed=lambda columns: columns | {"label": np.zeros(12_000)}, margin=margin)[1]
    assert decision["verdict"] == "too little data"
    assert [rule["verdict"] for rule in decision["rules"][:2]] == ["too little data", "passed"]
    assert "give rows of both classes" in decision["reasons"][0]


def test_all_predictions_equal_are_judged_as_any_others(judge):
    passed, decision = judge(changed=lambda columns: columns | {"challenger": np.full(12_000, 0.5)}, margin={"auc": 0.01, "log_loss": 0.005})
    assert not passed
    assert [rule["verdict"] for rule in decision["rules"][:2]] == ["blocked", "blocked"]


def test_the_blocks_that_would_do_reckon_with_more_degrees_of_freedom(judge):
    """Ten blocks leave two degrees of freedom; a plain square root would ask for half as many again."""
    text = judge(noise=0.5, blocks=10, margin={"log_loss": 0.005})[1]["reasons"][0]
    width, worse = (float(re.search(pattern, text)[1]) for pattern in (r"no difference below (0\.\d+)", r"log loss is (0\.\d+) "))
    needed = int(re.search(r"about (\d+) blocks", text)[1])
    assert 10 < needed < 10 * (width / (0.005 - worse)) ** 2 / 1.4


def test_every_metric_with_a_margin_must_pass(judge):
    passed, decision = judge(noise=1.5, margin={"log_loss": 0.5, "auc": 0.01}, slice_margin={})
    assert not passed
    assert [(rule["name"], rule["verdict"]) for rule in decision["rules"]] == [("champion log_loss", "passed"), ("champion auc", "blocked")]


@pytest.mark.parametrize("spoilt", ["spoiled", "cooled"], ids=["ranks turned round", "probabilities divided by five"])
def test_a_slice_that_collapses_blocks(judge, spoilt):
    passed, decision = judge(**{spoilt: "b"}, margin={"log_loss": 9})
    assert not passed
    assert "group is b" in decision["reasons"][0]


def test_a_bound_that_a_slice_misses_beyond_chance_blocks_with_or_without_a_champion(judge):
    for champion in (True, False):
        passed, decision = judge(cooled="b", champion=champion, margin={}, slice_margin={}, slice_maximum={"log_loss": 0.75})
        assert not passed
        assert re.search(r"where group is b \(log loss 1\.\d+, above 0\.75\)", decision["reasons"][0])
        assert judge(champion=champion, margin={}, slice_margin={}, slice_maximum={"log_loss": 0.75}, slice_minimum={"auc": 0.6})[0]
    assert "group is b (AUC" in judge(spoiled="b", margin={}, slice_margin={}, slice_minimum={"auc": 0.6})[1]["reasons"][0]


def test_bounds_of_slices_need_predictions(judge):
    with pytest.raises(DataError, match="slice_minimum and slice_maximum bound slices, and there are no predictions"):
        judge(predictions=False, slice_minimum={"auc": 0.6})


def test_a_model_waits_for_a_person_s_approval(judge):
    passed, decision = judge(require_approval=True)
    assert not passed
    assert decision["reasons"] == ["no person has approved the model; who does adds abcdef012345 to `approved`"]
    assert not judge(require_approval=True, approved=["0" * 12])[0]
    for each in ("abcdef012345", MODEL):
        assert judge(require_approval=True, approved=[each])[0]


def test_slices_that_cannot_be_judged_are_listed(judge):
    rule = judge()[1]["rules"][-1]
    assert (rule["name"], rule["verdict"]) == ("slices group", "passed")
    assert rule["unjudged"] == [{"slice": "d", "why": "100 rows, fewer than 200"}]
    assert "not judged: d (100 rows, fewer than 200)" in rule["text"]
    assert "no group can be judged" in judge(slice_minimum_rows=5000)[1]["rules"][-1]["text"]


@pytest.mark.parametrize("blocks", [1, 2, 9])
def test_few_blocks_are_too_little_data_whatever_they_say(judge, blocks):
    for noise in (0.0, 1.5):
        passed, decision = judge(noise=noise, blocks=blocks)
        assert not passed
        assert decision["verdict"] == "too little data"
        assert "chance is judged from 10 on" in decision["reasons"][0]


def test_too_little_data_says_what_the_window_shows_and_how_much_would_do(judge):
    passed, decision = judge(noise=0.5, margin={"log_loss": 0.003})
    assert not passed
    assert decision["verdict"] == "too little data"
    assert re.search(r"these 60 blocks show no difference below 0\.\d+: if it stays so, about \d+ blocks would do", decision["reasons"][0])


def test_a_model_that_gives_the_same_passes(tmp_path, judge):
    assert judge(noise=0.0, margin={})[0]
    path = tmp_path / "predictions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("challenger"), "challenger", table.column("champion")), path)
    rows = ScoredRows.of(pq.read_table(path), ordered=True, seed=0)
    assert [each.verdict for each in compare(rows, {"champion": "4"}, {"log_loss": 0.0, "auc": 0.0, "ece": 0.0}, 0.95, 10).outcomes] == ["passed"] * 3


def test_without_a_champion_only_the_bounds_count(judge):
    assert judge(champion=False, minimum={"auc": 0.7})[0]
    passed, decision = judge(champion=False, minimum={"auc": 0.8})
    assert not passed
    assert decision["reasons"] == ["AUC 0.760 [0.700, 0.800] is below 0.8"]
    assert "no champion" in decision["uncompared"]


def test_an_undefined_metric_does_not_pass(judge):
    assert not judge(champion=False, auc=None, minimum={"auc": 0.1})[0]


def test_a_champion_that_cannot_score_blocks_unless_it_may_pass(judge):
    assert not judge(champion=False, error="column x is gone")[0]
    assert judge(champion=False, error="column x is gone", incomparable="pass")[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minimum": {"aucc": 0.7}}, "'auc'"),
        ({"margin": {"logloss": 0.1}}, "margin.logloss: .*'log_loss'"),
        ({"margin": {"auc": -0.1}}, "margin.auc"),
        ({"minimum_blocks": 5}, "whole number, at least 10"),
        ({"minimum": {"auc": "high"}}, "must be a number"),
        ({"confidence": 95}, "confidence: 95 must be above 0.5 and below 1"),
        ({"incomparable": "let"}, "incomparable"),
        ({"require_approval": True, "approved": ["me"]}, r"approved\[0\]: 'me' is not the SHA-256"),
        ({"approved": ["0" * 12]}, "require_approval is false"),
        ({"slice_minimum": {"aucc": 0.1}}, "slice_minimum.aucc"),
        ({"slice_minimum_rows": 0}, "whole number, at least 1"),
    ],
)
def test_a_wrong_argument_is_refused(judge, given, message):
    with pytest.raises(ConfigurationError, match=message):
        judge(**given)


def test_without_predictions_only_the_bounds_count_and_the_decision_says_so(judge):
    passed, decision = judge(noise=1.5, predictions=False, minimum={"auc": 0.7})
    assert passed
    assert decision["uncompared"] == "there are no predictions to compare with the champion's: only minimum and maximum count"
    assert set(decision["inputs"]) == {"evaluation.json"}
    assert [rule["name"] for rule in decision["rules"]] == ["minimum auc"]


def test_an_evaluation_of_ones_own_needs_the_metrics_that_are_bounded_alone(tmp_path, defaults_of):
    defaults = {name: value for name, value in defaults_of("gate_model").items() if name != "predictions"}
    given = {
        **defaults,
        "evaluation_path": str(tmp_path),
        "predictions_path": None,
        "decision_path": str(tmp_path / "out"),
        "summary_path": str(tmp_path / "summary"),
    }
    (tmp_path / "evaluation.json").write_text('{"models": {"challenger": {"metrics": {"auc": {"value": 0.9}}}}}')
    assert gate_model(**{**given, "minimum": {"auc": 0.8}})
    assert not gate_model(**{**given, "minimum": {"auc": 0.95}})
    with pytest.raises(DataError, match="no metric 'brier', which maximum bounds; it has auc"):
        gate_model(**{**given, "maximum": {"brier": 0.2}})


def test_an_evaluation_that_is_none_is_refused(tmp_path, defaults_of):
    (tmp_path / "evaluation.json").write_text("[]")
    defaults = {name: value for name, value in defaults_of("gate_model").items() if name != "predictions"}
    with pytest.raises(DataError, match="not what evaluate_model writes"):
        paths = {"evaluation_path": str(tmp_path), "predictions_path": None, "decision_path": str(tmp_path / "out")}
        gate_model(**paths, summary_path=str(tmp_path / "summary"), **defaults)
