"""`intermodal verify`: a decision of a run here finds what it was made of; one from elsewhere is given it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from intermodal.authoring.catalog import load_component
from intermodal.execution.environments import environment
from intermodal.runner.local import LocalTarget
from tests.cli.invoking import said

#: Two models that are equally good, on thirty days.
PREDICTIONS = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
chance = np.random.default_rng(0)
label, days = chance.integers(0, 2, 3000), np.repeat([f"2024-01-{day + 1:02}" for day in range(30)], 100)
scores = {name: np.clip(0.25 + 0.5 * label + 0.1 * chance.normal(size=3000), 0.01, 0.99) for name in ("challenger", "champion")}
pq.write_table(pa.table({"label": label, "block": days, **scores}), sys.argv[1])
"""


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


def test_the_error_rates_of_a_decision_are_measured_and_written(made, tmp_path):
    home = ["--home", str(made[1] / "home")]
    assert "give --predictions" in said("measure-gate", str(made[0]), *home, code=1)
    subprocess.run([str(environment("train")), "-c", PREDICTIONS, str(tmp_path / "predictions.parquet")], check=True)
    models = {"challenger": {"metrics": {}}, "champion": {"metrics": {}}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"models": models, "ordered": True, "champion_version": "1"}))
    paths = {"evaluation": str(tmp_path), "predictions": str(tmp_path)}
    run = LocalTarget(made[1] / "home").run(load_component("gate_model"), paths)
    text = said("measure-gate", run.tasks[0].outputs["decision"], "--draws", "200", "--output", str(tmp_path / "rates.md"), *home)
    assert text.startswith("# The gate errs no more often than promised\n")
    assert text.strip() == (tmp_path / "rates.md").read_text().strip()
    assert "200 windows are drawn in runs of 4 blocks" in text


def test_without_a_record_the_evaluation_must_be_given(made, tmp_path):
    decision, folder = made
    copy = str(shutil.copytree(decision, tmp_path / "decision"))
    home = ["--home", str(folder / "home")]
    assert "give --evaluation" in said("verify", copy, *home, code=1)
    assert "there is no such folder" in said("verify", copy, "--evaluation", str(tmp_path / "no"), *home, code=1)
