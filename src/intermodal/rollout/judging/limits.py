"""What counts as worse, and how sure the judge must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from intermodal.runtime.arguments import ArgumentError, in_range


@dataclass(frozen=True)
class Limit:
    """What one metric may and may not do.

    Attributes:
        tolerated: A candidate that is worse by this, or less, is not rolled back for it.
        harm: To be promoted, a candidate must be shown not to be worse by this; None: it need not be shown.
    """

    tolerated: float
    harm: float | None


#: Errors, predictions, disagreement: absolute, as shares. Latencies: the candidate's over the stable one's. Predictions: the largest difference of
#: cumulated shares (Kolmogorov and Smirnov's distance). Business metric and loss are in the user's unit, so they have no default.
DEFAULT_LIMITS: Final[Mapping[str, Limit]] = MappingProxyType(
    {
        "errors": Limit(0.001, 0.01),
        "p50": Limit(1.05, None),
        "p95": Limit(1.05, 1.3),
        "p99": Limit(1.1, None),
        "predictions": Limit(0.1, 0.25),
        "disagreement": Limit(0.05, 0.1),
    }
)
QUANTILES: Final[Mapping[str, float]] = MappingProxyType({"p50": 0.5, "p95": 0.95, "p99": 0.99})
METRICS: Final = (*DEFAULT_LIMITS, "business", "loss")


@dataclass(frozen=True)
class Settings:
    """How the judge decides.

    Attributes:
        limits: By metric (`METRICS`); a metric without a limit is not judged.
        false_alarm: Chance that a candidate within what is tolerated is rolled back for a metric, over all looks, metrics and steps of a rollout.
        missed: Chance that a step promotes a candidate that does harm, over all its looks.
        steps: How many judged steps the rollout has; each gets its share of `false_alarm`.
        minimum_requests: What the candidate must have answered in a step.
        bake: Seconds that a step lasts at least.
        warm_up: Seconds at the beginning of a step that are not compared.
        outage_seconds: A candidate most of whose requests failed for so long, while the stable one's did not, is rolled back at once; 0: never.
        outage_share: What "most" is.
    """

    limits: Mapping[str, Limit] = field(default_factory=lambda: DEFAULT_LIMITS)
    false_alarm: float = 0.05
    missed: float = 0.05
    steps: int = 1
    minimum_requests: int = 100
    bake: float = 60.0
    warm_up: float = 20.0
    outage_seconds: float = 15.0
    outage_share: float = 0.5

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ArgumentError: A value is out of range, a metric is unknown, or harm is within what is tolerated.
        """
        for name in ("false_alarm", "missed"):
            in_range(name, getattr(self, name), 0, 0.5, open_low=True)
        in_range("steps", self.steps, 1)
        for name in ("minimum_requests", "bake", "warm_up", "outage_seconds"):
            in_range(name, getattr(self, name), 0)
        in_range("outage_share", self.outage_share, 0, 1, open_low=True)
        for name, limit in self.limits.items():
            if name not in METRICS:
                raise ArgumentError("limits", f"{name!r} is no metric; there are {', '.join(METRICS)}")
            if name in QUANTILES and limit.tolerated < 1:
                raise ArgumentError("limits", f"{name} tolerates {limit.tolerated:g}; a ratio is 1 at least (1.05: 5 % slower)")
            if limit.tolerated < 0:
                raise ArgumentError("limits", f"{name} tolerates {limit.tolerated:g}; it must be 0 at least")
            if limit.harm is not None and limit.harm <= limit.tolerated:
                raise ArgumentError("limits", f"{name}: harm ({limit.harm:g}) must exceed what is tolerated ({limit.tolerated:g})")

    def false_alarm_of(self, metric: str, *, shadow: bool = False) -> float:
        """Return the chance that one metric of one step may take: a metric whose harm is named twice that of another.

        Args:
            metric: Its name.
            shadow: Whether answers are compared; else disagreement takes nothing.
        """
        parts = {name: 1 if limit.harm is None else 2 for name, limit in self.limits.items() if shadow or name != "disagreement"}
        return self.false_alarm / self.steps * parts[metric] / sum(parts.values())


def judge_settings(tolerated: Mapping[str, float], harm: Mapping[str, float], **settings: Any) -> Settings:
    """Return the judge's settings with the limits of some metrics changed.

    Args:
        tolerated: Metric to `Limit.tolerated`.
        harm: Metric to `Limit.harm`.
        settings: The other fields of `Settings`.

    Raises:
        ArgumentError: As `Settings`; or a metric without a default has no `tolerated`.
    """
    limits = dict(DEFAULT_LIMITS)
    for name in {**tolerated, **harm}:
        known = limits.get(name)
        if known is None and name not in tolerated:
            raise ArgumentError(f"harm.{name}", f"{name!r} needs a tolerated too; metrics with a default are {', '.join(DEFAULT_LIMITS)}")
        limits[name] = Limit(
            tolerated[name] if name in tolerated or known is None else known.tolerated, harm.get(name, known.harm if known else None)
        )
    return Settings(limits=limits, **settings)
