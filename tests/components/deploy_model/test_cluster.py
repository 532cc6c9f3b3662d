"""Deployment to a real cluster, with KServe's own controller and webhooks, and our predictor in a real pod. The tests run in their order."""

import json
import time
from pathlib import Path

import pytest

from intermodal.components.deploy_model.cluster import Namespace, connect
from intermodal.components.deploy_model.logic import deploy_model
from intermodal.errors import DeploymentError, StoreError

pytestmark = pytest.mark.timeout(240)


def answer(space, service="model"):
    """Ask whichever pod is ready."""
    found = Namespace(connect(), space.name)
    ready = [pod for pod in found.pods(service) if any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)]
    port = ready[0].spec.containers[0].ports[0].container_port
    return found.post_json(ready[0], port, f"v1/models/{service}:predict", {"instances": [{"x": 0.0}]})["predictions"][0]


def test_a_model_becomes_ready_answers_right_and_again_changes_nothing(space):
    arguments = space.arguments("one", 0.25, "1")
    deploy_model(**arguments)
    deployment = json.loads((Path(arguments["deployment_path"]) / "deployment.json").read_text())
    assert deployment["version"] == "1"
    assert deployment["response"]["predictions"][0] == pytest.approx(0.3208, abs=1e-3)
    assert deployment["url"].startswith("http")
    generation = space.service()["metadata"]["generation"]
    deploy_model(**arguments)
    assert space.service()["metadata"]["generation"] == generation


def test_an_image_that_cannot_be_pulled_is_told_and_the_earlier_version_goes_on(space):
    with pytest.raises(DeploymentError, match=r"(?s)localhost/absent:1.*Err?\w*Image|ImagePull.*earlier specification is applied again"):
        deploy_model(**space.arguments("two", -0.5, "2", image="localhost/absent:1"))
    assert "absent" not in json.dumps(space.service()["spec"])
    assert answer(space) == pytest.approx(0.5622, abs=1e-3)


def test_a_wrong_answer_is_told_and_the_earlier_version_comes_back(space):
    with pytest.raises(DeploymentError, match=r"(?s)row 0 of smoke\.json.*earlier specification is applied again"):
        deploy_model(**space.arguments("two", 3.0, "3"))
    assert "pvc://models/one" in json.dumps(space.service()["spec"])


def test_a_predictor_that_crashes_is_told_with_its_last_words_and_taken_away(space):
    with pytest.raises(DeploymentError, match=r"(?s)crashes.*signature\.json.*deleted again"):
        deploy_model(**space.arguments("broken", 0.0, "1", service="broken"))
    # The controller takes away what it made first.
    for _ in range(120):
        if space.service("broken") is None:
            return
        time.sleep(0.25)
    pytest.fail("the service is still there")


def test_what_the_webhook_refuses_is_told_in_its_words(space):
    with pytest.raises(DeploymentError, match=r"refused: .*Bad_Name"):
        deploy_model(**space.arguments("one", 0.25, "1", service="Bad_Name"))


def test_an_account_without_the_role_is_told_what_it_lacks(space, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", space.account(role=False))
    with pytest.raises(StoreError, match=r"cannot get resource .inferenceservices.*role\.yaml"):
        deploy_model(**space.arguments("one", 0.25, "4"))


def test_the_role_is_enough_to_deploy(space, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", space.account(role=True))
    arguments = space.arguments("one", 0.25, "1", service="by-role")
    deploy_model(**arguments)
    assert (Path(arguments["deployment_path"]) / "deployment.json").exists()
