"""Statistics, schema and verdict over the parts of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.anomalies import Anomaly, find_anomalies, find_label_anomalies, judged, to_proto
from intermodal.components.validate_data.arguments import check_arguments
from intermodal.components.validate_data.baseline import Baseline, read_baseline, write_references
from intermodal.components.validate_data.columns import find_unused
from intermodal.components.validate_data.distributions.associations import associate
from intermodal.components.validate_data.distributions.comparison import Comparison, Distance, against_thresholds, compare
from intermodal.components.validate_data.distributions.distances import measure
from intermodal.components.validate_data.distributions.references import References, refer
from intermodal.components.validate_data.distributions.samples import Rows, Sample
from intermodal.components.validate_data.kinds import DAMAGE_KINDS
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

#: Into how many runs of consecutive rows `train` is divided to see how far its own blocks lie apart.
BLOCKS: Final = 8

_NO_BLOCKS: Final = (
    "train: not compared with the baseline, whose statistics have no blocks.json (an earlier version wrote them, or another program);"
    " register a model again, or give a threshold, `drift`"
)


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
    false_alarms: float,
    scale: float,
    outside: float,
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
        false_alarms: A probability.
        scale: A factor.
        outside: A share.
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
        false_alarms=false_alarms,
        scale=scale,
        outside=outside,
        warn=warn,
        min_domain_mass=min_domain_mass,
        missing=missing,
        domain_size=domain_size,
        beam_options=beam_options,
    )
    given = (skew, drift, feature_skew, feature_drift, false_alarms, scale, outside)
    rules = Rules(*given, tuple(warn), evolve, min_domain_mass, missing, int(domain_size))
    baseline = read_baseline(Path(baseline_path)) if baseline_path else Baseline()
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
    read = _read_out(blocks)

    rules.check_features(present_shares(read.statistics[TRAIN]))
    schema = findings.check_schema(read, kept, label, rules)
    findings.compare_parts(read, baseline, label, rules)
    findings.judge(rules)
    schema = without_features(schema, findings.gone())

    _write_statistics(statistics_path, read)
    _write_schema(schema_path, schema)
    _write_anomalies(anomalies_path, findings, schema, baseline)
    with whole_file(view_path) as page:
        page.write_text(render_view(list(read.statistics.values())), encoding="utf-8")
    return not findings.blocking()


@dataclass(frozen=True)
class Read:
    """What was read of the parts.

    Attributes:
        statistics: TFDV's statistics of each part.
        samples: The distribution of each feature of each part.
        rows: Picked rows of each part.
        references: What samples are compared with: `train`, as a whole and in blocks.
        present: For each feature the lowest share of rows with a value in any block of `train`.
    """

    statistics: dict[str, Statistics]
    samples: dict[str, dict[str, Sample]]
    rows: dict[str, Rows]
    references: References
    present: dict[str, float]


def _read_out(blocks: Mapping[str, Sequence[Accumulator]]) -> Read:
    merged = {part: Accumulator.merged(read) for part, read in blocks.items()}

    def of_blocks() -> list[tuple[dict[str, Sample], dict[str, float]]]:
        found = [(block, block.statistics("block", coarse=True)) for block in blocks[TRAIN] if block.rows]
        return [(block.samples(statistics), present_shares(statistics)) for block, statistics in found]

    wait = fork(of_blocks) if worthwhile(sum(whole.values for whole in merged.values())) > 1 else of_blocks
    statistics = {part: whole.statistics(part) for part, whole in merged.items()}
    samples = {part: whole.samples(statistics[part]) for part, whole in merged.items()}
    read = wait()
    shares = [present for _, present in read]
    present = {name: min(share.get(name, 0.0) for share in shares) for name in samples[TRAIN]}
    references = associate(refer(samples[TRAIN], [each for each, _ in read]), [block.picked() for block in blocks[TRAIN] if block.rows])
    return Read(statistics, samples, {part: whole.picked() for part, whole in merged.items()}, references, present)


@dataclass
class Findings:
    """What was found out about the parts so far."""

    anomalies: list[Anomaly]
    skew: list[Distance] = field(default_factory=list)
    drift: list[Distance] = field(default_factory=list)

    def check_schema(self, read: Read, kept: schema_pb2.Schema | None, label: str, rules: Rules) -> schema_pb2.Schema:
        """Infer a schema, or extend the kept one, validate every part and its label against it, and return it."""
        train = read.statistics[TRAIN]
        if kept is None:
            schema = infer_schema(train, label, rules, read.present)
        else:
            schema, extensions = extend_schema(kept, train, label, rules, read.present)
            self.anomalies += extensions
        complete = {feature for feature, share in present_shares(train).items() if share == 1.0}
        for part, counted in read.statistics.items():
            if label:
                self.anomalies += find_label_anomalies(part, counted, label)
            self.anomalies += find_anomalies(part, counted, schema, label, complete)
        return schema

    def compare_parts(self, read: Read, baseline: Baseline, label: str, rules: Rules) -> None:
        """Compare the other parts with `train`, and `train` with the baseline's."""
        others = [part for part in read.samples if part != TRAIN]
        comparisons = [Comparison("skew", part, read.samples[part], read.rows[part], read.references) for part in others]
        if baseline.references is not None:
            comparisons.append(Comparison("drift", TRAIN, read.samples[TRAIN], read.rows[TRAIN], baseline.references))
        elif baseline.statistics is not None and rules.drift is None:
            self.anomalies.append(Anomaly(TRAIN, "", "NOT_COMPARED", "warning", _NO_BLOCKS))
        distances, anomalies = compare(comparisons, label, rules)
        self.skew, self.drift = distances.get("skew", []), distances.get("drift", [])
        self.anomalies += anomalies
        train = read.statistics[TRAIN]
        if rules.skew is not None or rules.feature_skew:
            for part in others:
                self._against_thresholds("skew", part, measure(read.statistics[part], train), rules)
        if baseline.statistics is not None and (rules.drift is not None or rules.feature_drift):
            self._against_thresholds("drift", TRAIN, measure(train, baseline.statistics), rules)

    def _against_thresholds(self, kind: str, part: str, measured: Mapping[str, tuple[str, float]], rules: Rules) -> None:
        for distance, anomaly in against_thresholds(kind, part, measured, rules):
            (self.skew if kind == "skew" else self.drift).append(distance)
            damaged = any((each.part, each.feature) == (part, distance.feature) and each.kind in DAMAGE_KINDS for each in self.anomalies)
            if anomaly and not damaged:
                self.anomalies.append(anomaly)

    def judge(self, rules: Rules) -> None:
        """Turn the anomalies whose kind is in `rules.warn` into warnings, and put the errors first."""
        self.anomalies = judged(self.anomalies, rules.warn)

    def blocking(self) -> list[Anomaly]:
        """Return the anomalies that stop the run."""
        return [anomaly for anomaly in self.anomalies if anomaly.severity == "error"]

    def gone(self) -> set[str]:
        """Return the features that are missing and need not be there."""
        return {anomaly.feature for anomaly in self.anomalies if anomaly.kind == "SCHEMA_MISSING_COLUMN" and anomaly.severity == "warning"}


def _write_statistics(path: str, read: Read) -> None:
    with whole_directory(path) as directory:
        for part, counted in read.statistics.items():
            (directory / f"{part}.pb").write_bytes(counted.SerializeToString())
        write_references(directory, read.references)


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
