"""The Kubeflow server of the tests refuses what the backend refuses: nothing gets by because the server looks away."""

import json
import urllib.error
import urllib.request

import pytest

from intermodal.compiler.build import compile_specification
from tests.runner.pipelines import conditional
from tests.servers.kubeflow import KubeflowServer

SPECIFICATION = compile_specification(conditional)
PARAMETERS = {"text": "a", "count": 1, "rules": {}}


@pytest.fixture
def server():
    with KubeflowServer().running() as running:
        yield running


@pytest.fixture
def experiment(server):
    return asked(server, "POST", "experiments", {"display_name": "e"})[1]["experiment_id"]


def asked(server, method, path, body=None):
    request = urllib.request.Request(f"{server.url}/apis/v2beta1/{path}", method=method, data=json.dumps(body).encode() if body is not None else None)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]


def run(experiment, **changed):
    return {"experiment_id": experiment, "display_name": "r", "pipeline_spec": SPECIFICATION, "runtime_config": {"parameters": PARAMETERS}} | changed


def test_a_right_run_is_taken_and_kept(server, experiment):
    status, made = asked(server, "POST", "runs", run(experiment))
    assert status == 200
    assert asked(server, "GET", f"runs/{made['run_id']}")[1]["state"] == "PENDING"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "r"}, "unknown field 'name'"),
        ({"display_name": 5}, "display_name"),
        ({"runtime_config": {"parameters": PARAMETERS, "root": "s3://a"}}, "unknown field 'root'"),
        ({"runtime_config": {"parameters": PARAMETERS | {"count": "1"}}}, "NUMBER_INTEGER"),
        ({"runtime_config": {"parameters": {"text": "a"}}}, "'count' is required"),
        ({"runtime_config": {"parameters": PARAMETERS | {"other": 1}}}, "'other'"),
        ({"pipeline_spec": SPECIFICATION | {"extra": 1}}, "extra"),
        ({"pipeline_spec": {"pipeline_spec": SPECIFICATION, "platforms": {}}}, "unknown field 'platforms'"),
        ({"pipeline_spec": SPECIFICATION | {"schemaVersion": "2.0.0"}}, "schemaVersion"),
        ({"experiment_id": "absent"}, "absent"),
    ],
)
def test_a_wrong_run_is_refused_by_name(server, experiment, change, word):
    status, message = asked(server, "POST", "runs", run(experiment, **change))
    assert status in (400, 404, 500)
    assert word in message
    assert server.state["runs"] == {}


def test_an_option_of_kubernetes_that_is_none_is_refused(server, experiment):
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-say": {"secretsAsEnv": []}}}}}}
    status, message = asked(server, "POST", "runs", run(experiment, pipeline_spec={"pipeline_spec": SPECIFICATION, "platform_spec": platform}))
    assert status == 400
    assert "secretsAsEnv" in message


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("GET", "runs/absent", 404),
        ("POST", "runs/absent:terminate", 404),
        ("GET", "runs?filter=text", 400),
        ("GET", "runs?sort_by=colour", 400),
    ],
)
def test_an_unknown_route_name_or_filter_is_refused(server, experiment, method, path, status):
    asked(server, "POST", "runs", run(experiment))
    assert asked(server, method, path)[0] == status


@pytest.mark.parametrize(("cron", "status"), [("0 0 3 * * *", 200), ("0 3 * * *", 200), ("3 * * *", 400)])
def test_a_schedule_has_five_or_six_fields(server, experiment, cron, status):
    body = run(experiment, mode="ENABLE", max_concurrency="1", trigger={"cron_schedule": {"cron": cron}})
    assert asked(server, "POST", "recurringruns", body)[0] == status


def test_names_are_taken_once(server, experiment):
    assert asked(server, "POST", "experiments", {"display_name": "e"})[0] == 409


def test_a_list_comes_in_pages(server, experiment):
    for _ in range(5):
        asked(server, "POST", "runs", run(experiment))
    _, first = asked(server, "GET", f"runs?experiment_id={experiment}&page_size=3")
    _, second = asked(server, "GET", f"runs?experiment_id={experiment}&page_size=3&page_token={first['next_page_token']}")
    assert [len(first["runs"]), len(second["runs"])] == [3, 2]
    assert "next_page_token" not in second


# As the real installation did it.


def test_a_log_that_is_not_there_is_status_200_and_an_error_object(server, experiment):
    _, made = asked(server, "POST", "runs", run(experiment))
    with urllib.request.urlopen(f"{server.url}/apis/v1alpha1/runs/{made['run_id']}/nodes/none/log", timeout=5) as answer:
        assert (answer.status, set(json.load(answer))) == (200, {"error_message", "error_details"})


@pytest.mark.parametrize("namespaces", [frozenset(), frozenset({""})])
def test_a_pods_log_is_there_in_a_multi_user_installation_alone(server, experiment, namespaces):
    _, made = asked(server, "POST", "runs", run(experiment))
    server.namespaces = namespaces
    server.state["pods"]["p"] = "hello"
    with urllib.request.urlopen(f"{server.url}/apis/v1alpha1/runs/{made['run_id']}/nodes/p/log", timeout=5) as answer:
        assert (answer.read() == b"hello") is bool(namespaces)


def test_ending_a_run_goes_over_canceling_to_failed_and_an_ended_one_is_refused(server, experiment):
    _, made = asked(server, "POST", "runs", run(experiment))
    assert asked(server, "POST", f"runs/{made['run_id']}:terminate")[0] == 200
    assert asked(server, "GET", f"runs/{made['run_id']}")[1]["state"] == "CANCELING"
    server.advance(made["run_id"], "FAILED")
    found = asked(server, "GET", f"runs/{made['run_id']}")[1]
    assert [each["state"] for each in found["state_history"]] == ["CANCELING", "FAILED"]
    assert asked(server, "POST", f"runs/{made['run_id']}:terminate")[0] == 400


def test_deleting_a_schedule_leaves_its_runs_as_they_are_for_ever(server, experiment):
    body = run(experiment, mode="ENABLE", max_concurrency="1", trigger={"cron_schedule": {"cron": "0 0 3 * * *"}})
    _, made = asked(server, "POST", "recurringruns", body)
    started = server.start_scheduled(made["recurring_run_id"])
    assert asked(server, "DELETE", f"recurringruns/{made['recurring_run_id']}")[0] == 200
    assert asked(server, "GET", f"runs/{started}")[1]["state"] == "RUNNING"
    with pytest.raises(AssertionError, match="nobody reports"):
        server.advance(started, "SUCCEEDED")


def test_an_unknown_schema_version_is_status_500(server, experiment):
    assert asked(server, "POST", "runs", run(experiment, pipeline_spec=SPECIFICATION | {"schemaVersion": "2.0.0"}))[0] == 500
