"""The Vertex server of the tests refuses what the service refuses: nothing gets by because the server looks away."""

import json
import urllib.error
import urllib.request

import pytest

from intermodal.compiler.build import compile_specification
from tests.runner.pipelines import conditional
from tests.servers.vertex import VertexServer

PARENT = "/v1/projects/p/locations/europe-west4"
JOB = {
    "displayName": "a",
    "pipelineSpec": compile_specification(conditional),
    "runtimeConfig": {"gcsOutputDirectory": "gs://b/c", "parameterValues": {"text": "a", "count": 1, "rules": {}}},
}


@pytest.fixture
def server():
    with VertexServer().running() as running:
        yield running


def asked(server, method, path, body=None):
    request = urllib.request.Request(server.url + path, method=method, data=json.dumps(body).encode() if body is not None else None)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"]


def test_a_right_job_is_taken_once(server):
    assert asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=a", JOB)[0] == 200
    assert asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=a", JOB)[0] == 409
    assert asked(server, "GET", f"{PARENT}/pipelineJobs/a")[1]["state"] == "PIPELINE_STATE_PENDING"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"unknownField": 1}, "unknownField"),
        ({"displayName": 5}, "displayName"),
        ({"displayName": "a" * 129}, "128"),
        ({"labels": {"Team": "ml"}}, "Team"),
        ({"labels": {"team": "ml!"}}, "ml!"),
        ({"runtimeConfig": {"gcsOutputDirectory": "s3://b"}}, "gs://"),
        ({"runtimeConfig": JOB["runtimeConfig"] | {"parameterValues": {"text": "a", "count": "1", "rules": {}}}}, "NUMBER_INTEGER"),
        ({"runtimeConfig": JOB["runtimeConfig"] | {"parameterValues": {"text": "a", "count": 1}}}, "'rules' is required"),
        ({"runtimeConfig": JOB["runtimeConfig"] | {"parameterValues": {"txt": "a"}}}, "unknown runtime parameter"),
        ({"pipelineSpec": JOB["pipelineSpec"] | {"extra": 1}}, "extra"),
    ],
)
def test_a_wrong_job_is_refused_by_name(server, change, word):
    status, message = asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=a", JOB | change)
    assert status == 400
    assert word in message
    assert server.state["jobs"] == {}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{PARENT}/nothing", 404),
        ("POST", f"{PARENT}/pipelineJobs?pipelineJobId=Not_An_Id", 400),
        ("GET", f"{PARENT}/pipelineJobs?unknown=1", 400),
        ("GET", f"{PARENT}/pipelineJobs?filter=labels.a>1", 400),
        ("GET", f"{PARENT}/pipelineJobs/absent", 404),
        ("GET", f"{PARENT}/datasets", 404),
    ],
)
def test_an_unknown_route_field_or_name_is_refused(server, method, path, status):
    asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=kept", JOB)
    assert asked(server, method, path, JOB if method == "POST" else None)[0] == status


def test_an_accelerator_that_vertex_does_not_have_is_refused(server):
    job = json.loads(json.dumps(JOB))
    executor = next(iter(job["pipelineSpec"]["deploymentSpec"]["executors"].values()))
    executor["container"]["resources"] = {"accelerator": {"resourceType": "BANANA", "resourceCount": "1"}}
    status, message = asked(server, "POST", f"{PARENT}/pipelineJobs", job)
    assert (status, "BANANA" in message) == (400, True)


def test_a_list_comes_in_pages(server):
    for number in range(5):
        asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=a{number}", JOB)
    _, first = asked(server, "GET", f"{PARENT}/pipelineJobs?pageSize=3")
    _, second = asked(server, "GET", f"{PARENT}/pipelineJobs?pageSize=3&pageToken={first['nextPageToken']}")
    assert [len(first["pipelineJobs"]), len(second["pipelineJobs"])] == [3, 2]
    assert "nextPageToken" not in second


def test_a_job_is_deleted_by_an_operation(server):
    asked(server, "POST", f"{PARENT}/pipelineJobs?pipelineJobId=a", JOB)
    assert asked(server, "DELETE", f"{PARENT}/pipelineJobs/a")[1]["done"] is True
    assert asked(server, "GET", f"{PARENT}/pipelineJobs/a")[0] == 404


def test_a_filter_of_log_entries_that_is_not_known_is_refused(server):
    server.state["entries"] = [{"timestamp": "2026-01-01T00:00:00Z", "resource": {"type": "ml_job", "labels": {"job_id": "1"}}, "textPayload": "a"}]
    ask = {"resourceNames": ["projects/p"]}
    right = 'resource.type="ml_job" AND resource.labels.job_id="1" AND timestamp>="2026-01-01T00:00:00Z"'
    assert len(asked(server, "POST", "/v2/entries:list", ask | {"filter": right})[1]["entries"]) == 1
    assert asked(server, "POST", "/v2/entries:list", ask | {"filter": 'timestamp>="2026-01-01T00:00:01Z"'})[1]["entries"] == []
    assert asked(server, "POST", "/v2/entries:list", ask | {"filter": "job_id:1"})[0] == 400


def test_without_the_token_nothing_is_answered(server):
    server.token = "right"
    assert asked(server, "GET", f"{PARENT}/pipelineJobs")[0] == 401


def test_an_endpoint_takes_a_model_and_its_traffic_must_sum_to_100(server):
    model = {"model": {"displayName": "m", "containerSpec": {"imageUri": "registry.example/serve:1"}}}
    _, operation = asked(server, "POST", f"{PARENT}/models:upload", model)
    name = operation["response"]["model"]
    _, operation = asked(server, "POST", f"{PARENT}/endpoints", {"displayName": "e"})
    endpoint = operation["response"]["name"]
    wrong = {"deployedModel": {"model": name}, "trafficSplit": {"0": 90}}
    assert asked(server, "POST", f"/v1/{endpoint}:deployModel", wrong)[0] == 400
    assert asked(server, "POST", f"/v1/{endpoint}:deployModel", wrong | {"trafficSplit": {"0": 100}})[0] == 200
    assert asked(server, "GET", f"/v1/{endpoint}")[1]["trafficSplit"] == {"1": 100}
