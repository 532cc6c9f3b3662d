"""The Vertex target: Google's own client against a server that parses every request, with everything going wrong that can."""

import dataclasses
import itertools
import re
from contextlib import suppress

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.oauth2.credentials import Credentials
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intermodal.compiler.build import compile_specification
from intermodal.compiler.specification import graphs
from intermodal.platforms.interface import Submission
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.platforms.vertex.target import VertexTarget
from intermodal.runtime.errors import ConfigurationError, PlatformError
from tests.runner.pipelines import conditional
from tests.servers.faults import Fault, FaultyServer, Refusal
from tests.servers.vertex import VertexServer

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


def test_the_job_is_the_one_that_googles_sdk_would_make(server, target, tmp_path):
    target.submit(submission())
    (ours,) = server.state["jobs"].values()
    (tmp_path / "compiled.yaml").write_text(yaml.safe_dump(SPECIFICATION), encoding="utf-8")
    theirs = aiplatform.PipelineJob(
        display_name="A run",
        template_path=str(tmp_path / "compiled.yaml"),
        pipeline_root=SETTINGS.root,
        parameter_values=submission().parameters,
        failure_policy="fast",
        credentials=AnonymousCredentials(),
        project=SETTINGS.project,
        location=SETTINGS.region,
    )
    expected = json_format.MessageToDict(theirs._gca_resource._pb)  # the public property wants a job that exists
    assert {key: ours[key] for key in expected} == expected


def test_the_same_key_twice_is_one_run(server, target):
    assert target.submit(submission()) == target.submit(submission())
    assert len(server.state["jobs"]) == 1


def test_a_key_used_for_something_else_is_refused(server, target):
    target.submit(submission())
    with pytest.raises(PlatformError, match="another --key"):
        target.submit(dataclasses.replace(submission(), parameters={"text": "b", "count": 3, "rules": {}}))
    with pytest.raises(PlatformError, match="another --key"):
        target.submit(submission(cached=False))
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


class OthersBucket(FaultyServer):
    def respond(self, request, state):
        raise Refusal(403, "does not have storage.objects.create access")


def test_a_bucket_of_somebody_else_stops_the_submission(server, target, monkeypatch):
    with OthersBucket().running() as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        with pytest.raises(PlatformError, match=r"gs://my-project-pipelines: .* the bucket may be somebody else's"):
            target.submit(submission())
        assert [each.method for each in store.requests].count("POST") == 1
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


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (403, "Permission 'aiplatform.pipelineJobs.get' denied", "roles/aiplatform.user"),
        (403, "You do not have permission to act as service account", "roles/iam.serviceAccountUser on pipelines@my-project"),
        (403, "Vertex AI API has not been used in project 1 before", "gcloud services enable aiplatform.googleapis.com"),
        (400, "The network is not peered", "refuses this"),
    ],
)
def test_a_refusal_ends_in_its_remedy(server, target, status, message, remedy):
    server.faults.append(Fault("status", status=status, message=message))
    with pytest.raises(PlatformError) as caught:
        target.submit(submission())
    assert remedy in str(caught.value)
    assert message in str(caught.value)
    assert len(server.requests) == 1


def test_a_quota_that_stays_used_up_is_named(server):
    server.faults += [Fault("status", status=429, message="Quota exceeded") for _ in range(10_000)]
    with pytest.raises(PlatformError, match="quota is used up"):
        VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0.001, patience=0.1).submit(submission())


