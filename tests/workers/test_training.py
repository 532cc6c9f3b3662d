"""The flights model, trained by two pods of the real Kubeflow Trainer in our own image, undisturbed and with pods lost; in TensorFlow and in JAX.

Features and hyperparameters are the shipped pipeline's; its own tasks make the features here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import components

from intermodal.authoring.catalog import load_component
from intermodal.execution.environments import environment
from tests.workers.conftest import IMAGE

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "intermodal"
SHIPPED = yaml.safe_load((ROOT / "pipelines" / "flights.yaml").read_text())
SETTINGS = {**SHIPPED["training"], "label": SHIPPED["label"], "seed": SHIPPED["seed"], "checkpoint_steps": 5, "workers": 2}
EPOCHS = SETTINGS["epochs"]
THINNED = """
import pathlib, sys
import pyarrow.dataset, pyarrow.parquet
for part in pathlib.Path(sys.argv[1]).iterdir():
    table = pyarrow.dataset.dataset(part).to_table()
    written = pathlib.Path(sys.argv[2], part.name)
    written.mkdir(parents=True)
    pyarrow.parquet.write_table(table.take(list(range(0, len(table), int(sys.argv[3])))), written / "0.parquet", row_group_size=4096)
"""
#: Of the flights each fourth, for the time of a test; with 1 the tests pass too.
EVERY = int(os.environ.get("INTERMODAL_EVERY_FLIGHT", "4"))
ADMISSION = ("admissionregistration.k8s.io", "v1beta1")


def intermodal(*words):
    done = subprocess.run([str(COMMAND), *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def epochs(log):
    """Return the epochs that a log has a line of, in their order."""
    return [int(each) for each in re.findall(rf"^epoch (\d+)/{EPOCHS}: ", log, re.MULTILINE)]


def lose(started, victim, epoch):
    """Wait until an epoch is over, and take a worker's pod away, with no time for a last checkpoint."""
    started.space.until(lambda: epoch in epochs(started.log), 600, lambda: started.log)
    started.space.core.delete_namespaced_pod(started.workers()[victim].metadata.name, started.space.name, grace_period_seconds=0)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the shipped pipeline's own tasks give `train_model`, as paths of this machine."""
    folder = tmp_path_factory.mktemp("flights")
    settings = json.loads(json.dumps(SHIPPED))
    settings["features"]["repository"] = str(ROOT / "feature_repo")
    settings["pipeline"] = f"{Path(__file__).with_name('flights_data.py')}:pipeline"
    (folder / "flights.yaml").write_text(yaml.safe_dump(settings))
    intermodal("run", folder / "flights.yaml", "--home", folder / "home")
    (run,) = (folder / "home" / "runs").iterdir()
    subprocess.run(
        [environment("train"), "-c", THINNED, run / "retrieve-features" / "examples", folder / "examples", str(EVERY)], check=True, timeout=60
    )
    return {"examples": folder / "examples"} | {name: run / "validate-data" / name for name in ("schema", "statistics")}


@pytest.fixture(scope="module")
def flights(space, local):
    return {name: space.put(path) for name, path in local.items()}


def numbers(artifacts):
    """Return what a task said of its model: the metrics that do not depend on the machine, and the hash of its weights."""
    made = {name: artifacts[name]["artifacts"][0]["metadata"] for name in ("metrics", "model")}
    return {name: made["metrics"][name] for name in ("loss", "val_loss", "auc", "val_auc", "epochs")} | {"weights": made["model"]["weights_sha256"]}


def metrics(found):
    """Return the metrics alone: with another number of threads the last bits of a weight may differ."""
    return {name: value for name, value in found.items() if name != "weights"}


def made_by(done):
    assert done.status == 0, done.log
    return numbers(done.executor_output["artifacts"])


@pytest.fixture(scope="module")
def undisturbed(space, flights):
    """Two pods of a component that is loaded from its file, as a pipeline of somebody else's does."""
    theirs = components.load_component_from_file(str(ROOT / "compiled" / "kubeflow" / "components" / "train_model.yaml"))
    done = space.launch(theirs, flights, wrapped=True, **SETTINGS).wait(900)
    return done, made_by(done)


def test_two_pods_train_the_flights_model(undisturbed):
    done, found = undisturbed
    assert 0.73 < found["val_auc"] < 0.77
    assert (done.output("model") / "saved_model.pb").stat().st_size
    assert (done.output("training") / "history.json").is_file()
    assert re.search(r"^worker 0 of 2, attempt 0: \S+:\d+, \S+:\d+$", done.log, re.MULTILINE)
    assert epochs(done.log) == list(range(1, EPOCHS + 1))


