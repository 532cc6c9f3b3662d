"""What counts as an anomaly, beside the schema."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.errors import nearest


@dataclass(frozen=True)
class Rules:
    """The component's arguments of the same names; see its contract.

    Attributes:
        skew: Threshold for features that `feature_skew` does not name; None: tested (see `distributions.comparison`).
        drift: The same for `feature_drift`.
        feature_skew: Threshold by feature.
        feature_drift: Threshold by feature.
        false_alarms: Probability of any alarm in a run of data that does not differ.
        scale: Factor by which size or spread may leave the blocks' range.
        outside: Share of rows with numbers beyond the range.
        warn: Kinds of anomaly that are warnings.
        evolve: Whether `train` extends a schema that was given.
        min_domain_mass: Share of a categorical feature's values that must be known.
        missing: How far the share of missing values may rise.
        domain_size: Text with at most so many different values is categorical.
    """

    skew: float | None
    drift: float | None
    feature_skew: Mapping[str, float]
    feature_drift: Mapping[str, float]
    false_alarms: float
    scale: float
    outside: float
    warn: tuple[str, ...]
    evolve: bool
    min_domain_mass: float
    missing: float
    domain_size: int

    def check_features(self, features: Iterable[str]) -> None:
        """Refuse thresholds for features that are not there.

        Raises:
            ArgumentError: The message says which feature was meant.
        """
        known = list(features)
        for argument, thresholds in (("feature_skew", self.feature_skew), ("feature_drift", self.feature_drift)):
            for feature in thresholds:
                if feature not in known:
                    raise ArgumentError(f"{argument}.{feature}", f"the data has no such feature; {nearest(feature, known)}")

    def threshold(self, comparison: str, feature: str) -> float | None:
        """Return the threshold given for a feature's `skew` or `drift`, or None where it is to be tested."""
        own, common = (self.feature_skew, self.skew) if comparison == "skew" else (self.feature_drift, self.drift)
        return own.get(feature, common)
