"""Searches whose trials are pods of an Experiment of the real Katib, with a small search in place of `tune_model`; the last test trains."""

import json
import re
import signal

import numpy as np
import pytest
from kubernetes import client
from kubernetes.stream import stream

from intermodal.authoring.catalog import load_component
from tests.workers.small_search import lowest

EXPERIMENTS = ("kubeflow.org", "v1beta1")
SPACE = {"rate": {"type": "float", "low": 0.0, "high": 1.0}, "how": {"type": "categorical", "choices": ["fine", "two words", [64, 32]]}}
KATIB = {"tuning": "katib", "start_timeout": 200}


@pytest.fixture(autouse=True, scope="module")
def katib(space):
    """Katib, which `space` need not have."""
    known = client.ApiextensionsV1Api().list_custom_resource_definition().items
    if "experiments.kubeflow.org" not in {each.metadata.name for each in known}:
        pytest.skip("needs Katib on the cluster")


def experiments(space):
    return space.custom.list_namespaced_custom_object(*EXPERIMENTS, space.name, "experiments")["items"]


def experiment(space, launched):
    """Return the Experiment that a task made; None: none, or no more."""
    owned = [each for each in experiments(space) if launched.pod in {owner["name"] for owner in each["metadata"]["ownerReferences"]}]
    return owned[0] if owned else None


def search(cluster, examples, **given):
    settings = KATIB | given.pop("settings", {})
    return cluster.launch(lowest, examples, settings=settings, **{"space": SPACE, **given})


def test_trials_run_as_pods_and_their_history_comes_back(space, examples):
    done = search(space, examples, trials=4, parallel=2).wait(240)
    assert done.status == 0, done.log
    tried = json.loads(done.output("best").read_text())
    assert [each["number"] for each in tried] == [0, 1, 2, 3]
    assert {each["state"] for each in tried} == {"finished"}
    for each in tried:
        # Katib's own number of the last line, which has the epoch that is kept.
        assert each["value"] == pytest.approx((float(each["parameters"]["rate"]) - 0.3) ** 2 + 0.5)
        assert each["parameters"]["how"] in ("fine", "%22two%20words%22", "[64,32]")
        assert each["epochs"] == 2
        assert each["seconds"] > 0
    assert len({each["parameters"]["rate"] for each in tried}) == 4
    assert re.search(r"^trial 0 begins: how \S+, rate 0\.\d+$", done.log, re.MULTILINE)
    assert re.search(r"^trial 3: val_loss 0\.\d+ after 2 epochs, \d+\.\d s; how \S+, rate 0\.\d+$", done.log, re.MULTILINE)
    assert done.executor_output["artifacts"]["best"]["artifacts"][0]["metadata"]["seconds"] > 0
    # The Experiment stays, for Katib's pages; the folder of reports does not.
    assert experiment(space, done)["status"]["trialsSucceeded"] == 4
    assert "Contents" not in space.store.list_objects_v2(Bucket="pipelines", Prefix=f"{done.root.split('/', 3)[3]}/.trials")


@pytest.mark.fault("Tuning", "some trials of a search on Katib fail", "they are recorded with their own last words, and the search goes on")
def test_a_trial_that_fails_is_recorded_with_its_last_words(space, examples):
    choices = {"how": {"type": "categorical", "choices": ["two words"]}}
    done = search(space, examples, trials=2, what="raise", space=choices).wait(240)
    assert done.status == 1, done.log
    words = "ValueError: no such thing as 'two words'"
    assert f"trial 0: failed: the trial ended with status 1: {words}" in done.log
    assert f"ConfigurationError: none of 2 trials finished: the trial ended with status 1: {words}" in done.log
    assert not done.output("best").exists()


@pytest.mark.fault("Tuning", "a trial on Katib finds its data wrong", "the search ends at once: no other trial would fare better")
def test_wrong_data_ends_the_search(space, examples):
    done = search(space, examples, trials=5, what="wrong data").wait(240)
    assert done.status == 1, done.log
    assert re.search(r"^DataError: examples: the column 'late' is missing; correct label$", done.log, re.MULTILINE)
    assert "trial 1" not in done.log
    space.until(lambda: experiment(space, done) is None)


@pytest.mark.fault("Tuning", "a search on Katib has wrong arguments, or some that Katib lacks", "one sentence, before anything is created")
def test_what_cannot_be_searched_is_said_before_anything_is_created(space, examples):
    before = len(experiments(space))
    done = search(space, examples, trials=0).wait()
    assert done.status == 1
    assert "ConfigurationError: trials: 0 must be 1 or more" in done.log
    done = search(space, examples, early_stopping="hyperband").wait()
    assert done.status == 1
    assert "ConfigurationError: early_stopping is 'hyperband', and Katib ends trials early by none or median only" in done.log
    done = space.launch(lowest, examples, settings=KATIB, space=SPACE, account="default", wait=True)
    assert done.status == 1
    assert re.search(r"DeniedError: .*cannot list resource .pods.*infra/kubernetes/searches\.yaml", done.log)
    logarithmic = {"rate": {"type": "float", "low": 0.001, "high": 1.0, "log": True}}
    done = search(space, examples, trials=1, space=logarithmic).wait(120)
    # Katib has distributions from 0.18 on; an older one would drop the field in silence.
    assert done.status == 0 or "PlatformError: the installed Katib does not know space.rate: distribution; install a newer one" in done.log, done.log
    assert len(experiments(space)) == before + (done.status == 0)


