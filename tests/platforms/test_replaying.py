"""A task runs again with the inputs it had, in a folder of its own; whatever it does, the run stays as it is."""

import hashlib
import json

import pytest
from kfp import dsl
from rich.console import Console

from intermodal.authoring.decorator import component
from intermodal.components.register_model.component import register_model
from intermodal.platforms.interface import Artifact, TaskInputs
from intermodal.platforms.local.runs import LocalRuns
from intermodal.platforms.replaying import prepare_replay
from intermodal.runner.local import LocalTarget
from intermodal.runtime.errors import ConfigurationError, DataError, PlatformError, TaskError


@component(image="data")
def write(rows: int, table: dsl.Output[dsl.Dataset]):
    import os

    os.mkdir(table.path)  # noqa: PTH102
    with open(f"{table.path}/part", "w") as file:  # noqa: PTH123
        file.write("x" * rows)
    table.metadata["rows"] = rows


@component(image="data")
def check(least: int, table: dsl.Input[dsl.Dataset], note: dsl.Output[dsl.Artifact], extra: dsl.Input[dsl.Artifact] = None) -> int:
    """Spoil its input, write an output, and leave with status 3 where there is too little."""
    import sys

    with open(f"{table.path}/part", "a") as file:  # noqa: PTH123
        file.write("spoilt")
    with open(note.path, "w") as file:  # noqa: PTH123
        file.write(str(table.metadata))
    print(f"{table.metadata['rows']} rows of {least}")
    if table.metadata["rows"] < least:
        sys.exit(3)
    return least


@dsl.pipeline(name="checking")
def checking(rows: int, leasts: list):
    written = write(rows=rows)
    with dsl.If(rows > 1), dsl.ParallelFor(leasts) as least:
        check(least=least, table=written.outputs["table"])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.raises(TaskError):
        LocalTarget(home, console=Console(quiet=True)).run(checking, {"rows": 5, "leasts": [2, 9]}, identity="first")
    return home


def content(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def replayed(home, task, **options):
    return prepare_replay(LocalRuns(home).inputs("first", task), home, Console(quiet=True), **options)


def test_a_failed_task_in_a_loop_in_a_condition_fails_again_with_its_status_and_the_run_stays_as_it_is(home):
    before = content(home / "runs" / "first")
    replay = replayed(home, "check[1]")
    assert json.loads((replay.inputs / "parameters.json").read_text())["least"] == 9
    with pytest.raises(TaskError) as caught:
        replay.start()
    assert caught.value.status == 3
    assert "5 rows of 9" in replay.log.read_text()
    assert (replay.folder / "note").read_text() == "{'rows': 5}"
    assert "spoilt" in (replay.inputs / "table" / "part").read_text()
    assert content(home / "runs" / "first") == before


def test_a_task_that_succeeded_succeeds_again_and_its_outputs_are_the_replays(home):
    replay = replayed(home, "check[0]")
    replay.start()
    assert (replay.folder / "note").exists()
    assert LocalRuns(home).run(replay.id).state == "succeeded"


def test_a_task_that_the_cache_answered_is_replayed_as_well(home):
    for identity in ("filled", "cached"):
        LocalTarget(home, console=Console(quiet=True)).run(checking, {"rows": 1, "leasts": [9]}, identity=identity)
    assert {task.name: task.state for task in LocalRuns(home).run("cached").tasks} == {"write": "cached"}
    replay = prepare_replay(LocalRuns(home).inputs("cached", "write"), home, Console(quiet=True))
    replay.start()
    assert (replay.folder / "table" / "part").read_text() == "x"


@pytest.mark.parametrize(
    ("task", "words"),
    [("check[7]", "there is no record of a task 'check\\[7\\]'; did you mean 'check\\[[01]\\]'"), ("check", "there is no record.*it did not start")],
)
def test_a_task_that_the_run_does_not_have_is_refused(home, task, words):
    with pytest.raises(PlatformError, match=words):
        LocalRuns(home).inputs("first", task)


def test_an_input_that_is_gone_is_named(home, tmp_path):
    given = LocalRuns(home).inputs("first", "check[0]")
    gone = TaskInputs(given.task, given.component, given.container, given.parameters, {"table": Artifact(str(tmp_path / "gone"))})
    with pytest.raises(DataError, match="the input 'table' is no longer there"):
        prepare_replay(gone, tmp_path, Console(quiet=True))


def registering():
    specification = register_model.pipeline_spec
    from google.protobuf import json_format

    whole = json_format.MessageToDict(specification)
    container = whole["deploymentSpec"]["executors"]["exec-register-model"]["container"]
    return TaskInputs("register-model", whole["components"]["comp-register-model"], container, {"registry": "sqlite:///r.db"}, {})


def test_a_task_that_changes_a_store_is_replayed_only_where_that_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"register-model changes the model registry .*registry=sqlite:///r\.db.*--changes model-registry"):
        prepare_replay(registering(), tmp_path, Console(quiet=True))
    with pytest.raises(ConfigurationError, match="changes the model registry"):
        prepare_replay(registering(), tmp_path, Console(quiet=True), changes="cluster")
    assert prepare_replay(registering(), tmp_path, Console(quiet=True), changes="model-registry").inputs.is_dir()


def test_a_permission_that_a_task_does_not_need_is_refused(home):
    with pytest.raises(ConfigurationError, match="changes nothing outside the run"):
        replayed(home, "check[0]", changes="cluster")
