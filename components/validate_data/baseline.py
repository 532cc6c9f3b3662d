"""What an earlier run left behind to be compared with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.distributions.references import Reference, References
from intermodal.components.validate_data.schema import parse_schema
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError

#: Beside the statistics: how each feature of `train` varies over its blocks.
BLOCKS_FILE: Final = "blocks.json"


@dataclass(frozen=True)
class Baseline:
    """An earlier run's version name, schema, statistics and blocks of `train`, as far as there are any."""

    version: str | None = None
    schema: schema_pb2.Schema | None = None
    statistics: statistics_pb2.DatasetFeatureStatisticsList | None = None
    references: References | None = None


def read_baseline(path: Path) -> Baseline:
    """Read `champion.json`, `schema.pbtxt`, `statistics/train.pb` and `statistics/blocks.json` of a directory.

    Each may be absent, as may the directory.

    Raises:
        DataError: A file is there and cannot be read.
        ConfigurationError: The schema is not one.
    """
    champion, schema, statistics = path / "champion.json", path / "schema.pbtxt", path / "statistics" / "train.pb"
    blocks = path / "statistics" / BLOCKS_FILE
    version = read_json(champion).get("version") if champion.exists() else None
    return Baseline(
        version=None if version is None else str(version),
        schema=parse_schema(schema.read_text(encoding="utf-8"), str(schema)) if schema.exists() else None,
        statistics=_read_statistics(statistics) if statistics.exists() else None,
        references=_read_references(blocks) if blocks.exists() else None,
    )


def write_references(path: Path, references: References) -> None:
    """Write what `read_baseline` of a later run reads."""
    found = {name: reference.to_dict() for name, reference in references.items()}
    (path / BLOCKS_FILE).write_text(json.dumps(found, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def _read_references(path: Path) -> References:
    try:
        return {name: Reference(**values) for name, values in read_json(path).items()}
    except (TypeError, AttributeError) as error:
        raise DataError(f"{path}: not what validate_data writes ({error}); train and register a model again") from error


def _read_statistics(path: Path) -> statistics_pb2.DatasetFeatureStatisticsList:
    try:
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except DecodeError as error:
        raise DataError(f"{path}: not statistics ({error}); train and register a model again") from error
    if not statistics.datasets:
        raise DataError(f"{path}: statistics of nothing; train and register a model again")
    return statistics
