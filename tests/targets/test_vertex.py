"""The Vertex target: Google's own client against a server that parses every request, with everything going wrong that can."""

import dataclasses
import itertools
import re

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.oauth2.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.errors import PlatformError
from intermodal.targets.compilation import compile_specification
from intermodal.targets.remote import Submission
from intermodal.targets.settings import VertexSettings
from intermodal.targets.specification import graphs
from intermodal.targets.vertex import VertexTarget
from tests.servers.faults import Fault
from tests.servers.storage import gcs_server
from tests.servers.vertex import VertexServer
from tests.targets.pipelines import conditional

SETTINGS = VertexSettings(
    project="my-project",
    region="europe-west4",
    root="gs://my-project-pipelines/dev",
    service_account="pipelines@my-project.iam.gserviceaccount.com",
    image_repository="europe-west4-docker.pkg.dev/my-project/intermodal",
    labels={"team": "ml"},
)
PARENT = "projects/my-project/locations/europe-west4"
FAULTS = {
    "429": Fault("status", status=429),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503),
    "503 after it was done": Fault("status", status=503, done=True),
    "cut": Fault("cut"),
    "cut after it was done": Fault("cut", done=True),
    "slow": Fault("slow", seconds=0.2),
    "stale": Fault("stale", method="GET"),
}


@pytest.fixture(scope="module")
def gcs(tmp_path_factory):
    with gcs_server(tmp_path_factory.mktemp("gcs")) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")
        storage.Client(credentials=AnonymousCredentials(), project="my-project").create_bucket("my-project-pipelines")
        yield url


@pytest.fixture
def server(gcs):
    with VertexServer().running() as running:
        yield running


@pytest.fixture
def target(server):
    return made_for(server)


def made_for(server, **changed):
    return VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url, **changed}), pause=0.001, patience=5)


SPECIFICATION = compile_specification(conditional)


def submission(key="k1", **changed):
    return Submission(specification=SPECIFICATION, parameters={"text": "a", "count": 3, "rules": {"a": [1, None]}}, name="A run", key=key, **changed)


def injected(fault):
    return dataclasses.replace(fault)


# Submitting.


def test_a_submission_arrives_whole(server, target):
    run = target.submit(submission(labels={"commit": "abc"}))
    job = server.state["jobs"][f"{PARENT}/pipelineJobs/conditional-k1"]
    assert (run.id, run.key, run.state) == ("conditional-k1", "k1", "pending")
    assert run.url.startswith("https://console.cloud.google.com/")
    assert job["runtimeConfig"]["parameterValues"] == {"text": "a", "count": 3.0, "rules": {"a": [1.0, None]}}
    assert job["runtimeConfig"]["gcsOutputDirectory"] == SETTINGS.root
    assert job["runtimeConfig"]["failurePolicy"] == "PIPELINE_FAILURE_POLICY_FAIL_FAST"
    assert job["serviceAccount"] == SETTINGS.service_account
    assert job["labels"]["team"] == "ml"
    assert job["labels"]["commit"] == "abc"
    assert job["pipelineSpec"] == SPECIFICATION


def test_the_same_key_twice_is_one_run(server, target):
    assert target.submit(submission()) == target.submit(submission())
    assert len(server.state["jobs"]) == 1


def test_a_key_used_for_something_else_is_refused(server, target):
    target.submit(submission())
    with pytest.raises(PlatformError, match="another --key"):
        target.submit(dataclasses.replace(submission(), parameters={"text": "b", "count": 3, "rules": {}}))
    assert len(server.state["jobs"]) == 1


def test_without_caching_no_task_is_cached_inside_a_condition_too(server, target):
    target.submit(submission(cached=False))
    (job,) = server.state["jobs"].values()
    tasks = [task for graph in graphs(job["pipelineSpec"]) for task in graph["tasks"].values()]
    assert len(tasks) > 2
    assert not any(task.get("cachingOptions") for task in tasks)
    assert any(task.get("cachingOptions") for graph in graphs(SPECIFICATION) for task in graph["tasks"].values())


