"""The Kubeflow target: the generated client against a server that refuses what it does not know, with everything going wrong that can."""

import dataclasses
import itertools
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import kfp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intermodal.compiler.build import compile_specification, write_specification
from intermodal.compiler.specification import graphs
from intermodal.platforms.interface import Submission
from intermodal.platforms.kubeflow.settings import KubeflowSettings, TokenSource
from intermodal.platforms.kubeflow.target import KubeflowTarget
from intermodal.platforms.kubeflow.tasks import fnv1a
from intermodal.runtime.errors import ConfigurationError, PlatformError
from tests.runner.pipelines import conditional
from tests.servers.faults import Fault
from tests.servers.kubeflow import KubeflowServer, node_hash, node_id, retried, workflow_nodes
from tests.servers.storage import free_port

SETTINGS = KubeflowSettings(
    endpoint="http://127.0.0.1:1",
    root="s3://pipelines/dev",
    service_account="intermodal-pipeline",
    image_repository="registry.example/team",
)
FAULTS = {
    "429": Fault("status", status=429),
    "500 of a proxy": Fault("status", status=500, body=b"upstream connect error or disconnect/reset before headers"),
    "500 while the database is away": Fault("status", status=500, message="InternalServerError: Failed to list runs: driver: bad connection"),
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
    (tmp_path / "token").write_text("token-that-is-right\n")
    return TokenSource(file=tmp_path / "token")


def test_the_token_comes_from_its_file_or_command(server, token_file):
    server.token = "token-that-is-right"
    assert made_for(server, token=token_file).runs() == []
    assert made_for(server, token=TokenSource(command=["echo", "token-that-is-right"])).runs() == []


def test_a_token_that_was_renewed_in_its_file_is_read_again(server, token_file):
    server.token = "token-that-is-right"
    target = made_for(server, token=token_file)
    run = target.submit(submission())
    server.token = "token-that-is-newer"
    token_file.file.write_text("token-that-is-newer\n")
    assert target.run(run.id).id == run.id


def test_an_expired_token_says_where_a_new_one_goes_and_is_not_shown(server, token_file):
    server.token = "token-that-is-newer"
    with pytest.raises(PlatformError, match=r"targets\.toml") as caught:
        made_for(server, token=token_file).runs()
    assert "token-that-is-right" not in str(caught.value)


@pytest.mark.parametrize("source", [TokenSource(file="/absent/token"), TokenSource(command=["false"]), TokenSource(command=["absent-program"])])
def test_a_token_that_cannot_be_read_says_so(server, source):
    with pytest.raises(PlatformError, match="cannot get a token"):
        made_for(server, token=source).runs()


def test_a_namespace_that_is_not_ours_is_refused_in_words(server):
    server.namespaces = frozenset({"team-ml"})
    assert made_for(server, namespace="team-ml").submit(submission()).state == "pending"
    with pytest.raises(PlatformError, match="namespace"):
        made_for(server, namespace="another").submit(submission())


def test_a_redirection_to_a_login_page_is_named(server, target, monkeypatch):
    monkeypatch.setattr(server, "respond", lambda request, state: (302, b"<html>sign in</html>"))
    for ask in (target.runs, target.schedules, lambda: target.run("a"), lambda: target.submit(submission())):
        with pytest.raises(PlatformError, match=r"another address.*targets"):
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


def tasks(tree=TREE):
    found = workflow_nodes(WORKFLOW, tree)
    # Containers last until their content ends; a cached one's executor is left out within.
    ends = {"load": "2026-01-01T00:00:05Z", "say": "2026-01-01T00:00:09Z", "loop": "2026-01-01T00:00:26Z"}
    return [each | {"end_time": ends.get(each["display_name"].removesuffix("(0)"), each["end_time"])} for each in found]


def pod(template, name):
    return f"{WORKFLOW}-{template}-{node_id(WORKFLOW, name).rpartition('-')[2]}"


@pytest.mark.parametrize(("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_hash_is_fnv_1a(text, value):
    assert fnv1a(text) == node_hash(text) == value


def test_a_run_shows_its_tasks_in_order_with_their_states(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks(), error="a task failed")
    found = target.run(run.id)
    assert [(task.name, task.state) for task in found.tasks] == NAMES
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


def test_three_hundred_tasks_take_less_than_three_seconds_of_the_processor(server, target):
    run = target.submit(submission())
    tree = {"": ("RUNNING", ["root"]), "root": ("RUNNING", [f"root.t{each}-driver" for each in range(300)])}
    for each in range(300):
        tree |= {f"root.t{each}-driver": ("SUCCEEDED", [f"root.t{each}"]), f"root.t{each}": ("SUCCEEDED", [f"root.t{each}.executor"])}
        tree |= {f"root.t{each}.executor": ("SUCCEEDED", [])}
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, tree))
    before = time.process_time()
    assert len(target.run(run.id).tasks) == 300
    assert time.process_time() - before < 3


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


def executed(number):
    return f"root.loop.iteration-iterations({number}:{number}).iteration-item.step.executor"


def test_logs_are_those_of_the_tasks_pods(server):
    """A multi-user installation: the pods are there."""
    server.namespaces = frozenset({"team-ml"})
    target = made_for(server, namespace="team-ml")
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    for attempt in (0, 1):
        server.state["pods"][pod("retry-system-container-impl", f"root.say.executor({attempt})")] = f"attempt {attempt}\nit broke\n"
        server.state["pods"][pod("system-container-impl", executed(attempt))] = f"step {attempt}\n"
    server.state["pods"][pod("system-importer", "root.read")] = "imported\n"
    assert list(target.logs(run.id, "say")) == [("say", "attempt 0"), ("say", "it broke"), ("say", "attempt 1"), ("say", "it broke")]
    assert sorted(target.logs(run.id, "step")) == [("step", "step 0"), ("step", "step 1")]
    assert list(target.logs(run.id, "read")) == [("read", "imported")]
    with pytest.raises(PlatformError, match="no task 'sya'"):
        list(target.logs(run.id, "sya"))


@pytest.mark.fault("Kubeflow", "a log is asked for under a wrong name and answered 200 with an error object", "the log under the right name is shown")
@pytest.mark.parametrize("log_status", [200, 500])
def test_a_log_that_is_not_there_is_not_taken_for_a_log(server, target, log_status):
    server.log_status = log_status
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    server.state["archive"][node_id(WORKFLOW, "root.say.executor(1)")] = "it broke\n"
    first, *rest = target.logs(run.id, "say")
    assert "no log is kept" in first[1]
    assert "not found" in first[1], "the backend's own reason"
    assert rest == [("say", "it broke")]


def test_the_log_that_argo_archived_is_asked_for_first(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    server.state["archive"][node_id(WORKFLOW, "root.read")] = "imported\n"
    before = len(server.requests)
    assert list(target.logs(run.id, "read")) == [("read", "imported")]
    assert [each.path.rpartition("/nodes/")[2] for each in server.requests[before + 1 :]] == [f"{node_id(WORKFLOW, 'root.read')}/log"]


@pytest.mark.fault("Kubeflow", "a task's log is one JSON object", "it is shown as the log it is")
@pytest.mark.parametrize(
    "text", ['{"auc": 0.75}', '{"error_message": "no rows"}', '{"error_message": "a", "error_details": 3}', "{", "{}", '{"a":' * 5000]
)
def test_a_log_that_is_one_json_object_is_shown(server, target, text):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    server.state["archive"][node_id(WORKFLOW, "root.read")] = text
    assert list(target.logs(run.id, "read")) == [("read", text)]


def labelled():
    """A pipeline whose tasks ask for retries, and its platform document with a label and no annotation on every pod."""
    specification = compile_specification(conditional)
    for graph in graphs(specification):
        for task in graph["tasks"].values():
            task["retryPolicy"] = {"maxRetryCount": 2}
    executors = {name: {"podMetadata": {"labels": {"team": "ml"}}} for name in specification["deploymentSpec"]["executors"]}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    return Submission(specification=specification, platform=platform, parameters={"text": "a", "count": 3, "rules": {}}, name="A run", key="k")


SAY = {
    "": ("RUNNING", ["root-driver"]),
    "root-driver": ("SUCCEEDED", ["root"]),
    "root": ("RUNNING", ["root.say-driver"]),
    "root.say-driver": ("SUCCEEDED", ["root.say"]),
    "root.say": ("RUNNING", ["root.say.executor"]),
    "root.say.executor": ("RUNNING", ["root.say.executor(0)"]),
    "root.say.executor(0)": ("RUNNING", []),
}


def test_a_pod_with_labels_and_retries_is_found_under_its_templates_name(server):
    server.namespaces = frozenset({"team-ml"})
    target = made_for(server, namespace="team-ml")
    run = target.submit(labelled())
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, SAY))
    server.state["pods"][pod("metadata-0-1-retry-system-container-impl", "root.say.executor(0)")] = "hello\n"
    assert list(target.logs(run.id, "say")) == [("say", "hello")]


