"""Deployment by Vertex AI's managed steps: Google's own launchers, run as compiled, against Vertex AI on loopback."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl

from intermodal.authoring.images import image_of
from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import compile_specification, set_images
from intermodal.compiler.resources import apply_retries
from intermodal.compiler.specification import apply_cache_policy, graphs
from intermodal.configuration.sections import section
from intermodal.execution.environments import environment
from intermodal.platforms.vertex.arguments import check_arguments
from intermodal.platforms.vertex.serving import container_specification, deploy_on_vertex
from intermodal.platforms.vertex.tasks import logic
from intermodal.platforms.vertex.tasks.logic import describe_upload, list_served, verify_deployment
from intermodal.runner.engine import Engine
from intermodal.runner.inputs import Values, executor_input
from intermodal.runner.outputs import read_outputs
from intermodal.runner.placeholders import command_line, imported, resolved
from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.errors import ConfigurationError, DeploymentError, StoreError, TaskError
from tests.servers.faults import Fault, FaultyServer, Refusal
from tests.servers.storage import free_port
from tests.servers.vertex_serving import ServingVertex, https_proxy, job_service

ROOT = Path(__file__).resolve().parents[2]
REGION = "projects/my-project/locations/europe-west4"
HOST = "europe-west4-aiplatform.googleapis.com"
ENDPOINT, MODEL = f"{REGION}/endpoints/flight-delay", f"{REGION}/models/7"
PLACEHOLDERS = {"pipeline_google_cloud_location": "europe-west4", "pipeline_google_cloud_project_id": "my-project"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, its evaluation and its registration, as directories."""
    folder = tmp_path_factory.mktemp("inputs")
    code = """
import json, sys
from pathlib import Path
sys.path[:0], folder = [sys.argv[1]], Path(sys.argv[3])
sys.path.append(sys.argv[2])
from tests.serving.conftest import ROWS, probability, save_model
save_model(folder / "model", 0.0)
(folder / "evaluation").mkdir()
(folder / "evaluation" / "smoke.json").write_text(json.dumps({"instances": ROWS, "probabilities": [probability(row, 0.0) for row in ROWS]}))
"""
    testing = next((environment("testing").parent.parent / "lib").glob("python*/site-packages"))
    command = [str(environment("serve")), "-c", code, str(ROOT), str(testing), str(folder)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True, capture_output=True)
    (folder / "registration").mkdir()
    (folder / "registration" / "registration.json").write_text('{"version": "3"}')
    return folder


@pytest.fixture
def vertex(tmp_path):
    """A region with an endpoint, and the variables that lead there."""
    server = ServingVertex(tmp_path)
    server.state["endpoints"][ENDPOINT] = {"name": ENDPOINT, "displayName": "flight-delay"}
    with server.running(), https_proxy(server, HOST, tmp_path) as variables:
        try:
            yield server, variables
        finally:
            server.end()


