"""A run on Vertex AI goes on from what failed in a rerun, and a task of it runs again here with the inputs in its details."""

import dataclasses

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from kfp import dsl
from rich.console import Console

from intermodal.authoring.decorator import component
from intermodal.compiler.build import compile_specification
from intermodal.platforms.interface import Artifact, Submission
from intermodal.platforms.replaying import prepare_replay
from intermodal.platforms.vertex.target import VertexTarget
from intermodal.runtime.errors import PlatformError, TaskError
from tests.platforms.test_vertex import FAULTS, JOB, PARENT, SETTINGS, submission
from tests.servers.vertex import VertexServer


@pytest.fixture
def server(gcs):
    with VertexServer().running() as running:
        yield running


@pytest.fixture
def target(server):
    return VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0.001, patience=60)


# Retrying.


def failed(server, target):
    run = target.submit(submission(labels={"commit": "abc"})).id
    server.advance(JOB, "PIPELINE_STATE_FAILED", error="The DAG failed")
    return run


def test_a_retry_is_a_rerun_of_the_same_job_and_the_same_again_is_the_same_run(server, target):
    run = failed(server, target)
    again = target.retry(run)
    assert (again.id, again.state, again.key, again.name) == ("conditional-k1-retry-1", "pending", "k1", "A run")
    assert target.retry(run).id == again.id
    old, new = server.state["jobs"][JOB], server.state["jobs"][f"{JOB}-retry-1"]
    assert server.state["reruns"] == {f"{JOB}-retry-1": old["labels"]["vertex-ai-pipelines-run-billing-id"]}
    for member in ("pipelineSpec", "runtimeConfig", "serviceAccount", "displayName"):
        assert new[member] == old[member]
    assert new["labels"]["commit"] == "abc"


def test_a_retry_that_failed_is_retried_itself(server, target):
    run = failed(server, target)
    target.retry(run)
    server.advance(f"{JOB}-retry-1", "PIPELINE_STATE_FAILED")
    with pytest.raises(PlatformError, match=r"retried already, by conditional-k1-retry-1 \(failed\); `intermodal retry conditional-k1-retry-1"):
        target.retry(run)
    assert target.retry("conditional-k1-retry-1").id == "conditional-k1-retry-2"


@pytest.mark.parametrize(("state", "words"), [("SUCCEEDED", "there is nothing to retry"), ("RUNNING", "it is running"), ("PENDING", "it is pending")])
def test_a_run_that_did_not_fail_is_refused_in_words(server, target, state, words):
    run = target.submit(submission()).id
    server.advance(JOB, f"PIPELINE_STATE_{state}")
    with pytest.raises(PlatformError, match=words):
        target.retry(run)


def test_a_run_without_the_number_that_a_rerun_needs_says_so(server, target):
    run = failed(server, target)
    del server.state["jobs"][JOB]["labels"]["vertex-ai-pipelines-run-billing-id"]
    with pytest.raises(PlatformError, match="submit it again with another --key"):
        target.retry(run)


@pytest.mark.fault("Vertex AI", "faults while a run is retried", "it goes on once, and the command says so")
@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"stale"}))
def test_a_retry_survives(server, target, name):
    run = failed(server, target)
    server.faults.append(dataclasses.replace(FAULTS[name], path="v1beta1"))
    assert target.retry(run).state == "pending"
    assert len(server.state["jobs"]) == 2


# Replaying.


@component(image="data")
def write(table: dsl.Output[dsl.Dataset]):
    pass


@component(image="data")
def say(text: str, rows: int, rules: dict, table: dsl.Input[dsl.Dataset], heard: dsl.Output[dsl.Artifact], note: str = "none"):
    """Write what it got, and leave with status 4."""
    import sys

    with open(table.path) as file:  # noqa: PTH123
        content = file.read()
    with open(heard.path, "w") as file:  # noqa: PTH123
        file.write(f"{text} {rows} {rules} {note} {content} {table.metadata['rows']}")
    sys.exit(4)


@dsl.pipeline(name="saying")
def saying(text: str, items: list, rules: dict = {"a": 1}):  # noqa: B006
    written = write()
    say(text=text, rows=5, rules=rules, table=written.outputs["table"])
    with dsl.ParallelFor(items) as item:
        say(text=item, rows=5, rules=rules, table=written.outputs["table"])