def test_no_trial_begins_after_the_time_is_over_but_the_next(space, examples):
    done = search(space, examples, trials=20, timeout=1.0).wait(240)
    assert done.status == 0, done.log
    assert "the search's 1 s are over: trials that have begun are finished, and one more at most begins" in done.log
    assert len(json.loads(done.output("best").read_text())) <= 3


@pytest.mark.fault("Tuning", "no node takes a trial's pod", "the task says why, waits for the start timeout, and deletes the Experiment")
def test_trials_that_no_node_takes_end_with_the_start_timeout(space, examples):
    done = search(space, examples, after={"nodeSelector": {"disk": "none"}}, settings={"start_timeout": 25}).wait(240)
    assert done.status == 1, done.log
    assert re.search(r"HopelessError: Experiment \S+: no trial has started for 25 s; no node takes pod .*node\(s\) didn't match", done.log)
    space.until(lambda: experiment(space, done) is None and not [each for each in experiments(space) if "deletionTimestamp" in each["metadata"]])


@pytest.mark.fault("Tuning", "the namespace is not labelled for Katib's metrics collector", "the task fails with the command that labels it")
def test_a_namespace_without_katibs_label_is_named(space, examples):
    label = "katib.kubeflow.org/metrics-collector-injection"
    unlabelled = {"metadata": {"labels": {label: None}}}
    try:
        space.core.patch_namespace(space.name, unlabelled)
        done = search(space, examples).wait()
        assert done.status == 1, done.log
        # Katib's own words, before anything is created.
        assert re.search(rf"PlatformError: creating Experiment \S+: refused: .*the namespace lacks label .{label}: enabled", done.log)
        space.core.patch_namespace(space.name, {"metadata": {"labels": {label: "enabled"}}})
        started = search(space, examples)
        space.until(lambda: " created: 3 trials, 1 at a time" in started.log, why=lambda: started.log)
        space.core.patch_namespace(space.name, unlabelled)
        assert started.wait(240).status == 1, started.log
        assert f"kubectl label namespace {space.name} {label}=enabled" in started.log
    finally:
        space.core.patch_namespace(space.name, {"metadata": {"labels": {label: "enabled"}}})
    space.until(lambda: experiment(space, started) is None)


@pytest.mark.fault("Tuning", "the task's process is killed while its trials run on Katib", "its next attempt takes over the Experiment")
def test_a_search_that_is_started_again_follows_its_own_experiment(space, examples):
    first = search(space, examples, trials=3, what="slow", epochs=6)
    space.until(lambda: "trial 0 begins" in first.log, 120, lambda: first.log)
    uid = experiment(space, first)["metadata"]["uid"]
    first.kill("intermodal.tuning.katib")
    assert first.status == 128 + signal.SIGKILL
    again = search(space, examples, root=first.root, trials=3, what="slow", epochs=6).wait(240)
    assert again.status == 0, again.log
    assert "is there already, from an earlier attempt of this task: it is followed" in again.log
    assert experiment(space, again)["metadata"]["uid"] == uid
    assert len(json.loads(again.output("best").read_text())) == 3


@pytest.mark.fault("Tuning", "the run is cancelled while trials run on Katib: SIGTERM", "the Experiment, its trials and their pods are deleted")
def test_a_cancelled_search_deletes_its_experiment(space, examples):
    started = search(space, examples, what="slow", epochs=60)
    space.until(lambda: "trial 0 begins" in started.log, 120, lambda: started.log)
    pods = {"label_selector": f"intermodal/experiment={experiment(space, started)['metadata']['name']}"}
    assert space.until(lambda: space.core.list_namespaced_pod(space.name, **pods).items)
    stream(space.core.connect_get_namespaced_pod_exec, started.pod, space.name, command=["sh", "-c", "kill -TERM 1"], stdout=True, stderr=True)
    done = started.wait()
    assert done.status == 143, done.log
    assert re.search(r"the task was asked to end \(SIGTERM\)\. Experiment .* is deleted", done.log)
    space.until(lambda: experiment(space, done) is None)
    space.until(lambda: not space.core.list_namespaced_pod(space.name, **pods).items)


def test_tune_model_searches_on_katib(space, tmp_path):
    generator = np.random.default_rng(0)
    x = generator.normal(size=400)
    late = (generator.random(400) < 1 / (1 + np.exp(-3 * x))).astype(int)
    (tmp_path / "rows.csv").write_text("x,late\n" + "\n".join(f"{a},{b}" for a, b in zip(x, late, strict=True)) + "\n")
    choices = {"hidden_units": {"type": "categorical", "choices": [[4], [8, 4]]}}
    given = {"label": "late", "space": choices, "trials": 2, "epochs": 2, "batch_size": 64, "early_stopping": "none"}
    done = space.launch(load_component("tune_model"), {"examples": space.put(tmp_path / "rows.csv")}, settings=KATIB, **given).wait(300)
    assert done.status == 0, done.log
    best = json.loads((done.output("best") / "parameters.json").read_text())
    assert best["hidden_units"] in ([4], [8, 4])
    assert (done.output("history") / "trials.parquet").is_file()
    assert "Best value so far" in done.output("plots").read_text()
    numbers = done.executor_output["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert numbers["trials_finished"] == 2
    assert 0 < numbers["best_value"] < 1
