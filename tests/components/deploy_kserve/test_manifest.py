"""The InferenceServices that are applied; needs no cluster."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.components.deploy_kserve.arguments import LONGEST_NAME
from intermodal.components.deploy_kserve.formats import format_of
from intermodal.components.deploy_kserve.logic import deploy_kserve
from intermodal.components.deploy_kserve.manifest import (
    as_manifest,
    candidate,
    candidate_name,
    inference_service,
    with_revision,
)
from intermodal.runtime.errors import ConfigurationError

NO_NAMES = ("Bad_Name", "-a", "a-", "1a", "", "a" * 49, "a.b")
PLAIN = {
    "model_format": "predictor",
    "protocol": "v1",
    "runtime": "",
    "image": "predictor:1",
    "resources": {},
    "service_account": "",
    "minimum_replicas": 0,
    "maximum_replicas": 0,
    "port": 8080,
}


def manifest(**more):
    return inference_service(**{"name": "late", "namespace": "team", "model_uri": "gs://bucket/model", "version": "7"} | PLAIN | more)


def test_it_names_the_image_the_model_and_the_version():
    made = manifest()
    container = made["spec"]["predictor"]["containers"][0]
    assert container["image"] == "predictor:1"
    assert {"name": "STORAGE_URI", "value": "gs://bucket/model"} in container["env"]
    assert "7" in made["spec"]["predictor"]["annotations"].values()
    assert container["args"][container["args"].index("--model_name") + 1] == "late"


def test_the_port_is_one_everywhere():
    container = manifest(port=9000)["spec"]["predictor"]["containers"][0]
    assert container["ports"][0]["containerPort"] == 9000
    assert container["readinessProbe"]["httpGet"]["port"] == 9000
    assert "9000" in container["args"]


def test_resources_account_and_replicas_are_set_only_when_given():
    bare = manifest()["spec"]["predictor"]
    assert "resources" not in bare["containers"][0]
    assert bare.keys() == {"annotations", "containers"}
    full = manifest(resources={"limits": {"memory": "1Gi"}}, service_account="reader", minimum_replicas=2, maximum_replicas=5)["spec"]["predictor"]
    assert full["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}
    assert (full["serviceAccountName"], full["minReplicas"], full["maxReplicas"]) == ("reader", 2, 5)


def test_what_brings_a_live_service_back_is_its_whole_specification_and_our_marks():
    live = with_revision(manifest(), "r1")
    live["metadata"] |= {"uid": "u", "generation": 3, "labels": {"team": "ml"}}
    live["spec"]["predictor"]["tolerations"] = [{"operator": "Exists"}]
    earlier = as_manifest(live, manifest())
    assert earlier["spec"] == live["spec"]
    assert earlier["metadata"] == {"name": "late", "namespace": "team", "labels": {}, "annotations": live["metadata"]["annotations"]}


def test_the_candidate_is_the_planned_pod_once_and_without_a_route():
    planned = with_revision(manifest(minimum_replicas=3, maximum_replicas=9), "r1")
    planned["spec"]["predictor"]["nodeSelector"] = {"pool": "gpu"}
    tried = candidate(planned)
    assert tried["spec"]["predictor"] == planned["spec"]["predictor"] | {"minReplicas": 1, "maxReplicas": 1}
    assert planned["spec"]["predictor"]["minReplicas"] == 3
    assert tried["metadata"]["name"] == "late-candidate"
    assert tried["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"


names = st.from_regex(r"[a-z]([-a-z0-9]{0,46}[a-z0-9])?", fullmatch=True)
namespaces = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


@pytest.mark.fault(
    "Deployment", "names of services and namespaces as long as they may be", "the candidate's name is as valid as the service's, and another for each"
)
@given(service=names, other=names, namespace=namespaces)
def test_a_candidate_has_a_name_that_kserve_takes_wherever_it_takes_the_services(service, other, namespace):
    name = candidate_name(service, namespace)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= LONGEST_NAME
    assert len(f"{name}-predictor-{namespace}") <= max(63, len(f"{service}-predictor-{namespace}"))
    assert name != service
    assert service == other or name != candidate_name(other, namespace)


def test_a_format_of_kserves_own_goes_by_its_name_without_a_container_of_ours():
    predictor = manifest(model_format="sklearn", resources={"limits": {"cpu": "1"}}, service_account="reader")["spec"]["predictor"]
    assert "containers" not in predictor
    assert predictor["model"] == {
        "modelFormat": {"name": "sklearn"},
        "protocolVersion": "v1",
        "storageUri": "gs://bucket/model",
        "resources": {"limits": {"cpu": "1"}},
    }
    assert predictor["serviceAccountName"] == "reader"
    assert (
        manifest(model_format="onnx", protocol="v2", runtime="kserve-tritonserver")["spec"]["predictor"]["model"]["runtime"] == "kserve-tritonserver"
    )


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"saved_model.pb": b"", "variables/variables.index": b""}, "predictor"),
        ({"model.keras": b"PK\3\4"}, "predictor"),
        ({"model.joblib": b""}, "sklearn"),
        ({"model.bst": b""}, "xgboost"),
        ({"MLmodel": b"", "model.pkl": b""}, "mlflow"),
        ({"model.onnx": b""}, "onnx"),
        ({"config.json": b"{}", "model.safetensors": b""}, "huggingface"),
        ({"late/config.pbtxt": b"", "late/1/model.onnx": b""}, "triton"),
    ],
)
def test_a_model_tells_its_format_by_its_files(tmp_path, files, found):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert format_of(tmp_path) == found


def test_a_keras_file_without_a_suffix_tells_its_format_by_its_content(tmp_path):
    (tmp_path / "artifact").write_bytes(b"PK\3\4")
    assert format_of(tmp_path / "artifact") == "predictor"


@pytest.fixture
def arguments(tmp_path):
    return {"name": "late", "namespace": "team", "model_path": str(tmp_path), "model_uri": "gs://b/m", "version": "", "tolerance": 1e-4} | {
        "evaluation_path": None,
        "registration_path": None,
        "timeout": 60.0,
        **PLAIN,
        "protocol": "",
        "deployment_path": str(tmp_path / "deployment"),
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_format": ""}, r"model_format: .* its files are of no known format \(it holds nothing\); name it"),
        ({"protocol": "v2"}, "protocol: it is for the formats of a ServingRuntime"),
        ({"model_format": "sklearn", "protocol": "grpc"}, "protocol: 'grpc' must be"),
        ({"minimum_replicas": 3, "maximum_replicas": 2}, "maximum_replicas: 2 must be at least minimum_replicas, 3"),
        ({"minimum_replicas": -1}, "minimum_replicas: -1 must be at least 0"),
        ({"resources": {"cpu": "1"}}, r"resources\.cpu: 'cpu' is none of requests, limits"),
        ({"namespace": "Team"}, "namespace: 'Team'"),
        ({"timeout": 0.0}, "timeout: 0.0 must be above 0"),
        *[
            ({"name": name}, "name: .*: use lowercase letters, digits and hyphens, 48 at most")
            for name in ("Bad_Name", "-a", "a-", "1a", "", "a" * 49, "a.b")
        ],
    ],
)
def test_a_wrong_argument_is_refused_by_its_name_before_anything_is_made(arguments, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        deploy_kserve(**arguments | changes)


def test_outside_a_cluster_the_predictors_image_must_be_named(arguments, tmp_path, monkeypatch):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match=r"image: name the predictor's image .*only a task in a cluster can take its own"):
        deploy_kserve(**arguments | {"image": ""})
