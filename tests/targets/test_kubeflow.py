"""The Kubeflow target: the generated client against a server that refuses what it does not know, with everything going wrong that can."""

import dataclasses
import itertools
import re
import time

import kfp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intermodal.errors import ConfigurationError, PlatformError
from intermodal.targets.compilation import compile_specification, write_specification
from intermodal.targets.kubeflow import KubeflowTarget
from intermodal.targets.kubeflow_tasks import fnv1a
from intermodal.targets.remote import Submission
from intermodal.targets.settings import KubeflowSettings, TokenSource
from intermodal.targets.specification import graphs
from tests.servers.faults import Fault
from tests.servers.kubeflow import KubeflowServer, node_hash, workflow_nodes
from tests.servers.storage import free_port
from tests.targets.pipelines import conditional

SETTINGS = KubeflowSettings(
    endpoint="http://127.0.0.1:1",
    root="s3://pipelines/dev",
    service_account="intermodal-pipeline",
    image_repository="registry.example/team",
)
FAULTS = {
    "429": Fault("status", status=429),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503),
    "503 after it was done": Fault("status", status=503, done=True),
    "cut": Fault("cut"),
    "cut after it was done": Fault("cut", done=True),
    "slow": Fault("slow", seconds=0.1),
    "stale": Fault("stale", method="GET"),
}
SPECIFICATION = compile_specification(conditional)
SECRET = {"secretAsEnv": [{"secretName": "mlflow", "keyToEnv": [{"secretKey": "password", "envVar": "PASSWORD"}]}]}
PLATFORM = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-say": SECRET}}}}}


@pytest.fixture
def server():
    with KubeflowServer().running() as running:
        yield running


@pytest.fixture
def target(server):
    return made_for(server)


def made_for(server, **changed):
    return KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url, **changed}), pause=0)


def submission(key="k1", **changed):
    return Submission(specification=SPECIFICATION, parameters={"text": "a", "count": 3, "rules": {"a": [1, None]}}, name="A run", key=key, **changed)


def injected(fault):
    return dataclasses.replace(fault)


# Submitting.


def test_a_submission_arrives_whole(server, target):
    run = target.submit(submission(platform=PLATFORM, labels={"commit": "abc"}))
    kept = server.state["runs"][run.id]
    assert (run.name, run.key, run.state) == ("A run", "k1", "pending")
    assert run.url == f"{server.url}/#/runs/details/{run.id}"
    assert kept["runtime_config"] == {"parameters": {"text": "a", "count": 3, "rules": {"a": [1, None]}}, "pipeline_root": "s3://pipelines/dev"}
    assert kept["service_account"] == "intermodal-pipeline"
    assert kept["pipeline_spec"] == {"pipeline_spec": SPECIFICATION, "platform_spec": PLATFORM}
    assert "commit=abc" in kept["description"]


def test_the_same_key_twice_is_one_run(server, target):
    assert target.submit(submission()).id == target.submit(submission()).id
    assert made_for(server).submit(submission()).id == target.submit(submission()).id
    assert len(server.state["runs"]) == 1


def test_a_key_that_ends_another_key_is_its_own(server, target):
    assert target.submit(submission("build-1")).id != target.submit(submission("1")).id


def test_a_key_used_for_something_else_is_refused(server, target):
    target.submit(submission())
    with pytest.raises(PlatformError, match="another --key"):
        target.submit(dataclasses.replace(submission(), parameters={"text": "b", "count": 3, "rules": {}}))
    assert len(server.state["runs"]) == 1


def test_without_caching_no_task_is_cached_inside_a_condition_too(server, target):
    run = target.submit(submission(cached=False))
    tasks = [task for graph in graphs(server.state["runs"][run.id]["pipeline_spec"]) for task in graph["tasks"].values()]
    assert len(tasks) > 2
    assert not any(task.get("cachingOptions") for task in tasks)


def test_what_kubeflow_refuses_is_said_in_its_words(server, target):
    with pytest.raises(PlatformError, match="parameter 'other' provided is not required"):
        target.submit(dataclasses.replace(submission(), parameters={"other": 1}))