@pytest.mark.parametrize("specification", [None, {}, {"root": {}}, {"pipeline_spec": {"root": {"dag": {}}}, "platform_spec": None}])
def test_a_run_without_its_specification_is_read_as_well(server, target, specification):
    """It was started from an uploaded version, or by another version of Kubeflow."""
    run = target.submit(submission())
    server.state["runs"][run.id]["pipeline_spec"] = specification
    server.advance(run.id, "FAILED", tasks())
    server.state["archive"][node_id(WORKFLOW, "root.say.executor(1)")] = "it broke\n"
    assert [(task.name, task.state) for task in target.run(run.id).tasks] == NAMES
    assert ("say", "it broke") in list(target.logs(run.id, "say"))


def test_a_single_user_installation_says_that_it_gives_no_log_of_a_running_task(server, target):
    run = target.submit(labelled())
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, SAY))
    name = pod("metadata-0-1-retry-system-container-impl", "root.say.executor(0)")
    server.state["pods"][name] = "hello\n"
    ((_, line),) = target.logs(run.id, "say")
    assert "single-user" in line
    assert f"kubectl logs {name} -c main" in line


def test_a_pod_that_is_gone_is_told_at_once(server):
    waits = []
    target = KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url}), sleep=waits.append)
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    (line,) = [line for _, line in target.logs(run.id, "load")]
    assert "no log is kept" in line
    assert waits == []


