"""Distances between two samples of the same columns, and how far is too far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.rules import Rules
from intermodal.components.validate_data.schema import present_shares
from intermodal.components.validate_data.statistics import tfdv

#: Into how many runs of consecutive rows the training part is divided to see how far its own blocks lie apart.
BLOCKS: Final = 8

#: A feature is off when it lies farther away than this share of the pairs of the training part's own blocks.
QUANTILE: Final = 0.95

#: For each feature the measure's name and the value.
Distances = dict[str, tuple[str, float]]


@dataclass(frozen=True)
class Distance:
    """A feature's distance between two samples: `l_infinity` for text, `jensen_shannon` for numbers; both lie in [0, 1]."""

    part: str
    feature: str
    measure: str
    value: float
    threshold: float | None

    def to_dict(self) -> dict[str, str | float | None]:
        """Return it as `anomalies.json` has it."""
        return {"part": self.part, "feature": self.feature, "measure": self.measure, "value": self.value, "threshold": self.threshold}


def measure(sample: statistics_pb2.DatasetFeatureStatisticsList, control: statistics_pb2.DatasetFeatureStatisticsList) -> Distances:
    """Measure with TFDV, feature by feature, the features that both samples have values of, of one type."""
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


def _compare_all(kinds: dict[str, int]) -> schema_pb2.Schema:
    """Return a schema that says nothing but that these features are to be compared."""
    schema = schema_pb2.Schema(default_environment=[tfdv.TRAINING])
    for name, kind in kinds.items():
        feature = schema.feature.add(name=name, type=kind)
        comparator = feature.drift_comparator
        (comparator.infinity_norm if kind == schema_pb2.BYTES else comparator.jensen_shannon_divergence).threshold = 1.0
    return schema


@dataclass(frozen=True)
class Noise:
    """How much each feature varies within the training part.

    Attributes:
        distance: The distance that is to be expected.
        present: The lowest share of rows with a value in any block.
    """

    distance: dict[str, float]
    present: dict[str, float]


def calibrate(blocks: Sequence[statistics_pb2.DatasetFeatureStatisticsList]) -> Noise:
    """Measure between consecutive blocks of the training part how much each feature's distribution varies by itself.

    Data gathered over time is dependent, and no one threshold fits all features: the 0.95 quantile of the distances between all pairs of
    blocks is each feature's own. This is subsampling for dependent data (Politis, Romano and Wolf, Subsampling, Springer 1999, chapter 3) with
    the distance as the statistic. As a block is smaller than what is compared later, it errs towards silence.
    """
    distances: dict[str, list[float]] = {}
    for one, other in combinations(blocks, 2):
        for feature, (_, value) in measure(one, other).items():
            distances.setdefault(feature, []).append(value)
    shares = [present_shares(block) for block in blocks]
    names = {name for share in shares for name in share}
    return Noise(
        distance={feature: float(np.quantile(values, QUANTILE)) for feature, values in distances.items()},
        present={name: min(share.get(name, 0.0) for share in shares) for name in names},
    )


def compare(
    comparison: str,
    part: str,
    sample: statistics_pb2.DatasetFeatureStatisticsList,
    control: statistics_pb2.DatasetFeatureStatisticsList,
    noise: Noise,
    rules: Rules,
) -> tuple[list[Distance], list[Anomaly]]:
    """Compare a part with its control, feature by feature.

    Args:
        comparison: `skew` (with `train`) or `drift` (with the baseline).
        part: The part's name.
        sample: Its statistics.
        control: What it is compared with.
        noise: What `train` explains by itself.
        rules: Thresholds that were given come before calibrated ones.

    Returns:
        All distances, the farthest beyond its threshold first, and an anomaly for each that is beyond it.
    """
    distances, anomalies = [], []
    against = "train" if comparison == "skew" else "the baseline's train"
    for feature, (name, value) in measure(sample, control).items():
        given = rules.threshold(comparison, feature)
        threshold = noise.distance.get(feature) if given is None else given
        distances.append(Distance(part, feature, name, value, threshold))
        if threshold is not None and value > threshold:
            why = f"the threshold {threshold:.3g}" if given is not None else f"{threshold:.3g}, which its own noise within train explains"
            text = f"{part}: {feature!r} is distributed differently than in {against}: {name} distance {value:.3g}, above {why}"
            anomalies.append(Anomaly(part, feature, comparison.upper(), "error", text))
    distances.sort(key=lambda distance: -distance.value / max(distance.threshold or 1.0, 1e-12))
    return distances, anomalies
