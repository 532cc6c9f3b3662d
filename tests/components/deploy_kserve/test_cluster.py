"""Deployment to a real cluster, with KServe's own controller and webhooks, and our predictor in real pods. The tests run in their order."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from kubernetes import client

from intermodal.cluster.cancellation import cancellable
from intermodal.cluster.connection import connect
from intermodal.components.deploy_kserve.cluster import Namespace
from intermodal.components.deploy_kserve.lock import RECORD_ANNOTATION, Lock
from intermodal.components.deploy_kserve.logic import deploy_kserve
from intermodal.components.deploy_kserve.manifest import VERSION_ANNOTATION, candidate_name, revision_of
from intermodal.components.deploy_kserve.rollout import Rollout
from intermodal.runtime.errors import ConfigurationError, DataError, DeploymentError, StoreError
from tests.components.deploy_kserve.conftest import IMAGE, XS, probability, save_model
from tests.ports import free_port

#: More than any node has.
TOO_MUCH = {"requests": {"cpu": "64"}, "limits": {"cpu": "64"}}
pytestmark = pytest.mark.timeout(900)

BIASES = {"one": 0.25, "two": -0.5}


def right(*biases: float):
    return pytest.approx([probability(0.0, bias) for bias in biases], abs=1e-6)


def state(space, service="model"):
    """Return all that must stay when a deployment fails: the service's specification and marks, its generation, and its very pods."""
    found = space.service(service)
    marks = {kind: found["metadata"].get(kind) for kind in ("labels", "annotations")}
    restarts = {uid: pod.status.container_statuses[0].restart_count for uid, pod in space.pods(service).items()}
    return found["spec"], marks, found["metadata"]["generation"], restarts


def nothing_is_left(space, service="model"):
    """Check that an attempt left neither its candidate nor its lock, and so no record of what served before."""
    assert space.candidate(service) is None
    assert space.lease(service) is None


def being_changed(space):
    """Say whether an attempt has written down what served before and changed the service since."""
    record = ((space.lease() or {}).get("metadata", {}).get("annotations") or {}).get(RECORD_ANNOTATION)
    return record and json.loads(record)["revision"] == revision_of(space.service())


def expire(space):
    """Let a dead attempt's Lease run out in a second instead of fifteen."""
    client.CoordinationV1Api().patch_namespaced_lease("intermodal-model", space.name, {"spec": {"leaseDurationSeconds": 1}})


def test_a_model_becomes_ready_answers_right_and_again_changes_nothing(space):
    arguments = space.arguments("one", 0.25, "1")
    deploy_kserve(**arguments)
    deployment = json.loads((Path(arguments["deployment_path"]) / "deployment.json").read_text())
    assert deployment["version"] == "1"
    assert deployment["request"] == {"instances": [{"x": XS[-1]}]}
    assert deployment["response"]["predictions"] == pytest.approx([probability(XS[-1], 0.25)], abs=1e-6)
    assert deployment["url"].startswith("http")
    nothing_is_left(space)
    before = state(space)
    assert len(before[-1]) == 1
    deploy_kserve(**arguments)
    time.sleep(2)  # the time that KServe takes to act
    assert state(space) == before
    assert before[2] == 1
    assert space.answers() == right(0.25)