def test_logs_come_from_the_route_that_the_installation_has(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    server.state["archive"][node_id(WORKFLOW, "root.read")] = "imported\n"
    server.log_route = "/apis/v2beta1"
    assert list(target.logs(run.id, "read")) == [("read", "imported")]


# What the installation makes of tasks.

NAMES = [
    ("load", "cached"),
    ("read", "succeeded"),
    ("say", "failed"),
    ("skipped", "skipped"),
    ("loop", "succeeded"),
    ("step", "succeeded"),
    ("step", "succeeded"),
    ("after", "skipped"),
]


@pytest.mark.fault(
    "Kubeflow", "the workflow controller retries every node (`templateDefaults.retryStrategy`)", "tasks, states and logs are those without it"
)
def test_where_every_node_is_a_retry_tasks_and_logs_are_the_same(server, target):
    run = target.submit(submission())
    tree = retried(TREE)
    assert {"(0)", "(0).root(0).say(0).executor(1)", "(0).root(0).load-driver(0)"} <= set(tree)
    server.advance(run.id, "FAILED", tasks(tree))
    assert [(task.name, task.state) for task in target.run(run.id).tasks] == NAMES
    server.state["archive"][node_id(WORKFLOW, "(0).root(0).say(0).executor(0)")] = "first\n"
    server.state["archive"][node_id(WORKFLOW, "(0).root(0).say(0).executor(1)")] = "second\n"
    server.state["archive"][node_id(WORKFLOW, "(0).root(0).read(0)")] = "imported\n"
    inner = [name for name in tree if name.endswith("step(0).executor(0)")]
    assert len(inner) == 2
    for number, name in enumerate(inner):
        server.state["archive"][node_id(WORKFLOW, name)] = f"step {number}\n"
    assert [line for _, line in target.logs(run.id, "say")] == ["first", "second"]
    assert [line for _, line in target.logs(run.id, "read")] == ["imported"]
    assert sorted(line for _, line in target.logs(run.id, "step")) == ["step 0", "step 1"]


def random_tree(draw):
    """A workflow of tasks one after the other, in a state that Argo can be in: what follows a failed or waiting one has not begun."""
    tree = {"": ("RUNNING", ["root-driver"]), "root-driver": ("SUCCEEDED", ["root"]), "root": ("RUNNING", [])}
    last, going = "root", True
    for number in range(draw(1, 6)):
        kind = (
            draw.choice(["succeeded", "cached", "importer", "retried", "failed", "driver failed", "waiting", "skipped", "running"])
            if going
            else "omitted"
        )
        name = f"root.t{number}"
        before = tree[last]
        tree[last] = before[0], [*before[1], name if kind == "importer" else f"{name}-driver"]
        going = kind in ("succeeded", "cached", "importer", "retried", "skipped")
        if kind == "importer":
            tree[name] = "SUCCEEDED", []
            last = name
            continue
        driver = {"driver failed": "FAILED", "omitted": "RUNTIME_STATE_UNSPECIFIED"}.get(kind, "SUCCEEDED")
        tree[f"{name}-driver"] = driver, [name]
        node = {"failed": "FAILED", "skipped": "SKIPPED", "waiting": "RUNNING", "running": "RUNNING"}.get(kind, "SUCCEEDED")
        if driver != "SUCCEEDED" or node == "SKIPPED":
            tree[name] = "SKIPPED" if node == "SKIPPED" else "RUNTIME_STATE_UNSPECIFIED", []
            last = name
            continue
        executor = {"cached": "SKIPPED", "failed": "FAILED", "waiting": "PENDING", "running": "RUNNING"}.get(kind, "SUCCEEDED")
        tree[name] = node, [f"{name}.executor"]
        tries = [f"{name}.executor({attempt})" for attempt in range(draw(1, 3))] if kind == "retried" else []
        tree[f"{name}.executor"] = executor, tries
        tree |= {each: ("SUCCEEDED" if each == tries[-1] else "FAILED", []) for each in tries}
        last = tries[-1] if tries else f"{name}.executor"
    return tree


class _Draw:
    def __init__(self, random):
        self.choice = random.choice
        self._random = random

    def __call__(self, low, high):
        return self._random.randint(low, high)


@pytest.mark.fault(
    "Kubeflow", "workflows at random, on an installation that retries every node and on one that does not", "the same tasks, states and logs"
)
def test_any_workflow_reads_the_same_where_every_node_is_a_retry(server, target, fault_random):
    run = target.submit(submission())
    draw = _Draw(fault_random)
    for _ in range(25):
        plain = random_tree(draw)
        shown = []
        for tree in (plain, retried(plain)):
            # A task lasts until its last attempt ends, which is before the next second.
            server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, tree))
            details = server.state["runs"][run.id]["run_details"]["task_details"]
            for each in details:
                if re.fullmatch(r"t\d+(\(0\))?", each["display_name"]) and each["state"] in ("SUCCEEDED", "FAILED"):
                    each["end_time"] = each["end_time"].replace("Z", ".9Z") if "." not in each["end_time"] else each["end_time"]
                if each["display_name"].startswith("executor") and not each["start_time"].startswith("0001"):
                    each["start_time"] = (datetime.fromisoformat(each["start_time"]) - timedelta(seconds=0.5)).isoformat().replace("+00:00", "Z")
            found = target.run(run.id)
            logs = [name for name, _ in target.logs(run.id)]  # a line for each attempt: there is none
            # What has not begun has no order.
            shown.append((sorted((task.name, task.state, task.group) for task in found.tasks), sorted(logs)))
        assert shown[0] == shown[1], plain