def test_what_vertex_refuses_is_said_in_its_words(server, target):
    with pytest.raises(PlatformError, match="unknown runtime parameter 'other'"):
        target.submit(dataclasses.replace(submission(), parameters={"other": 1}))


def test_a_bucket_that_is_not_there_stops_the_submission(server):
    with pytest.raises(PlatformError, match="gs://somebody-elses"):
        made_for(server, root="gs://somebody-elses").submit(submission())
    assert server.state["jobs"] == {}


@pytest.mark.parametrize("name", FAULTS)
def test_a_submission_survives(server, target, name):
    server.faults.append(injected(FAULTS[name]))
    assert target.submit(submission()).key == "k1"
    assert len(server.state["jobs"]) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=3))
def test_whatever_goes_wrong_one_key_is_one_run(gcs, faults):
    with VertexServer().running() as server:
        target = made_for(server)
        server.faults += [injected(FAULTS[name]) for name in faults]
        for _ in range(2):
            target.submit(submission())
        assert len(server.state["jobs"]) == 1


def test_a_platform_that_stays_away_is_named_and_the_key_makes_a_repeat_safe(server):
    server.faults += [Fault("status", status=503) for _ in range(10_000)]
    target = VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0.001, patience=0.2)
    with pytest.raises(PlatformError, match="safe to repeat"):
        target.submit(submission())
    server.faults.clear()
    target.submit(submission())
    assert len(server.state["jobs"]) == 1


# Credentials.


def test_expired_credentials_say_how_to_get_new_ones(server):
    server.token = "another"
    settings = SETTINGS.model_copy(update={"endpoint": server.url})
    target = VertexTarget(settings, pause=0.001, patience=5, credentials=Credentials(token="expired"))
    with pytest.raises(PlatformError, match="gcloud auth application-default login"):
        target.run("conditional-k1")


