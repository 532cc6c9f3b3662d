"""Statistics, schema and verdict over the parts of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.anomalies import Anomaly, find_anomalies, find_label_anomalies, judged, to_proto
from intermodal.components.validate_data.baseline import Baseline, read_baseline
from intermodal.components.validate_data.beam_statistics import read_with_beam
from intermodal.components.validate_data.distances import BLOCKS, Distance, Fluctuation, calibrate, compare
from intermodal.components.validate_data.parts import find_unused, part_files
from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.schema import extend_schema, infer_schema, parse_schema, present_shares, without_features
from intermodal.components.validate_data.statistics import Accumulator
from intermodal.components.validate_data.view import render_view
from intermodal.components.validate_data.workers import fork, read_parts, worthwhile
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.errors import BlockedError, ConfigurationError, DataError

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList

#: How many anomalies the error that blocks a run puts in words; the others are counted.
_WORDS: Final = 5


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
        ConfigurationError: `rules`, `schema_text`, `ignored` or `beam_options` is wrong.
        BlockedError: There are anomalies of severity `error`; all outputs were written before.
    """
    held = Rules.parse(rules)
    if label in ignored:
        raise ConfigurationError(f"ignored names the label {label!r}; take it out of `ignored`, or name another label")
    baseline = read_baseline(Path(baseline_path))
    kept = parse_schema(schema_text, "schema_text") if schema_text else baseline.schema
    examples = Path(examples_path)
    files = part_files(examples)
    counts = {part: BLOCKS if part == "train" else 1 for part in files}
    blocks = read_with_beam(files, examples, examples_uri, ignored, counts, beam_options) if beam_options else read_parts(files, ignored, counts)
    if not any(block.rows for block in blocks["train"]):
        raise DataError(f"{examples / 'train'}: no rows; check the bounds of the split")
    statistics, fluctuation = _read_out(blocks)

    held.check_features(present_shares(statistics["train"]))
    findings = Findings(find_unused(files, ignored))
    schema = findings.hold_to_schema(statistics, kept, fluctuation, label, held)
    findings.compare_parts(statistics, baseline.statistics, fluctuation, held)
    findings.judge(held)
    schema = without_features(schema, findings.gone())

    _write_statistics(statistics_path, statistics)
    _write_schema(schema_path, schema)
    _write_anomalies(anomalies_path, findings, schema, baseline)
    with whole_file(view_path) as page:
        page.write_text(render_view(list(statistics.values())), encoding="utf-8")
    if findings.blocking():
        raise BlockedError(_blocked(findings.blocking()))


def _read_out(blocks: Mapping[str, Sequence[Accumulator]]) -> tuple[dict[str, Statistics], Fluctuation]:
    """Return the statistics of each part, and how far each feature fluctuates within `train`."""
    merged = {part: Accumulator.merged(read) for part, read in blocks.items()}

    def fluctuation() -> Fluctuation:
        return calibrate([block.statistics("block", coarse=True) for block in blocks["train"] if block.rows])

    waiting = fork(fluctuation) if worthwhile(sum(whole.values for whole in merged.values())) > 1 else fluctuation
    statistics = {part: whole.statistics(part) for part, whole in merged.items()}
    return statistics, waiting()


@dataclass
class Findings:
    """What was found out about the parts so far."""

    anomalies: list[Anomaly]
    skew: list[Distance] = field(default_factory=list)
    drift: list[Distance] = field(default_factory=list)

    def hold_to_schema(
        self, statistics: Mapping[str, Statistics], kept: schema_pb2.Schema | None, fluctuation: Fluctuation, label: str, rules: Rules
    ) -> schema_pb2.Schema:
        """Infer a schema, or extend the kept one, hold every part and its label to it, and return it."""
        train = statistics["train"]
        if kept is None:
            schema = infer_schema(train, label, rules, fluctuation.present)
        else:
            schema, extensions = extend_schema(kept, train, label, rules, fluctuation.present)
            self.anomalies += extensions
        complete = {feature for feature, share in present_shares(train).items() if share == 1.0}
        for part, counted in statistics.items():
            self.anomalies += find_label_anomalies(part, counted, label)
            self.anomalies += find_anomalies(part, counted, schema, label, complete)
        return schema

    def compare_parts(self, statistics: Mapping[str, Statistics], baseline: Statistics | None, fluctuation: Fluctuation, rules: Rules) -> None:
        """Compare the other parts with `train`, and `train` with the baseline's."""
        train = statistics["train"]
        for part, counted in statistics.items():
            if part != "train":
                distances, anomalies = compare("skew", part, counted, train, fluctuation, rules)
                self.skew += distances
                self.anomalies += anomalies
        if baseline is not None:
            self.drift, anomalies = compare("drift", "train", train, baseline, fluctuation, rules)
            self.anomalies += anomalies

    def judge(self, rules: Rules) -> None:
        """Make warnings of the anomalies that `rules.warn` names, and put the errors first."""
        self.anomalies = judged(self.anomalies, rules.warn)

    def blocking(self) -> list[Anomaly]:
        """Return the anomalies that stop the run."""
        return [anomaly for anomaly in self.anomalies if anomaly.severity == "error"]

    def gone(self) -> set[str]:
        """Return the features that are missing and need not be there."""
        return {anomaly.feature for anomaly in self.anomalies if anomaly.kind == "SCHEMA_MISSING_COLUMN" and anomaly.severity == "warning"}


def _write_statistics(path: str, statistics: Mapping[str, Statistics]) -> None:
    with whole_directory(path) as directory:
        for part, counted in statistics.items():
            (directory / f"{part}.pb").write_bytes(counted.SerializeToString())


def _write_schema(path: str, schema: schema_pb2.Schema) -> None:
    with whole_directory(path) as directory:
        (directory / "schema.pbtxt").write_text(text_format.MessageToString(schema), encoding="utf-8")


def _write_anomalies(path: str, findings: Findings, schema: schema_pb2.Schema, baseline: Baseline) -> None:
    value = {
        "verdict": "blocked" if findings.blocking() else "passed",
        "anomalies": [anomaly.to_dict() for anomaly in findings.anomalies],
        "drift": [distance.to_dict() for distance in findings.drift],
        "skew": [distance.to_dict() for distance in findings.skew],
        "baseline": baseline.version,
    }
    with whole_directory(path) as directory:
        write_json(directory / "anomalies.json", value)
        (directory / "anomalies.pbtxt").write_text(text_format.MessageToString(to_proto(findings.anomalies, schema)), encoding="utf-8")


def _blocked(blocking: Sequence[Anomaly]) -> str:
    listed = "; ".join(anomaly.text for anomaly in blocking[:_WORDS])
    more = f"; and {len(blocking) - _WORDS} more" if len(blocking) > _WORDS else ""
    return f"the data is not fit to train on, {len(blocking)} {'anomaly' if len(blocking) == 1 else 'anomalies'}: {listed}{more}"