def test_retries_that_the_installation_overrules_are_told(server, target):
    plain, asking = target.submit(submission()), target.submit(labelled())
    for run in (plain, asking):
        server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, SAY))
        assert target.run(run.id).notes == (), "retries of tasks alone"
        server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, retried(SAY)))
    assert target.run(plain.id).notes == ()
    (note,) = target.run(asking.id).notes
    assert "templateDefaults.retryStrategy" in note
    assert "docs/how-to/kubeflow.md" in note


def test_a_failed_task_says_the_last_error_of_its_log_once_read(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    assert next(task for task in target.run(run.id).tasks if task.name == "say").error == ""
    log = "DataError: the table flights has no rows\nF1121 12:00:00 main.go:55] failed to execute component: exit status 1\n"
    server.state["archive"][node_id(WORKFLOW, "root.say.executor(1)")] = log
    for _ in range(2):
        assert "the table flights has no rows" in next(task for task in target.run(run.id).tasks if task.name == "say").error
    before = len(server.requests)
    target.run(run.id)
    assert len(server.requests) == before + 1, "a log that ended is read once"


@pytest.mark.fault("Kubeflow", "a task's driver fails, so that the task is left out", "the task is shown as failed, with the driver's last error")
@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_task_whose_driver_fails_is_a_failed_task(server, target, present, wrapped):
    run = target.submit(submission())
    tree = {
        "": ("FAILED", ["root-driver"]),
        "root-driver": ("SUCCEEDED", ["root"]),
        "root": ("FAILED", ["root.say-driver"]),
        "root.say-driver": ("FAILED", ["root.say"] if present else []),
    }
    tree |= {"root.say": ("RUNTIME_STATE_UNSPECIFIED", [])} if present else {}
    server.advance(run.id, "FAILED", workflow_nodes(WORKFLOW, retried(tree) if wrapped else tree))
    driver = "(0).root(0).say-driver(0)" if wrapped else "root.say-driver"
    server.state["archive"][node_id(WORKFLOW, driver)] = 'I1121 driver\nF1121 main.go:81] cannot find producer task "importer_3"\n'
    (task,) = target.run(run.id).tasks
    assert (task.name, task.state) == ("say", "failed")
    assert 'cannot find producer task "importer_3"' in task.error


def test_where_the_first_driver_fails_the_run_has_one_failed_task(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", workflow_nodes(WORKFLOW, {"": ("FAILED", ["root-driver"]), "root-driver": ("FAILED", ["root"])}))
    server.state["archive"][node_id(WORKFLOW, "root-driver")] = "F1121 main.go:81] no permission\n"
    (task,) = target.run(run.id).tasks
    assert (task.name, task.state) == ("root", "failed")
    assert "no permission" in task.error


@pytest.mark.fault(
    "Kubeflow", "a task's pod cannot start: no such image, no machine with room", "the task is pending, and where the reason stands is named"
)
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_task_that_waits_for_its_pod_is_pending_and_says_where_to_look(server, target, wrapped):
    run = target.submit(submission())
    tree = SAY | {"root.say.executor": ("PENDING", [])}
    del tree["root.say.executor(0)"]
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, retried(tree) if wrapped else tree))
    (task,) = target.run(run.id).tasks
    assert (task.name, task.state, task.error) == ("say", "pending", "")
    name = "(0).root(0).say(0).executor(0)" if wrapped else "root.say.executor"
    assert f"kubectl describe pod {pod('system-container-impl', name)}" in task.reason