def test_missing_credentials_say_how_to_get_some(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(PlatformError, match="Application Default Credentials"):
        VertexTarget(SETTINGS).runs()


# Following.

TASKS = [
    {"taskId": "1", "taskName": "conditional-k1", "state": "RUNNING"},
    {
        "taskId": "2",
        "parentTaskId": "1",
        "taskName": "say",
        "state": "SKIPPED",
        "startTime": "2026-01-01T00:00:00Z",
        "endTime": "2026-01-01T00:00:09Z",
    },
    {
        "taskId": "3",
        "parentTaskId": "1",
        "taskName": "say-2",
        "state": "FAILED",
        "error": {"code": 9, "message": "it broke"},
        "executorDetail": {"containerDetail": {"mainJob": "projects/1/locations/europe-west4/customJobs/77"}},
    },
    {"taskId": "4", "parentTaskId": "1", "taskName": "say-3", "state": "NOT_TRIGGERED"},
]
JOB = f"{PARENT}/pipelineJobs/conditional-k1"


def test_a_run_shows_its_tasks_states_and_errors(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS, error="The DAG failed")
    run = target.run("conditional-k1")
    assert [(task.name, task.state) for task in run.tasks] == [("say", "cached"), ("say-2", "failed"), ("say-3", "skipped")]
    assert (run.state, run.error, run.over) == ("failed", "The DAG failed", True)
    assert run.tasks[1].error == "it broke"
    assert (run.tasks[0].ended - run.tasks[0].started).total_seconds() == 9


@pytest.mark.parametrize("state", ["QUEUED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED", "PAUSED"])
def test_every_state_of_vertex_has_a_word_of_ours(server, target, state):
    target.submit(submission())
    server.advance(JOB, f"PIPELINE_STATE_{state}")
    assert target.run("conditional-k1").state != "unknown"


def test_a_run_that_is_not_there_says_so(target):
    with pytest.raises(PlatformError, match="no run 'absent'"):
        target.run("absent")


def test_the_newest_runs_come_first_and_only_ours(server, target):
    for key in ("a", "b", "c"):
        target.submit(submission(key))
    server.state["jobs"][f"{PARENT}/pipelineJobs/other"] = {"name": f"{PARENT}/pipelineJobs/other", "createTime": "2027-01-01T00:00:00Z"}
    assert [run.key for run in target.runs(2)] == ["c", "b"]


def test_logs_are_those_of_the_tasks_own_job(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    entry = {"logName": "projects/my-project/logs/workerpool0-0", "resource": {"type": "ml_job", "labels": {"job_id": "77"}}}
    server.state["entries"] = [
        entry | {"insertId": "1", "textPayload": "first\nsecond"},
        entry | {"insertId": "2", "jsonPayload": {"message": "third"}},
        entry | {"insertId": "3", "textPayload": "another's", "resource": {"type": "ml_job", "labels": {"job_id": "78"}}},
    ]
    assert list(target.logs("conditional-k1")) == [("say-2", "first"), ("say-2", "second"), ("say-2", "third")]
    assert list(target.logs("conditional-k1", "say")) == []
    with pytest.raises(PlatformError, match="no task 'sya'"):
        list(target.logs("conditional-k1", "sya"))


def test_cancelling_ends_it_and_cancelling_again_is_no_error(server, target):
    target.submit(submission())
    target.cancel("conditional-k1")
    assert server.state["jobs"][JOB]["state"] == "PIPELINE_STATE_CANCELLING"
    server.advance(JOB, "PIPELINE_STATE_CANCELLED")
    assert target.cancel("conditional-k1").state == "cancelled"


# Schedules.


def test_a_schedule_goes_through_its_life(server, target):
    made = target.create_schedule("nightly", "0 3 * * *", "Europe/Zurich", submission())
    assert (made.name, made.cron, made.time_zone, made.paused) == ("nightly", "0 3 * * *", "Europe/Zurich", False)
    assert made.next_run is not None
    assert target.pause_schedule("nightly").paused
    assert not target.resume_schedule("nightly").paused
    (kept,) = server.state["schedules"].values()
    assert kept["cron"] == "TZ=Europe/Zurich 0 3 * * *"
    assert kept["catchUp"] is False
    assert [each.name for each in target.schedules()] == ["nightly"]
    target.delete_schedule("nightly")
    assert target.schedules() == []


def test_the_same_schedule_again_changes_nothing_and_another_of_its_name_is_refused(server, target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("a"))
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("b"))
    assert len(server.state["schedules"]) == 1
    with pytest.raises(PlatformError, match="schedule delete nightly"):
        target.create_schedule("nightly", "0 4 * * *", "UTC", submission("c"))


def test_a_schedule_that_is_not_there_names_the_nearest(target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    for ask in (target.pause_schedule, target.resume_schedule, target.delete_schedule):
        with pytest.raises(PlatformError, match="did you mean 'nightly'"):
            ask("nihgtly")


@pytest.mark.parametrize("name", FAULTS)
def test_one_name_is_one_schedule_whatever_goes_wrong(server, target, name):
    server.faults.append(injected(FAULTS[name]))
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    assert len(target.schedules()) == 1


COMMANDS = {
    "status": lambda target: target.run("conditional-k1"),
    "list": lambda target: target.runs(),
    "logs": lambda target: list(target.logs("conditional-k1")),
    "cancel": lambda target: target.cancel("conditional-k1"),
    "schedules": lambda target: target.schedules(),
    "pause": lambda target: target.pause_schedule("nightly"),
    "resume": lambda target: target.resume_schedule("nightly"),
    "delete": lambda target: target.delete_schedule("nightly"),
}


@pytest.mark.parametrize(("command", "name"), list(itertools.product(COMMANDS, FAULTS)))
def test_every_command_survives(server, target, command, name):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_RUNNING", TASKS)
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    server.faults.append(injected(FAULTS[name]))
    if name == "stale" and command != "cancel":
        # What was just written may not be seen yet: an answer in words, or the old truth.
        try:
            COMMANDS[command](target)
        except PlatformError as error:
            assert re.search("there is no|no task began", str(error))
    else:
        COMMANDS[command](target)