@pytest.mark.parametrize("name", FAULTS)
def test_a_submission_survives(server, target, name):
    server.faults.append(injected(FAULTS[name]))
    assert target.submit(submission()).key == "k1"
    assert len(server.state["runs"]) == 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_submission_survives_what_hits_the_very_request_that_starts_the_run(server, target, name):
    server.faults.append(dataclasses.replace(FAULTS[name], method="POST", path="/runs$"))
    target.submit(submission())
    assert len(server.state["runs"]) == 1


def test_a_lost_answer_and_a_stale_read_together_still_leave_one_run(server, target):
    target.submit(submission("warm"))
    server.faults.append(Fault("cut", method="POST", path="/runs$", done=True))
    server.faults.append(Fault("slow", method="GET", path="/runs$", seconds=0))  # the look before the first attempt
    server.faults.append(Fault("stale", method="GET", path="/runs$"))
    target.submit(submission())
    assert sum("[k1]" in run["display_name"] for run in server.state["runs"].values()) == 1


@settings(max_examples=40, deadline=None)
@given(faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=3))
def test_whatever_goes_wrong_one_key_is_one_run(faults):
    with KubeflowServer().running() as server:
        target = made_for(server)
        server.faults += [injected(FAULTS[name]) for name in faults]
        for _ in range(2):
            target.submit(submission())
        assert len(server.state["runs"]) == 1


def test_a_platform_that_stays_away_is_named_and_a_repeat_is_safe(server, target):
    server.faults += [Fault("status", status=503) for _ in range(100)]
    with pytest.raises(PlatformError, match="safe to repeat"):
        target.submit(submission())
    server.faults.clear()
    target.submit(submission())
    assert len(server.state["runs"]) == 1


def test_an_endpoint_where_nothing_listens_is_named():
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PlatformError, match=re.escape(endpoint)):
        KubeflowTarget(SETTINGS.model_copy(update={"endpoint": endpoint}), pause=0).runs()


# Tokens and namespaces.


@pytest.fixture
def token_file(tmp_path):
    (tmp_path / "token").write_text("right\n")
    return TokenSource(file=tmp_path / "token")


def test_the_token_comes_from_its_file_or_command(server, token_file):
    server.token = "right"
    assert made_for(server, token=token_file).runs() == []
    assert made_for(server, token=TokenSource(command=["echo", "right"])).runs() == []


def test_a_token_that_was_renewed_in_its_file_is_read_again(server, token_file):
    server.token = "right"
    target = made_for(server, token=token_file)
    run = target.submit(submission())
    server.token = "newer"
    token_file.file.write_text("newer\n")
    assert target.run(run.id).id == run.id


def test_an_expired_token_says_where_a_new_one_goes_and_is_not_shown(server, token_file):
    server.token = "newer"
    with pytest.raises(PlatformError, match=r"targets\.toml") as caught:
        made_for(server, token=token_file).runs()
    assert "right" not in str(caught.value)


@pytest.mark.parametrize("source", [TokenSource(file="/absent/token"), TokenSource(command=["false"]), TokenSource(command=["absent-program"])])
def test_a_token_that_cannot_be_had_says_so(server, source):
    with pytest.raises(PlatformError, match="the token cannot be had"):
        made_for(server, token=source).runs()


def test_a_namespace_that_is_not_ours_is_refused_in_words(server):
    server.namespaces = frozenset({"team-ml"})
    assert made_for(server, namespace="team-ml").submit(submission()).state == "pending"
    with pytest.raises(PlatformError, match="namespace"):
        made_for(server, namespace="another").submit(submission())


@pytest.mark.parametrize(("status", "word"), [(200, "not the API"), (302, "another address")])
def test_a_login_page_in_the_way_is_named(server, target, monkeypatch, status, word):
    monkeypatch.setattr(server, "respond", lambda request, state: (status, b"<html>sign in</html>"))
    for ask in (target.runs, target.schedules, lambda: target.run("a"), lambda: target.submit(submission())):
        with pytest.raises(PlatformError, match=f"{word}.*targets"):
            ask()


