"""What `test_predictor` promises."""

import json
import os
from pathlib import Path

import pytest

from intermodal.components.test_predictor.logic import test_predictor
from intermodal.runtime.errors import ConfigurationError, DeploymentError
from tests.serving.conftest import ROWS, probability, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, 0.0)
    return folder


@pytest.fixture
def given(tmp_path, model):
    def arguments(*, bias=0.0, version="3", model_path=model, name="toy", known=(), **serving):
        smoke = {"instances": ROWS, "probabilities": [probability(row, bias) for row in ROWS]}
        (tmp_path / "smoke.json").write_text(json.dumps(smoke))
        (tmp_path / "registration.json").write_text(json.dumps({"version": version}))
        return {
            "model_path": str(model_path),
            "model_uri": "gs://bucket/model",
            "evaluation_path": str(tmp_path),
            "registration_path": str(tmp_path),
            "service_name": name,
            "serving": serving,
            "known_models": list(known),
        }

    return arguments


def children() -> set[str]:
    return {path.name for path in Path("/proc").glob("[0-9]*") if f"\nPPid:\t{os.getpid()}\n" in (path / "status").read_text()}


def test_a_model_that_answers_right_is_described_and_no_predictor_stays(given):
    before = children()
    service = test_predictor(**given(version="2026.11.21+Main", known=["models/7", "models/8"], minimum_replicas=2.0, machine_type="n1-standard-4"))
    assert service._asdict() == {
        "uri": "gs://bucket/model",
        "labels": {"service": "toy", "model-version": "2026-11-21-main"},  # a label takes no other characters
        "parent_model": "models/7",
        "machine_type": "n1-standard-4",
        "minimum_replicas": 2,
        "maximum_replicas": 2,
        "service_account": "",
    }
    assert {each for each in children() - before if "Z" not in Path(f"/proc/{each}/stat").read_text().rpartition(")")[2]} == set()


def test_a_model_that_answers_otherwise_is_refused(given):
    with pytest.raises(DeploymentError, match=r"answers 0\.\d+ over V1 for row 0 of smoke\.json"):
        test_predictor(**given(bias=1.0))


def test_a_model_that_cannot_be_loaded_is_refused_with_the_predictors_words(given, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "signature.json").write_text('{"inputs": []}')
    with pytest.raises(DeploymentError, match=r"ended with status 1; see its log(.|\n)*not a SavedModel"):
        test_predictor(**given(model_path=tmp_path / "broken"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Toy Model"}, "service_name 'Toy Model': use lowercase"),
        ({"minimum_replicas": 3, "maximum_replicas": 2}, "minimum_replicas 3, maximum_replicas 2"),
        ({"minimum_replicas": -1}, "minimum_replicas -1"),
    ],
)
def test_settings_that_no_service_takes_are_refused_before_anything_starts(given, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        test_predictor(**given(**changes))