def test_missing_credentials_say_how_to_get_some(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(PlatformError, match="Application Default Credentials"):
        VertexTarget(SETTINGS).runs()


# Following.

CUSTOM = "projects/1/locations/europe-west4/customJobs"
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
        "executorDetail": {"containerDetail": {"failedMainJobs": [f"{CUSTOM}/76", f"{CUSTOM}/77"], "mainJob": f"{CUSTOM}/77"}},
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
    assert not any(task.group for task in run.tasks)
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


def logged(job, **payload):
    return {"logName": "projects/my-project/logs/workerpool0-0", "resource": {"type": "ml_job", "labels": {"job_id": job}}} | {
        "insertId": str(payload),
        "timestamp": "2026-01-02T00:00:00Z",  # long ago: Google's client asks for the last day only, unless told otherwise
        **payload,
    }


def test_logs_are_those_of_the_tasks_own_jobs_whatever_their_age_and_failed_attempts_first(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    server.state["entries"] = [
        logged("77", textPayload="first\nsecond"),
        logged("77", jsonPayload={"message": "third"}),
        logged("78", textPayload="another's"),
        logged("76", textPayload="the attempt before"),
    ]
    assert [line for _, line in target.logs("conditional-k1", "say-2")] == ["the attempt before", "first", "second", "third"]
    assert {name for name, _ in target.logs("conditional-k1")} == {"say-2"}


def test_logs_that_are_not_there_say_why(server, target):
    target.submit(submission())
    with pytest.raises(PlatformError, match="no task began yet"):
        list(target.logs("conditional-k1"))
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    assert list(target.logs("conditional-k1")) == [("say-2", "(Cloud Logging has no lines of it yet)")]
    assert list(target.logs("conditional-k1", "say")) == [("say", "(no container ran for it: cached)")]
    with pytest.raises(PlatformError, match="no task 'sya'"):
        list(target.logs("conditional-k1", "sya"))


def test_a_page_that_fails_later_is_read_again(server, target):
    target.submit(submission())
    job = server.state["jobs"][JOB]
    server.state["jobs"] |= {f"{JOB}{number}": job | {"name": f"{JOB}{number}"} for number in range(120)}
    server.faults += [Fault("slow", path="pipelineJobs$", seconds=0), Fault("cut", method="GET", path="pipelineJobs$")]
    assert len({run.id for run in target.runs(110)}) == 110


def test_tasks_come_in_the_order_of_their_start(server, target):
    target.submit(submission())
    started = {"b": "2026-01-01T00:00:02Z", "c": None, "a": "2026-01-01T00:00:01Z"}
    tasks = [{"taskId": "9", "parentTaskId": "1", "taskName": name} | ({"startTime": at} if at else {}) for name, at in started.items()]
    server.advance(JOB, "PIPELINE_STATE_RUNNING", tasks)
    assert [task.name for task in target.run("conditional-k1").tasks] == ["a", "b", "c"]


def test_a_failed_task_says_the_last_error_of_its_last_attempts_log_read_once(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    said = "Traceback\nintermodal.runtime.errors.DataError: the table flights has no rows\nexit status 1"
    server.state["entries"] = [logged("76", textPayload="ValueError: the attempt before"), logged("77", textPayload=said)]
    for _ in range(2):
        assert target.run("conditional-k1").tasks[1].error.startswith("the table flights has no rows")
    assert sum(each.path.startswith("/v2/entries") for each in server.requests) == 1


def test_without_the_right_to_read_logs_the_services_own_words_stay(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    server.faults.append(Fault("status", path="entries", status=403, message="denied"))
    assert target.run("conditional-k1").tasks[1].error == "it broke"


def test_what_hinders_a_task_that_has_not_ended_is_its_reason(server, target):
    target.submit(submission())
    status = [{"state": "PENDING"}, {"state": "RUNNING", "error": {"code": 8, "message": "the quota of T4 GPUs is used up"}}]
    server.advance(JOB, "PIPELINE_STATE_RUNNING", [TASKS[0], TASKS[1] | {"state": "RUNNING", "pipelineTaskStatus": status}])
    (task,) = target.run("conditional-k1").tasks
    assert (task.reason, task.error) == ("the quota of T4 GPUs is used up", "")


def test_a_condition_is_a_group(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_RUNNING", [*TASKS, {"taskId": "5", "parentTaskId": "4", "taskName": "inner", "state": "CANCEL_PENDING"}])
    found = {task.name: task for task in target.run("conditional-k1").tasks}
    assert [name for name, task in found.items() if task.group] == ["say-3"]
    assert found["inner"].state == "cancelling"


def test_cancelling_ends_it_and_cancelling_again_is_no_error(server, target):
    target.submit(submission())
    assert target.cancel("conditional-k1").state == "cancelling"
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
    with pytest.raises(PlatformError, match="schedule delete nightly"):
        target.create_schedule("nightly", "0 3 * * *", "UTC", submission("d", cached=False))


def test_a_schedule_that_is_not_there_names_the_nearest(target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    for ask in (target.pause_schedule, target.resume_schedule, target.delete_schedule):
        with pytest.raises(PlatformError, match="did you mean 'nightly'"):
            ask("nihgtly")


def test_what_others_made_under_the_name_is_refused_and_never_deleted(server, target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("theirs"))
    (theirs,) = server.state["schedules"].values()
    server.state["schedules"][f"{PARENT}/schedules/900"] = theirs | {"name": f"{PARENT}/schedules/900", "createTime": "2026-02-01T00:00:00Z"}
    with pytest.raises(PlatformError, match="schedule delete nightly"):
        target.create_schedule("nightly", "0 4 * * *", "UTC", submission("ours"))
    assert len(server.state["schedules"]) == 2


def test_a_second_schedule_that_a_stale_read_let_through_is_taken_back(server, target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("first"))
    server.faults.append(Fault("stale", method="GET", path="schedules"))
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("second"))
    (kept,) = server.state["schedules"].values()
    assert kept["createPipelineJobRequest"]["pipelineJob"]["labels"]["intermodal-key"] == "first"


def test_deleting_waits_until_the_schedule_is_gone(server, target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    server.lingering = 3
    target.delete_schedule("nightly")
    assert server.state["schedules"] == {}


def test_resuming_an_active_schedule_and_pausing_a_paused_one_changes_nothing(target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    assert not target.resume_schedule("nightly").paused
    assert target.pause_schedule("nightly") == target.pause_schedule("nightly")


@pytest.mark.parametrize("name", ['night"ly', "night\\ly", "", "n" * 129])
def test_a_schedule_name_that_cannot_be_looked_up_is_refused(server, target, name):
    with pytest.raises(ConfigurationError, match="1 to 128 characters"):
        target.create_schedule(name, "0 3 * * *", "UTC", submission())
    assert server.state["schedules"] == {}


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


@pytest.mark.fault(
    "Wrong input", "an HTML page or half an answer with status 200 in the place of Vertex AI", "one sentence, and one run after it passed"
)
@pytest.mark.parametrize("kind", ["page", "truncated"])
@pytest.mark.parametrize("command", ["submit", *COMMANDS])
def test_an_answer_that_is_none_ends_in_a_sentence(server, target, command, kind):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_RUNNING", TASKS)
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    do = COMMANDS.get(command, lambda target: target.submit(submission()))
    if command == "submit":
        del server.state["jobs"][JOB]
    server.faults.append(Fault(kind, times=1000))
    with pytest.raises(PlatformError, match=r"not Google's API.*safe to repeat"):
        do(target)
    server.faults.clear()
    do(target)
    assert len(server.state["jobs"]) == 1


def test_a_page_in_the_place_of_cloud_logging_ends_in_a_sentence(server, target):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_FAILED", TASKS)
    server.faults.append(Fault("page", path="entries", times=1000))
    with pytest.raises(PlatformError, match="not Google's API"):
        list(target.logs("conditional-k1"))


@pytest.mark.fault("Wrong input", "any JSON in the place of Vertex AI's answer", "an answer or one sentence, never a traceback")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["name", "pipelineJobs", "schedules", "state", "jobDetail", "createTime", "cron"]), inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_any_json_in_the_place_of_an_answer_ends_in_a_sentence(gcs, answer):
    with VertexServer().running() as server:
        server.respond = lambda request, state: (200, answer)
        target = VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0.001, patience=0.05)
        for do in (*COMMANDS.values(), lambda target: target.submit(submission())):
            with suppress(PlatformError):
                do(target)


@pytest.mark.fault("Wrong input", "Vertex AI says 409 to a run that it does not show", "one sentence that says so, and what to choose")
def test_a_run_that_exists_and_is_not_shown_is_named(server, target):
    server.faults.append(Fault("status", method="POST", path="pipelineJobs$", status=409, message="already exists"))
    with pytest.raises(PlatformError, match=r"'conditional-k1' exists \(409\) and is not shown \(404\).*--key"):
        target.submit(submission())


def test_a_run_that_exists_and_is_seen_late_is_found(server, target):
    target.submit(submission())
    server.faults.append(Fault("status", method="GET", path="conditional-k1$", status=404, message="not found", times=2))
    assert target.submit(submission()).id == "conditional-k1"


@pytest.mark.parametrize(("command", "name"), list(itertools.product(COMMANDS, FAULTS)))
def test_every_command_survives(server, target, command, name):
    target.submit(submission())
    server.advance(JOB, "PIPELINE_STATE_RUNNING", TASKS)
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    if command == "resume":
        target.pause_schedule("nightly")
    server.faults.append(injected(FAULTS[name]))
    if name == "stale" and command != "cancel":
        # What was just written may not be seen yet: an answer in words, or the old truth.
        try:
            COMMANDS[command](target)
        except PlatformError as error:
            assert re.search("there is no|no task began", str(error))
    else:
        COMMANDS[command](target)
