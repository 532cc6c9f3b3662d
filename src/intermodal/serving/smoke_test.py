"""The smoke test, the same for every way of serving: whether a server gives the predictions that the evaluation saw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError, DeploymentError

_DATATYPES: Final = {"string": "BYTES", "integer": "INT64", "number": "FP64", "boolean": "BOOL"}

#: Posts JSON to a path of the server, or gets the path where there is no body, and returns the JSON that comes back.
Ask = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Exchange:
    """What a smoke test saw.

    Attributes:
        tested: In words, what was tested.
        request: A request of one row, as it went over HTTP; None where none was sent.
        response: The predictions that came back.
    """

    tested: str
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None


@dataclass(frozen=True)
class SmokeTest:
    """Rows that the model takes, and what it must answer to them.

    Attributes:
        instances: The rows of `smoke.json` that have all that the model requires; without an evaluation the example of `signature.json`, or none.
        expected: The expected answer to each; None: any answer will do.
        rows: The position of each in `smoke.json`.
        inputs: The model's inputs, as in `signature.json`; None: the server is asked for them where they are needed.
        tolerance: How far an answer may be from the expected one.
    """

    instances: list[Any]
    expected: list[Any] | None
    rows: list[int]
    inputs: Sequence[Mapping[str, Any]] | None
    tolerance: float

    @classmethod
    def read(cls, model_path: str | None, evaluation_path: str | None, tolerance: float) -> "SmokeTest":
        """Read `smoke.json` and the model's `signature.json`, where there are such files.

        Args:
            model_path: Directory that may hold `signature.json`.
            evaluation_path: Directory with `smoke.json`: `instances`, and the `probabilities` (numbers, or lists of them) that they must give.
            tolerance: How far an answer may be from the expected one.

        Raises:
            DataError: A file cannot be read, or no row has all that the model requires.
        """
        signature = Path(model_path, "signature.json") if model_path else None
        described = read_json(signature) if signature and signature.is_file() else {}
        inputs = described.get("inputs")
        if evaluation_path is None:
            example = described.get("example")
            return cls([example] if example else [], None, [0] if example else [], inputs, tolerance)
        smoke = read_json(Path(evaluation_path) / "smoke.json")
        try:
            instances, expected = list(smoke["instances"]), list(smoke["probabilities"])
        except (TypeError, KeyError) as error:
            raise DataError(f"{evaluation_path}/smoke.json: expected an object with the lists instances and probabilities ({error!r})") from error
        if len(instances) != len(expected):
            raise DataError(f"{evaluation_path}/smoke.json: {len(instances)} instances and {len(expected)} probabilities; give one for each")
        required = [each["name"] for each in inputs or [] if each["required"]]
        # A held-out row may lack what every training row had: the server refuses such a row, and rightly.
        rows = [row for row, each in enumerate(instances) if not required or all(each.get(column) is not None for column in required)]
        if not rows:
            raise DataError(f"{evaluation_path}/smoke.json: no row has all columns that the model requires; evaluate on rows that do")
        return cls([instances[row] for row in rows], [expected[row] for row in rows], rows, inputs, tolerance)

    def run(self, name: str, ask: Ask, protocols: Sequence[str] = ("v1", "v2")) -> Exchange:
        """Ask the server over each protocol.

        Args:
            name: The model's name on the server.
            ask: Reaches the server.
            protocols: Of `v1` and `v2`, those that the server speaks; of the first comes the exchange that is returned.

        Raises:
            DeploymentError: The server does not answer, or answers something else.
        """
        # Only of our predictor, which speaks both, is it known that it describes its inputs as they are.
        test = self if self.instances or len(protocols) < 2 else self._with_zeros(name, ask)
        if not test.instances or not protocols:
            return Exchange("the server is ready; no row was sent, for there is neither an evaluation nor an example that is sure to fit the model")
        made = {"v1": test._v1, "v2": test._v2}
        exchanges = [made[protocol](name, ask) for protocol in protocols]
        return replace(exchanges[0], tested=test._tested(" and ".join(map(str.upper, protocols))))

    def run_v1(self, name: str, post: Callable[[Any], Any]) -> Exchange:
        """As `run`, over V1 alone: for services that have one address for predictions. `post` gets the body and knows the address."""
        return self._v1(name, lambda _, body: post(body))

    def _with_zeros(self, name: str, ask: Ask) -> "SmokeTest":
        """Return the test with a row of zeros, where the server says that its inputs are numbers of known shape."""
        inputs = _member(ask(f"v2/models/{name}", None), "inputs") or []
        if not inputs or any(each["datatype"] == "BYTES" or -1 in each["shape"][1:] for each in inputs):
            return self
        row = {each["name"]: _zeros(each["shape"][1:], False if each["datatype"] == "BOOL" else 0) for each in inputs}
        return SmokeTest([row], None, [0], None, self.tolerance)

    def _v1(self, name: str, ask: Ask) -> Exchange:
        path = f"v1/models/{name}:predict"
        self._compare(name, "V1", _member(ask(path, {"instances": self.instances}), "predictions"))
        request = {"instances": self.instances[-1:]}
        return Exchange(self._tested("V1"), request, {"predictions": _member(ask(path, request), "predictions")})

    def _v2(self, name: str, ask: Ask) -> Exchange:
        if self.inputs:
            inputs = [{"name": each["name"], "datatype": _DATATYPES[each["type"]]} for each in self.inputs]
        else:
            inputs = _member(ask(f"v2/models/{name}", None), "inputs") or []

        def request(instances: list[Any]) -> dict[str, Any]:
            tensors = []
            for each in inputs:
                values = [instance.get(each["name"]) if isinstance(instance, dict) else instance for instance in instances]
                tensors.append({"name": each["name"], "shape": _shape(values), "datatype": each["datatype"], "data": values})
            return {"inputs": tensors}

        def outputs(instances: list[Any]) -> Any:
            return _member(ask(f"v2/models/{name}/infer", request(instances)), "outputs")

        found = outputs(self.instances)
        self._compare(name, "V2", _rows(found[0]) if isinstance(found, list) and found else None)
        return Exchange(self._tested("V2"), request(self.instances[-1:]), {"outputs": outputs(self.instances[-1:])})

    def _tested(self, protocols: str) -> str:
        if self.expected is None:
            return f"an example row got a well-formed answer over {protocols}; there is no evaluation to compare it with"
        return f"{len(self.rows)} rows of the evaluation got the expected answers over {protocols}, within {self.tolerance:g}"

    def _compare(self, name: str, protocol: str, answers: Any) -> None:
        if not isinstance(answers, list) or len(answers) != len(self.rows):
            raise DeploymentError(
                f"the server of {name} answers {str(answers)[:200]} over {protocol} to {len(self.rows)} rows; is it the model that was evaluated?"
            )
        for row, answer, expected in zip(self.rows, answers, self.expected or [], strict=bool(self.expected)):
            if not _close(answer, expected, self.tolerance):
                raise DeploymentError(
                    f"the server of {name} answers {answer} over {protocol} for row {row} of smoke.json, where {expected} is expected within "
                    f"{self.tolerance:g}; is it the model that was evaluated?"
                )


def _close(answer: Any, expected: Any, tolerance: float) -> bool:
    """Say whether two answers, numbers or lists of them, are equal within the tolerance; anything else must be equal."""
    if isinstance(expected, list):
        return isinstance(answer, list) and len(answer) == len(expected) and all(map(_close, answer, expected, [tolerance] * len(expected)))
    if isinstance(expected, int | float) and isinstance(answer, int | float):
        return abs(answer - expected) <= tolerance
    return bool(answer == expected)


def _rows(output: Any) -> Any:
    """Return a V2 output's values row by row: they may come flat."""
    data, shape = _member(output, "data"), _member(output, "shape")
    if not isinstance(data, list) or not isinstance(shape, list) or len(shape) < 2 or len(data) == shape[0]:
        return data
    for size in reversed(shape[1:]):
        data = [data[start : start + size] for start in range(0, len(data), size)] if size else data
    return [each[0] for each in data] if shape[1:] == [1] else data


def _shape(values: Any) -> list[int]:
    return [len(values), *(_shape(values[0]) if values and isinstance(values[0], list) else [])]


def _zeros(shape: Sequence[int], zero: Any) -> Any:
    return [_zeros(shape[1:], zero) for _ in range(shape[0])] if shape else zero


def _member(answer: Any, name: str) -> Any:
    """Return a member of a JSON object; None where the answer is no object or lacks it."""
    return answer.get(name) if isinstance(answer, dict) else None