# Following.

# Full names of the nodes below the workflow, as Argo gives them to what Kubeflow's compiler writes: a cached task, one that failed twice, one left
# out, a loop of two and an importer.
WORKFLOW = "a-run-x7k2p"
TREE = (
    {
        "": ("FAILED", ["root-driver"]),
        "root-driver": ("SUCCEEDED", ["root"]),
        "root": ("FAILED", ["root.load-driver"]),
        "root.load-driver": ("SUCCEEDED", ["root.load"]),
        "root.load": ("SUCCEEDED", ["root.load.executor"]),
        "root.load.executor": ("SKIPPED", ["root.read", "root.say-driver", "root.skipped-driver", "root.loop"]),
        "root.read": ("SUCCEEDED", []),
        "root.say-driver": ("SUCCEEDED", ["root.say"]),
        "root.say": ("FAILED", ["root.say.executor"]),
        "root.say.executor": ("FAILED", ["root.say.executor(0)", "root.say.executor(1)"]),
        "root.say.executor(0)": ("FAILED", []),
        "root.say.executor(1)": ("FAILED", ["root.after-driver"]),
        "root.skipped-driver": ("SUCCEEDED", ["root.skipped"]),
        "root.skipped": ("SKIPPED", []),
        "root.loop": ("SUCCEEDED", ["root.loop.iteration-driver"]),
        "root.loop.iteration-driver": ("SUCCEEDED", ["root.loop.iteration-iterations"]),
        "root.loop.iteration-iterations": ("SUCCEEDED", ["root.loop.iteration-iterations(0:0)", "root.loop.iteration-iterations(1:1)"]),
    }
    | {
        f"root.loop.iteration-iterations({each}:{each}){name}": (
            "SUCCEEDED",
            [f"root.loop.iteration-iterations({each}:{each}){after}"] if after else [],
        )
        for each in (0, 1)
        for name, after in [
            ("", ".iteration-item-driver"),
            (".iteration-item-driver", ".iteration-item"),
            (".iteration-item", ".iteration-item.step-driver"),
            (".iteration-item.step-driver", ".iteration-item.step"),
            (".iteration-item.step", ".iteration-item.step.executor"),
            (".iteration-item.step.executor", ""),
        ]
    }
    | {"root.after-driver": ("RUNTIME_STATE_UNSPECIFIED", ["root.after"]), "root.after": ("RUNTIME_STATE_UNSPECIFIED", [])}
)


def tasks():
    found = workflow_nodes(WORKFLOW, TREE)
    # Containers last until their content ends; a cached one's executor is left out within.
    ends = {"load": "2026-01-01T00:00:05Z", "say": "2026-01-01T00:00:11Z", "loop": "2026-01-01T00:00:28Z"}
    return [each | ({"end_time": ends[each["display_name"]]} if each["display_name"] in ends else {}) for each in found]


def pod(template, name):
    return f"{WORKFLOW}-{template}-{node_hash(f'{WORKFLOW}.{name}')}"


@pytest.mark.parametrize(("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_hash_is_fnv_1a(text, value):
    assert fnv1a(text) == node_hash(text) == value


def test_a_run_shows_its_tasks_in_order_with_their_states(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks(), error="a task failed")
    found = target.run(run.id)
    assert [(task.name, task.state) for task in found.tasks] == [
        ("load", "cached"),
        ("read", "succeeded"),
        ("say", "failed"),
        ("skipped", "skipped"),
        ("loop", "succeeded"),
        ("step", "succeeded"),
        ("step", "succeeded"),
        ("after", "skipped"),
    ]
    assert (found.state, found.error, found.over) == ("failed", "a task failed", True)
    assert (found.tasks[0].ended - found.tasks[0].started).total_seconds() == 1
    assert found.tasks[-1].started is None


def test_a_task_called_a_driver_is_a_task(server, target):
    run = target.submit(submission())
    tree = {
        "": ("RUNNING", ["root-driver"]),
        "root-driver": ("SUCCEEDED", ["root"]),
        "root": ("RUNNING", ["root.screw-driver-driver"]),
        "root.screw-driver-driver": ("SUCCEEDED", ["root.screw-driver"]),
        "root.screw-driver": ("RUNNING", ["root.screw-driver.executor"]),
        "root.screw-driver.executor": ("RUNNING", []),
    }
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, tree))
    assert [(task.name, task.state, task.ended) for task in target.run(run.id).tasks] == [("screw-driver", "running", None)]