@pytest.fixture
def run(tmp_path):
    """Run a compiled pipeline, each task with the command line that Vertex AI would run in the task's image; its logs are in `run.logs`."""

    folders = itertools.count()

    def run(pipeline, variables, **arguments):
        def execute(instance):
            if "importer" in instance.executor:
                return Values(artifacts={"artifact": imported(instance.executor["importer"], instance.inputs, PLACEHOLDERS)})
            container, folder = instance.executor["container"], tmp_path / "runs" / str(next(folders))
            folder.mkdir(parents=True)
            inputs = Values(resolved(instance.inputs.parameters, PLACEHOLDERS), instance.inputs.artifacts)
            given = executor_input(instance.component, inputs, str(folder))
            command = command_line([*container.get("command", []), *container.get("args", [])], given, PLACEHOLDERS)
            image = image_of(container["image"])
            python = environment(image) if image else Path(sys.executable)
            inside = {"PATH": f"{python.parent}{os.pathsep}{os.defpath}", "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)}
            inside |= variables | {each["name"]: each["value"] for each in container.get("env", [])}
            done = subprocess.run(command, env=inside, capture_output=True, text=True, check=False, cwd=tmp_path)
            run.logs.append(done.stdout + done.stderr)
            print(done.stderr[-800:])
            if done.returncode:
                raise TaskError(instance.name, f"status {done.returncode}", "")
            for name in given["outputs"]["artifacts"]:
                if not (folder / name).exists():
                    (folder / name).touch()  # Google's launchers name an artifact and write no file, and Vertex AI asks for none
            return read_outputs(instance.component, folder, command)

        outcome = Engine(compile_specification(pipeline), Values(arguments), execute).run()
        if outcome.failures:
            raise outcome.failures[0][1]
        return outcome.outputs.plain()

    run.logs = []
    return run


def deployment(inputs: Path = Path("/inputs")):
    """Return a pipeline that deploys what lies in a folder."""

    @dsl.pipeline(name="deployment")
    def deployment(
        endpoint: str, name: str, parent_model: str, machine_type: str, minimum_replicas: int, maximum_replicas: int, service_account: str
    ):
        kinds = {"model": dsl.Model, "evaluation": dsl.Artifact, "registration": dsl.Artifact}
        given = {name: dsl.importer(artifact_uri=str(inputs / name), artifact_class=kind).output for name, kind in kinds.items()}
        deploy_on_vertex(
            **given,
            name=name,
            endpoint=endpoint,
            parent_model=parent_model,
            machine_type=machine_type,
            minimum_replicas=minimum_replicas,
            maximum_replicas=maximum_replicas,
            service_account=service_account,
            timeout=120.0,
            tolerance=1e-4,
        )

    return deployment


@pytest.fixture
def deploy(run, inputs, vertex):
    """Run the deployment of the module's model."""
    defaults = section(deploy_on_vertex, without=("name",))(endpoint=ENDPOINT).model_dump(exclude={"timeout", "tolerance"})
    return lambda **settings: run(deployment(inputs), vertex[1], name="flight-delay", **defaults | settings)


def test_a_second_run_makes_a_version_moves_the_endpoints_traffic_to_it_and_retires_what_was_served_before(deploy, vertex, inputs, tmp_path):
    server, _ = vertex
    other = {"name": f"{REGION}/models/6", "versionId": "4", "displayName": "other", "createTime": "2025-01-01T00:00:00Z"}
    ours = {"name": MODEL, "versionId": "1", "labels": {"service": "flight-delay"}, "createTime": "2025-01-02T00:00:00Z"}
    server.state["models"] |= {each["name"]: each for each in (other, ours)}
    earlier = [{"id": "0", "model": f"{REGION}/models/6", "modelVersionId": "4"}, {"id": "1", "model": MODEL, "modelVersionId": "1"}]
    server.state["endpoints"][ENDPOINT] |= {"deployedModels": earlier, "trafficSplit": {"1": 100}}
    account = "predictor@my-project.iam.gserviceaccount.com"
    deploy(machine_type="n1-standard-4", minimum_replicas=2, maximum_replicas=3, service_account=account)

    assert list(server.state["models"]) == [other["name"], MODEL]
    model = server.state["models"][MODEL]
    assert model["versionId"] == "2"
    assert model["artifactUri"] == str(inputs / "model")
    assert model["labels"] == {"service": "flight-delay", "model-version": "3"}
    assert model["containerSpec"] == container_specification()
    assert list(server.state["endpoints"]) == [ENDPOINT]
    endpoint = server.state["endpoints"][ENDPOINT]
    assert endpoint["trafficSplit"] == {"3": 100}
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 2, "maxReplicaCount": 3}
    now = {"id": "3", "model": MODEL, "modelVersionId": "2", "dedicatedResources": resources, "serviceAccount": account}
    assert endpoint["deployedModels"] == [now]

    record = json.loads(next((tmp_path / "runs").rglob("deployment.json")).read_text())
    smoke = json.loads((inputs / "evaluation" / "smoke.json").read_text())
    assert record["url"] == f"https://europe-west4-aiplatform.googleapis.com/v1/{ENDPOINT}:predict"
    assert record["request"] == {"instances": smoke["instances"][-1:]}
    assert record["response"] == {"predictions": [pytest.approx(smoke["probabilities"][-1], abs=1e-6)]}


