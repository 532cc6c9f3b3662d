"""Parts compared with `train`, and `train` with the baseline's: all features of a run at one level."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.distributions.associations import Others, find_exchanged, find_reversed
from intermodal.components.validate_data.distributions.damage import Damage, Finding, find_damage
from intermodal.components.validate_data.distributions.homogeneity import Homogeneity, compare_counts, f_critical, probabilities
from intermodal.components.validate_data.distributions.references import Reference, References
from intermodal.components.validate_data.distributions.samples import Array, Numbers, Rows, Sample
from intermodal.components.validate_data.rules import Rules
from intermodal.evaluation.multiple_tests import holm

#: The share of `false_alarms` that is for the tests; the rest is for the search for damage.
_TESTS: Final = 0.5

#: Words for what a comparison compares with.
AGAINST = {"skew": "train", "drift": "the baseline's train"}


@dataclass(frozen=True)
class Comparison:
    """A part and what it is compared with.

    Attributes:
        kind: `skew` (with `train`) or `drift` (with the baseline's).
        part: The part's name.
        samples: Its features.
        rows: Picked rows of it.
        references: What they are compared with.
    """

    kind: str
    part: str
    samples: Mapping[str, Sample]
    rows: Rows
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
class Pair:
    """A feature of a part, what it is compared with, and the test of both.

    Attributes:
        comparison: The part.
        feature: The column.
        sample: The feature in the part.
        reference: What it is compared with.
        counts: Its rows in the reference's cells; of shape (cells,).
        test: The test's outcome.
        threshold: The threshold that somebody gave; None: it is tested.
    """

    comparison: Comparison
    feature: str
    sample: Sample
    reference: Reference
    counts: Array
    test: Homogeneity
    threshold: float | None


def compare(comparisons: Sequence[Comparison], label: str, rules: Rules) -> tuple[dict[str, list[Distance]], list[Anomaly]]:
    """Test every feature of every comparison, with a probability of `rules.false_alarms` of any alarm where nothing differs, and look for damage.

    Half of that probability is for the tests, half for the search for damage. Features whose threshold is given are not tested; those for which it
    is 1 are not searched for damage either. Nor is the label: see `anomalies.find_label_anomalies`.

    Returns:
        For each kind of comparison all distances, the farthest beyond its threshold first; and the anomalies.
    """
    distances: dict[str, list[Distance]] = {comparison.kind: [] for comparison in comparisons}
    anomalies: list[Anomaly] = []
    verdicts = judge([pair for comparison in comparisons for pair in pairs(comparison, rules)], label, rules)
    tests = np.array([(each.pair.test.numerator, each.pair.test.denominator, each.level or 0.5) for each in verdicts], float).reshape(-1, 3)
    critical = f_critical(tests[:, 2], np.maximum(tests[:, 0], 1.0), tests[:, 1])
    for verdict, least in zip(verdicts, critical.tolist(), strict=True):
        pair, value = verdict.pair, verdict.pair.reference.distance(verdict.pair.counts)
        kind, part = pair.comparison.kind, pair.comparison.part
        if pair.threshold is None:
            # A distance grows as the root of the statistic: so much of it, in the same direction, would just be an anomaly.
            threshold = None if verdict.level is None else value * math.sqrt(least / max(pair.test.statistic, 1e-12))
            distances[kind].append(Distance(part, pair.feature, "total_variation", value, threshold, verdict.probability))
        if verdict.damage:
            text = f"{part}: {pair.feature!r} {verdict.damage.text}; {_remedy(pair, verdict.damage.kind)}"
            anomalies.append(Anomaly(part, pair.feature, verdict.damage.kind, "error", text))
        elif verdict.differs:
            anomalies.append(Anomaly(part, pair.feature, kind.upper(), "error", _words(pair, value, verdict.probability)))
    for found in distances.values():
        found.sort(key=lambda distance: -distance.value / max(distance.threshold or 1.0, 1e-12))
    return distances, anomalies


def pairs(comparison: Comparison, rules: Rules) -> Iterator[Pair]:
    """Yield the features of a part that can be compared, each with its test."""
    for feature, sample in comparison.samples.items():
        reference = comparison.references.get(feature)
        given = rules.threshold(comparison.kind, feature)
        if reference is None or reference.numeric != isinstance(sample, Numbers) or not sample.rows or (given is not None and given >= 1):
            continue
        counts = reference.count(sample)
        yield Pair(comparison, feature, sample, reference, counts, compare_counts(reference, counts), given)


@dataclass(frozen=True)
class Verdict:
    """What is found of a pair.

    Attributes:
        pair: The pair.
        probability: Of so great a difference by chance, corrected for all tests of the run; None without a test.
        level: What the probability, before the correction, had to be below; None without a test.
        differs: Whether the difference is beyond chance.
        damage: The damage, or None.
    """

    pair: Pair
    probability: float | None
    level: float | None
    differs: bool
    damage: Damage | None


def judge(of_run: Sequence[Pair], label: str, rules: Rules) -> list[Verdict]:
    """Judge all pairs of a run at one level."""
    chances, independent = probabilities([pair.test for pair in of_run])
    tested = np.array([pair.test.numerator > 0 and pair.threshold is None for pair in of_run], bool)
    adjusted, levels = holm(chances[tested], rules.false_alarms * _TESTS)
    outcomes = iter(zip(np.minimum(adjusted / _TESTS, 1.0).tolist(), levels.tolist(), strict=True))
    level = rules.false_alarms * (1 - _TESTS) / max(len(of_run), 1)
    found = []
    for pair, is_tested, sampling in zip(of_run, tested, independent, strict=True):
        probability, own_level = next(outcomes) if is_tested else (None, None)
        differs = probability is not None and probability <= rules.false_alarms
        finding = Finding(pair.reference, pair.sample, pair.counts, pair.test.effect, differs, bool(sampling < level), level)
        damage = find_damage(finding, AGAINST[pair.comparison.kind], rules) if pair.feature != label else None
        found.append(Verdict(pair, probability, own_level, differs, damage))
    broken: dict[int, set[str]] = {}
    others = {id(each.pair.comparison): Others(each.pair.comparison.references, each.pair.comparison.rows) for each in found}
    for each in found:
        if each.damage:
            broken.setdefault(id(each.pair.comparison), set()).add(each.pair.feature)
    searched = {at: each.pair for at, each in enumerate(found) if not each.damage and each.pair.feature != label}
    shown = {at: _against_others(pair, others[id(pair.comparison)], broken.get(id(pair.comparison), set()), level) for at, pair in searched.items()}
    return [replace(each, damage=shown.get(at, each.damage)) for at, each in enumerate(found)]


def _against_others(pair: Pair, others: Others, broken: set[str], level: float) -> Damage | None:
    """Look for damage that only the other columns show; those that are damaged themselves are not asked."""
    if not others.known(pair.feature):
        return None
    find, kind = (find_reversed, "UNIT") if pair.reference.numeric else (find_exchanged, "EXCHANGED")
    words = find(pair.feature, others, broken, level)
    return Damage(kind, f"{words} of {AGAINST[pair.comparison.kind]}") if words else None


def _remedy(pair: Pair, kind: str) -> str:
    key = f"feature_{pair.comparison.kind}"
    return f"correct the source, or, if this is right, allow it: {key}: {{{pair.feature}: 1}} for this feature, {kind} in `warn` for all"


def _words(pair: Pair, value: float, probability: float | None) -> str:
    against = AGAINST[pair.comparison.kind]
    return (
        f"{pair.comparison.part}: {pair.feature!r} is distributed differently than in {against}: {value:.1%} of its rows would have to be elsewhere;"
        f" {_greatest(pair)}; by chance so much has probability {probability:.2g} (corrected for all features of the run);"
        " look at the source; where this is expected, give the feature a threshold: "
        f"feature_{pair.comparison.kind}: {{{pair.feature}: …}}"
    )


def _greatest(pair: Pair) -> str:
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
