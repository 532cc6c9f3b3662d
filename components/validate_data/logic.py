"""Statistics, schema and verdict over the parts of a table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.artifacts import read_json, whole_directory, whole_file, write_json
from intermodal.components.validate_data import anomalies as words
from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.beam_statistics import read_with_beam
from intermodal.components.validate_data.distances import BLOCKS, Distance, calibrate, compare
from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.schema import extend_schema, infer_schema, parse_schema, present_share, without_features
from intermodal.components.validate_data.statistics import Accumulator, column_types, read_blocks, readable
from intermodal.components.validate_data.view import render_view
from intermodal.errors import BlockedError, DataError

Statistics = statistics_pb2.DatasetFeatureStatisticsList

#: How many anomalies the error that blocks a run puts in words; the others are counted.
_WORDS = 5


def validate_data(
    examples_path: str,
    baseline_path: str,
    label: str,
    schema_text: str,
    ignored: Sequence[str],
    rules: dict[str, Any],
    beam_options: Sequence[str],
    statistics_path: str,
    schema_path: str,
    anomalies_path: str,
    view_path: str,
    examples_uri: str = "",
) -> None:
    """Compute statistics of every part, infer or extend the schema, hold the parts to it, and stop when they break it.

    Args:
        examples_path: A directory: `<part>/*.parquet`; the part `train` must be there.
        baseline_path: A directory that may hold an earlier run's `statistics/train.pb`, `schema.pbtxt` and `champion.json`.
        label: The label's column.
        schema_text: A TFMD schema in text form; empty: the baseline's, or else inferred from `train`.
        ignored: Columns that are neither feature nor label.
        rules: See `rules.Rules`.
        beam_options: Apache Beam pipeline options; empty: computed in this process.
        statistics_path: Where the statistics go.
        schema_path: Where the schema goes.
        anomalies_path: Where the anomalies go.
        view_path: Where the page goes.
        examples_uri: Where Apache Beam's workers find the examples; empty: at `examples_path`.

    Raises:
        DataError: The examples cannot be read, or have no part `train` or no rows in it.
        ConfigurationError: `rules` or `schema_text` is wrong.
        BlockedError: There are anomalies of severity `error`; all outputs were written before.
    """
    held = Rules.parse(rules)
    files = part_files(Path(examples_path))
    counts = {part: BLOCKS if part == "train" else 1 for part in files}
    if beam_options:
        blocks = read_with_beam(files, Path(examples_path), examples_uri, ignored, counts, beam_options)
    else:
        blocks = {part: read_blocks(found, ignored, counts[part]) for part, found in files.items()}
    accumulated = {part: Accumulator.merged(read) for part, read in blocks.items()}
    if not accumulated["train"].rows:
        raise DataError(f"{Path(examples_path) / 'train'}: no rows; check the bounds of the split")
    statistics = {part: accumulator.statistics(part) for part, accumulator in accumulated.items()}
    baseline = read_baseline(Path(baseline_path))
    kept = parse_schema(schema_text, "schema_text") if schema_text else baseline.schema
    found = _unsupported(files, ignored)
    if kept is None:
        schema = infer_schema(statistics["train"], label, held)
    else:
        schema, extensions = extend_schema(kept, statistics["train"], label, held)
        found += extensions
    complete = _complete(statistics["train"])
    for part, counted in statistics.items():
        found += words.find_anomalies(part, counted, schema, label, complete)
        found += words.find_label_anomalies(part, counted, label)
    calibrated = calibrate([block.statistics("block", coarse=True) for block in blocks["train"] if block.rows])
    skew: list[Distance] = []
    drift: list[Distance] = []
    for part, counted in statistics.items():
        if part != "train":
            skew += (compared := compare("skew", part, counted, statistics["train"], calibrated, held))[0]
            found += compared[1]
    if baseline.statistics:
        drift, drifted = compare("drift", "train", statistics["train"], baseline.statistics, calibrated, held)
        found += drifted
    judged = words.judged(found, held.warn)
    gone = {anomaly.feature for anomaly in judged if anomaly.kind == "SCHEMA_MISSING_COLUMN" and anomaly.severity == "warning"}
    schema = without_features(schema, gone)
    blocking = [anomaly for anomaly in judged if anomaly.severity == "error"]
    _write_statistics(statistics_path, statistics)
    with whole_directory(schema_path) as directory:
        (directory / "schema.pbtxt").write_text(text_format.MessageToString(schema), encoding="utf-8")
    with whole_directory(anomalies_path) as directory:
        value = {
            "verdict": "blocked" if blocking else "passed",
            "anomalies": [anomaly.to_dict() for anomaly in judged],
            "drift": [distance.to_dict() for distance in drift],
            "skew": [distance.to_dict() for distance in skew],
            "baseline": baseline.version,
        }
        write_json(directory / "anomalies.json", value)
        (directory / "anomalies.pbtxt").write_text(text_format.MessageToString(words.to_proto(judged, schema)), encoding="utf-8")
    with whole_file(view_path) as page:
        page.write_text(render_view(list(statistics.values())), encoding="utf-8")
    if blocking:
        raise BlockedError(_blocked(blocking))


def _write_statistics(path: str, statistics: dict[str, Statistics]) -> None:
    with whole_directory(path) as directory:
        for part, counted in statistics.items():
            (directory / f"{part}.pb").write_bytes(counted.SerializeToString())


def _blocked(blocking: Sequence[Anomaly]) -> str:
    more = f"; and {len(blocking) - _WORDS} more" if len(blocking) > _WORDS else ""
    listed = "; ".join(anomaly.text for anomaly in blocking[:_WORDS])
    return f"the data is not fit to train on ({len(blocking)} anomalies): {listed}{more}"


def part_files(examples: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each part, `train` first.

    Raises:
        DataError: There is no part `train`.
    """
    found = {directory.name: sorted(directory.glob("*.parquet")) for directory in sorted(examples.glob("*/"))}
    parts = {part: files for part, files in found.items() if files}
    if "train" not in parts:
        raise DataError(f"{examples}: there is no train/*.parquet; the parts are {', '.join(parts) or 'none'}; name one of the split's parts train")
    order = ["train", "validation", "test"]
    return {part: parts[part] for part in sorted(parts, key=lambda part: (order.index(part) if part in order else len(order), part))}


