"""Models in the formats that KServe's own runtimes serve, and a deployment from within a pod, on a real cluster."""

import json
from pathlib import Path

import pytest
from kubernetes import client

from intermodal.cluster.connection import connect
from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.components.deploy_kserve.formats import protocol_of
from intermodal.components.deploy_kserve.logic import deploy_kserve
from intermodal.components.deploy_kserve.manifest import inference_service
from intermodal.runtime.errors import DeploymentError
from tests.components.deploy_kserve.conftest import IMAGE, XS, probability
from tests.ports import free_port

pytestmark = pytest.mark.timeout(600)
#: More than any node has: the pods stay pending, for there are no images of these runtimes here.
TOO_MUCH = {"requests": {"cpu": "64"}, "limits": {"cpu": "64"}}
#: A part of the runtime's image, by format, as KServe 0.20 installs them.
IMAGES = {
    "sklearn": "sklearnserver",
    "xgboost": "xgbserver",
    "lightgbm": "lgbserver",
    "pmml": "pmmlserver",
    "paddle": "paddleserver",
    "tensorflow": "tensorflow/serving",
    "pytorch": "torchserve",
    "huggingface": "huggingfaceserver",
    "mlflow": "mlserver",
    "onnx": "tritonserver",
    "triton": "tritonserver",
}


@pytest.mark.parametrize("model_format", IMAGES)
def test_kserve_takes_a_format_by_its_name_and_starts_its_own_runtime_for_it(space, model_format):
    name = f"format-{model_format}"
    namespace, apps = Namespace(connect(), space.name), client.AppsV1Api()
    manifest = inference_service(
        name=name,
        namespace=space.name,
        model_uri="pvc://models/one",
        version="",
        model_format=model_format,
        protocol=protocol_of(model_format),
        runtime="",
        image="",
        resources=TOO_MUCH,
        service_account="",
        minimum_replicas=0,
        maximum_replicas=0,
        port=8080,
    )
    namespace.apply(manifest)

    def deployments():
        return [each for each in apps.list_namespaced_deployment(space.name).items if each.metadata.name == f"{name}-predictor"]

    try:
        (made,) = space.until(deployments, 120)
        assert IMAGES[model_format] in made.spec.template.spec.containers[0].image
    finally:
        namespace.delete(name)


@pytest.mark.fault("Deployment", "a model format that no ServingRuntime of the cluster serves", "refused in KServe's words; nothing is left")
def test_a_format_without_a_runtime_is_refused_in_words_and_leaves_nothing(space):
    words = r"KServe has no server for the format 'nosuch' \(NoSupportingRuntime .*\); correct model_format, protocol or runtime"
    with pytest.raises(DeploymentError, match=words):
        deploy_kserve(**space.arguments("one", 0.25, "1", service="nosuch", model_format="nosuch", evaluation_path=None))
    assert space.service("nosuch") is None
    assert space.candidate("nosuch") is None
    assert space.lease("nosuch") is None


@pytest.fixture
def runtimes(space):
    """Two ServingRuntimes for the format `toy`: our predictor, named and started as KServe's own servers are, each at a port of its own."""
    custom = client.CustomObjectsApi()
    place = ("serving.kserve.io", "v1alpha1", space.name, "servingruntimes")
    for name in ("toy", "other"):
        port = free_port()
        container = {
            "name": "kserve-container",
            "image": IMAGE,
            "command": ["python3", "-m", "intermodal.serving.predictor"],
            "args": ["--model_name={{.Name}}", "--model_dir=/mnt/models", f"--http_port={port}"],
            "ports": [{"containerPort": port, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "10m"}},
            "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": port}, "periodSeconds": 2, "failureThreshold": 150},
        }
        specification = {
            "supportedModelFormats": [{"name": "toy", "version": "1", "autoSelect": name == "toy"}],
            "protocolVersions": ["v1", "v2"],
            "containers": [container],
        }
        body = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": {"name": name}, "spec": specification}
        custom.create_namespaced_custom_object(*place, body)
    yield
    for name in ("toy", "other"):
        custom.delete_namespaced_custom_object(*place, name)


def test_a_runtime_of_the_cluster_goes_through_all_steps_right_and_wrong(space, runtimes):
    arguments = space.arguments("one", 0.25, "1", service="by-runtime", model_format="toy")
    metadata = deploy_kserve(**arguments)
    assert (metadata["name"], metadata["version"]) == ("by-runtime", "1")
    assert metadata["tested"] == "3 rows of the evaluation got the expected answers over V1, within 0.0001"
    deployment = json.loads((Path(arguments["deployment_path"]) / "deployment.json").read_text())
    assert deployment["response"]["predictions"] == pytest.approx([probability(XS[-1], 0.25)], abs=1e-6)
    assert space.service("by-runtime")["spec"]["predictor"]["model"]["modelFormat"] == {"name": "toy"}
    with pytest.raises(DeploymentError, match=r"(?s)over V2 for row 0 of smoke\.json.*candidate is removed.*was not touched"):
        deploy_kserve(**space.arguments("two", 3.0, "2", service="by-runtime", model_format="toy", protocol="v2", runtime="other"))
    assert space.models("by-runtime") == {"one"}


POD = """
import json, os
from intermodal.components.deploy_kserve.logic import deploy_kserve
print(json.dumps(deploy_kserve(**json.loads(os.environ["ARGUMENTS"]))))
"""


def test_in_a_pod_the_namespace_and_the_image_are_its_own(space):
    account = space.account(role=True).rpartition("kubeconfig-")[2]
    arguments = space.arguments("one", 0.25, "", service="from-a-pod", namespace="", image="", evaluation_path=None, registration_path=None)
    arguments |= {"model_path": "/models/one", "deployment_path": "/tmp/deployment"}
    pod = {
        "metadata": {"name": "task"},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": account,
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}],
            "containers": [
                {
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", POD],
                    "env": [
                        {"name": "ARGUMENTS", "value": json.dumps(arguments)},
                        # As Kubeflow Pipelines sets it.
                        {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    ],
                    "resources": {"requests": {"cpu": "10m"}},
                    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
                }
            ],
        },
    }
    core = client.CoreV1Api()
    core.create_namespaced_pod(space.name, pod)
    ended = space.until(lambda: (found := core.read_namespaced_pod("task", space.name)).status.phase in ("Succeeded", "Failed") and found, 400)
    log = core.read_namespaced_pod_log("task", space.name, _preload_content=False).data.decode()
    assert ended.status.phase == "Succeeded", log
    assert json.loads(log.strip().splitlines()[-1])["tested"].startswith("an example row got a well-formed answer over V1 and V2")
    assert space.service("from-a-pod")["spec"]["predictor"]["containers"][0]["image"] == IMAGE