def test_a_task_whose_driver_waits_is_pending(server, target):
    run = target.submit(submission())
    tree = {each: SAY[each] for each in ("", "root-driver", "root")} | {"root.say-driver": ("PENDING", [])}
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, tree))
    (task,) = target.run(run.id).tasks
    assert (task.name, task.state) == ("say", "pending")
    assert pod("system-container-driver", "root.say-driver") in task.reason


def test_of_two_tasks_that_start_together_none_is_said_to_wait_while_one_runs(server, target):
    run = target.submit(submission())
    tree = {
        "": ("RUNNING", ["root"]),
        "root": ("RUNNING", ["root.one", "root.two"]),
        "root.one": ("RUNNING", ["root.one.executor"]),
        "root.one.executor": ("PENDING", []),
        "root.two": ("RUNNING", ["root.two.executor"]),
        "root.two.executor": ("RUNNING", []),
    }
    together = [each | {"start_time": "2026-01-01T00:00:00Z"} for each in workflow_nodes(WORKFLOW, tree)]
    server.advance(run.id, "RUNNING", together)
    assert {task.state for task in target.run(run.id).tasks} == {"running"}


def test_a_condition_is_a_group_and_an_importer_is_none(server, target):
    run = target.submit(submission())
    server.advance(run.id, "FAILED", tasks())
    assert {task.name for task in target.run(run.id).tasks if task.group} == {"loop"}