def _unsupported(files: dict[str, list[Path]], ignored: Iterable[str]) -> list[Anomaly]:
    found = []
    for part, paths in files.items():
        for column, kind in column_types(paths).items():
            if column not in ignored and not readable(kind):
                text = f"{part}: {column!r} is {kind}, neither number nor text, and is left out; convert it, or name it in `ignored`"
                found.append(Anomaly(part, column, "UNSUPPORTED_TYPE", "warning", text))
    return found


def _complete(statistics: Statistics) -> list[str]:
    dataset = statistics.datasets[0]
    return [feature.path.step[0] for feature in dataset.features if present_share(feature, dataset.num_examples) == 1.0]


@dataclass(frozen=True)
class Baseline:
    """What an earlier run left: its version's name, schema and statistics of `train`, as far as there are any."""

    version: str | None
    schema: schema_pb2.Schema | None
    statistics: Statistics | None


def read_baseline(path: Path) -> Baseline:
    """Read an earlier run's schema and statistics.

    Raises:
        DataError: A file is there and cannot be read.
    """
    version = read_json(path / "champion.json").get("version") if (path / "champion.json").exists() else None
    schema = path / "schema.pbtxt"
    counted = path / "statistics" / "train.pb"
    return Baseline(
        version=None if version is None else str(version),
        schema=parse_schema(schema.read_text(encoding="utf-8"), str(schema)) if schema.exists() else None,
        statistics=_read_statistics(counted) if counted.exists() else None,
    )


def _read_statistics(path: Path) -> Statistics:
    try:
        return Statistics.FromString(path.read_bytes())
    except DecodeError as error:
        raise DataError(f"{path}: not statistics ({error}); train and register a model again") from error
