"""The schema: inferred from the training part, or kept from earlier and extended."""

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.statistics import tfdv
from intermodal.runtime.errors import ConfigurationError

SERVING: Final = "SERVING"


def parse_schema(text: str, where: str) -> schema_pb2.Schema:
    """Read a TFMD schema in text form.

    Args:
        text: The schema.
        where: What to call it in an error.

    Raises:
        ConfigurationError: It is not a schema; the message says at which line.
    """
    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise ConfigurationError(f"{where}: not a TFMD schema in text form ({error}); see tensorflow_metadata's schema.proto") from error


def infer_schema(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, label: str, rules: Rules, present: Mapping[str, float]
) -> schema_pb2.Schema:
    """Infer a schema with TFDV, and leave it the room that other samples of the same data need.

    TFDV takes what it sees for law: a column without nulls must never have one, and a category not seen is an error. So the share of rows
    with a value may fall by `rules.missing`, and a share of `1 - rules.min_domain_mass` may have other categories. NaN and infinity are not
    allowed in a feature, and numbers that were 0 or 1 so far may be others, except the label.

    Args:
        statistics: Of the training part.
        label: The label's column.
        rules: How much room to leave.
        present: The lowest share of rows with a value that each feature has had, below which `rules.missing` counts.
    """
    schema = tfdv.infer_schema(statistics, rules.domain_size)
    for feature in schema.feature:
        if feature.name == label:
            continue
        feature.presence.min_fraction = max(0.0, round(present[feature.name] - rules.missing, 6))
        feature.presence.min_count = int(feature.presence.min_fraction > 0)
        if feature.WhichOneof("domain_info") == "bool_domain":
            feature.ClearField("bool_domain")
        if feature.type == schema_pb2.FLOAT:
            feature.float_domain.disallow_nan = feature.float_domain.disallow_inf = True
        if feature.WhichOneof("domain_info") == "domain":
            feature.distribution_constraints.min_domain_mass = rules.min_domain_mass
    return with_environments(schema, label)


def with_environments(schema: schema_pb2.Schema, label: str) -> schema_pb2.Schema:
    """Return the schema with the environments TRAINING and SERVING, and the label not expected at serving."""
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    for environment in (tfdv.TRAINING, SERVING):
        if environment not in result.default_environment:
            result.default_environment.append(environment)
    for feature in result.feature:
        if feature.name == label and SERVING not in feature.not_in_environment:
            feature.not_in_environment.append(SERVING)
    return result


def extend_schema(
    kept: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList, label: str, rules: Rules, present: Mapping[str, float]
) -> tuple[schema_pb2.Schema, list[Anomaly]]:
    """Bring a kept schema up to the training part: new columns and, within `rules.min_domain_mass`, new categories.

    Returns:
        The schema, and a warning for each extension. Whatever else the data breaks is left for `find_anomalies`.
    """
    schema = with_environments(kept, label)
    inferred = infer_schema(statistics, label, rules, present)
    known = {feature.name for feature in schema.feature}
    warnings = []
    for feature in inferred.feature:
        if feature.name in known or not (rules.evolve or feature.name == label):
            continue
        schema.feature.add().CopyFrom(feature)
        schema.string_domain.extend(domain for domain in inferred.string_domain if domain.name == feature.domain)
        if feature.name != label:
            text = f"train: {feature.name!r} is a new column; it now belongs to the schema (`evolve`)"
            warnings.append(Anomaly("train", feature.name, "SCHEMA_NEW_COLUMN", "warning", text))
    return schema, warnings + (_extend_domains(schema, statistics, known) if rules.evolve else [])


def _extend_domains(schema: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList, known: set[str]) -> list[Anomaly]:
    domains = {domain.name: domain for domain in schema.string_domain}
    features = {feature.name: feature for feature in schema.feature if feature.name in known and feature.domain in domains}
    warnings = []
    for seen in statistics.datasets[0].features:
        feature = features.get(seen.path.step[0])
        if feature is None or not seen.string_stats.rank_histogram.buckets:
            continue
        domain = domains[feature.domain]
        buckets = seen.string_stats.rank_histogram.buckets
        new = {bucket.label: bucket.sample_count for bucket in buckets if bucket.label not in domain.value}
        mass = 1 - sum(new.values()) / sum(bucket.sample_count for bucket in buckets)
        if new and mass >= feature.distribution_constraints.min_domain_mass:
            domain.value.extend(sorted(new))
            text = f"train: {feature.name!r} has new values, which now belong to its domain (`evolve`): {some(sorted(new))}"
            warnings.append(Anomaly("train", feature.name, "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "warning", text))
    return warnings


def without_features(schema: schema_pb2.Schema, names: Iterable[str]) -> schema_pb2.Schema:
    """Return the schema without some features, and without the domains that only they used."""
    gone = set(names)
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    del result.feature[:]
    result.feature.extend(feature for feature in schema.feature if feature.name not in gone)
    used = {feature.domain for feature in result.feature}
    del result.string_domain[:]
    result.string_domain.extend(domain for domain in schema.string_domain if domain.name in used)
    return result


def present_share(feature: statistics_pb2.FeatureNameStatistics, rows: float) -> float:
    """Return the share of rows that have a value."""
    common = common_statistics(feature)
    return float(common.num_non_missing) / rows if rows else 0.0


def present_shares(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, float]:
    """Return for each feature the share of rows that have a value."""
    dataset = statistics.datasets[0]
    return {feature.path.step[0]: present_share(feature, dataset.num_examples) for feature in dataset.features}


def common_statistics(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """Return what statistics of text and of numbers have in common."""
    kind = feature.WhichOneof("stats") or "num_stats"
    return getattr(feature, kind).common_stats


def some(values: Iterable[str], most: int = 5) -> str:
    """Return the first few of some values in words, and how many more there are."""
    listed = list(values)
    words = ", ".join(value if len(value) <= 40 else f"{value[:37]}..." for value in listed[:most])
    return words + (f" and {len(listed) - most} more" if len(listed) > most else "")
