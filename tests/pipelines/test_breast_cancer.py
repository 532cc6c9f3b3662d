"""The second shipped example: another table, another label, another feature repository, no other code."""

import json
import urllib.request

import pytest

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