# Ending.


@pytest.mark.fault("Kubeflow", "a run is cancelled, which ends it FAILED", "it is `cancelling`, then `cancelled`, and so are the tasks that it ended")
def test_a_cancelled_run_is_cancelling_and_then_cancelled(server, target):
    run = target.submit(submission())
    server.advance(run.id, "RUNNING", workflow_nodes(WORKFLOW, SAY))
    assert target.cancel(run.id).state == "cancelling"
    assert target.cancel(run.id).state == "cancelling", "again is no error"
    assert [each.state for each in target.runs()] == ["cancelling"]
    ended = {name: ("FAILED" if state == "RUNNING" else state, after) for name, (state, after) in SAY.items()}
    later = [each | ({"end_time": "2026-06-01T00:00:00Z"} if each["state"] == "FAILED" else {}) for each in workflow_nodes(WORKFLOW, ended)]
    server.advance(run.id, "FAILED", later)
    found = target.run(run.id)
    assert (found.state, found.over) == ("cancelled", True)
    assert [task.state for task in found.tasks] == ["cancelled"]
    assert [each.state for each in target.runs()] == ["cancelled"]


def test_a_cancelled_run_that_was_started_again_has_its_own_end(server, target):
    run = target.submit(submission())
    target.cancel(run.id)
    server.advance(run.id, "FAILED")
    server.advance(run.id, "RUNNING")
    assert target.run(run.id).state == "running"
    server.advance(run.id, "FAILED")
    assert target.run(run.id).state == "failed"


def test_cancelling_ends_it_and_cancelling_again_is_no_error(server, target):
    run = target.submit(submission())
    target.cancel(run.id)
    assert server.state["runs"][run.id]["state"] == "CANCELING"
    server.advance(run.id, "FAILED")
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


@pytest.mark.fault(
    "Kubeflow", "a cron expression of five fields, which Kubeflow reads with seconds first", "six fields are sent, whatever is asked for"
)
@pytest.mark.parametrize("cron", ["3 * * *", "0 0 3 * * *", "@daily", ""])
def test_a_cron_expression_that_has_not_five_fields_is_never_sent(server, target, cron):
    with pytest.raises(ConfigurationError, match="five"):
        target.create_schedule("nightly", cron, "UTC", submission())
    assert server.state["recurringruns"] == {}


