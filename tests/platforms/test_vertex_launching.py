"""Google's launcher of a compiled CustomJob against Vertex AI on loopback, whose machines are processes; and what a user sees of the job."""

import json
import re
import time
from pathlib import Path

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from intermodal.authoring.pipeline import load_job
from intermodal.configuration.targets import Shape
from intermodal.platforms.compiling import ClusterTarget
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.platforms.vertex.target import VertexTarget
from intermodal.runner.inputs import Values, executor_input, typed
from intermodal.runner.placeholders import command_line, resolved
from tests.ports import free_port
from tests.servers import launching
from tests.servers.faults import Fault
from tests.servers.vertex_jobs import JobVertex
from tests.servers.vertex_serving import https_proxy

REGION = "projects/my-project/locations/europe-west4"
HOST = "europe-west4-aiplatform.googleapis.com"
ACCOUNT = "pipelines@my-project.iam.gserviceaccount.com"
SETTINGS = VertexSettings(
    project="my-project",
    region="europe-west4",
    root="gs://my-project-pipelines/dev",
    image_repository="europe-west4-docker.pkg.dev/my-project/intermodal",
    labels={"team": "ml"},
    tasks={"say-place": {"shape": "training", "spot": True, "timeout": 7200}},
)
#: What Vertex AI fills in: those that the pipeline's job does not have are empty.
PLACEHOLDERS = {"pipeline_google_cloud_location": "europe-west4", "pipeline_google_cloud_project_id": "my-project", "pipeline_network": ""}
PLACEHOLDERS |= {"pipeline_service_account": ACCOUNT, "pipeline_encryption_key_name": "", "pipeline_persistent_resource_id": ""}
RUN = "spread-k1"


@pytest.fixture(scope="module")
def specification(tmp_path_factory):
    path = tmp_path_factory.mktemp("spread") / "spread.yaml"
    path.write_text(f"name: spread\npipeline: {Path(__file__).with_name('spreading.py')}:pipeline\ntraining: {{workers: 3}}\n")
    return ClusterTarget("vertex", settings=SETTINGS, shapes={"training": Shape(cpu=4, memory="16G")}).compile(load_job(path))


@pytest.fixture
def vertex(tmp_path):
    """A region, with the variables that lead there."""
    server, port = JobVertex(tmp_path), free_port()
    with server.running(), https_proxy(server, HOST, tmp_path, tunnel=port) as variables, server.serving(tmp_path, port):
        yield server, variables


@pytest.fixture
def begin(vertex, tmp_path):
    """Start the launcher with the command line that Vertex AI would make of a compiled file; a second time for the same task."""
    started = []

    def start(specification, task, parameters, artifacts):
        component, container = specification["components"][f"comp-{task}"], specification["deploymentSpec"]["executors"][f"exec-{task}"]["container"]
        inputs = typed(Values(parameters, artifacts), component)
        inputs = Values(resolved(inputs.parameters, PLACEHOLDERS), artifacts)
        given = executor_input(component, inputs, str(tmp_path / "task"))
        escaped = json.dumps(json.dumps(given))[1:-1]  # {{$.json_escape[1]}}: the executor's input inside a text of a JSON text
        words = command_line([*container["command"], *container["args"]], given, PLACEHOLDERS)
        words = [word.replace("{{$.json_escape[1]}}", escaped) if word.startswith("{") else word for word in words]
        labels = {"VERTEX_AI_PIPELINES_RUN_LABELS": json.dumps({"vertex-ai-pipelines-run-billing-id": "8000000000"})}
        started.append(launching.start(words, vertex[1] | labels, tmp_path / "launcher.log"))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def launch(begin, specification):
    """Start the launcher of the task that says its workers' places."""
    return lambda **parameters: begin(specification, "say-place", {"workers": 3} | parameters, {})


def ended(process):
    process.join(300)
    return process.exitcode


def until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to that in 5 minutes")


def running(server, process):
    until(lambda: server.seen[-1:] == ["JOB_STATE_RUNNING"] or process.exitcode is not None)
    assert process.exitcode is None