TABLE = {
    "artifacts": [
        {"uri": "gs://my-project-pipelines/dev/saying-k1/write/table", "schemaTitle": "system.Dataset", "metadata": {"rows": 5.0, "columns": ["a"]}}
    ]
}
STORE = "projects/1/locations/europe-west4/metadataStores/default"


def detail(number, name, parent="1", **parameters):
    metadata = {f"input:{key}": value for key, value in parameters.items()}
    execution = {"name": f"{STORE}/executions/{number}", "schemaTitle": "system.ContainerExecution", "metadata": metadata}
    return {"taskId": number, "parentTaskId": parent, "taskName": name, "state": "FAILED", "inputs": {"table": TABLE}, "execution": execution}


@pytest.fixture
def run(server, target):
    specification = compile_specification(saying)
    run = target.submit(Submission(specification=specification, parameters={"text": "late", "items": ["a", "b"]}, name="A run", key="k1")).id
    tasks = [
        {"taskId": "1", "taskName": run, "state": "FAILED"},
        detail("2", "say", text="late", rows=5.0, rules='{"a": 1}'),
        {"taskId": "3", "parentTaskId": "1", "taskName": "for-loop-1", "state": "FAILED"},
        detail("5", "say-2", parent="3", text="b", rules={"a": 1}),
        detail("4", "say-2", parent="3", text="a", rules={"a": 1}),
    ]
    server.advance(f"{PARENT}/pipelineJobs/{run}", "PIPELINE_STATE_FAILED", tasks)
    return run


def test_inputs_come_from_the_tasks_details(target, run):
    found = target.inputs(run, "say")
    assert found.parameters == {"text": "late", "rows": 5, "rules": {"a": 1}}
    assert {type(found.parameters["rows"]), type(found.parameters["rules"]["a"]), type(found.artifacts["table"].metadata["rows"])} == {int}
    assert found.artifacts == {"table": Artifact(TABLE["artifacts"][0]["uri"], "system.Dataset", {"rows": 5, "columns": ["a"]})}


def test_what_the_execution_does_not_have_comes_from_the_specification_and_the_jobs_parameters(server, target, run):
    server.state["jobs"][f"{PARENT}/pipelineJobs/{run}"]["jobDetail"]["taskDetails"][1]["execution"]["metadata"] = {}
    assert target.inputs(run, "say").parameters == {"text": "late", "rows": 5, "rules": {"a": 1}}


def test_in_a_loop_each_iteration_has_its_own(target, run):
    assert [target.inputs(run, f"say-2[{number}]").parameters["text"] for number in (0, 1)] == ["a", "b"]
    with pytest.raises(PlatformError, match=r"no task 'say-2', or it has not started; did you mean 'say-2\[[01]\]'"):
        target.inputs(run, "say-2")


def test_a_parameter_that_vertex_does_not_say_is_named(server, target, run):
    details = server.state["jobs"][f"{PARENT}/pipelineJobs/{run}"]["jobDetail"]["taskDetails"]
    del details[3]["execution"]["metadata"]["input:text"]
    with pytest.raises(PlatformError, match=r"say-2\[1\]: Vertex AI does not say what it was given for text"):
        target.inputs(run, "say-2[1]")


def test_a_group_is_not_a_task_to_replay(target, run):
    with pytest.raises(PlatformError, match="runs no code of its own"):
        target.inputs(run, "for-loop-1")


def test_a_failed_task_runs_here_with_its_artifacts_from_the_bucket(target, run, tmp_path):
    bucket = storage.Client(credentials=AnonymousCredentials(), project="my-project").bucket("my-project-pipelines")
    bucket.blob("dev/saying-k1/write/table").upload_from_string(b"x,y")
    replay = prepare_replay(target.inputs(run, "say-2[0]"), tmp_path / "home", Console(quiet=True))
    with pytest.raises(TaskError) as caught:
        replay.start()
    assert caught.value.status == 4
    assert (replay.folder / "heard").read_text() == "a 5 {'a': 1} none x,y 5"
