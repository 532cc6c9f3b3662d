"""What `test_predictor` promises."""

import json
import os
from pathlib import Path

import pytest

from intermodal.components.test_predictor import logic
from intermodal.runtime.errors import ConfigurationError, DeploymentError
from tests.serving.conftest import ROWS, probability, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, 0.0)
    return folder


@pytest.fixture
def given(tmp_path, model):
    def arguments(*, bias=0.0, model_path=model, timeout=180.0, tolerance=1e-4):
        smoke = {"instances": ROWS, "probabilities": [probability(row, bias) for row in ROWS]}
        (tmp_path / "smoke.json").write_text(json.dumps(smoke))
        return {"model_path": str(model_path), "evaluation_path": str(tmp_path), "timeout": timeout, "tolerance": tolerance}

    return arguments


def children() -> set[str]:
    return {path.name for path in Path("/proc").glob("[0-9]*") if f"\nPPid:\t{os.getpid()}\n" in (path / "status").read_text()}


def test_a_model_that_answers_right_is_said_to_and_no_predictor_stays(given):
    before = children()
    assert logic.test_predictor(**given()) == "4 rows of the evaluation got the expected answers over V1 and V2, within 0.0001"
    assert {each for each in children() - before if "Z" not in Path(f"/proc/{each}/stat").read_text().rpartition(")")[2]} == set()


def test_without_an_evaluation_the_models_own_example_is_answered(given):
    said = logic.test_predictor(**given() | {"evaluation_path": None})
    assert said == "an example row got a well-formed answer over V1 and V2; there is no evaluation to compare it with"


def test_a_model_that_answers_otherwise_is_refused(given):
    with pytest.raises(DeploymentError, match=r"answers 0\.\d+ over V1 for row 0 of smoke\.json"):
        logic.test_predictor(**given(bias=1.0))


def test_a_model_that_cannot_be_loaded_is_refused_with_the_predictors_words(given, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "signature.json").write_text('{"inputs": []}')
    with pytest.raises(DeploymentError, match=r"ended with status 1; see its log(.|\n)*no saved_model.pb"):
        logic.test_predictor(**given(model_path=tmp_path / "broken"))


@pytest.mark.parametrize(
    ("changes", "words"), [({"timeout": 0.0}, "timeout: 0.0 must be above 0"), ({"tolerance": -1.0}, "tolerance: -1.0 must be at least 0")]
)
def test_a_number_out_of_range_is_refused_before_anything_starts(given, changes, words):
    with pytest.raises(ConfigurationError, match=words):
        logic.test_predictor(**given(**changes))
