"""A shape becomes what each platform reads; a task's options become the document that kfp-kubernetes itself writes."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from intermodal.authoring.pipeline import load_job
from intermodal.compiler.build import compile_specification
from intermodal.compiler.resources import container_of, gigabytes
from intermodal.configuration.targets import Shape
from intermodal.linting import lint_documents
from intermodal.platforms.compiling import ClusterTarget
from intermodal.platforms.kubeflow.options import platform_document
from intermodal.platforms.kubeflow.resources import resources as kubeflow_resources
from intermodal.platforms.kubeflow.settings import KubeflowSettings, KubeflowTaskSettings
from intermodal.platforms.vertex.resources import ACCELERATORS
from intermodal.platforms.vertex.settings import VertexSettings
from intermodal.runtime.errors import ConfigurationError
from tests.runner.pipelines import conditional, say

GPU = Shape(cpu=8, memory="32G", accelerator="t4", accelerators=2)
TASK = KubeflowTaskSettings(
    secrets=[{"name": "mlflow", "env": {"PASSWORD": "password"}, "path": "/secrets"}],
    volumes=[{"claim": "raw", "path": "/data"}],
    tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    node_selector={"pool": "training"},
)
KUBEFLOW = KubeflowSettings(
    endpoint="http://127.0.0.1:1",
    root="s3://pipelines",
    image_repository="registry.example/team",
    retries=2,
    labels={"team": "ml"},
    tasks={"train-model": {"shape": "gpu"}, "deploy-kserve": TASK.model_dump()},
)
VERTEX = VertexSettings(
    project="my-project",
    region="europe-west4",
    root="gs://pipelines",
    image_repository="europe-west4-docker.pkg.dev/my-project/intermodal",
    retries=2,
    tasks={"train-model": {"shape": "gpu"}},
)
FLIGHTS = Path(__file__).resolve().parents[2] / "pipelines" / "flights.yaml"


def compiled(name, settings, shapes=None):
    target = ClusterTarget(name, image_repository=settings.image_repository, settings=settings, shapes=shapes or {"gpu": GPU})
    specification = target.compile(load_job(FLIGHTS))
    return specification, target.platform_document(specification)


def resources(specification, label):
    return specification["deploymentSpec"]["executors"][label]["container"]["resources"]


def test_kubeflow_gets_requests_and_limits_and_the_resource_of_kubernetes():
    specification, _ = compiled("kubeflow", KUBEFLOW)
    found = resources(specification, "exec-train-model")
    assert (found["cpuRequest"], found["cpuLimit"], found["memoryRequest"], found["memoryLimit"]) == (8, 8, 32, 32)
    assert (found["accelerator"]["resourceType"], found["accelerator"]["resourceCount"]) == ("nvidia.com/gpu", "2")


def test_vertex_gets_limits_alone_and_its_own_name():
    specification, platform = compiled("vertex", VERTEX)
    found = resources(specification, "exec-train-model")
    assert {key for key in found if "equest" in key} == set()
    assert found["accelerator"]["type"] == "NVIDIA_TESLA_T4"
    assert platform == {}


def test_a_shape_is_written_as_kfp_writes_it():
    @dsl.pipeline(name="conditional")
    def shaped(text: str):
        task = say(text=text).set_cpu_limit("8").set_cpu_request("8").set_memory_limit("32G").set_memory_request("32G")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)

    specification = compile_specification(conditional)
    container_of(specification, "say")["resources"] = kubeflow_resources("gpu", GPU)
    assert resources(specification, "exec-say") == resources(compile_specification(shaped), "exec-say")


def test_the_options_are_those_that_kfp_kubernetes_writes(tmp_path):
    @dsl.pipeline(name="conditional")
    def optioned(text: str):
        task = say(text=text)
        kubernetes.use_secret_as_env(task, "mlflow", {"password": "PASSWORD"})
        kubernetes.use_secret_as_volume(task, "mlflow", "/secrets")
        kubernetes.mount_pvc(task, "raw", "/data")
        kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
        kubernetes.add_node_selector(task, "pool", "training")
        kubernetes.add_pod_label(task, "team", "ml")

    compiler.Compiler().compile(optioned, str(tmp_path / "optioned.yaml"))
    specification, platform = yaml.safe_load_all((tmp_path / "optioned.yaml").read_text())
    assert platform_document(specification, {"say": TASK}, {}, {"team": "ml"}) == platform


@pytest.mark.parametrize(("name", "settings"), [("kubeflow", KUBEFLOW), ("vertex", VERTEX)])
def test_all_of_it_parses_into_the_protos_and_passes_the_linter(name, settings):
    specification, platform = compiled(name, settings)
    json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(specification["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for executor in platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {}).values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert [each for each in lint_documents([specification, *([platform] if platform else [])], name) if each.severity == "error"] == []


def test_a_shape_with_an_accelerator_brings_its_node_selector_and_labels_reach_every_pod():
    specification, platform = compiled("kubeflow", KUBEFLOW)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = {label for label, each in specification["deploymentSpec"]["executors"].items() if "container" in each}
    assert executors["exec-train-model"]["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}
    assert {label for label, each in executors.items() if each["podMetadata"]["labels"] == {"team": "ml"}} == containers


@pytest.mark.parametrize(("name", "settings"), [("kubeflow", KUBEFLOW), ("vertex", VERTEX)])
def test_a_task_on_a_gpu_runs_in_the_image_with_cuda_and_the_others_do_not(name, settings):
    specification, _ = compiled(name, settings)
    images = {label: each["container"]["image"] for label, each in specification["deploymentSpec"]["executors"].items() if "container" in each}
    assert images["exec-train-model"].endswith("/intermodal-train:0.1.0-gpu")
    assert images["exec-evaluate-model"].endswith("/intermodal-train:0.1.0")


def test_a_digest_file_without_the_image_with_cuda_is_refused_where_it_is_wanted():
    digests = {"train": "sha256:" + "a" * 64}
    target = ClusterTarget("kubeflow", settings=KUBEFLOW, shapes={"gpu": GPU}, digests=digests)
    with pytest.raises(ConfigurationError, match="no train-gpu"):
        target.compile(load_job(FLIGHTS))
    specification = dataclasses.replace(target, digests=digests | {"train-gpu": "sha256:" + "b" * 64}).compile(load_job(FLIGHTS))
    assert specification["deploymentSpec"]["executors"]["exec-train-model"]["container"]["image"].endswith("@sha256:" + "b" * 64)


def test_a_tpu_brings_its_topology():
    shapes = {"tpu": Shape(accelerator="tpu-v5e", accelerators=4)}
    settings = KUBEFLOW.model_copy(update={"tasks": {"train-model": KubeflowTaskSettings(shape="tpu", tpu_topology="2x2")}})
    specification, platform = compiled("kubeflow", settings, shapes)
    labels = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train-model"]["nodeSelector"]["labels"]
    assert labels == {"cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice", "cloud.google.com/gke-tpu-topology": "2x2"}
    assert resources(specification, "exec-train-model")["accelerator"]["resourceType"] == "google.com/tpu"


def test_without_options_a_file_stays_one_document():
    _, platform = compiled("kubeflow", KUBEFLOW.model_copy(update={"tasks": {}, "labels": {}}))
    assert platform == {}


def test_every_container_is_started_again_and_nothing_else():
    specification, _ = compiled("kubeflow", KUBEFLOW)
    dags = [specification["root"]["dag"], *(each["dag"] for each in specification["components"].values() if "dag" in each)]
    retried = {name: task["retryPolicy"]["maxRetryCount"] for dag in dags for name, task in dag["tasks"].items() if "retryPolicy" in task}
    assert set(retried.values()) == {2}
    assert "train-model" in retried
    assert "deploy-kserve" in retried
    assert not any(name.startswith(("condition", "importer")) for name in retried)


def test_a_task_that_is_not_there_names_the_nearest():
    settings = KUBEFLOW.model_copy(update={"tasks": {"trian-model": KubeflowTaskSettings(shape="gpu")}})
    with pytest.raises(ConfigurationError, match="did you mean 'train-model'"):
        compiled("kubeflow", settings)
    settings = KUBEFLOW.model_copy(update={"tasks": {"deploy-modle": TASK}})
    with pytest.raises(ConfigurationError, match="did you mean 'deploy-kserve'"):
        compiled("kubeflow", settings)


def test_an_accelerator_that_is_none_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"shapes\.gpu.*did you mean 'a100'"):
        compiled("kubeflow", KUBEFLOW, {"gpu": Shape(accelerator="a1000")})


@pytest.mark.parametrize("shape", [Shape(cpu=97), Shape(cpu=8, memory="700G")])
def test_a_machine_that_vertex_does_not_have_is_refused_there_alone(shape):
    compiled("kubeflow", KUBEFLOW, {"gpu": shape})
    with pytest.raises(ConfigurationError, match="Vertex AI has no machine"):
        compiled("vertex", VERTEX, {"gpu": shape})


def test_every_accelerator_is_one_that_vertex_knows():
    from google.cloud.aiplatform_v1.types import AcceleratorType

    assert set(ACCELERATORS.values()) <= set(AcceleratorType.__members__)


@pytest.mark.parametrize(("text", "size"), [("16G", 16), ("512Mi", 0.536870912), ("2000M", 2)])
def test_memory_is_read_in_both_kinds_of_units(text, size):
    assert gigabytes(text) == pytest.approx(size)
