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