@pytest.mark.fault("Deployment", "a model that answers wrong", "no request ever reaches it, and the pods that served go on untouched")
def test_a_model_that_answers_wrong_is_never_reached_and_what_serves_is_not_touched(space):
    before = state(space)
    with (
        space.watched() as reached,
        pytest.raises(DeploymentError, match=r"over V1 for row 0 of smoke\.json.*\n.*candidate is removed, and deploy-\w+/model was not touched\."),
    ):
        deploy_kserve(**space.arguments("two", 3.0, "2"))
    assert reached == {"one"}
    assert state(space) == before
    nothing_is_left(space)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "localhost/absent:1"}, r"(?s)localhost/absent:1.*(ErrImage|ImagePull).*was not touched"),
        (
            {"resources": TOO_MUCH, "timeout": 8.0},
            r"(?s)is not ready after 8 s: no node takes the pod: .*[Ii]nsufficient cpu.*was not touched",
        ),
        ({"resources": {"limits": {"cpu": "a lot"}}}, r"(?s)refused: .*quantities must match.*Nothing was changed"),
        ({"model_format": "sklearn", "timeout": 30.0}, r"(?s)kserve/sklearnserver.*(ErrImage|ImagePull|not ready).*was not touched"),
    ],
)
@pytest.mark.fault(
    "Deployment", "a model that never becomes ready, or that KServe refuses", "the error names the reason; the pods that served go on untouched"
)
def test_a_model_that_never_becomes_ready_is_told_with_the_reason_and_what_serves_is_not_touched(space, changes, words):
    before = state(space)
    with pytest.raises(DeploymentError, match=words):
        deploy_kserve(**space.arguments("two", -0.5, "2", **changes))
    assert state(space) == before
    nothing_is_left(space)


def test_a_first_model_that_crashes_is_told_with_its_log_and_leaves_nothing(space):
    with pytest.raises(DeploymentError, match=r"(?s)crashes, exit status 1.*\n(?!b').*not a SavedModel that can be read.*candidate is removed"):
        deploy_kserve(**space.arguments("broken", 0.0, "1", service="broken"))
    assert space.service("broken") is None
    nothing_is_left(space, "broken")


@pytest.mark.fault(
    "Deployment", "a row of the smoke test has a null in a column that the model requires", "the row is not sent; the model is deployed"
)
def test_a_null_in_a_required_column_rolls_nothing_back(space):
    arguments = space.arguments("two", -0.5, "2")
    path = Path(arguments["evaluation_path"]) / "smoke.json"
    smoke = json.loads(path.read_text())
    path.write_text(json.dumps({"instances": [{"x": None}, *smoke["instances"]], "probabilities": [0.9, *smoke["probabilities"]]}))
    deploy_kserve(**arguments)
    assert space.answers() == right(-0.5)
    path.write_text(json.dumps({"instances": [{"x": None}], "probabilities": [0.9]}))
    with pytest.raises(DataError, match="no row has all columns"):
        deploy_kserve(**arguments)


