"""A run on Kubeflow goes on from what failed, and a task of it runs again here with the inputs that its driver logged."""

import dataclasses
import json

import boto3
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kfp import dsl
from rich.console import Console

from intermodal.authoring.decorator import component
from intermodal.compiler.build import compile_specification
from intermodal.platforms.interface import Artifact, Submission
from intermodal.platforms.kubeflow.inputs import executor_input
from intermodal.platforms.replaying import prepare_replay
from intermodal.runtime.errors import PlatformError, TaskError
from tests.platforms.test_kubeflow import FAULTS, TREE, WORKFLOW, made_for, submission, tasks
from tests.servers.kubeflow import KubeflowServer, driver_log, node_id, retried
from tests.servers.storage import s3_server


@pytest.fixture
def server():
    with KubeflowServer().running() as running:
        yield running


@pytest.fixture
def target(server):
    return made_for(server)


# Retrying.


def failed(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks(), error="it broke")
    return run.id


def test_a_failed_run_goes_on_and_is_not_started_twice(server, target):
    run = failed(server, target)
    assert target.retry(run).state == "running"
    with pytest.raises(PlatformError, match=f"the run {run} has not ended: it is running"):
        target.retry(run)
    assert server.state["retried"] == [run]


def test_a_cancelled_run_goes_on(server, target):
    run = target.submit(submission())
    target.cancel(run.id)
    server.advance(run.id, "FAILED")
    assert target.retry(run.id).state == "running"


@pytest.mark.parametrize(("state", "words"), [("SUCCEEDED", "there is nothing to retry"), ("RUNNING", "it is running"), ("PENDING", "it is pending")])
def test_a_run_that_did_not_fail_is_refused_in_words(server, target, state, words):
    run = target.submit(submission())
    server.advance(run.id, state)
    with pytest.raises(PlatformError, match=words):
        target.retry(run.id)
    assert server.state["retried"] == []


@pytest.mark.fault("Kubeflow", "faults while a run is retried", "it goes on once, and the command says so")
@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"stale"}))
def test_a_retry_survives(server, target, name):
    run = failed(server, target)
    server.faults.append(dataclasses.replace(FAULTS[name], path=":retry"))
    assert target.retry(run).state == "running"
    assert server.state["retried"] == [run]


# Replaying.

GIVEN = {
    "inputs": {
        "parameterValues": {"text": "a", "rows": 5},
        "artifacts": {
            "table": {
                "artifacts": [
                    {
                        "name": "table",
                        "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                        "uri": "s3://pipelines/dev/run/write/table",
                        "metadata": {"rows": 5},
                    }
                ]
            }
        },
    },
    "outputs": {"outputFile": "/tmp/kfp_outputs/output_metadata.json"},
}
TASK_LOG = f"[KFP Executor 2026-11-21 10:00:05,000 INFO]: Got executor_input:\n{json.dumps(GIVEN, indent=4)}\nhello\n"


@component(image="data")
def write(table: dsl.Output[dsl.Dataset]):
    pass


@component(image="data")
def say(text: str, rows: int, table: dsl.Input[dsl.Dataset], heard: dsl.Output[dsl.Artifact]):
    """Write what it got, and leave with status 4."""
    import sys

    with open(table.path) as file:  # noqa: PTH123
        content = file.read()
    with open(heard.path, "w") as file:  # noqa: PTH123
        file.write(f"{text} {rows} {content} {table.metadata['rows']}")
    sys.exit(4)


@dsl.pipeline(name="saying")
def saying(items: list):
    written = write()
    say(text="a", rows=5, table=written.outputs["table"])
    with dsl.ParallelFor(items) as item:
        say(text=item, rows=5, table=written.outputs["table"]).set_display_name("step")


SAYING = compile_specification(saying)
SAYING["components"]["comp-for-loop-1"]["dag"]["tasks"]["step"] = SAYING["components"]["comp-for-loop-1"]["dag"]["tasks"].pop("say-2")