def test_of_parallel_tasks_none_is_called_cached_unless_it_surely_is(server, target):
    run = target.submit(submission())
    tree = {
        "": ("SUCCEEDED", ["root"]),
        "root": ("SUCCEEDED", ["root.one", "root.two"]),
        "root.one": ("SUCCEEDED", ["root.one.executor"]),
        "root.one.executor": ("SKIPPED", []),
        "root.two": ("SUCCEEDED", ["root.two.executor"]),
        "root.two.executor": ("SUCCEEDED", []),
    }
    same = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}
    server.advance(run.id, "SUCCEEDED", [each | same for each in workflow_nodes(WORKFLOW, tree)])
    assert {task.state for task in target.run(run.id).tasks} == {"succeeded"}


def test_three_hundred_tasks_are_read_in_a_moment(server, target):
    run = target.submit(submission())
    tree = {"": ("RUNNING", ["root"]), "root": ("RUNNING", [f"root.t{each}-driver" for each in range(300)])}
    for each in range(300):
        tree |= {f"root.t{each}-driver": ("SUCCEEDED", [f"root.t{each}"]), f"root.t{each}": ("SUCCEEDED", [f"root.t{each}.executor"])}
        tree |= {f"root.t{each}.executor": ("SUCCEEDED", [])}
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, tree))
    before = time.monotonic()
    assert len(target.run(run.id).tasks) == 300
    assert time.monotonic() - before < 3


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED"])
def test_every_state_of_kubeflow_has_a_word_of_ours(server, target, state):
    run = target.submit(submission())
    server.advance(run.id, state)
    assert target.run(run.id).state != "unknown"


def test_a_run_that_is_not_there_says_so(target):
    with pytest.raises(PlatformError, match="no run 'absent'"):
        target.run("absent")


def test_the_newest_runs_come_first(target):
    for key in ("a", "b", "c"):
        target.submit(submission(key))
    assert [run.key for run in target.runs(2)] == ["c", "b"]


def test_logs_are_those_of_the_tasks_pods(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    for attempt in (0, 1):
        server.state["logs"][pod("retry-system-container-impl", f"root.say.executor({attempt})")] = f"attempt {attempt}\nit broke\n"
        server.state["logs"][pod("system-container-impl", f"root.loop.iteration-iterations({attempt}:{attempt}).iteration-item.step.executor")] = (
            f"step {attempt}\n"
        )
    server.state["logs"][pod("system-importer", "root.read")] = "imported\n"
    assert list(target.logs(run.id, "say")) == [("say", "attempt 0"), ("say", "it broke"), ("say", "attempt 1"), ("say", "it broke")]
    assert sorted(target.logs(run.id, "step")) == [("step", "step 0"), ("step", "step 1")]
    assert list(target.logs(run.id, "read")) == [("read", "imported")]
    with pytest.raises(PlatformError, match="no task 'sya'"):
        list(target.logs(run.id, "sya"))


def test_a_pod_that_is_gone_is_told_at_once(server):
    waits = []
    target = KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url}), sleep=waits.append)
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    (line,) = [line for _, line in target.logs(run.id, "load")]
    assert "no log is kept" in line
    assert waits == []


def test_logs_come_from_the_route_that_the_installation_has(server, target, monkeypatch):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    server.state["logs"][pod("system-importer", "root.read")] = "imported\n"
    server.log_route = "/apis/v2beta1"
    assert list(target.logs(run.id, "read")) == [("read", "imported")]


