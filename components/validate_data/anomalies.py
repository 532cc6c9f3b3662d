"""What is wrong with the data, in words."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from intermodal.components.validate_data.statistics import tfdv

#: What to do about a kind of anomaly, where its own words do not say.
_REMEDIES: Final = {
    "FLOAT_TYPE_HAS_NAN": "write missing values as nulls, not NaN",
    "FLOAT_TYPE_HAS_INF": "write values that are not finite as nulls",
    "SCHEMA_NEW_COLUMN": "add it to the schema or to `ignored`, or let the schema evolve (`evolve`)",
    "SCHEMA_MISSING_COLUMN": "bring it back, or let it leave the schema: name SCHEMA_MISSING_COLUMN in `warn`",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "correct the values, extend the domain, or lower `min_domain_mass`",
    "UNEXPECTED_DATA_TYPE": "write the column in the schema's type",
}


@dataclass(frozen=True)
class Anomaly:
    """One thing wrong with one feature of one part.

    Attributes:
        part: The part, for instance `train`.
        feature: The column; empty when it is the part as a whole.
        kind: A name of TFMD's `AnomalyInfo.Type`, or one of `kinds.OWN_KINDS`.
        severity: `error` or `warning`.
        text: A sentence.
    """

    part: str
    feature: str
    kind: str
    severity: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """Return it as `anomalies.json` has it."""
        return asdict(self)


def find_anomalies(
    part: str, statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema, label: str, complete: Iterable[str]
) -> list[Anomaly]:
    """Validate one part against the schema with TFDV.

    Args:
        part: The part's name.
        statistics: Its statistics.
        schema: The schema; validated in the environment TRAINING.
        label: The label, which `find_label_anomalies` looks at instead.
        complete: The features without a missing value in `train`.

    Returns:
        An error for each thing that breaks the schema, and a warning for what is within the room that the schema leaves (some unknown
        categories, some missing values in a column that had none).
    """
    if statistics.datasets[0].num_examples == 0:
        return [Anomaly(part, "", "NO_ROWS", "error", f"{part}: the part has no rows; check the bounds of the split")]
    errors = _named_anew(_broken(part, statistics, schema, label, "error") + _absent(part, statistics, schema, label))
    found = {(anomaly.feature, anomaly.kind) for anomaly in errors}
    strict = _broken(part, statistics, _strict(schema, complete), label, "warning")
    return errors + [anomaly for anomaly in strict if (anomaly.feature, anomaly.kind) not in found]


def _absent(part: str, statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema, label: str) -> list[Anomaly]:
    """Return an error for each column that is not there though it need not have a value, which TFDV takes for the same."""
    seen = {feature.path.step[0] for feature in statistics.datasets[0].features}
    text = "{}: {!r}: Column dropped: Column is completely missing; " + _REMEDIES["SCHEMA_MISSING_COLUMN"]
    return [
        Anomaly(part, feature.name, "SCHEMA_MISSING_COLUMN", "error", text.format(part, feature.name))
        for feature in schema.feature
        if feature.name not in seen and feature.name != label and not feature.presence.min_count and not feature.presence.min_fraction
    ]


def _named_anew(anomalies: list[Anomaly]) -> list[Anomaly]:
    """Say of each missing column which new one it may be."""
    new = [anomaly.feature for anomaly in anomalies if anomaly.kind == "SCHEMA_NEW_COLUMN"]
    result = []
    for anomaly in anomalies:
        near = difflib.get_close_matches(anomaly.feature, new, n=1) if anomaly.kind == "SCHEMA_MISSING_COLUMN" else []
        result.append(replace(anomaly, text=f"{anomaly.text}; was it renamed to {near[0]!r}?") if near else anomaly)
    return result


def _strict(schema: schema_pb2.Schema, complete: Iterable[str]) -> schema_pb2.Schema:
    """Return the schema without the room it leaves for unknown categories and, in complete columns, for missing values."""
    names = set(complete)
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    for feature in result.feature:
        feature.ClearField("distribution_constraints")
        if feature.name in names and feature.HasField("presence"):
            feature.presence.min_fraction = 1.0
    return result


def _broken(
    part: str, statistics: statistics_pb2.DatasetFeatureStatisticsList, schema: schema_pb2.Schema, label: str, severity: str
) -> list[Anomaly]:
    result = []
    for info in tfdv.validate_statistics(statistics, schema).anomaly_info.values():
        feature = ".".join(info.path.step)
        if feature == label:
            continue
        for reason in info.reason:
            kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
            title = "Values missing" if kind == "FEATURE_TYPE_LOW_FRACTION_PRESENT" else reason.short_description
            words = f"{part}: {feature!r}: {title}: {reason.description.strip().rstrip('.')[:400]}"
            remedy = _REMEDIES.get(kind)
            result.append(Anomaly(part, feature, kind, severity, f"{words}; {remedy}" if remedy else words))
    return sorted(result, key=lambda anomaly: (anomaly.feature, anomaly.kind))


def find_label_anomalies(part: str, statistics: statistics_pb2.DatasetFeatureStatisticsList, label: str) -> list[Anomaly]:
    """Check one part's label: there, without nulls, 0 or 1, and both of them. Always errors."""
    dataset = statistics.datasets[0]
    if not dataset.num_examples:
        return []

    def anomaly(kind: str, text: str) -> Anomaly:
        return Anomaly(part, label, kind, "error", f"{part}: {text}")

    named = {feature.path.step[0]: feature for feature in dataset.features}
    if label not in named:
        return [anomaly("LABEL_MISSING", f"there is no label {label!r}; the columns are {', '.join(sorted(named))}")]
    feature = named[label]
    if feature.WhichOneof("stats") != "num_stats":
        return [anomaly("LABEL_VALUES", f"the label {label!r} holds text; make it 0 or 1")]
    result = []
    numbers = feature.num_stats
    missing = int(dataset.num_examples - numbers.common_stats.num_non_missing)
    nan = sum(histogram.num_nan for histogram in numbers.histograms[:1])
    if missing or nan:
        result.append(
            anomaly("LABEL_NULLS", f"the label {label!r} is null or NaN in {missing + nan} of {dataset.num_examples} rows; leave these rows out")
        )
    if missing + nan == dataset.num_examples:
        return result
    if not _zero_or_one(numbers):
        result.append(anomaly("LABEL_VALUES", f"the label {label!r} has values from {numbers.min:g} to {numbers.max:g}; it must be 0 or 1"))
    elif numbers.min == numbers.max:
        result.append(anomaly("LABEL_ONE_CLASS", f"the label {label!r} is {numbers.min:g} in every row; a part needs both 0 and 1"))
    return result