def test_what_others_set_in_the_service_stays_and_the_candidate_is_tried_with_it(space):
    custom, where = client.CustomObjectsApi(), ("serving.kserve.io", "v1beta1", space.name, "inferenceservices", "model")
    custom.patch_namespaced_custom_object(*where, {"spec": {"predictor": {"maxReplicas": 2, "nodeSelector": {"kubernetes.io/os": "linux"}}}})
    # The InferenceService's generation is ahead of its Deployment's now.
    arguments = space.arguments("one", 0.25, "3")
    process = space.start(arguments)
    tried = space.until(space.candidate)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert tried["spec"]["predictor"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert (tried["spec"]["predictor"]["minReplicas"], tried["spec"]["predictor"]["maxReplicas"]) == (1, 1)
    assert tried["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"
    found = space.service()
    assert found["spec"]["predictor"]["maxReplicas"] == 2
    assert found["spec"]["predictor"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert found["metadata"]["annotations"][VERSION_ANNOTATION] == "3"
    assert space.answers() == right(0.25)
    before = state(space)
    with pytest.raises(DeploymentError, match=r"(?s)refused: .*[Mm]axReplicas.*Nothing was changed"):
        deploy_kserve(**space.arguments("two", -0.5, "4", minimum_replicas=3))
    assert state(space) == before


def spoil(space, model, service="model"):
    """Overwrite a model in the moment between its candidate's test and the start of the service's own pods; return the thread."""
    wrong = space.folder / "wrong"
    if not wrong.exists():
        save_model(wrong, 4.0)

    def wait_and_write():
        space.until(lambda: space.candidate(service), 120)
        space.until(lambda: space.candidate(service) is None, 240)  # a candidate is asked for minutes where four suites share two cores
        (space.folder / "models" / model / "saved_model.pb").write_bytes((wrong / "saved_model.pb").read_bytes())

    thread = threading.Thread(target=wait_and_write)
    thread.start()
    return thread


@pytest.fixture
def victim(space):
    """A copy of model `two` that a test may spoil."""
    name = f"victim-{uuid.uuid4().hex[:6]}"
    shutil.copytree(space.folder / "models" / "two", space.folder / "models" / name)
    return name


@pytest.mark.fault("Deployment", "the model changes between the candidate's test and the service's", "the earlier specification is put back exactly")
def test_a_service_that_answers_otherwise_than_its_candidate_is_put_back(space, victim):
    before = state(space)
    spoiling = spoil(space, victim)
    with pytest.raises(DeploymentError, match=r"(?s)over V1 for row 0.*earlier specification is applied again"):
        deploy_kserve(**space.arguments(victim, -0.5, "4"))
    spoiling.join()
    assert state(space)[:2] == before[:2]
    space.until(lambda: space.models() == {"one"})
    assert space.answers() == right(0.25)
    nothing_is_left(space)


@pytest.mark.fault(
    "Deployment", "killed after the service changed, then retried with a model that answers wrong", "the retry goes back to what served before"
)
def test_a_retry_does_not_take_the_killed_attempts_model_for_what_served_before(space, victim):
    before = state(space)
    spoiling = spoil(space, victim)
    arguments = space.arguments(victim, -0.5, "5")
    process = space.start(arguments)
    space.until(lambda: being_changed(space), 120)
    process.kill()
    process.communicate()
    spoiling.join()
    with pytest.raises(DeploymentError, match=r"(?s)over V1 for row 0.*earlier specification is applied again"):
        deploy_kserve(**arguments)  # waits until the dead attempt's Lease has run out
    assert state(space)[:2] == before[:2]
    space.until(lambda: space.models() == {"one"})
    nothing_is_left(space)


@pytest.mark.fault(
    "Deployment",
    "killed after the service changed; then another model is deployed, and fails",
    "what is put back is what served, not what was half done",
)
def test_what_an_attempt_left_half_done_is_not_taken_for_what_served_before(space, victim):
    before = state(space)
    process = space.start(space.arguments("two", -0.5, "5a"))
    space.until(lambda: being_changed(space), 120)
    process.kill()
    process.communicate()
    expire(space)
    spoiling = spoil(space, victim)
    with pytest.raises(DeploymentError, match=r"(?s)over V1 for row 0.*earlier specification is applied again"):
        deploy_kserve(**space.arguments(victim, -0.5, "5b"))
    spoiling.join()
    assert state(space)[:2] == before[:2]
    space.until(lambda: space.models() == {"one"})
    nothing_is_left(space)


def test_a_service_that_somebody_else_made_is_put_back_exactly(space, victim):
    theirs = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "theirs", "annotations": {VERSION_ANNOTATION: "by hand"}},
        "spec": {
            "predictor": {
                "maxReplicas": 1,
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": IMAGE,
                        "command": ["python3", "-m", "intermodal.serving.predictor"],
                        "args": ["--model_dir", "/mnt/models", "--model_name", "theirs", "--http_port", str(port := free_port())],
                        "env": [{"name": "STORAGE_URI", "value": "pvc://models/one"}, {"name": "TF_NUM_INTRAOP_THREADS", "value": "1"}],
                        "ports": [{"containerPort": port, "protocol": "TCP"}],
                        "resources": {"requests": {"cpu": "10m"}},
                    }
                ],
            }
        },
    }
    client.CustomObjectsApi().create_namespaced_custom_object("serving.kserve.io", "v1beta1", space.name, "inferenceservices", theirs)
    space.until(lambda: space.models("theirs") == {"one"})
    before = state(space, "theirs")
    spoiling = spoil(space, victim, "theirs")
    with pytest.raises(DeploymentError, match=r"(?s)over V1 for row 0.*earlier specification is applied again"):
        deploy_kserve(**space.arguments(victim, -0.5, "1", service="theirs"))
    spoiling.join()
    assert state(space, "theirs")[:2] == before[:2]
    space.until(lambda: space.models("theirs") == {"one"})
    client.CustomObjectsApi().delete_namespaced_custom_object("serving.kserve.io", "v1beta1", space.name, "inferenceservices", "theirs")


