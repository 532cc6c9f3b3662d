"""The smoke test: whether a server gives the probabilities that the evaluation saw. The same for every way of serving. Standard library only."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError, DeploymentError

#: How far a served probability may be from the expected one, unless the configuration says otherwise.
TOLERANCE: Final = 1e-4
_DATATYPES: Final = {"string": "BYTES", "integer": "INT64", "number": "FP64"}
_SECONDS: Final = 30


@dataclass(frozen=True)
class SmokeTest:
    """Rows that the model takes, and what it must answer to them.

    Attributes:
        inputs: The model's inputs, as in `signature.json`.
        instances: The rows of `smoke.json` that have all that the model requires.
        probabilities: The expected answer to each.
        rows: The position of each in `smoke.json`.
        tolerance: How far an answer may be from the expected one.
    """

    inputs: Sequence[Mapping[str, Any]]
    instances: list[dict[str, Any]]
    probabilities: list[float]
    rows: list[int]
    tolerance: float

    @classmethod
    def read(cls, evaluation_path: str, model_path: str, tolerance: float | None = None) -> "SmokeTest":
        """Read `smoke.json` and the model's `signature.json`.

        Args:
            evaluation_path: Directory with `smoke.json`.
            model_path: Directory with `signature.json`.
            tolerance: How far a probability may be from the expected one. Default: `TOLERANCE`.

        Raises:
            DataError: A file cannot be read, or no row has all that the model requires.
        """
        smoke = read_json(Path(evaluation_path) / "smoke.json")
        inputs = read_json(Path(model_path) / "signature.json")["inputs"]
        required = [each["name"] for each in inputs if each["required"]]
        # A held-out row may lack what every training row had: the server refuses such a row, and rightly.
        rows = [row for row, instance in enumerate(smoke["instances"]) if all(instance.get(column) is not None for column in required)]
        if not rows:
            raise DataError(f"{evaluation_path}/smoke.json: no row has all columns that the model requires; evaluate on rows that do")
        return cls(
            inputs=inputs,
            instances=[smoke["instances"][row] for row in rows],
            probabilities=[smoke["probabilities"][row] for row in rows],
            rows=rows,
            tolerance=tolerance or TOLERANCE,
        )

    def run(self, name: str, post: Callable[[str, Any], Any]) -> dict[str, Any]:
        """Ask over V1 and V2, and return `request` and `response` of one row over V1, as they went over HTTP.

        Args:
            name: The model's name on the server.
            post: Posts JSON to a path of the server and returns the JSON that comes back.

        Raises:
            DeploymentError: The server does not answer, or answers something else.
        """
        exchange = self.run_v1(name, lambda body: post(f"v1/models/{name}:predict", body))
        tensors = [
            {
                "name": each["name"],
                "shape": [len(self.instances)],
                "datatype": _DATATYPES[each["type"]],
                "data": [instance.get(each["name"]) for instance in self.instances],
            }
            for each in self.inputs
        ]
        outputs = _member(post(f"v2/models/{name}/infer", {"inputs": tensors}), "outputs")
        self._compare(name, "V2", _member(outputs[0], "data") if isinstance(outputs, list) and outputs else None)
        return exchange

    def run_v1(self, name: str, post: Callable[[Any], Any]) -> dict[str, Any]:
        """As `run`, over V1 alone: for services that have one address for predictions. `post` gets the body and knows the address."""
        self._compare(name, "V1", _member(post({"instances": self.instances}), "predictions"))
        request = {"instances": self.instances[-1:]}
        return {"request": request, "response": {"predictions": _member(post(request), "predictions")}}

    def _compare(self, name: str, protocol: str, answers: Any) -> None:
        if not isinstance(answers, list) or len(answers) != len(self.probabilities):
            raise DeploymentError(
                f"the server of {name} answers {str(answers)[:200]} over {protocol} to {len(self.rows)} rows; is it the model that was evaluated?"
            )
        for row, answer, expected in zip(self.rows, answers, self.probabilities, strict=True):
            if not isinstance(answer, int | float) or not abs(answer - expected) <= self.tolerance:
                raise DeploymentError(
                    f"the server of {name} answers {answer} over {protocol} for row {row} of smoke.json, where {expected} is expected within "
                    f"{self.tolerance:g}; is it the model that was evaluated?"
                )


def _member(answer: Any, name: str) -> Any:
    """Return a member of a JSON object; None where the answer is no object or lacks it."""
    return answer.get(name) if isinstance(answer, dict) else None


def post_json(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
    """Post JSON and return the JSON that comes back.

    Raises:
        DeploymentError: The server answers an error, or not at all within 30 seconds.
    """
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            content = answer.read()
    except urllib.error.HTTPError as error:
        raise DeploymentError(f"{url} answers HTTP {error.code}: {error.read(2000).decode(errors='replace')}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DeploymentError(f"{url} does not answer: {error}") from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DeploymentError(f"{url} answers with no JSON ({error}): {content[:200]!r}") from error