@pytest.mark.parametrize(
    ("trigger", "shown", "known"),
    [
        ({"cron_schedule": {"cron": "0 30 3 * * 1"}}, "30 3 * * 1", True),
        ({"cron_schedule": {"cron": "0 3 * * *"}}, "3 * * * *", True),  # five fields: at three minutes past every hour
        ({"cron_schedule": {"cron": "30 0 3 * * *"}}, "30 0 3 * * * (seconds first)", False),
        ({"cron_schedule": {"cron": "@every 1h"}}, "@every 1h", False),
        ({"periodic_schedule": {"interval_second": "3600"}}, "every 3600 s", False),
        ({}, "never", False),
    ],
)
def test_a_schedule_that_others_made_is_read_as_kubeflow_reads_it(server, target, trigger, shown, known):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    (kept,) = server.state["recurringruns"].values()
    kept["trigger"] = trigger
    (found,) = target.schedules()
    assert (found.cron, found.next_run is not None) == (shown, known)
    with pytest.raises(PlatformError, match="schedule delete nightly"):
        target.create_schedule("nightly", "30 3 * * 2", "UTC", submission())


def test_the_next_run_of_a_schedule_is_told_unless_it_is_paused(target):
    made = target.create_schedule("weekly", "30 3 * * 1", "UTC", submission())
    assert made.next_run > datetime.now(UTC)
    assert (made.next_run.weekday(), made.next_run.hour, made.next_run.minute) == (0, 3, 30)
    assert target.pause_schedule("weekly").next_run is None


@pytest.mark.fault("Kubeflow", "a schedule is deleted while a run of it is active", "it is refused, names the run, and the schedule stays as it was")
@pytest.mark.parametrize("paused", [True, False])
def test_a_schedule_with_active_runs_is_not_deleted(server, target, paused):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    target.create_schedule("other", "0 3 * * *", "UTC", submission())
    (recurring, other) = server.state["recurringruns"]
    run, _ = server.start_scheduled(recurring), server.start_scheduled(other)
    if paused:
        target.pause_schedule("nightly")
    with pytest.raises(PlatformError, match=f"{run}.*intermodal cancel"):
        target.delete_schedule("nightly")
    assert server.state["killed"] == []
    assert [each.paused for each in target.schedules() if each.name == "nightly"] == [paused]
    server.advance(run, "SUCCEEDED")
    target.delete_schedule("nightly")
    assert [each.name for each in target.schedules()] == ["other"]


def test_a_run_that_starts_while_its_schedule_is_deleted_stops_the_deletion(server, target, monkeypatch):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    (recurring,) = server.state["recurringruns"]
    pause = target._schedules.pause
    monkeypatch.setattr(target._schedules, "pause", lambda name: (server.start_scheduled(recurring), pause(name))[1])
    with pytest.raises(PlatformError, match="active runs"):
        target.delete_schedule("nightly")
    assert [each.paused for each in target.schedules()] == [False]
    assert server.state["killed"] == []


@pytest.mark.fault("Kubeflow", "the deletion of a schedule is refused", "its words, and the schedule goes on as before")
@pytest.mark.parametrize("paused", [True, False])
def test_a_schedule_whose_deletion_is_refused_goes_on(server, target, paused):
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    if paused:
        target.pause_schedule("nightly")
    server.faults.append(Fault("status", method="DELETE", status=403, message="no right to delete"))
    with pytest.raises(PlatformError, match="no right to delete"):
        target.delete_schedule("nightly")
    assert [each.paused for each in target.schedules()] == [paused]


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


# Refusals and answers that are none.


@pytest.mark.fault("Kubeflow", "the backend refuses with status 500, as it does an unknown schemaVersion", "its words at once, without a retry")
def test_a_refusal_with_status_500_is_told_at_once(server):
    waits = []
    target = KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url}), sleep=waits.append)
    with pytest.raises(PlatformError, match=r"unsupported schemaVersion '2\.0\.0'") as caught:
        target.submit(dataclasses.replace(submission(), specification=SPECIFICATION | {"schemaVersion": "2.0.0"}))
    assert waits == []
    assert "not known" not in str(caught.value)


