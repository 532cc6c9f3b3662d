import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.gate_model.logic import gate_model
from intermodal.runtime.errors import ConfigurationError


@pytest.fixture
def judge(tmp_path):
    def run(noise=0.0, rules=None, champion=True, error=None, auc=0.76, spoiled=None):
        generator = np.random.default_rng(0)
        truth = generator.normal(size=12_000)
        label = (generator.random(12_000) < 1 / (1 + np.exp(-truth))).astype(float)
        logit = truth + noise * generator.normal(size=12_000)
        group = np.array(["a", "b", "c"])[np.arange(12_000) % 3]
        if spoiled:
            logit = np.where(group == spoiled, -logit, logit)
        columns = {"label": label, "block": (np.arange(12_000) // 200).astype(str), "group": group, "challenger": 1 / (1 + np.exp(-logit))}
        old = truth + 0.5 * generator.normal(size=12_000)
        columns["champion"] = pa.array(1 / (1 + np.exp(-old))) if champion else pa.nulls(12_000, pa.float64())
        pq.write_table(pa.table(columns), tmp_path / "predictions.parquet")
        metrics = {name: {"value": auc, "low": 0.7, "high": 0.8} for name in ("auc", "pr_auc", "log_loss", "brier", "accuracy")}
        model = {"metrics": metrics}
        evaluation = {
            "models": {"challenger": model, "champion": model if champion else None},
            "champion_version": "4" if champion else None,
            "champion_error": error,
        }
        (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
        out = tmp_path / "decision"
        passed = gate_model(evaluation_path=str(tmp_path), predictions_path=str(tmp_path), rules=rules or {}, seed=1.0, decision_path=str(out))
        decision = json.loads((out / "decision.json").read_text())
        assert decision["verdict"] == ("passed" if passed else "blocked")
        return passed, decision

    return run


def test_a_better_challenger_passes(judge):
    passed, decision = judge(noise=0.0)
    assert passed
    assert "better than that of champion 4" in " ".join(decision["reasons"])
    assert set(decision["inputs"]) == {"evaluation.json", "predictions.parquet"}


def test_a_worse_challenger_is_blocked_with_the_reason(judge):
    passed, decision = judge(noise=1.5)
    assert not passed
    assert any("log loss" in reason and "worse beyond chance" in reason for reason in decision["reasons"])


def test_worse_within_the_tolerance_passes(judge):
    assert judge(noise=1.5, rules={"tolerance": 0.5, "slices": {"maximum_drop": 0.5}})[0]


def test_a_slice_that_collapses_blocks(judge):
    passed, decision = judge(spoiled="b", rules={"tolerance": 9})
    assert not passed
    assert "group is b" in decision["reasons"][0]


def test_without_a_champion_only_the_bounds_count(judge):
    assert judge(champion=False, rules={"minimum": {"auc": 0.7}})[0]
    passed, decision = judge(champion=False, rules={"minimum": {"auc": 0.8}})
    assert not passed
    assert decision["reasons"] == ["AUC 0.760 [0.700, 0.800] is below 0.8"]


def test_an_undefined_metric_does_not_pass(judge):
    assert not judge(champion=False, auc=None, rules={"minimum": {"auc": 0.1}})[0]


def test_a_champion_that_cannot_score_blocks_unless_told_otherwise(judge):
    assert not judge(champion=False, error="column x is gone")[0]
    assert judge(champion=False, error="column x is gone", rules={"incomparable": "pass"})[0]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"minimun": {}}, "'minimum'"),
        ({"minimum": {"aucc": 0.7}}, "'auc'"),
        ({"metric": "logloss"}, "'log_loss'"),
        ({"minimum": {"auc": "high"}}, "must be a number"),
        ({"confidence": 95}, "between"),
    ],
)
def test_a_wrong_rule_is_refused(judge, rules, message):
    with pytest.raises(ConfigurationError, match=message):
        judge(rules=rules)
