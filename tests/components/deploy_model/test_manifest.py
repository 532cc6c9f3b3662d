"""The InferenceService that is applied; needs no cluster."""

import json

import pytest

from intermodal.components.deploy_model.logic import deploy_model
from intermodal.components.deploy_model.manifest import APPLIED_ANNOTATION, inference_service
from intermodal.errors import ConfigurationError


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


def test_resources_and_account_are_set_only_when_given():
    bare = manifest()["spec"]["predictor"]
    assert "resources" not in bare["containers"][0]
    assert "serviceAccountName" not in bare
    full = manifest(resources={"limits": {"memory": "1Gi"}}, service_account="reader")["spec"]["predictor"]
    assert full["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}
    assert full["serviceAccountName"] == "reader"


def test_it_carries_itself_to_go_back_to():
    made = manifest()
    kept = json.loads(made["metadata"]["annotations"].pop(APPLIED_ANNOTATION))
    assert kept == made


def test_without_an_image_the_key_to_set_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"serving\.image"):
        deploy_model(
            model_uri="gs://b/m",
            evaluation_path=str(tmp_path),
            registration_path=str(tmp_path),
            namespace="team",
            service_name="late",
            serving={},
            deployment_path=str(tmp_path / "deployment"),
        )
