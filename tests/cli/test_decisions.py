"""`intermodal verify`: a decision of a run here finds what it was made of; one from elsewhere is given it."""

import json
import shutil
from pathlib import Path

import pytest

from intermodal.authoring.catalog import load_component
from intermodal.runner.local import LocalTarget
from tests.cli.invoking import said


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A decision of a run here, and its home."""
    folder = tmp_path_factory.mktemp("decisions")
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "evaluation.json").write_text(json.dumps({"models": {"challenger": {"metrics": {"auc": {"value": 0.93}}}}}))
    home = folder / "home"
    run = LocalTarget(home).run(load_component("gate_model"), {"evaluation": str(folder / "evaluation"), "minimum": {"auc": 0.9}})
    return Path(run.tasks[0].outputs["decision"]), folder


def test_a_decision_of_a_run_here_stands(made):
    decision, folder = made
    for path in (decision, decision / "decision.json"):
        assert said("verify", str(path), "--home", str(folder / "home")).startswith("# The decision stands\n")


def test_one_that_was_changed_does_not_and_ends_with_status_1(made, tmp_path):
    decision, folder = made
    copy = Path(shutil.copytree(decision, tmp_path / "decision"))
    content = json.loads((copy / "decision.json").read_text())
    (copy / "decision.json").write_text(json.dumps(content | {"verdict": "blocked"}))
    text = said("verify", str(copy), "--evaluation", str(folder / "evaluation"), "--home", str(folder / "home"), code=1)
    assert "The verdict comes to *passed*, the decision says *blocked*" in text


def test_without_a_record_the_evaluation_must_be_given(made, tmp_path):
    decision, folder = made
    copy = str(shutil.copytree(decision, tmp_path / "decision"))
    home = ["--home", str(folder / "home")]
    assert "give --evaluation" in said("verify", copy, *home, code=1)
    assert "there is no such folder" in said("verify", copy, "--evaluation", str(tmp_path / "no"), *home, code=1)
