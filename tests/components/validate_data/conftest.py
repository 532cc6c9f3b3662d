"""Small tables with two features, one of them with nulls, and a label."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.require_valid_data.logic import require_valid_data
from intermodal.components.validate_data.logic import validate_data

ROWS = 400


def columns(rows: int = ROWS, **changed: Any) -> dict[str, Any]:
    """Return a table's columns: `size` repeats every 20 rows, `colour` is one of three, `label` is 1 in every third row."""
    found: dict[str, Any] = {
        "size": pa.array([None if row % 20 == 7 else row % 20 / 10 for row in range(rows)], pa.float64()),
        "colour": pa.array([("red", "green", "blue")[row * 7 % 3] for row in range(rows)]),
        "label": pa.array([int(row % 3 == 0) for row in range(rows)]),
        **changed,
    }
    return {name: column for name, column in found.items() if column is not None}


class Run:
    """One call of `validate_data` and, as in a pipeline, of `require_valid_data`, which raises BlockedError; and what was written."""

    def __init__(self, path: Path, defaults: dict[str, Any]) -> None:
        self.path, self.defaults = path, defaults
        self.examples = path / "examples"
        self.examples.mkdir(parents=True)

    def write(self, part: str, file: str = "0.parquet", **changed: Any) -> Path:
        (self.examples / part).mkdir(exist_ok=True)
        path = self.examples / part / file
        pq.write_table(pa.table(columns(**changed)), path)
        return path

    def __call__(self, *, examples_path: Path | None = None, **changed: Any) -> dict[str, Any]:
        given = {**self.defaults, "label": "label", "baseline_path": None, "examples_uri": "", **changed}
        outputs = {f"{name}_path": str(self.path / name) for name in ("statistics", "schema", "anomalies", "view")}
        baseline = given.pop("baseline_path")
        passed = validate_data(
            examples_path=str(examples_path or self.examples), baseline_path=str(baseline) if baseline else None, **{**given, **outputs}
        )
        assert passed == (self.found()["verdict"] == "passed")
        require_valid_data(anomalies_path=outputs["anomalies_path"])
        return self.found()

    def found(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.path / "anomalies" / "anomalies.json").read_text())
        return value

    def kinds(self, severity: str) -> set[tuple[str, str, str]]:
        return {(a["part"], a["feature"], a["kind"]) for a in self.found()["anomalies"] if a["severity"] == severity}

    def schema(self) -> schema_pb2.Schema:
        return text_format.Parse((self.path / "schema" / "schema.pbtxt").read_text(), schema_pb2.Schema())

    def feature(self, name: str) -> schema_pb2.Feature:
        return next(feature for feature in self.schema().feature if feature.name == name)

    def statistics(self, part: str) -> statistics_pb2.DatasetFeatureStatistics:
        found = statistics_pb2.DatasetFeatureStatisticsList.FromString((self.path / "statistics" / f"{part}.pb").read_bytes())
        assert len(found.datasets) == 1
        return found.datasets[0]

    def as_baseline(self) -> Path:
        """Return what `fetch_champion` would bring of this run."""
        path = self.path / "baseline"
        path.mkdir()
        (path / "champion.json").write_text(json.dumps({"version": "3", "model_sha256": "a" * 64}))
        (path / "schema.pbtxt").write_bytes((self.path / "schema" / "schema.pbtxt").read_bytes())
        (self.path / "statistics").rename(path / "statistics")
        return path


@pytest.fixture
def new_run(tmp_path: Path, defaults_of: Callable[[str], dict[str, Any]]) -> Callable[[str], Run]:
    defaults = {name: value for name, value in defaults_of("validate_data").items() if name != "baseline"}
    return lambda name: Run(tmp_path / name, defaults)


@pytest.fixture
def run(new_run: Callable[[str], Run]) -> Run:
    """A run over clean parts train, validation and test."""
    made = new_run("run")
    made.write("train")
    made.write("validation", rows=120)
    made.write("test", rows=120)
    return made
