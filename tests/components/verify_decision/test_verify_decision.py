"""A decision is made again from its inputs: it stands, or the page says what is not as it says."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.evaluate_model.measures import measured
from intermodal.components.gate_model.logic import gate_model
from intermodal.components.verify_decision.logic import verify_decision
from intermodal.evaluation.intervals import group_blocks, jackknifed_metrics
from intermodal.runtime.errors import DataError


@pytest.fixture
def made(tmp_path, defaults_of):
    """A decision with what it was made of."""
    generator = np.random.default_rng(3)
    label = (generator.random(4000) < 0.3).astype(float)
    blocks = np.arange(4000) // 200
    scores = {name: np.clip(0.3 + 0.2 * (label - 0.3) + 0.1 * generator.normal(size=4000), 0.01, 0.99) for name in ("challenger", "champion")}
    columns = {"label": label, "block": [f"{each:03}" for each in blocks], "group": np.array(["a", "b"])[np.arange(4000) % 2]}
    pq.write_table(pa.table(columns | scores), tmp_path / "predictions.parquet")
    grouped = group_blocks(blocks, ordered=True)
    models = {
        name: {"metrics": {key: measured(key, values, grouped) for key, values in jackknifed_metrics(label, score, grouped).items()}}
        for name, score in scores.items()
    }
    evaluation = {"models": models, "champion_version": "3", "champion_error": None, "ordered": True}
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation))
    given = {name: value for name, value in defaults_of("gate_model").items() if name != "predictions"}
    paths = {"evaluation_path": str(tmp_path), "predictions_path": str(tmp_path)}
    gate_model(**given | {"minimum": {"auc": 0.6}}, **paths, decision_path=str(tmp_path / "decision"), summary_path=str(tmp_path / "summary"))
    return tmp_path


def verify(made, predictions=True) -> tuple[bool, str]:
    stands = verify_decision(
        decision_path=str(made / "decision"),
        evaluation_path=str(made),
        predictions_path=str(made) if predictions else None,
        verification_path=str(made / "verification.md"),
    )
    return stands, (made / "verification.md").read_text()


def change(file, **changes):
    content = json.loads(file.read_text())
    content.update(changes)
    file.write_text(json.dumps(content))


def test_a_decision_stands_on_its_own_inputs(made):
    stands, text = verify(made)
    assert stands
    assert text.startswith("# The decision stands\n")
    assert "metrics of the evaluation are those of the predictions" in text


def test_a_verdict_that_was_changed_does_not_stand(made):
    before = json.loads((made / "decision" / "decision.json").read_text())["verdict"]
    change(made / "decision" / "decision.json", verdict="blocked" if before == "passed" else "passed")
    stands, text = verify(made)
    assert not stands
    assert f"The verdict comes to *{before}*" in text


def test_a_rule_that_was_changed_or_taken_out_does_not_stand(made):
    file = made / "decision" / "decision.json"
    rules = json.loads(file.read_text())["rules"]
    change(file, rules=[rules[0] | {"value": 0.99}, *rules[2:]])
    text = verify(made)[1]
    assert "'minimum auc' comes to other numbers" in text
    assert f"{rules[1]['name']!r} is not in the decision" in text


def test_arguments_that_were_changed_do_not_stand(made):
    file = made / "decision" / "decision.json"
    change(file, arguments=json.loads(file.read_text())["arguments"] | {"minimum": {"auc": 0.99}})
    assert "'minimum auc' comes to *blocked*" in verify(made)[1]


def test_other_predictions_are_named_by_their_hash(made):
    table = pq.read_table(made / "predictions.parquet")
    pq.write_table(table.slice(1), made / "predictions.parquet")
    stands, text = verify(made)
    assert not stands
    assert "predictions.parquet is another" in text


def test_a_decision_that_calls_the_model_better_than_the_reference_than_it_is_does_not_stand(made):
    file = made / "decision" / "decision.json"
    before = json.loads(file.read_text())["supersedes_reference"]
    change(file, supersedes_reference=not before)
    stands, text = verify(made)
    assert not stands
    assert f"`supersedes_reference` comes to {json.dumps(before)}, the decision says {json.dumps(not before)}" in text


@pytest.mark.parametrize("number", ["value", "low"])
def test_metrics_that_the_predictions_do_not_have_are_named(made, number):
    """Whoever changes the evaluation and its recorded hash is found by the predictions."""
    import hashlib

    evaluation = json.loads((made / "evaluation.json").read_text())
    evaluation["models"]["challenger"]["metrics"]["auc"][number] = 0.999
    (made / "evaluation.json").write_text(json.dumps(evaluation))
    file = made / "decision" / "decision.json"
    inputs = json.loads(file.read_text())["inputs"]
    change(file, inputs=inputs | {"evaluation.json": hashlib.sha256((made / "evaluation.json").read_bytes()).hexdigest()})
    assert "auc of the challenger is 0." in verify(made)[1]


def test_a_missing_input_is_named(made):
    stands, text = verify(made, predictions=False)
    assert not stands
    assert "made of predictions.parquet too; give it" in text


@pytest.mark.parametrize("content", ["[]", "{}", '{"verdict": "passed", "rules": [], "inputs": {}}'])
def test_what_is_no_decision_is_refused(made, content):
    (made / "decision" / "decision.json").write_text(content)
    with pytest.raises(DataError, match=r"decision\.json: not what gate_model writes"):
        verify(made)


def test_a_decision_of_another_version_is_refused_in_words(made):
    file = made / "decision" / "decision.json"
    change(file, arguments=json.loads(file.read_text())["arguments"] | {"unheard_of": 1})
    with pytest.raises(DataError, match="does not take its arguments"):
        verify(made)