def test_a_500_that_stays_is_named_in_the_end(server, target):
    server.faults.append(Fault("status", status=500, message="driver: bad connection", times=100))
    with pytest.raises(PlatformError, match=r"driver: bad connection.*safe to repeat"):
        target.runs()


@pytest.mark.fault("Wrong input", "Kubeflow says 409 to a name of which its lists show nothing", "one sentence that names it and what to choose")
def test_a_name_that_is_taken_and_not_shown_is_named(server, target):
    server.hidden = frozenset({"intermodal", "training"})
    with pytest.raises(PlatformError, match=r"experiment 'intermodal' exists \(409\) and is not shown.*`experiment` in targets\.toml"):
        target.submit(submission())
    with pytest.raises(PlatformError, match=r"pipeline 'training' exists \(409\) and is not shown.*--name"):
        target.upload([SPECIFICATION], "training", "v1")


@pytest.mark.fault(
    "Wrong input", "an HTML page or half an answer with status 200 in the place of Kubeflow's API", "one sentence, and one run after it passed"
)
@pytest.mark.parametrize("kind", ["page", "truncated"])
@pytest.mark.parametrize("command", ["submit", "status", "list", "logs", "cancel", "schedules", "pause", "resume", "delete", "upload"])
def test_an_answer_that_is_none_ends_in_a_sentence(server, target, command, kind):
    run = target.submit(submission()).id
    server.advance(run, "RUNNING", tasks())
    target.create_schedule("nightly", "0 3 * * *", "UTC", submission())
    do = COMMANDS.get(command, lambda target, run: target.submit(submission()))
    server.faults.append(Fault(kind, times=1000))
    with pytest.raises(PlatformError, match="not the API" if kind == "page" else "not JSON, or is cut off"):
        do(target, run)
    server.faults.clear()
    do(target, run)
    assert len(server.state["runs"]) == 1


@pytest.mark.fault("Wrong input", "any JSON in the place of Kubeflow's answer", "an answer or one sentence, never a traceback")
@settings(max_examples=60, deadline=None)
@given(
    answer=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["runs", "run_id", "recurringRuns", "experiments", "display_name", "state", "created_at"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_any_json_in_the_place_of_an_answer_ends_in_a_sentence(answer):
    with KubeflowServer().running() as server:
        server.respond = lambda request, state: (200, answer)
        target = KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0, attempts=2)
        for do in (*COMMANDS.values(), lambda target, run: target.submit(submission())):
            with suppress(PlatformError):
                do(target, "a")


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_of_nested_json_without_an_end_is_a_sentence(server, status):
    server.respond = lambda request, state: (status, b'{"a":' * 5000)
    target = KubeflowTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0, attempts=2)
    with pytest.raises(PlatformError):
        target.runs()


# Uploads.


def test_a_version_is_uploaded_once_and_other_content_under_its_name_is_refused(server, target):
    first = target.upload([SPECIFICATION, PLATFORM], "training", "v1")
    assert target.upload([SPECIFICATION, PLATFORM], "training", "v1") == first
    assert target.upload([SPECIFICATION, PLATFORM], "training", "v2") != first
    assert len(server.state["pipelines"]) == 1
    with pytest.raises(PlatformError, match="another --version"):
        target.upload([{**SPECIFICATION, "sdkVersion": "kfp-1"}, PLATFORM], "training", "v1")


@pytest.mark.fault("Kubeflow", "an uploaded version is not listed at once", "it is asked for again, and uploaded once")
def test_an_uploaded_version_is_found_though_it_is_listed_late(server, target, monkeypatch):
    list_versions, asked = server._list_versions, []

    def late(request, state, pipeline):
        asked.append(pipeline)
        return list_versions(request, state if len(asked) > 2 else {"versions": {}}, pipeline)

    monkeypatch.setattr(server, "_list_versions", late)
    assert "/version/" in target.upload([SPECIFICATION], "training", "v1")
    assert [each["display_name"] for each in server.state["versions"].values()].count("v1") == 1


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
