"""One component on this machine, as a person runs it who has a table or a model and no pipeline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl

from intermodal.cli.components import component_arguments
from intermodal.compiler.build import compile_specification, write_specification
from intermodal.runtime.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "intermodal"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def judge(
    table: dsl.Input[dsl.Dataset],
    label: str,
    seed: int,
    passed: dsl.Output[dsl.Metrics],
    more: dsl.Input[dsl.Artifact] = None,
    share: float = 0.5,
    quick: bool = False,
    columns: list = ["a"],  # noqa: B006
    rules: dict = {},  # noqa: B006
):
    """A component whose inputs are of every kind."""


@pytest.fixture(scope="module")
def specification():
    return compile_specification(judge)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n")
    return tmp_path / "table.csv"


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), "run-component", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", "TERM": "dumb", "INTERMODAL_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=280,
        check=False,
    )


def test_values_are_read_by_the_type_of_their_parameter(specification, table):
    settings = ["label=1", "seed=7", "share=1", "quick=true", "columns=[b, c]", "rules={auc: 0.7}"]
    assert component_arguments(specification, [f"table={table}"], settings) == {
        "table": str(table),
        "label": "1",
        "seed": 7,
        "share": 1,
        "quick": True,
        "columns": ["b", "c"],
        "rules": {"auc": 0.7},
    }


def test_what_has_a_default_may_be_left_out(specification, table):
    assert component_arguments(specification, [f"table={table}"], ["label=a=b", "seed=0"]) == {"table": str(table), "label": "a=b", "seed": 0}


@pytest.mark.parametrize(
    ("inputs", "settings", "message"),
    [
        ([], [], "judge also needs --input table=PATH (Dataset), --set label=VALUE (text), --set seed=VALUE (whole number)"),
        (["tabel=x"], [], "--input tabel=x: judge has no input artifact of that name; did you mean 'table'?"),
        ([], ["lable=x"], "--set lable=x: judge has no parameter of that name; did you mean 'label'?"),
        (["label=x"], [], "label is a parameter of judge; write --set label=VALUE"),
        ([], ["table=x"], "table is an artifact of judge; write --input table=PATH"),
        (["table=gone.csv"], [], "there is no file or directory"),
        (["table=gs://bucket/x"], [], "give a file or directory of this machine"),
        (["table"], [], "write NAME=VALUE, for instance --input examples=table.parquet"),
        ([], ["seed=1.5"], "--set seed=1.5: it must be a whole number, written as YAML, not '1.5'"),
        ([], ["seed=true"], "it must be a whole number"),
        ([], ["quick=1"], "it must be true or false"),
        ([], ["rules=[1]"], "it must be a mapping"),
        ([], ["rules={a"], "--set rules={a"),
        ([], ["label=a", "label=b"], "label is given twice"),
    ],
)
def test_a_wrong_argument_is_one_sentence_with_the_right_one(specification, inputs, settings, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        component_arguments(specification, inputs, settings)


def test_a_component_of_ours_runs_and_its_values_are_shown(tmp_path):
    done = run("find_champion", "--set", "name=fraud", "--set", f"registry=sqlite:///{tmp_path}/mlflow.db", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r'^version +"none"$', done.stdout, re.MULTILINE)


def test_the_place_of_each_output_is_shown(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "history.json").write_text(json.dumps({"loss": [0.5, 0.4]}))
    done = run("render_report", "--input", "training=training", "--set", "title=Mine", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = Path(re.search(r"^report +HTML +(\S+)$", done.stdout, re.MULTILINE)[1])
    assert "<h1>Mine</h1>" in page.read_text()
    assert Path(re.search(r"^summary +Markdown +(\S+)$", done.stdout, re.MULTILINE)[1]).read_text().startswith("# Mine")


def test_a_compiled_file_of_anybodys_component_runs(tmp_path):
    @dsl.component(base_image="intermodal-track:0.1.0", install_kfp_package=False)
    def count(table: dsl.Input[dsl.Dataset], metrics: dsl.Output[dsl.Metrics]) -> int:
        with open(table.path) as file:  # noqa: PTH123
            rows = len(file.readlines())
        metrics.log_metric("rows", rows)
        return rows

    write_specification(compile_specification(count), tmp_path / "count.yaml")
    (tmp_path / "table.csv").write_text("a\n1\n2\n")
    done = run("count.yaml", "--input", "table=table.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^Output +3$", done.stdout, re.MULTILINE)
    assert "rows: 3" in done.stdout


def test_a_pipeline_is_not_taken_for_a_component(tmp_path):
    done = run(ROOT / "compiled" / "kubeflow" / "flights.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "not a component" in done.stderr
