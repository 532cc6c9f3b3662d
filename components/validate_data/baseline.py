"""What an earlier run left behind to be compared with."""

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.schema import parse_schema
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError


@dataclass(frozen=True)
class Baseline:
    """An earlier run's version name, schema and statistics of `train`, as far as there are any."""

    version: str | None
    schema: schema_pb2.Schema | None
    statistics: statistics_pb2.DatasetFeatureStatisticsList | None


def read_baseline(path: Path) -> Baseline:
    """Read `champion.json`, `schema.pbtxt` and `statistics/train.pb` of a directory, each of which may be absent, as may the directory.

    Raises:
        DataError: A file is there and cannot be read.
        ConfigurationError: The schema is not one.
    """
    champion, schema, statistics = path / "champion.json", path / "schema.pbtxt", path / "statistics" / "train.pb"
    version = read_json(champion).get("version") if champion.exists() else None
    return Baseline(
        version=None if version is None else str(version),
        schema=parse_schema(schema.read_text(encoding="utf-8"), str(schema)) if schema.exists() else None,
        statistics=_read_statistics(statistics) if statistics.exists() else None,
    )


def _read_statistics(path: Path) -> statistics_pb2.DatasetFeatureStatisticsList:
    try:
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except DecodeError as error:
        raise DataError(f"{path}: not statistics ({error}); train and register a model again") from error
    if not statistics.datasets:
        raise DataError(f"{path}: statistics of nothing; train and register a model again")
    return statistics