def test_a_first_version_is_a_model_of_its_own_and_a_refused_deployment_ends_the_run(deploy, run, vertex):
    server, _ = vertex
    server.faults = [Fault("status", path=":deployModel", status=403)]
    with pytest.raises(TaskError, match="model-deploy"):
        deploy()
    (model,) = server.state["models"].values()
    assert (model["displayName"], model["versionId"]) == ("flight-delay", "1")
    assert "Failed to create the resource. Error: {'code': 403" in run.logs[-1]
    assert not [each for each in server.requests if each.path.endswith((":predict", ":undeployModel"))]


@pytest.mark.fault(
    "Vertex AI",
    "the endpoint refuses to answer with the model that was just deployed",
    "its traffic goes back to what had it before, the new model is taken off, the run fails",
)
def test_a_model_that_does_not_answer_on_the_endpoint_is_taken_off_and_the_traffic_is_as_it_was(deploy, run, vertex):
    server, _ = vertex
    ours = {"name": MODEL, "versionId": "1", "labels": {"service": "flight-delay"}, "createTime": "2025-01-02T00:00:00Z"}
    server.state["models"][MODEL] = ours
    earlier = [{"id": "8", "model": f"{REGION}/models/6", "modelVersionId": "4"}, {"id": "9", "model": MODEL, "modelVersionId": "1"}]
    server.state["endpoints"][ENDPOINT] |= {"deployedModels": list(earlier), "trafficSplit": {"8": 10, "9": 90}}
    server.faults = [Fault("status", path=":predict", status=400)]
    with pytest.raises(TaskError, match="verify-deployment"):
        deploy()
    endpoint = server.state["endpoints"][ENDPOINT]
    assert server.state["models"][MODEL]["versionId"] == "2", "it was uploaded"
    assert [each.path for each in server.requests if each.path.endswith(":deployModel")] == [f"/v1/{ENDPOINT}:deployModel"]
    assert (endpoint["deployedModels"], endpoint["trafficSplit"]) == (earlier, {"8": 10, "9": 90})
    assert "HTTP 400" in run.logs[-1]
    assert "The new model is taken off the endpoint, whose traffic is as it was before." in run.logs[-1]


def test_an_endpoint_that_is_not_there_ends_the_run_before_anything_is_uploaded(deploy, run, vertex):
    server, _ = vertex
    del server.state["endpoints"][ENDPOINT]
    with pytest.raises(TaskError, match="describe-endpoint"):
        deploy()
    assert [log for log in run.logs if f"Resource '{ENDPOINT}' is not found" in log]
    assert server.state["models"] == {}


def test_rows_are_scored_by_a_managed_job_without_a_deployment(run, tmp_path):
    server, port = ServingVertex(tmp_path), free_port()
    with server.running(), https_proxy(server, HOST, tmp_path, tunnel=port) as variables, job_service(tmp_path, port) as jobs:
        outputs = run(
            load_job(Path("pipelines/batch_prediction.yaml")).wire("vertex"),
            variables,
            name="batch-prediction",
            model=f"{MODEL}@2",
            instances=["gs://bucket/rows-*.jsonl"],
            output="gs://bucket/scored",
            machine_type="n1-standard-8",
            replicas=3,
        )
    (job,) = jobs
    assert job.name.startswith(f"{REGION}/batchPredictionJobs/")
    assert job.model == f"{MODEL}@2"
    assert (job.input_config.instances_format, list(job.input_config.gcs_source.uris)) == ("jsonl", ["gs://bucket/rows-*.jsonl"])
    assert (job.output_config.predictions_format, job.output_config.gcs_destination.output_uri_prefix) == ("jsonl", "gs://bucket/scored")
    resources = job.dedicated_resources
    assert (resources.machine_spec.machine_type, resources.starting_replica_count, resources.max_replica_count) == ("n1-standard-8", 1, 3)
    assert list(outputs.values()) == ["gs://bucket/scored/prediction-0"]


def test_the_predictors_image_goes_by_the_registry_and_digest_too():
    specification = compile_specification(deployment())
    set_images(specification, repository="registry.example/team", digests={"serve": "sha256:" + "a" * 64})
    executors = specification["deploymentSpec"]["executors"].values()
    served = [each["importer"]["metadata"]["containerSpec"] for each in executors if "containerSpec" in each.get("importer", {}).get("metadata", {})]
    assert [each["imageUri"] for each in served] == ["registry.example/team/intermodal-serve@sha256:" + "a" * 64]


