"""The predictor with a model, started as a process of the task and asked before anything else serves the model."""

import tempfile
from pathlib import Path
from typing import Final

from intermodal.components.test_predictor.arguments import check_arguments
from intermodal.serving.json_http import ask
from intermodal.serving.records import end_process, start_time
from intermodal.serving.server import Candidate, public_socket
from intermodal.serving.smoke_test import SmokeTest

_NAME: Final = "model"


def test_predictor(*, model_path: str, evaluation_path: str | None, timeout: float, tolerance: float) -> str:
    """Start the predictor, ask it the rows of `smoke.json` over V1 and V2, and end it. See the contract for the arguments.

    Returns:
        What was tested, in words.

    Raises:
        ConfigurationError: A number is out of range.
        DataError: An input cannot be read.
        DeploymentError: The predictor does not start, is late or answers wrong.
    """
    check_arguments(timeout=timeout, tolerance=tolerance)
    smoke_test = SmokeTest.read(model_path, evaluation_path, tolerance)
    with tempfile.TemporaryDirectory() as folder, public_socket(0, None) as unused:
        predictor = Candidate(
            name=_NAME, model=Path(model_path).absolute(), public=unused, control=Path(folder) / "control", log=Path(folder) / "log"
        )
        started = start_time(predictor.pid) or 0
        try:
            predictor.wait_until_ready(timeout)
            return smoke_test.run(_NAME, lambda path, body: ask(f"{predictor.url}/{path}", body)).tested
        finally:
            end_process(predictor.pid, started, patience=3)