def _zero_or_one(numbers: statistics_pb2.NumericStatistics) -> bool:
    """Tell from moments whether all values are 0 or 1: within [0, 1], x² ≤ x, and the means are equal only if all of them are."""
    square = numbers.std_dev**2 + numbers.mean**2
    return bool(numbers.min >= 0 and numbers.max <= 1 and abs(square - numbers.mean) <= 1e-9)


def judged(anomalies: Iterable[Anomaly], warn: Iterable[str]) -> list[Anomaly]:
    """Return the anomalies, those whose kind is in `warn` as warnings; errors come first."""
    kinds = set(warn)
    result = [replace(anomaly, severity="warning") if anomaly.kind in kinds else anomaly for anomaly in anomalies]
    return sorted(result, key=lambda anomaly: anomaly.severity != "error")


def to_proto(anomalies: Iterable[Anomaly], schema: schema_pb2.Schema) -> anomalies_pb2.Anomalies:
    """Return the anomalies as TFMD's message, for TFDV's own tools; keys are `<part>.<feature>`."""
    result = anomalies_pb2.Anomalies(baseline=schema)
    types: Mapping[str, Any] = dict(anomalies_pb2.AnomalyInfo.Type.items())
    for anomaly in anomalies:
        info = result.anomaly_info[f"{anomaly.part}.{anomaly.feature}"]
        severity = anomalies_pb2.AnomalyInfo.ERROR if anomaly.severity == "error" else anomalies_pb2.AnomalyInfo.WARNING
        info.severity = max(info.severity, severity)
        info.path.step[:] = [anomaly.feature]
        info.reason.add(type=types.get(anomaly.kind, 0), short_description=anomaly.kind, description=anomaly.text)
        info.short_description = anomaly.kind if len(info.reason) == 1 else "Multiple errors"
        info.description = " ".join(reason.description for reason in info.reason)
    return result
