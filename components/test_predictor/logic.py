"""The predictor with a model, started as a process of the task and held to the evaluation's probabilities, before anything else serves it."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError
from intermodal.serving.records import end_process, start_time
from intermodal.serving.server import Candidate, public_socket
from intermodal.serving.smoke_test import SmokeTest, post_json


class Service(NamedTuple):
    """What a managed service is told; the contract describes each."""

    uri: str
    labels: dict[str, str]
    parent_model: str
    machine_type: str
    minimum_replicas: int
    maximum_replicas: int
    service_account: str


def test_predictor(
    *,
    model_path: str,
    model_uri: str,
    evaluation_path: str,
    registration_path: str,
    service_name: str,
    serving: Mapping[str, Any],
    known_models: Sequence[str],
) -> Service:
    """Start the predictor, ask it the rows of `smoke.json` over V1 and V2, end it, and describe the service.

    Args:
        model_path: The SavedModel as this machine reads it.
        model_uri: The same, as others will.
        evaluation_path: Holds `smoke.json`.
        registration_path: Holds `registration.json`.
        service_name: Lowercase letters, digits and hyphens.
        serving: See the contract.
        known_models: See the contract.

    Raises:
        ConfigurationError: The name or a number of replicas is none.
        DataError: An input cannot be read.
        DeploymentError: The predictor does not start, is late or answers wrong.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service_name):
        raise ConfigurationError(f"service_name {service_name!r}: use lowercase letters, digits and hyphens, 63 at most, a letter first")
    minimum = int(serving.get("minimum_replicas") or 1)
    maximum = int(serving.get("maximum_replicas") or minimum)
    if not 1 <= minimum <= maximum:
        raise ConfigurationError(f"serving: minimum_replicas {minimum}, maximum_replicas {maximum}; one at least, and no fewer at most than at least")
    version = str(read_json(Path(registration_path) / "registration.json")["version"])
    smoke = SmokeTest.read(evaluation_path, model_path, serving.get("tolerance"))
    _rehearse(Path(model_path), smoke, service_name, float(serving.get("timeout") or 60))
    return Service(
        uri=model_uri,
        labels={"service": service_name, "model-version": re.sub(r"[^a-z0-9_-]", "-", version.lower())[:63]},
        parent_model=str(serving.get("parent_model") or next(iter(known_models), "")),
        machine_type=str(serving.get("machine_type") or "n1-standard-2"),
        minimum_replicas=minimum,
        maximum_replicas=maximum,
        service_account=str(serving.get("service_account") or ""),
    )


def _rehearse(model: Path, smoke: SmokeTest, name: str, timeout: float) -> None:
    with tempfile.TemporaryDirectory() as folder, public_socket(0, None) as unused:
        candidate = Candidate(name=name, model=model, public=unused, control=Path(folder) / "control", log=Path(folder) / "log")
        started = start_time(candidate.pid) or 0
        try:
            candidate.wait_until_ready(timeout)
            smoke.run(name, lambda path, body: post_json(f"{candidate.url}/{path}", body))
        finally:
            end_process(candidate.pid, started, patience=3)
