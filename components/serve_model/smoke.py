"""Whether a server gives the probabilities that the evaluation saw, asked over HTTP by both protocols."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.errors import DataError, DeploymentError

_DATATYPES = {"string": "BYTES", "integer": "INT64", "number": "FP64"}
_SECONDS = 30


def smoke_test(url: str, name: str, smoke: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], tolerance: float) -> dict[str, Any]:
    """Ask for the rows whose probabilities are known, over V1 and V2.

    Args:
        url: The server's address.
        name: The model's name there.
        smoke: `smoke.json`.
        inputs: The model's inputs, as in `signature.json`.
        tolerance: How far a probability may be from the expected one.

    Returns:
        `request` and `response` of one row over V1, as they went over HTTP.

    Raises:
        DataError: No row of `smoke.json` can be sent.
        DeploymentError: The server does not answer, or answers something else.
    """
    instances, expected, rows = answerable(smoke, inputs)
    first = post(f"{url}/v1/models/{name}:predict", {"instances": instances}).get("predictions")
    compare(name, "V1", first, expected, rows, tolerance)
    outputs = post(f"{url}/v2/models/{name}/infer", _tensors(instances, inputs)).get("outputs") or [{}]
    compare(name, "V2", outputs[0].get("data"), expected, rows, tolerance)
    request = {"instances": instances[-1:]}
    return {"request": request, "response": post(f"{url}/v1/models/{name}:predict", request)}


def answerable(smoke: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[float], list[int]]:
    """Return the rows of `smoke.json` that have all that the model requires: instances, expected probabilities, positions.

    Raises:
        DataError: There is none.
    """
    required = [each["name"] for each in inputs if each["required"]]
    # A held-out row may lack what every training row had: the server refuses such a row, and rightly.
    rows = [row for row, instance in enumerate(smoke["instances"]) if all(instance.get(column) is not None for column in required)]
    if not rows:
        raise DataError("smoke.json: no row has all columns that the model requires; evaluate on rows that do")
    instances, expected = [smoke["instances"][row] for row in rows], [smoke["probabilities"][row] for row in rows]
    return instances, expected, rows


def compare(name: str, protocol: str, answers: Any, expected: list[float], rows: list[int], tolerance: float) -> None:
    """Hold a server's answers to the expected probabilities.

    Raises:
        DeploymentError: Their number differs, or one is further than `tolerance` from the expected one.
    """
    if not isinstance(answers, list) or len(answers) != len(expected):
        raise DeploymentError(
            f"the server of {name} answers {str(answers)[:200]} over {protocol} to {len(expected)} rows; is it the model evaluated?"
        )
    for row, answer, wanted in zip(rows, answers, expected, strict=True):
        if not isinstance(answer, int | float) or not abs(answer - wanted) <= tolerance:
            raise DeploymentError(
                f"the server of {name} answers {answer} over {protocol} for row {row} of smoke.json, where {wanted} is expected within {tolerance:g};"
                " is it the model that was evaluated?"
            )


def _tensors(instances: list[dict[str, Any]], inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": each["name"],
                "shape": [len(instances)],
                "datatype": _DATATYPES[each["type"]],
                "data": [instance.get(each["name"]) for instance in instances],
            }
            for each in inputs
        ]
    }


def post(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
    """Post JSON and return the JSON that comes back.

    Raises:
        DeploymentError: The server answers an error, or not at all.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise DeploymentError(f"{url} answers HTTP {error.code}: {error.read(2000).decode(errors='replace')}") from error
    except (OSError, ValueError) as error:
        raise DeploymentError(f"{url} does not answer: {error}") from error