def test_cancelling_ends_it_and_cancelling_again_is_no_error(server, target):
    run = target.submit(submission())
    target.cancel(run.id)
    assert server.state["runs"][run.id]["state"] == "CANCELING"
    server.advance(run.id, "CANCELED")
    assert target.cancel(run.id).state == "cancelled"


# Schedules.


def test_a_schedule_goes_through_its_life(server, target):
    made = target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    assert (made.name, made.cron, made.time_zone, made.paused) == ("nightly", "0 3 * * *", "UTC", False)
    assert target.pause_schedule("nightly").paused
    assert not target.resume_schedule("nightly").paused
    (kept,) = server.state["recurringruns"].values()
    assert kept["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert kept["no_catchup"] is True
    target.delete_schedule("nightly")
    assert target.schedules() == []


def test_a_time_zone_other_than_utc_is_refused(target):
    with pytest.raises(ConfigurationError, match="Europe/Zurich"):
        target.create_schedule("nightly", "0 3 * * *", "Europe/Zurich", submission())


def test_the_same_schedule_again_changes_nothing_and_another_of_its_name_is_refused(server, target):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("a"))
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission("b"))
    assert len(server.state["recurringruns"]) == 1
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
    for _ in range(2):
        target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    assert len(target.schedules()) == 1


COMMANDS = {
    "status": lambda target, run: target.run(run),
    "list": lambda target, run: target.runs(),
    "logs": lambda target, run: list(target.logs(run)),
    "cancel": lambda target, run: target.cancel(run),
    "schedules": lambda target, run: target.schedules(),
    "pause": lambda target, run: target.pause_schedule("nightly"),
    "resume": lambda target, run: target.resume_schedule("nightly"),
    "delete": lambda target, run: target.delete_schedule("nightly"),
    "upload": lambda target, run: target.upload([SPECIFICATION], "training", "v1"),
}


@pytest.mark.parametrize(("command", "name"), list(itertools.product(COMMANDS, FAULTS)))
def test_every_command_survives(server, target, command, name):
    run = target.submit(submission()).id
    server.advance(run, "RUNNING", tasks())
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    server.faults.append(injected(FAULTS[name]))
    if name == "stale":
        # What was just written may not be seen yet: an answer in words, or the old truth.
        try:
            COMMANDS[command](target, run)
        except PlatformError as error:
            assert "there is no" in str(error)
    else:
        COMMANDS[command](target, run)


# Uploads.


def test_a_version_is_uploaded_once_and_other_content_under_its_name_is_refused(server, target):
    first = target.upload([SPECIFICATION, PLATFORM], "training", "v1")
    assert target.upload([SPECIFICATION, PLATFORM], "training", "v1") == first
    assert target.upload([SPECIFICATION, PLATFORM], "training", "v2") != first
    assert len(server.state["pipelines"]) == 1
    with pytest.raises(PlatformError, match="another --version"):
        target.upload([{**SPECIFICATION, "sdkVersion": "kfp-1"}, PLATFORM], "training", "v1")


# The server speaks what kfp's own client speaks.


def test_kfps_own_client_uploads_runs_and_schedules_on_this_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "conditional.yaml"
    write_specification(SPECIFICATION, path)
    client = kfp.Client(host=server.url, namespace="kubeflow")
    pipeline = client.upload_pipeline(str(path), pipeline_name="conditional")
    run = client.create_run_from_pipeline_package(str(path), arguments={"text": "a", "count": 1, "rules": {}}, run_name="by hand")
    experiment = client.create_experiment("by hand")
    client.create_recurring_run(
        experiment.experiment_id,
        "nightly",
        cron_expression="0 0 3 * * *",
        pipeline_package_path=str(path),
        params={"text": "a", "count": 1, "rules": {}},
    )
    assert client.get_pipeline_id("conditional") == pipeline.pipeline_id
    assert client.get_run(run.run_id).state == "PENDING"
    server.advance(run.run_id, "SUCCEEDED")
    assert client.wait_for_run_completion(run.run_id, timeout=10, sleep_duration=0).state == "SUCCEEDED"