def started(server, target, tree=TREE):
    run = target.submit(Submission(specification=SAYING, parameters={"items": ["a"]}, name="A run", key="k1"))
    server.advance(run.id, "FAILED", tasks(tree))
    return run.id


@pytest.mark.parametrize("wrapped", [False, True], ids=["", "every node a retry"])
def test_inputs_come_from_the_drivers_log(server, target, wrapped):
    tree = retried(TREE) if wrapped else TREE
    run = started(server, target, tree)
    driver = next(name for name in tree if name.split(".")[-1] == ("say-driver(0)" if wrapped else "say-driver"))
    server.state["archive"][node_id(WORKFLOW, driver)] = driver_log(GIVEN)
    found = target.inputs(run, "say")
    assert found.parameters == {"text": "a", "rows": 5}
    assert found.artifacts == {"table": Artifact("s3://pipelines/dev/run/write/table", "system.Dataset", {"rows": 5})}
    assert "say" in found.container["args"]


def test_without_the_drivers_log_the_tasks_own_says_it(server, target):
    run = started(server, target)
    server.state["archive"][node_id(WORKFLOW, "root.say.executor(1)")] = TASK_LOG
    assert target.inputs(run, "say").parameters == {"text": "a", "rows": 5}


def test_in_a_loop_each_iteration_has_its_own(server, target):
    run = started(server, target)
    for number in (0, 1):
        given = {"inputs": {"parameterValues": {"text": f"item {number}"}}}
        driver = f"root.loop.iteration-iterations({number}:{number}).iteration-item.step-driver"
        server.state["archive"][node_id(WORKFLOW, driver)] = driver_log(given)
    assert target.inputs(run, "step[1]").parameters == {"text": "item 1"}
    with pytest.raises(PlatformError, match=r"no task 'step'; did you mean 'step\[[01]\]'"):
        target.inputs(run, "step")


def test_a_run_from_an_uploaded_version_has_that_versions_specification(server, target):
    target.upload([SAYING], "saying", "v1")
    version = next(each for each in server.state["versions"].values() if each["display_name"] == "v1")
    run = started(server, target)
    reference = {"pipeline_id": version["pipeline_id"], "pipeline_version_id": version["pipeline_version_id"]}
    server.state["runs"][run] = server.state["runs"][run] | {"pipeline_spec": None, "pipeline_version_reference": reference}
    server.state["archive"][node_id(WORKFLOW, "root.say-driver")] = driver_log(GIVEN)
    assert target.inputs(run, "say").parameters == {"text": "a", "rows": 5}


def test_what_is_kept_nowhere_is_said(server, target):
    run = started(server, target)
    with pytest.raises(PlatformError, match="what say was given is not known: Kubeflow's API does not say it"):
        target.inputs(run, "say")
    with pytest.raises(PlatformError, match="there is no task 'sya'"):
        target.inputs(run, "sya")


@pytest.mark.parametrize("log", ["", "output ExecutorInput:", 'output ExecutorInput:{\n  "inputs": {', "Got executor_input:\nnull\n", "{" * 5000])
def test_a_log_without_inputs_gives_none(log):
    assert executor_input(log) is None


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner))),
    st.text(),
    st.text(),
)
def test_inputs_are_found_in_any_log(parameters, before, after):
    value = {"inputs": {"parameterValues": parameters}}
    assume("xecutor" not in before)
    assert executor_input(f"{before}Got executor_input:\n{json.dumps(value, indent=4)}\n{after}") == value


def test_a_failed_task_runs_here_with_its_artifacts_from_the_store(server, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3_server(tmp_path) as url:
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="pipelines")
        client.put_object(Bucket="pipelines", Key="dev/run/write/table", Body=b"late")
        target = made_for(server, storage_endpoint=url)
        run = started(server, target)
        server.state["archive"][node_id(WORKFLOW, "root.say-driver")] = driver_log(GIVEN)
        replay = prepare_replay(target.inputs(run, "say"), tmp_path / "home", Console(quiet=True))
    with pytest.raises(TaskError) as caught:
        replay.start()
    assert caught.value.status == 4
    assert (replay.folder / "heard").read_text() == "a 5 late 5"