def test_a_service_of_somebody_else_that_has_the_candidates_name_is_left_alone(space):
    name = candidate_name("model", space.name)
    body = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": name}}
    body["spec"] = {"predictor": {"minReplicas": 1, "containers": [{"name": "kserve-container", "image": IMAGE, "command": ["sleep", "600"]}]}}
    custom, where = client.CustomObjectsApi(), ("serving.kserve.io", "v1beta1", space.name, "inferenceservices")
    custom.create_namespaced_custom_object(*where, body)
    with pytest.raises(ConfigurationError, match=r"model-candidate is not the candidate of model, and has its name; rename one of them"):
        deploy_kserve(**space.arguments("two", -0.5, "6"))
    assert space.candidate()["spec"]["predictor"]["containers"][0]["command"] == ["sleep", "600"]
    custom.delete_namespaced_custom_object(*where, name, grace_period_seconds=0)
    space.until(lambda: space.service(name) is None)


@pytest.mark.fault("Deployment", "two attempts at once on one service", "the second is refused in one sentence, the first deploys")
def test_a_second_attempt_is_refused_while_the_first_lives(space):
    first = space.start(space.arguments("two", -0.5, "7"))
    space.until(space.lease)
    with pytest.raises(
        DeploymentError, match=r"^deploy-\w+/model is being changed by another attempt, to deploy version 7, by \S+ since \S+; wait for it"
    ):
        deploy_kserve(**space.arguments("one", 0.25, "8"))
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, output
    assert space.answers() == right(-0.5)
    nothing_is_left(space)


@pytest.mark.fault(
    "Deployment", "an attempt that was stopped for longer than its lock lasts wakes up", "it changes nothing any more: another has the service"
)
def test_an_attempt_that_was_taken_for_dead_changes_nothing_when_it_wakes(space):
    sleeper = space.start(space.arguments("two", -0.5, "9", resources=TOO_MUCH))
    space.until(space.candidate)
    sleeper.send_signal(signal.SIGSTOP)
    deploy_kserve(**space.arguments("one", 0.25, "10"))
    before = state(space)
    sleeper.send_signal(signal.SIGCONT)
    sleeper.send_signal(signal.SIGTERM)
    output, _ = sleeper.communicate(timeout=60)
    assert sleeper.returncode
    assert "this attempt was silent for more than 15 s" in output.splitlines()[-1]
    assert state(space) == before
    nothing_is_left(space)


@pytest.mark.fault("Deployment", "the answer to a renewal of the lock is lost", "the attempt goes on: it knows its own work")
def test_a_renewal_whose_answer_was_lost_is_not_taken_for_another_attempt(space):
    namespace = Namespace(connect(), space.name)
    with Lock(namespace, "renewed", "1") as lock:
        namespace.replace_lease(namespace.lease(lock.name))
        lock.check()
        lock.write({"revision": "a", "earlier": None})
        lock.write(None)
    assert namespace.lease(lock.name) is None


@pytest.mark.fault("Deployment", "SIGTERM while a failed attempt undoes what it did", "all is undone, and the failure is the error")
def test_an_attempt_that_is_cancelled_while_it_undoes_a_failure_undoes_all(space):
    undone = []

    def undo():
        undone.append(len(undone))
        if len(undone) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)  # Python runs the handler here
        return "It was undone."

    class Failing(Rollout):
        def _run(self):
            self._undo.append(undo)
            raise DeploymentError("a wrong answer")

    namespace = Namespace(connect(), space.name)
    with pytest.raises(DeploymentError, match=r"^a wrong answer\nIt was undone\.$"), cancellable(), Lock(namespace, "undone", "1") as lock:
        Failing(namespace, lock, {"metadata": {"name": "undone"}}, None, protocols=(), timeout=1).run()
    assert undone == [0, 1]


