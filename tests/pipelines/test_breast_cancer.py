"""The second shipped example: another table, another label, another feature repository, no other code."""

import contextlib
import json
import re
import socket
import sqlite3
import urllib.request

import pytest

from intermodal.serving.records import deployment

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def example(make_workplace, tmp_path_factory):
    place = make_workplace("examples/breast_cancer/breast_cancer.yaml", tmp_path_factory.mktemp("breast_cancer"))
    yield place
    place.intermodal("serve", "stop", "breast-cancer")


def test_another_table_ends_as_a_served_model_by_configuration_alone(example, say):
    done = example.run("--set", f"serving.local.port={example.port}", "--set", "training.epochs=30", "--set", "gate.minimum.auc=0.9")
    assert say(done, "Gate") == "passed"
    request = json.loads(next(example.home.glob("runs/*/request.json")).read_text())
    assert {"mean_radius", "worst_texture"} <= set(request["instances"][0])
    assert not {"benign", "malignant", "tumour"} & set(request["instances"][0])
    url = f"http://127.0.0.1:{example.port}/v1/models/breast-cancer:predict"
    body = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(body, timeout=30) as answer:
        (probability, *_) = json.load(answer)["predictions"]
    assert 0 <= probability <= 1


# A model that answers at random: what it gave when it was evaluated, it does not give when it is served.
RANDOM = """
import keras
import tensorflow as tf

class Noise(keras.layers.Layer):
    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))

def build(width, settings):
    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(1), Noise()])
"""


def champion_and_server(example) -> tuple[str, str, list[float]]:
    """Return the champion's version, the version that serves by the deployment's record, and what the server answers to the first run's request."""
    with contextlib.closing(sqlite3.connect(example.home / "stores" / "mlflow.db")) as database:
        ((champion,),) = database.execute("select version from registered_model_aliases where alias = 'champion'").fetchall()
    record = deployment(example.home / "deployments", "breast-cancer")
    request = min(example.home.glob("runs/*/request.json"), key=lambda path: path.stat().st_mtime).read_bytes()
    body = urllib.request.Request(f"{record.url}/v1/models/breast-cancer:predict", request, {"Content-Type": "application/json"})
    with urllib.request.urlopen(body, timeout=30) as answer:
        return str(champion), record.version, json.load(answer)["predictions"]


@pytest.mark.fault(
    "Local runs",
    "a model that passed the gate cannot be brought to serve: its port is taken, or it answers wrong",
    "the champion and the server stay as they were, and the next run completes it",
)
def test_a_deployment_that_fails_leaves_the_champion_and_the_server_and_the_next_run_completes_it(example, tmp_path, say):
    before = champion_and_server(example)
    assert before[:2] == ("1", "1")
    passing = [each for key in ("minimum", "margin", "slice_margin") for each in ("--set", f"gate.{key}={{}}")]
    passing += ["--set", "training.epochs=5", "--set", "seed=1"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = example.intermodal("run", example.configuration, *passing, "--set", f"serving.local.port={other.getsockname()[1]}")
    assert taken.returncode == 1
    assert "serve-model: port" in taken.stdout + taken.stderr
    assert champion_and_server(example) == before

    (tmp_path / "model.py").write_text(RANDOM)
    code = ["--set", f"training.code={tmp_path}", "--set", "training.model_function=model.py:build"]
    wrong = example.intermodal("run", example.configuration, *passing, *code, "--set", f"serving.local.port={example.port}")
    assert wrong.returncode == 1
    assert re.search(r"the server of breast-cancer answers [\d.]+ over V[12] for row .* is expected within", wrong.stdout + wrong.stderr, re.DOTALL)
    assert champion_and_server(example) == before

    done = example.run(*passing, "--set", f"serving.local.port={example.port}")
    assert say(done, "Registry") == "version 2 is the champion now, in place of version 1"
    champion, served, answers = champion_and_server(example)
    assert (champion, served) == ("2", "2")
    assert answers != before[2]


MODEL = """
import keras

def build(width, settings):
    return keras.Sequential([keras.Input((width,)), keras.layers.Dense(UNITS, activation="relu"), keras.layers.Dense(1)])
"""


def test_editing_the_model_reruns_no_transform(example, tmp_path):
    code = tmp_path / "model"
    code.mkdir()
    changes = (
        "--set",
        f"training.code={code}",
        "--set",
        "training.model_function=model.py:build",
        "--set",
        "training.epochs=5",
        "--set",
        "gate.minimum={}",
    )
    states = []
    for units in ("8", "9"):
        (code / "model.py").write_text(MODEL.replace("UNITS", units))
        example.run("--set", f"serving.local.port={example.port}", *changes)
        newest = max(example.home.glob("runs/*/run.json"), key=lambda path: path.stat().st_mtime)
        states.append(json.loads(newest.read_text())["tasks"])
    before, after = states
    assert before["train-model"] == after["train-model"] == "done"
    assert {after[task] for task in ("ingest-tables", "transform-tables", "retrieve-features")} == {"cached"}
