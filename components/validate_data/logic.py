"""Statistics, schema and verdict over the parts of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.anomalies import Anomaly, find_anomalies, find_label_anomalies, judged, to_proto
from intermodal.components.validate_data.arguments import check_arguments
from intermodal.components.validate_data.baseline import Baseline, read_baseline
from intermodal.components.validate_data.columns import find_unused
from intermodal.components.validate_data.distances import BLOCKS, Distance, Noise, calibrate, compare
from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.schema import extend_schema, infer_schema, parse_schema, present_shares, without_features
from intermodal.components.validate_data.statistics.beam import read_with_beam
from intermodal.components.validate_data.statistics.streaming import Accumulator
from intermodal.components.validate_data.statistics.workers import fork, read_parts, worthwhile
from intermodal.components.validate_data.view import render_view
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.datasets.listing import TRAIN
from intermodal.runtime.errors import DataError

Statistics: TypeAlias = statistics_pb2.DatasetFeatureStatisticsList


def validate_data(
    *,
    examples_path: str,
    baseline_path: str | None,
    label: str,
    schema_text: str,
    ignored: Sequence[str],
    skew: float | None,
    drift: float | None,
    feature_skew: Mapping[str, float],
    feature_drift: Mapping[str, float],
    warn: Sequence[str],
    evolve: bool,
    min_domain_mass: float,
    missing: float,
    domain_size: int,
    beam_options: Sequence[str],
    statistics_path: str,
    schema_path: str,
    anomalies_path: str,
    view_path: str,
    examples_uri: str,
) -> bool:
    """Compute statistics of every part, infer or extend the schema, and write down what is wrong. See the component's contract.

    Args:
        examples_path: A dataset (see `runtime.datasets`) with a split `train`, or without splits.
        baseline_path: A directory that may hold an earlier run's `statistics/train.pb`, `schema.pbtxt` and `champion.json`; or None.
        label: The label's column; empty: none.
        schema_text: A TFMD schema in text form; empty: the baseline's, or else inferred from `train`.
        ignored: Columns that are neither feature nor label.
        skew: See `rules.Rules`, as for the arguments that follow.
        drift: A threshold.
        feature_skew: Thresholds by feature.
        feature_drift: Thresholds by feature.
        warn: Kinds of anomaly.
        evolve: Whether the schema may grow.
        min_domain_mass: A share.
        missing: A share.
        domain_size: A number of values.
        beam_options: Apache Beam pipeline options; empty: computed on this machine.
        statistics_path: Where the statistics go.
        schema_path: Where the schema goes.
        anomalies_path: Where the anomalies go.
        view_path: Where the page goes.
        examples_uri: Where Apache Beam's workers find the examples; empty: at `examples_path`.

    Returns:
        Whether there is no anomaly of severity `error`.

    Raises:
        DataError: The examples cannot be read, or have no split `train` or no rows in it.
        ConfigurationError: An argument is wrong.
    """
    check_arguments(
        label=label,
        ignored=ignored,
        skew=skew,
        drift=drift,
        feature_skew=feature_skew,
        feature_drift=feature_drift,
        warn=warn,
        min_domain_mass=min_domain_mass,
        missing=missing,
        domain_size=domain_size,
        beam_options=beam_options,
    )
    rules = Rules(skew, drift, feature_skew, feature_drift, tuple(warn), evolve, min_domain_mass, missing, int(domain_size))
    baseline = read_baseline(Path(baseline_path)) if baseline_path else Baseline(None, None, None)
    kept = parse_schema(schema_text, "schema_text") if schema_text else baseline.schema
    with open_dataset(examples_path) as examples:
        if TRAIN not in examples.splits:
            raise DataError(
                f"{examples_path}: there is no split {TRAIN!r}, only {', '.join(examples.splits)}; name the folder to infer the schema from {TRAIN}"
            )
        files = {part: examples.files(part) for part in examples.splits}
        counts = {part: BLOCKS if part == TRAIN else 1 for part in files}
        if beam_options:
            blocks = read_with_beam(files, Path(examples_path), examples_uri, ignored, counts, beam_options)
        else:
            blocks = read_parts(files, ignored, counts)
        findings = Findings(find_unused(files, ignored))
    if not any(block.rows for block in blocks[TRAIN]):
        raise DataError(f"{Path(examples_path) / TRAIN}: no rows; check the bounds of the split")
    statistics, noise = _read_out(blocks)

    rules.check_features(present_shares(statistics[TRAIN]))
    schema = findings.check_schema(statistics, kept, noise, label, rules)
    findings.compare_parts(statistics, baseline.statistics, noise, rules)
    findings.judge(rules)
    schema = without_features(schema, findings.gone())

    _write_statistics(statistics_path, statistics)
    _write_schema(schema_path, schema)
    _write_anomalies(anomalies_path, findings, schema, baseline)
    with whole_file(view_path) as page:
        page.write_text(render_view(list(statistics.values())), encoding="utf-8")
    return not findings.blocking()


def _read_out(blocks: Mapping[str, Sequence[Accumulator]]) -> tuple[dict[str, Statistics], Noise]:
    """Return the statistics of each part, and how much each feature varies within `train`."""
    merged = {part: Accumulator.merged(read) for part, read in blocks.items()}

    def noise() -> Noise:
        return calibrate([block.statistics("block", coarse=True) for block in blocks["train"] if block.rows])

    wait = fork(noise) if worthwhile(sum(whole.values for whole in merged.values())) > 1 else noise
    statistics = {part: whole.statistics(part) for part, whole in merged.items()}
    return statistics, wait()


@dataclass
class Findings:
    """What was found out about the parts so far."""

    anomalies: list[Anomaly]
    skew: list[Distance] = field(default_factory=list)
    drift: list[Distance] = field(default_factory=list)

    def check_schema(
        self, statistics: Mapping[str, Statistics], kept: schema_pb2.Schema | None, noise: Noise, label: str, rules: Rules
    ) -> schema_pb2.Schema:
        """Infer a schema, or extend the kept one, validate every part and its label against it, and return it."""
        train = statistics[TRAIN]
        if kept is None:
            schema = infer_schema(train, label, rules, noise.present)
        else:
            schema, extensions = extend_schema(kept, train, label, rules, noise.present)
            self.anomalies += extensions
        complete = {feature for feature, share in present_shares(train).items() if share == 1.0}
        for part, counted in statistics.items():
            if label:
                self.anomalies += find_label_anomalies(part, counted, label)
            self.anomalies += find_anomalies(part, counted, schema, label, complete)
        return schema

    def compare_parts(self, statistics: Mapping[str, Statistics], baseline: Statistics | None, noise: Noise, rules: Rules) -> None:
        """Compare the other parts with `train`, and `train` with the baseline's."""
        train = statistics[TRAIN]
        for part, counted in statistics.items():
            if part != TRAIN:
                distances, anomalies = compare("skew", part, counted, train, noise, rules)
                self.skew += distances
                self.anomalies += anomalies
        if baseline is not None:
            self.drift, anomalies = compare("drift", "train", train, baseline, noise, rules)
            self.anomalies += anomalies

    def judge(self, rules: Rules) -> None:
        """Turn the anomalies whose kind is in `rules.warn` into warnings, and put the errors first."""
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
