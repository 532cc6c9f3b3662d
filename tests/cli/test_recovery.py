"""Looking into a run that failed, and going on from there, from the command line."""

import json

import pytest
from kfp import dsl
from rich.console import Console

from intermodal.authoring.decorator import component
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import TaskError
from tests.cli.invoking import said


@component(image="data")
def write(table: dsl.Output[dsl.Dataset]):
    with open(table.path, "w") as file:  # noqa: PTH123
        file.write("late")


@component(image="data")
def need(switch: str, table: dsl.Input[dsl.Dataset], made: dsl.Output[dsl.Dataset]):
    """Fail with status 5 until there is a file `switch`."""
    import os
    import shutil
    import sys

    if not os.path.exists(switch):  # noqa: PTH110
        print("no switch")
        sys.exit(5)
    shutil.copyfile(table.path, made.path)


@dsl.pipeline(name="needing")
def needing(switch: str):
    need(switch=switch, table=write().outputs["table"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".intermodal"
    with pytest.raises(TaskError):
        LocalTarget(home, console=Console(quiet=True)).run(needing, {"switch": str(tmp_path / "switch")}, identity="first")
    return home


def test_a_failed_task_is_replayed_until_it_succeeds_and_then_the_run_is_retried(home, tmp_path):
    assert "no switch" in said("replay", "first", "need", "--target", "local", code=5)
    (tmp_path / "switch").touch()
    lines = dict(line.split(maxsplit=1) for line in said("replay", "first", "need", "--target", "local").splitlines()[:3])
    assert json.loads((tmp_path / lines["Inputs"] / "parameters.json").read_text()) == {"switch": str(tmp_path / "switch")}
    assert (tmp_path / lines["Inputs"] / "table").read_text() == (tmp_path / lines["Outputs"] / "made").read_text() == "late"
    assert (tmp_path / lines["Log"]).exists()
    assert "first-retry-1" in (shown := said("retry", "first", "--target", "local"))
    assert "1 done, 1 cached" in shown
    assert "retried already, by first-retry-1 (succeeded)" in said("retry", "first", "--target", "local", code=1)
    assert "there is nothing to retry" in said("retry", "first-retry-1", "--target", "local", code=1)