KILLS = 5


@pytest.mark.timeout(1800)
@pytest.mark.fault(
    "Deployment",
    "SIGKILL at 5 random times during deployments, right ones and wrong ones; then a retry",
    "the new model serves and is right, or the earlier one as before",
)
def test_a_retry_after_a_kill_at_any_moment_ends_with_the_new_model_or_with_the_earlier_one(space, fault_random):
    serving, killed = "one", 0
    started = time.monotonic()
    deploy_kserve(**space.arguments("one", 0.25, "start"))
    seconds = time.monotonic() - started
    for attempt in range(KILLS):
        target = "two" if serving == "one" else "one"
        wrong = fault_random.random() < 0.3
        arguments = space.arguments(target, 3.0 if wrong else BIASES[target], f"k{attempt}")
        before = state(space)
        with space.watched() as reached:
            process = space.start(arguments)
            begun = time.monotonic()
            try:
                process.wait(fault_random.uniform(0.0, seconds))
                seconds = min(seconds, time.monotonic() - begun)  # the first was a cold one, or this one fails: draw the next within its time
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            process.communicate()
            if space.lease():
                expire(space)
            if wrong:
                with pytest.raises(DeploymentError, match=r"over V1 for row 0"):
                    deploy_kserve(**arguments)
                assert state(space) == before
            else:
                deploy_kserve(**arguments)
                serving = target
                assert space.service()["metadata"]["annotations"][VERSION_ANNOTATION] == f"k{attempt}"
        assert reached <= ({serving} if wrong else {"one", "two"})
        assert space.models() == {serving}
        assert space.answers() == right(BIASES[serving])
        nothing_is_left(space)
    assert killed >= KILLS // 3


@pytest.mark.timeout(1200)
@pytest.mark.fault(
    "Deployment",
    "SIGTERM at 4 random times, during first deployments and later ones",
    "within seconds all that was begun is gone, and what served before does",
)
def test_a_cancelled_deployment_leaves_what_served_before_and_nothing_else(space, fault_random):
    cancelled = 0
    for attempt in range(4):
        first = attempt % 2 == 0
        service = f"new-{attempt}" if first else "model"
        before = None if first else state(space)
        target = "two" if before and "pvc://models/one" in json.dumps(before[0]) else "one"
        process = space.start(space.arguments(target, BIASES[target], f"t{attempt}", service=service))
        space.until(lambda service=service: space.lease(service))
        time.sleep(fault_random.uniform(0.0, 12.0))
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        output, _ = process.communicate(timeout=30)
        if process.returncode == 0:
            continue
        cancelled += 1
        assert time.monotonic() - told < 10
        assert "the task was asked to end (SIGTERM)." in output.splitlines()[-1]
        if before:
            assert state(space)[:2] == before[:2]
            space.until(lambda target=target: space.models() == {"one", "two"} - {target})
        else:
            found = space.service(service)
            assert found is None or found["metadata"].get("deletionTimestamp")
        nothing_is_left(space, service)
    assert cancelled >= 2


def test_an_account_without_the_role_is_told_what_it_lacks(space, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", space.account(role=False))
    with pytest.raises(StoreError, match=r"cannot get resource .leases.*role\.yaml"):
        deploy_kserve(**space.arguments("one", 0.25, "4"))


def test_the_role_is_enough_to_deploy_to_roll_back_and_to_go_on(space, victim, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", space.account(role=True))
    deploy_kserve(**space.arguments("one", 0.25, "1", service="by-role"))
    spoiling = spoil(space, victim, "by-role")
    with pytest.raises(DeploymentError, match=r"earlier specification is applied again"):
        deploy_kserve(**space.arguments(victim, -0.5, "2", service="by-role"))
    spoiling.join()
    nothing_is_left(space, "by-role")