@pytest.fixture
def target(vertex, specification):
    """Our client, for a run whose task is under way."""
    server, _ = vertex
    name = f"{REGION}/pipelineJobs/{RUN}"
    labels = {"vertex-ai-pipelines-run-billing-id": "8000000000"}
    job = {"name": name, "displayName": "spread", "createTime": "2026-01-01T00:00:00Z", "labels": labels, "pipelineSpec": specification}
    server.state["jobs"][name] = job
    move(server, "RUNNING")
    return VertexTarget(SETTINGS.model_copy(update={"endpoint": server.url}), pause=0.001, patience=5)


def move(server, state, metadata=None):
    """Bring the pipeline's task to a state; Vertex AI names a launcher's job in its execution's metadata, at the latest when it has succeeded."""
    task = {"taskId": "2", "parentTaskId": "1", "taskName": "say-place", "state": state, "startTime": "2026-01-01T00:00:09Z"}
    task |= {"executorDetail": {"containerDetail": {"mainJob": f"{REGION}/customJobs/1"}}}
    task |= {"execution": {"metadata": metadata}} if metadata else {}
    task |= {"error": {"code": 9, "message": "The replica workerpool0-0 exited with a non-zero status of 1."}} if state == "FAILED" else {}
    details = [{"taskId": "1", "taskName": RUN, "state": "RUNNING"}, task]
    server.advance(f"{REGION}/pipelineJobs/{RUN}", f"PIPELINE_STATE_{state}", details)


def task_of(target):
    (task,) = target.run(RUN).tasks
    return task


@pytest.mark.fault(
    "Training",
    "Vertex AI takes a machine of a CustomJob away while it trains",
    "all workers start again, the launcher goes on following the same job, the chief's outputs are the task's",
)
def test_a_job_goes_through_its_states_loses_a_machine_and_ends_with_the_chiefs_outputs(launch, vertex, target, tmp_path):
    server, _ = vertex
    process = launch(waits=str(tmp_path / "go"))
    running(server, process)
    server.preempt()
    until(lambda: server.seen[-2:] == ["JOB_STATE_PENDING", "JOB_STATE_RUNNING"])
    (tmp_path / "go").touch()
    assert ended(process) == 0
    assert server.seen == [f"JOB_STATE_{each}" for each in ("QUEUED", "PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED")]

    ((name, job),) = server.state["custom"].items()
    assert json.loads((tmp_path / "task" / "gcp_resources").read_text()) == {
        "resources": [{"resourceType": "CustomJob", "resourceUri": f"https://{HOST}/v1/{name}"}]
    }
    assert (job["displayName"], job["jobSpec"]["serviceAccount"]) == ("say-place", ACCOUNT)
    assert job["labels"] == {"team": "ml", "vertex-ai-pipelines-run-billing-id": "8000000000"}
    assert job["jobSpec"]["scheduling"] == {"timeout": "7200s", "strategy": "SPOT", "restartJobOnWorkerRestart": True}
    pools = job["jobSpec"]["workerPoolSpecs"]
    assert [(int(each["replicaCount"]), each["machineSpec"]) for each in pools] == [(each, {"machineType": "e2-standard-4"}) for each in (1, 2)]
    assert not {"network", "tensorboard", "baseOutputDirectory", "persistentResourceId"} & job["jobSpec"].keys()
    assert "encryptionSpec" not in job

    output = json.loads(next((tmp_path / "task").rglob("*output*.json")).read_text())
    assert output["parameterValues"] == {"Output": "workerpool0-0"}
    assert output["artifacts"].keys() == {"places"}
    written = {each.stem: json.loads(each.read_text()) for each in (tmp_path / "task").rglob("workerpool*.json")}
    assert written.keys() == {"workerpool0-0", "workerpool1-0", "workerpool1-1"}
    assert {(each["note"], each["workers"]) for each in written.values()} == {('it\'s "quoted" {x}', 3)}
    assert {(each["config"]["task"]["type"], each["config"]["task"]["index"]) for each in written.values()} == {
        ("chief", 0),
        ("worker", 0),
        ("worker", 1),
    }


