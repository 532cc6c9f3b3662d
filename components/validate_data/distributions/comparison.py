"""Parts compared with `train`, and `train` with the baseline's: all features of a run at one level."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.distributions.damage import Finding, find_damage
from intermodal.components.validate_data.distributions.homogeneity import Homogeneity, compare_counts, f_critical, probabilities
from intermodal.components.validate_data.distributions.references import Reference, References
from intermodal.components.validate_data.distributions.samples import Array, Numbers, Sample
from intermodal.components.validate_data.rules import Rules
from intermodal.evaluation.multiple_tests import holm

#: Words for what a comparison compares with.
AGAINST = {"skew": "train", "drift": "the baseline's train"}


@dataclass(frozen=True)
class Comparison:
    """A part and what it is compared with.

    Attributes:
        kind: `skew` (with `train`) or `drift` (with the baseline's).
        part: The part's name.
        samples: Its features.
        references: What they are compared with.
    """

    kind: str
    part: str
    samples: Mapping[str, Sample]
    references: References


@dataclass(frozen=True)
class Distance:
    """A feature's distance between two samples, 0 to 1.

    Attributes:
        part: The part.
        feature: The column.
        measure: `total_variation` where it was tested; `l_infinity` (text) or `jensen_shannon` (numbers) where a threshold is given.
        value: The distance.
        threshold: Above it is an anomaly; None where nothing could be tested.
        probability: Of a distance as great by chance, corrected for all tests of the run; None without a test.
    """

    part: str
    feature: str
    measure: str
    value: float
    threshold: float | None
    probability: float | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """Return it as `anomalies.json` has it."""
        return {
            "part": self.part,
            "feature": self.feature,
            "measure": self.measure,
            "value": self.value,
            "threshold": self.threshold,
            "probability": self.probability,
        }


@dataclass(frozen=True)
class _Pair:
    comparison: Comparison
    feature: str
    sample: Sample
    reference: Reference
    counts: Array
    test: Homogeneity
    threshold: float | None


def compare(comparisons: Sequence[Comparison], label: str, rules: Rules) -> tuple[dict[str, list[Distance]], list[Anomaly]]:
    """Test every feature of every comparison, with a probability of `rules.false_alarms` of any alarm where nothing differs, and look for damage.

    Features whose threshold is given are not tested; those for which it is 1 are not searched for damage either. Nor is the label: see
    `anomalies.find_label_anomalies`.

    Returns:
        For each kind of comparison all distances, the farthest beyond its threshold first; and the anomalies.
    """
    pairs = [pair for comparison in comparisons for pair in _pairs(comparison, rules)]
    distances: dict[str, list[Distance]] = {comparison.kind: [] for comparison in comparisons}
    anomalies: list[Anomaly] = []
    chances, independent = probabilities([pair.test for pair in pairs])
    tested = np.array([pair.test.numerator > 0 and pair.threshold is None for pair in pairs], bool)
    numbers = np.array([(pair.test.statistic, pair.test.numerator, pair.test.denominator) for pair in pairs], float).reshape(-1, 3)[tested]
    adjusted, levels = holm(chances[tested], rules.false_alarms)
    # A distance grows as the root of the statistic: at this multiple of it, in the same direction, the feature would just be an anomaly.
    multiples = np.sqrt(f_critical(levels, numbers[:, 1], numbers[:, 2]) / np.maximum(numbers[:, 0], 1e-12))
    outcomes = iter(zip(adjusted.tolist(), multiples.tolist(), strict=True))
    level = rules.false_alarms / max(len(pairs), 1)
    for pair, is_tested, sampling in zip(pairs, tested, independent, strict=True):
        probability, multiple = next(outcomes) if is_tested else (None, None)
        kind, part, value = pair.comparison.kind, pair.comparison.part, pair.reference.distance(pair.counts)
        differs = probability is not None and probability <= rules.false_alarms
        if pair.threshold is None:
            threshold = None if multiple is None else value * multiple
            distances[kind].append(Distance(part, pair.feature, "total_variation", value, threshold, probability))
        finding = Finding(pair.reference, pair.sample, pair.counts, pair.test.effect, differs, bool(sampling < level), level)
        damage = find_damage(finding, AGAINST[kind], rules) if pair.feature != label else None
        if damage:
            anomalies.append(
                Anomaly(part, pair.feature, damage.kind, "error", f"{part}: {pair.feature!r} {damage.text}; {_remedy(pair, damage.kind)}")
            )
        elif differs:
            anomalies.append(Anomaly(part, pair.feature, kind.upper(), "error", _words(pair, value, probability)))
    for found in distances.values():
        found.sort(key=lambda distance: -distance.value / max(distance.threshold or 1.0, 1e-12))
    return distances, anomalies


def _pairs(comparison: Comparison, rules: Rules) -> Iterator[_Pair]:
    for feature, sample in comparison.samples.items():
        reference = comparison.references.get(feature)
        given = rules.threshold(comparison.kind, feature)
        if reference is None or reference.numeric != isinstance(sample, Numbers) or not sample.rows or (given is not None and given >= 1):
            continue
        counts = reference.count(sample)
        yield _Pair(comparison, feature, sample, reference, counts, compare_counts(reference, counts), given)


def _remedy(pair: _Pair, kind: str) -> str:
    key = f"feature_{pair.comparison.kind}"
    return f"correct the source, or, if this is right, allow it: {key}: {{{pair.feature}: 1}} for this feature, {kind} in `warn` for all"


def _words(pair: _Pair, value: float, probability: float | None) -> str:
    against = AGAINST[pair.comparison.kind]
    return (
        f"{pair.comparison.part}: {pair.feature!r} is distributed differently than in {against}: {value:.1%} of its rows would have to be elsewhere;"
        f" {_greatest(pair)}; by chance so much has probability {probability:.2g} (corrected for all features of the run);"
        " look at the source; where this is expected, give the feature a threshold: "
        f"feature_{pair.comparison.kind}: {{{pair.feature}: …}}"
    )


def _greatest(pair: _Pair) -> str:
    """Say of the cell whose share has changed most what it was and is."""
    now = pair.counts / pair.counts.sum()
    was = np.array(pair.reference.counts) / pair.reference.rows
    at = int(np.abs(now - was).argmax())
    return f"{_cell(pair.reference, at)} {now[at]:.1%}, was {was[at]:.1%}"


def _cell(reference: Reference, at: int) -> str:
    if at == len(reference.counts) - 1:
        return "without a value"
    if not reference.numeric:
        return repr(reference.labels[at]) if at < len(reference.labels) else "other values"
    ends = [f"{edge:.4g}" for edge in reference.edges]
    if not ends:
        return "with a value"
    if at == 0:
        return f"up to {ends[0]}"
    return f"above {ends[-1]}" if at == len(ends) else f"above {ends[at - 1]} up to {ends[at]}"


def against_thresholds(
    comparison: str, part: str, measured: Mapping[str, tuple[str, float]], rules: Rules
) -> Iterable[tuple[Distance, Anomaly | None]]:
    """Yield the distance of each feature whose threshold is given, and an anomaly where it is beyond it."""
    for feature, (name, value) in measured.items():
        threshold = rules.threshold(comparison, feature)
        if threshold is None:
            continue
        text = (
            f"{part}: {feature!r} is distributed differently than in {AGAINST[comparison]}: {name} distance {value:.3g},"
            f" above the threshold {threshold:.3g}; look at the source, or raise the threshold"
        )
        yield (
            Distance(part, feature, name, value, threshold),
            Anomaly(part, feature, comparison.upper(), "error", text) if value > threshold else None,
        )
