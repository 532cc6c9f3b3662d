"""TFDV's distances between two samples of the same columns, for thresholds that somebody gives."""

import math
from collections.abc import Mapping

from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.statistics import tfdv


def measure(
    sample: statistics_pb2.DatasetFeatureStatisticsList, control: statistics_pb2.DatasetFeatureStatisticsList
) -> dict[str, tuple[str, float]]:
    """Measure with TFDV, feature by feature, the features that both samples have values of, of one type.

    Returns:
        For each feature the measure's name (`l_infinity` for text, `jensen_shannon` for numbers) and the value, 0 to 1.
    """
    kinds = _kinds(control)
    shared = {name: kind for name, kind in _kinds(sample).items() if kinds.get(name) == kind}
    found = tfdv.validate_statistics(sample, _compare_all(shared), control)
    result = {}
    for info in found.drift_skew_info:
        for drift in info.drift_measurements:
            name = "l_infinity" if drift.type == drift.L_INFTY else "jensen_shannon"
            if math.isfinite(drift.value):
                result[".".join(info.path.step)] = (name, drift.value)
    return result


def _kinds(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, int]:
    """Return the TFMD type of each feature that has values to compare."""
    result = {}
    for feature in statistics.datasets[0].features:
        if feature.WhichOneof("stats") == "string_stats" and feature.string_stats.rank_histogram.buckets:
            result[feature.path.step[0]] = schema_pb2.BYTES
        elif any(histogram.buckets for histogram in feature.num_stats.histograms):
            integers = feature.type == statistics_pb2.FeatureNameStatistics.INT
            result[feature.path.step[0]] = schema_pb2.INT if integers else schema_pb2.FLOAT
    return result


def _compare_all(kinds: Mapping[str, int]) -> schema_pb2.Schema:
    """Return a schema that says nothing but that these features are to be compared."""
    schema = schema_pb2.Schema(default_environment=[tfdv.TRAINING])
    for name, kind in kinds.items():
        feature = schema.feature.add(name=name, type=kind)
        comparator = feature.drift_comparator
        (comparator.infinity_norm if kind == schema_pb2.BYTES else comparator.jensen_shannon_divergence).threshold = 1.0
    return schema