@pytest.mark.fault(
    "Training",
    "a worker of a CustomJob fails; Google's launcher says only that the job failed",
    "status shows that worker's own last words, which worker it was and the job; the machines of the others are given back",
)
def test_a_worker_that_fails_is_named_with_its_own_last_words(launch, vertex, target, tmp_path):
    server, _ = vertex
    process = launch(fails=True, waits=str(tmp_path / "go"))
    running(server, process)
    until(lambda: [each for each in tmp_path.glob("7000-*.log") if "starts" in each.read_text()][2:])
    (tmp_path / "go").touch()
    assert ended(process) == 1
    assert "no GPU is left" not in (tmp_path / "launcher.log").read_text()
    move(server, "FAILED")
    task = task_of(target)
    assert task.state == "failed"
    words, theirs, place = task.error.split(" · ")
    assert words.startswith("ValueError: worker workerpool1-")
    assert words.endswith(": no GPU is left")
    assert theirs.startswith("The replica workerpool1-")
    assert place == "custom job 7000: https://console.cloud.google.com/agent-platform/locations/europe-west4/training/7000?project=my-project"
    lines = [line for _, line in target.logs(RUN, "say-place")]
    assert "workerpool0-0 starts" in lines
    assert {"[workerpool1-0] workerpool1-0 starts", "[workerpool1-1] workerpool1-1 starts"} <= set(lines)


@pytest.mark.fault(
    "Training",
    "the launcher of a CustomJob is killed while the job runs, and started again",
    "the second follows the job that the first one created; there is one job",
)
def test_a_launcher_that_is_started_again_follows_the_job_that_it_created(launch, vertex, tmp_path):
    server, _ = vertex
    first = launch(waits=str(tmp_path / "go"))
    running(server, first)
    first.kill()
    assert ended(first) == -9
    server.requests.clear()
    second = launch(waits=str(tmp_path / "go"))
    until(lambda: server.requests or second.exitcode is not None)
    (tmp_path / "go").touch()
    assert ended(second) == 0
    assert list(server.state["custom"]) == [f"{REGION}/customJobs/7000"]
    assert {each.path for each in server.requests if each.method == "GRPC"} == {"grpc/GetCustomJobRequest"}


def test_a_run_that_is_cancelled_ends_its_job(launch, vertex, tmp_path):
    server, _ = vertex
    process = launch(waits=str(tmp_path / "go"))
    running(server, process)
    process.terminate()
    assert ended(process) == 0
    (job,) = server.state["custom"].values()
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert [each.path for each in server.requests if each.method == "POST" and ":cancel" in each.path] == [f"/v1/{job['name']}:cancel"]


def test_a_job_that_somebody_cancels_fails_the_task_and_says_so(launch, vertex, target, tmp_path):
    server, _ = vertex
    process = launch(waits=str(tmp_path / "go"))
    running(server, process)
    ((name, _),) = server.state["custom"].items()
    target._client.jobs.cancel_custom_job(name=name)
    assert ended(process) == 13
    move(server, "FAILED")
    assert task_of(target).error.startswith("the job is CANCELLED · custom job 7000: https://")


def test_a_job_that_vertex_ai_refuses_fails_with_its_words_and_none_is_left(launch, vertex, target, tmp_path):
    server, _ = vertex
    server.faults = [Fault("status", method="GRPC", path="CreateCustomJob", status=429, message="custom_model_training_nvidia_t4_gpus exceeded")]
    assert ended(launch()) != 0
    assert "custom_model_training_nvidia_t4_gpus exceeded" in (tmp_path / "launcher.log").read_text()
    assert server.state["custom"] == {}
    move(server, "FAILED")
    line = (tmp_path / "launcher.log").read_text().splitlines()[-1]
    server.state["entries"] = [
        {
            "logName": "projects/my-project/logs/ml",
            "resource": {"type": "ml_job", "labels": {"job_id": "1"}},
            "timestamp": "2026-01-02T00:00:00Z",
            "textPayload": line,
        }
    ]
    assert "custom_model_training_nvidia_t4_gpus exceeded" in task_of(target).error