@pytest.mark.fault(
    "training",
    "the pods of both workers are killed one after another while they train",
    "it goes on from a checkpoint and ends with the same weights",
)
def test_a_training_that_loses_one_pod_and_then_the_other_ends_like_the_undisturbed_one(space, flights, undisturbed):
    started = space.launch(load_component("train_model"), flights, **SETTINGS)
    lose(started, victim=1, epoch=1)
    lose(started, victim=0, epoch=3)
    done = started.wait(900)
    assert made_by(done) == undisturbed[1]
    assert "all workers start again (attempt 2)" in done.log
    assert "all workers start again (attempt 3)" in done.log
    # It did not begin anew: an epoch that was over is not made a second time.
    assert epochs(done.log) == list(range(1, EPOCHS + 1))
    assert not space.store.list_objects_v2(Bucket="pipelines", Prefix=done.root.split("/", 3)[3]).get("Contents"), "a checkpoint stays behind"


@pytest.fixture(scope="module")
def jax_here(local, tmp_path_factory):
    """The numbers of two worker processes of this machine that train in JAX."""
    home = tmp_path_factory.mktemp("jax")
    words = [word for name, value in {**SETTINGS, "backend": "jax"}.items() for word in ("--set", f"{name}={value}")]
    words += [word for name, path in local.items() for word in ("--input", f"{name}={path}")]
    with pytest.MonkeyPatch.context() as patched:
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):  # as the pods have it
            patched.setenv(name, "1")
        intermodal("run-component", "train_model", *words, "--home", home)
    (written,) = (home / "runs").glob("*/*/executor_output.json")
    return numbers(json.loads(written.read_text())["artifacts"])


@pytest.fixture(scope="module")
def lost(space, flights):
    """A training in JAX, in pods of our runtime, of which one was lost."""
    started = space.launch(load_component("train_model"), flights, **SETTINGS, backend="jax")
    lose(started, victim=1, epoch=1)
    return started.wait(900)


@pytest.mark.fault(
    "training", "a pod that trains in JAX is killed", "it goes on from a checkpoint; the model is that of two processes of one machine"
)
def test_two_pods_train_in_jax_and_one_that_is_lost_changes_nothing(lost, jax_here):
    assert metrics(made_by(lost)) == pytest.approx(metrics(jax_here), rel=1e-6)
    assert "all workers start again (attempt 2)" in lost.log
    assert epochs(lost.log) == list(range(1, EPOCHS + 1))


@pytest.fixture(scope="module")
def names(space):
    """The name that Trainer's JAX runtime gives the first pod; where pods are on the node's network there is no DNS, and one port for both."""
    marks = {"jobset.sigs.k8s.io/jobset-name": "some"}
    container = {"name": "node", "image": IMAGE, "ports": [{"containerPort": 29500}]}

    def tried():
        body = {"metadata": {"name": "some", "labels": marks}, "spec": {"containers": [container]}}
        return space.core.create_namespaced_pod(space.name, body, dry_run="All").spec

    if not tried().host_network:
        yield
        return
    address = next(each.address for each in space.core.list_node().items[0].status.addresses if each.type == "InternalIP")
    job = "object.metadata.labels['jobset.sigs.k8s.io/jobset-name']"
    alias = f"{{'ip': dyn('{address}'), 'hostnames': dyn([{job} + '-node-0-0.' + {job}])}}"
    patch = f"[JSONPatch{{op: 'add', path: '/spec/hostAliases', value: [{alias}]}}, JSONPatch{{op: 'remove', path: '/spec/containers/0/ports'}}]"
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
        },
        "matchConditions": [{"name": "port", "expression": "has(object.spec.containers[0].ports)"}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }
    made = {"mutatingadmissionpolicies": policy, "mutatingadmissionpolicybindings": {"policyName": space.name}}
    for (plural, spec), kind in zip(made.items(), ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"), strict=True):
        body = {"apiVersion": "/".join(ADMISSION), "kind": kind, "metadata": {"name": space.name}, "spec": spec}
        space.custom.create_cluster_custom_object(*ADMISSION, plural, body)
    space.until(lambda: tried().host_aliases)
    yield
    for plural in made:
        space.custom.delete_cluster_custom_object(*ADMISSION, plural, space.name)


def test_trainers_own_jax_runtime_trains_the_same_model(space, flights, lost, names):
    runtime = {"training_runtime": "ClusterTrainingRuntime/jax-distributed"}
    done = space.launch(load_component("train_model"), flights, **SETTINGS, backend="jax", settings=runtime).wait(900)
    assert made_by(done) == made_by(lost)
    # The place is Trainer's: our workers do not look for each other.
    assert "attempt 0: " not in done.log
    assert done.job["spec"]["runtimeRef"]["name"] == "jax-distributed"