def test_what_uploads_or_deploys_is_neither_cached_nor_started_twice():
    specification = compile_specification(deployment())
    apply_cache_policy(specification)
    apply_retries(specification, 2)
    found = {name.rstrip("-0123456789"): task for graph in graphs(specification) for name, task in graph["tasks"].items()}
    assert {name for name, task in found.items() if "retryPolicy" in task} == {
        "describe-upload",
        "describe-endpoint",
        "test-predictor",
        "list-served",
        "verify-deployment",
    }
    for name in ("model-upload", "model-deploy", "model-undeploy", "describe-endpoint", "list-served", "verify-deployment"):
        assert not found[name].get("cachingOptions", {}).get("enableCache"), name


def test_it_compiles_to_the_same_bytes_whatever_the_order_of_sets():
    code = """
from pathlib import Path
from intermodal.authoring.pipeline import load_job
from intermodal.platforms.compiling import ClusterTarget
print(yaml.safe_dump(ClusterTarget("vertex").compile(load_job(Path("pipelines/flights.yaml")))))
"""
    variables = [os.environ | {"PYTHONHASHSEED": str(seed)} for seed in range(4)]
    runs = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=each, stdout=subprocess.PIPE) for each in variables]
    assert len({each.communicate(timeout=60)[0] for each in runs}) == 1


