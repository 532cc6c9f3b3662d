import json

import pytest

from intermodal.components.require_valid_data.logic import require_valid_data
from intermodal.runtime.errors import BlockedError, DataError


@pytest.fixture
def judge(tmp_path):
    def run(value):
        (tmp_path / "anomalies.json").write_text(json.dumps(value))
        require_valid_data(anomalies_path=str(tmp_path))

    return run


def anomalies(severity, count):
    return [{"part": "train", "feature": f"x{i}", "kind": "SKEW", "severity": severity, "text": f"train: x{i} is off"} for i in range(count)]


def test_data_without_errors_passes(judge):
    judge({"verdict": "passed", "anomalies": anomalies("warning", 7)})


def test_errors_stop_the_run_with_the_first_five_in_words_and_the_rest_counted(judge):
    with pytest.raises(BlockedError) as error:
        judge({"verdict": "blocked", "anomalies": anomalies("error", 7) + anomalies("warning", 1)})
    assert str(error.value) == (
        "the data is not fit to train on, 7 anomalies: train: x0 is off; train: x1 is off; train: x2 is off; train: x3 is off; train: x4 is off; "
        "and 2 more"
    )
    with pytest.raises(BlockedError, match=r"1 anomaly: train: x0 is off$"):
        judge({"verdict": "blocked", "anomalies": anomalies("error", 1)})


@pytest.mark.parametrize("value", [{"verdict": "passed"}, [], {"verdict": "passed", "anomalies": [{}]}])
def test_a_file_that_is_none_is_refused(judge, value):
    with pytest.raises(DataError, match=r"anomalies\.json: not what validate_data writes"):
        judge(value)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        require_valid_data(anomalies_path=str(tmp_path))