@pytest.mark.parametrize(
    ("state", "shown", "reason"),
    [
        ("QUEUED", "pending", "the job is queued, until there are machines · custom job 7000: https://"),
        ("PENDING", "pending", "the job is pending, until there are machines · custom job 7000: https://"),
        ("RUNNING", "running", "the job is running · custom job 7000: https://"),
        ("CANCELLING", "running", "the job is cancelling · custom job 7000: https://"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_task_under_way_shows_its_job_and_waits_while_that_waits(vertex, target, state, shown, reason, named):
    server, _ = vertex
    name = f"{REGION}/customJobs/7000"
    labels = {} if named else {"vertex-ai-pipelines-run-billing-id": "8000000000"}
    job = {"name": name, "displayName": "say-place", "labels": labels, "state": f"JOB_STATE_{state}", "createTime": "2026-01-01T00:00:01Z"}
    json_format.ParseDict(job, types.CustomJob.pb(types.CustomJob()))
    server.state["custom"][name] = job
    server._move = lambda job: None
    said = {"resources": [{"resourceType": "CustomJob", "resourceUri": f"https://{HOST}/v1/{name}"}]}
    move(server, "RUNNING", {"output:gcp_resources": json.dumps(said)} if named else None)
    task = task_of(target)
    assert task.state == shown
    assert task.reason.startswith(reason)


def test_before_there_is_a_job_a_task_is_as_its_pipeline_has_it(target):
    assert (task_of(target).state, task_of(target).reason) == ("running", "")


@pytest.mark.fault(
    "Training",
    "Vertex AI takes a machine of train_model's CustomJob away after its first checkpoint",
    "all workers start again and go on from the newest checkpoint, which lies beside the task's outputs",
)
def test_the_flights_configuration_trains_on_two_machines_by_one_more_word_and_loses_one(begin, vertex, tmp_path):
    server, _ = vertex
    flights = ClusterTarget("vertex", settings=SETTINGS.model_copy(update={"tasks": {}})).compile(
        load_job(Path("pipelines/flights.yaml"), ["training.workers=2"])
    )
    rows = [f"{number % 7},{number % 5},{int(number % 7 > 3)}" for number in range(400)]
    (tmp_path / "examples.csv").write_text("\n".join(["a,b,late", *rows]) + "\n")
    examples = {"name": "examples", "uri": str(tmp_path / "examples.csv"), "type": {"schemaTitle": "system.Dataset"}}
    chosen = {"label": "late", "workers": 2, "epochs": 60, "patience": 60, "batch_size": 64, "hidden_units": [8], "checkpoint_steps": 10}
    process, folder = begin(flights, "train-model", chosen, {"examples": examples}), tmp_path / "task"
    until(lambda: list(folder.glob(".training.checkpoints/step-*.npz")) or process.exitcode is not None)
    assert process.exitcode is None, [each["textPayload"] for each in server.state["entries"]][-20:]
    server.preempt()
    assert ended(process) == 0, [each["textPayload"] for each in server.state["entries"]][-20:]
    assert [each.removeprefix("JOB_STATE_") for each in server.seen[-4:]] == ["RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]
    said = [each["textPayload"] for each in server.state["entries"] if each["resource"]["labels"]["task_name"] == "workerpool0-0"]
    assert [line for line in said if re.search(r"training goes on after step \d+, from ", line)]
    assert (folder / "model" / "saved_model.pb").exists()
    assert len(json.loads((folder / "training" / "history.json").read_text())["loss"]) == 60
    assert not (folder / ".training.checkpoints").exists()
    output = json.loads(next(folder.rglob("*output*.json")).read_text())["artifacts"]
    assert output["model"]["artifacts"][0]["metadata"]["workers"] == "2"
    assert output["metrics"]["artifacts"][0]["metadata"]["auc"] > 0.9
