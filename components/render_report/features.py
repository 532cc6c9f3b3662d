"""What TFDV's statistics say about each feature, part by part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import statistics_pb2

from intermodal.drawing.wording import compact, number
from intermodal.runtime.errors import DataError

_BINS: Final = 24
_CATEGORIES: Final = 12
_NUMERIC: Final = (statistics_pb2.FeatureNameStatistics.INT, statistics_pb2.FeatureNameStatistics.FLOAT)


@dataclass(frozen=True)
class Feature:
    """A feature: what kind it is, the share that is missing and the distribution in each part, over bins common to the parts.

    `shares` are fractions of the rows that have a value; `first` and `last` name the ends of the bins.
    """

    name: str
    numeric: bool
    summary: str
    first: str
    last: str
    missing: dict[str, float]
    shares: dict[str, list[float]]


def read_features(directory: Path) -> list[Feature]:
    """Read every `<part>.pb` of a directory (a `DatasetFeatureStatisticsList` each) and lay the parts' distributions over each other.

    Args:
        directory: As `validate_data` writes it.

    Returns:
        The features in the order of the part `train`, or of the first part where there is no `train`.

    Raises:
        DataError: A file is not such a message.
    """
    parts = {file.stem: _read_part(file) for file in sorted(directory.glob("*.pb"), key=lambda file: _order(file.stem))}
    names = dict.fromkeys(name for part in parts.values() for name in part)
    return [_feature(name, {part: found[name] for part, found in parts.items() if name in found}) for name in names]


def _order(part: str) -> tuple[int, str]:
    known = ("train", "validation", "test")
    return (known.index(part) if part in known else len(known), part)


def _read_part(file: Path) -> dict[str, Any]:
    found = statistics_pb2.DatasetFeatureStatisticsList()
    try:
        found.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise DataError(f"{file}: not TFDV statistics ({error}); run validate_data again") from error
    return {feature.name or ".".join(feature.path.step): feature for dataset in found.datasets for feature in dataset.features}


def _feature(name: str, parts: dict[str, Any]) -> Feature:
    first = next(iter(parts.values()))
    numeric = first.type in _NUMERIC
    shares, start, end = _numeric_shares(parts) if numeric else _categorical_shares(parts)
    if numeric:
        summary = f"mean {number(first.num_stats.mean)}, deviation {number(first.num_stats.std_dev)}"
    else:
        summary = f"{number(first.string_stats.unique)} distinct" if first.string_stats.unique else "no values"
    return Feature(name, numeric, summary, start, end, {part: _missing(found) for part, found in parts.items()}, shares)


def _missing(feature: Any) -> float:
    common = (feature.num_stats if feature.type in _NUMERIC else feature.string_stats).common_stats
    rows = common.num_missing + common.num_non_missing
    return float(common.num_missing / rows) if rows else 0.0


def _buckets(feature: Any) -> Sequence[Any]:
    """Return the histogram of equal widths, or that of quantiles where an outlier presses nearly all rows into one bucket."""
    kinds = {histogram.type: histogram.buckets for histogram in feature.num_stats.histograms}
    standard = [bucket for bucket in kinds.get(statistics_pb2.Histogram.STANDARD, ()) if np.isfinite([bucket.low_value, bucket.high_value]).all()]
    quantiles = [bucket for bucket in kinds.get(statistics_pb2.Histogram.QUANTILES, ()) if np.isfinite([bucket.low_value, bucket.high_value]).all()]
    total = sum(bucket.sample_count for bucket in standard)
    pressed = total > 0 and max(bucket.sample_count for bucket in standard) > 0.85 * total
    return quantiles[1:-1] if pressed and len(quantiles) > 4 else standard or quantiles


def _numeric_shares(parts: dict[str, Any]) -> tuple[dict[str, list[float]], str, str]:
    buckets = {part: _buckets(feature) for part, feature in parts.items()}
    ends = [value for found in buckets.values() for bucket in found for value in (bucket.low_value, bucket.high_value)]
    if not ends:
        return {part: [] for part in parts}, "", ""
    low, high = min(ends), max(ends)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    return {part: _rebinned(found, edges) for part, found in buckets.items()}, _end(low), _end(high)


def _end(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e5 and value == int(value) else compact(value)


def _rebinned(buckets: Sequence[Any], edges: Any) -> list[float]:
    """Spread each bucket's rows evenly over its width, and count them again between `edges`; fractions of all rows."""
    counted = np.zeros(len(edges) - 1)
    for bucket in buckets:
        if bucket.high_value > bucket.low_value:
            inside = np.interp(edges, [bucket.low_value, bucket.high_value], [0.0, 1.0])
            counted += bucket.sample_count * np.diff(inside)
        else:
            counted[min(np.searchsorted(edges, bucket.low_value, side="right") - 1, len(counted) - 1)] += bucket.sample_count
    total = counted.sum()
    return [float(value) for value in (counted / total if total else counted)]


def _categorical_shares(parts: dict[str, Any]) -> tuple[dict[str, list[float]], str, str]:
    counts = {part: {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets} for part, feature in parts.items()}
    ranked = next(iter(counts.values()))
    labels = sorted(ranked, key=lambda label: -ranked[label])[:_CATEGORIES]
    rows = {part: feature.string_stats.common_stats.num_non_missing for part, feature in parts.items()}
    # A long histogram is cut at its rarer values: a part whose cut hides one of the labels would seem to lack it.
    known = {part for part, found in counts.items() if found.keys() >= set(labels) or parts[part].string_stats.unique <= len(found)}
    shares = {part: [found.get(label, 0) / (rows[part] or 1) for label in labels] for part, found in counts.items() if part in known}
    return shares, labels[0] if labels else "", labels[-1] if len(labels) > 1 else ""