def test_without_googles_components_only_vertex_says_what_to_install():
    code = """
import sys
sys.modules["google_cloud_pipeline_components"] = None
from intermodal.runtime.errors import MachineError
from intermodal.platforms.compiling import ClusterTarget
from pathlib import Path
from intermodal.authoring.pipeline import load_job
job = load_job(Path("pipelines/flights.yaml"))
ClusterTarget("kubeflow").compile(job)
try:
    ClusterTarget("vertex").compile(job)
except MachineError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "google-cloud-pipeline-components is not installed, and the pipeline 'training' needs it: pip install 'intermodal[vertex]'"
    )


def test_a_version_is_a_label_and_a_replica_count_that_is_left_out_is_the_minimum(tmp_path):
    (tmp_path / "registration.json").write_text('{"version": "2026.11.21+Main"}')
    given = {
        "model_uri": "gs://b/m",
        "registration_path": str(tmp_path),
        "name": "late",
        "parent_model": "",
        "known_models": ["models/7", "models/8"],
    }
    upload = describe_upload(**given, minimum_replicas=2, maximum_replicas=0)
    assert upload == ("gs://b/m", {"service": "late", "model-version": "2026-11-21-main"}, "models/7", 2)
    assert describe_upload(**given | {"known_models": []}, minimum_replicas=1, maximum_replicas=3)[2:] == ("", 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minimum_replicas": 3, "maximum_replicas": 2}, "maximum_replicas: 2 must be at least minimum_replicas, 3"),
        ({"minimum_replicas": 0}, "minimum_replicas"),
        ({"endpoint": "flight-delay"}, "endpoint"),
        ({"parent_model": "7"}, "parent_model"),
    ],
)
def test_settings_that_vertex_ai_would_refuse_are_refused_when_they_are_read(changes, words):
    with pytest.raises(ArgumentError, match=words):
        check_arguments(**section(deploy_on_vertex, without=("name", "service_account"))(**{"endpoint": ENDPOINT} | changes).model_dump())


class Service(FaultyServer):
    def respond(self, request, state):
        if request.path not in state:
            raise Refusal(404, "no such service")
        return 200, state[request.path]


@pytest.fixture
def service():
    models = [{"name": "a", "version": "1", "id": 7}, {"name": "a", "version": "2", "id": 8}]
    with Service(state={"/two": {"models": models}, "/none": {"title": "x"}, "/list": []}).running() as server:
        yield server


RUNNING = {"id": "2", "model": MODEL, "modelVersionId": "2"}


class Managed(FaultyServer):
    """An endpoint as the service answers for it, whose operations take a while."""

    def respond(self, request, state):
        if request.method == "GET" and request.path == f"/v1/{ENDPOINT}":
            return 200, state["endpoint"]
        if request.path == f"/v1/{ENDPOINT}:undeployModel":
            state["undeployed"] = request.json()
            return 200, {"name": f"{REGION}/operations/5"}
        if request.path == f"/v1/{REGION}/operations/5":
            return 200, {"name": f"{REGION}/operations/5", **state["answers"].pop(0)}
        raise Refusal(400, "no predictions here")


@pytest.fixture
def verify(inputs, tmp_path, monkeypatch):
    """Verify an endpoint that refuses to predict; return the error, and what the service was asked to undeploy."""
    monkeypatch.setattr(logic, "_PAUSE", 0.01)

    def run(endpoint, answers=(), **before):
        with Managed(state={"endpoint": endpoint, "answers": list(answers)}).running() as server:
            places = {f"{name}_path": str(inputs / name) for name in ("model", "evaluation", "registration")}
            given = {"url": f"{server.url}/v1/{ENDPOINT}", "uploaded_model": f"{MODEL}@2", "name": "late", "credentials": "none"}
            with pytest.raises(DeploymentError) as caught:
                verify_deployment(**places, **given, traffic_before=before, timeout=5.0, tolerance=1e-4, deployment_path=str(tmp_path / "deployment"))
            assert not (tmp_path / "deployment").exists()
            return str(caught.value), server.state.get("undeployed")

    return run


def test_the_first_model_of_an_endpoint_is_taken_off_again_and_the_operation_is_waited_for(verify):
    message, undeployed = verify({"deployedModels": [RUNNING], "trafficSplit": {"2": 100}}, [{}, {"done": True}])
    assert "no predictions here" in message
    assert message.endswith("The new model is taken off the endpoint, which served nothing before.")
    assert undeployed == {"deployedModelId": "2"}


def test_traffic_that_another_run_has_taken_meanwhile_stays_there(verify):
    other = {"id": "3", "model": MODEL, "modelVersionId": "3"}
    _, undeployed = verify({"deployedModels": [RUNNING, other], "trafficSplit": {"3": 100}}, [{"done": True}], **{"1": 100.0})
    assert undeployed == {"deployedModelId": "2"}


def test_a_model_that_cannot_be_taken_off_is_named_with_the_traffic_that_was(verify):
    refused = {"done": True, "error": {"code": 9, "message": "the endpoint is being changed"}}
    message, undeployed = verify({"deployedModels": [RUNNING], "trafficSplit": {"2": 100}}, [refused], **{"1": 100.0})
    assert undeployed == {"deployedModelId": "2", "trafficSplit": {"1": 100}}
    assert message.endswith(f"the endpoint is being changed; give the traffic back to 1=100 and undeploy {MODEL}@2")


def test_a_second_attempt_after_the_model_was_taken_off_does_not_take_another_models_answers_for_its_own(verify):
    message, undeployed = verify({"deployedModels": [{"id": "1", "model": MODEL, "modelVersionId": "1"}], "trafficSplit": {"1": 100}}, **{"1": 100.0})
    assert message.endswith("it was taken off since; run the pipeline again")
    assert undeployed is None


def listed(service, path="/two", form="{name}@{version}"):
    return list_served(url=service.url + path, credentials="none", member="models", form=form)


def test_models_are_named_in_the_form_asked_for(service):
    assert listed(service) == ["a@1", "a@2"]
    assert listed(service, form="{id}") == ["7", "8"]
    assert listed(service, "/none") == []


def test_what_may_pass_is_asked_again_and_what_does_not_is_said(service):
    service.faults = [Fault("status", status=503), Fault("cut"), Fault("status", status=429)]
    assert listed(service) == ["a@1", "a@2"]
    service.faults = [Fault("status", status=503)] * 4
    before = len(service.requests)
    with pytest.raises(StoreError, match="HTTP 503"):
        listed(service)
    assert len(service.requests) == before + 4
    with pytest.raises(StoreError, match=r"HTTP 404: .*no such service"):
        listed(service, "/absent")
    assert len(service.requests) == before + 5
    with pytest.raises(StoreError, match="answers list; expected a JSON object"):
        listed(service, "/list")


def test_a_form_of_other_keys_is_refused_and_names_those_there_are(service):
    with pytest.raises(ConfigurationError, match="has no key 'model'; there are id, name, version"):
        listed(service, form="{model}")
