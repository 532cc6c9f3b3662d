"""The InferenceServices that are applied; needs no cluster."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intermodal.components.deploy_kserve.logic import deploy_kserve
from intermodal.components.deploy_kserve.manifest import (
    LONGEST_NAME,
    as_manifest,
    candidate,
    candidate_name,
    inference_service,
    with_revision,
)
from intermodal.runtime.errors import ConfigurationError


def manifest(**more):
    return inference_service(name="late", namespace="team", image="predictor:1", model_uri="gs://bucket/model", version="7", **more)


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


@pytest.fixture
def arguments(tmp_path):
    places = {name: str(tmp_path) for name in ("model_path", "evaluation_path", "registration_path")}
    return {
        **places,
        "model_uri": "gs://b/m",
        "namespace": "team",
        "service_name": "late",
        "serving": {},
        "deployment_path": str(tmp_path / "deployment"),
    }


def test_without_an_image_the_key_to_set_is_named(arguments):
    with pytest.raises(ConfigurationError, match=r"serving\.image"):
        deploy_kserve(**arguments)


@pytest.mark.parametrize("name", ["Bad_Name", "-a", "a-", "1a", "", "a" * 49, "a.b"])
def test_a_name_that_cannot_be_one_is_refused_before_anything_is_made(arguments, name):
    with pytest.raises(ConfigurationError, match=r"service_name .*: use lowercase letters, digits and hyphens, 48 at most"):
        deploy_kserve(**arguments | {"service_name": name, "serving": {"image": "predictor:1"}})
