"""What a step takes, said before it starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from intermodal.rollout.judging.evidence import Evidence
from intermodal.rollout.judging.limits import QUANTILES, Settings
from intermodal.runtime.arguments import in_range

_NORMAL: Final = NormalDist()
_SURE: Final = 1.645  # 95 %
_LARGEST: Final = 1e12


@dataclass(frozen=True)
class Traffic:
    """What a service's requests are like.

    Attributes:
        rate: Requests a second.
        share: The candidate's share of them.
        errors: The stable model's share of errors.
        p95: The stable model's, in seconds.
        p50: Likewise; None: 0.44 times p95, which is that of a lognormal distribution with a deviation of .5.
        overdispersion: How many times the variance of independent requests the counts have (bursts, pauses); 1: requests are independent.
    """

    rate: float
    share: float
    errors: float
    p95: float
    p50: float | None = None
    overdispersion: float = 1.0


@dataclass(frozen=True)
class Needed:
    """Requests of the candidate in a step, by metric.

    Attributes:
        to_find: Until a candidate that does the harm is rolled back with 95 %.
        to_promote: Until one that is as the stable model is shown not to do the harm, with 95 %.
        rate: The candidate's requests a second.
    """

    to_find: Mapping[str, float]
    to_promote: Mapping[str, float]
    rate: float

    @property
    def seconds(self) -> float:
        """How long a step takes until a good candidate is promoted, with 95 %."""
        return max(self.to_promote.values(), default=0.0) / self.rate

    def __str__(self) -> str:
        parts = [f"{name} after {requests:,.0f} requests of the candidate ({requests / self.rate:,.0f} s)" for name, requests in self.to_find.items()]
        found = ", ".join(parts)
        return f"harm is found with 95 % in {found}; a candidate as good as the stable one is promoted within {self.seconds:,.0f} s"


def requests_needed(traffic: Traffic, settings: Settings, *, slice_seconds: float = 5.0) -> Needed:
    """Return the requests of the candidate that a step takes, for errors and the quantiles of latency whose limits name a harm.

    Latencies are taken as lognormal with the median and p95 given, and as much slower everywhere; counts as normal. Where requests correlate,
    `overdispersion` says how much; 2 to 4 is usual for services that pause.

    Args:
        traffic: What the service's requests are like.
        settings: The judge's.
        slice_seconds: How long a slice of counts is.

    Raises:
        ArgumentError: A number is out of range.
    """
    in_range("rate", traffic.rate, 0, open_low=True)
    in_range("share", traffic.share, 0, 1, open_low=True, open_high=True)
    in_range("errors", traffic.errors, 0, 1)
    in_range("p95", traffic.p95, 0, open_low=True)
    p50 = traffic.p95 * 0.44 if traffic.p50 is None else traffic.p50
    in_range("p50", p50, 0, traffic.p95, open_low=True, open_high=True)
    deviation = math.log(traffic.p95 / p50) / _SURE
    # A slice's weight: the sum of Mantel and Haenszel's weights of so many seconds.
    weight = traffic.rate * slice_seconds * traffic.share * (1 - traffic.share)
    to_find: dict[str, float] = {}
    to_promote: dict[str, float] = {}
    for metric, limit in settings.limits.items():
        if limit.harm is None or not (metric == "errors" or metric in QUANTILES):
            continue
        if metric == "errors":
            found = (limit.harm - limit.tolerated, _variance(traffic, traffic.errors + limit.harm, traffic.errors))
            shown = (limit.harm, _variance(traffic, traffic.errors + limit.harm, traffic.errors))
        else:
            base = 1 - QUANTILES[metric]
            point = _NORMAL.inv_cdf(QUANTILES[metric])
            slow = 1 - _NORMAL.cdf(point - math.log(limit.harm / limit.tolerated) / deviation)
            quick = 1 - _NORMAL.cdf(point + math.log(limit.harm) / deviation)
            found = (slow - base, _variance(traffic, slow, base))
            shown = (base - quick, _variance(traffic, base, base))
        for wanted, chance, (effect, variance) in ((to_find, settings.false_alarm_of(metric), found), (to_promote, settings.missed, shown)):
            wanted[metric] = _requests(effect, variance * traffic.overdispersion, weight, chance) / (1 - traffic.share)
    return Needed(to_find, to_promote, traffic.rate * traffic.share)


def _variance(traffic: Traffic, candidate: float, stable: float) -> float:
    """Return the variance of the difference of two rates, for each unit of weight."""
    chances = [rate * (1 - rate) for rate in (candidate, stable)]
    return chances[0] * (1 - traffic.share) + chances[1] * traffic.share


def _requests(effect: float, variance: float, slice_weight: float, level: float) -> float:
    """Return the weight after which the evidence reaches `1 / level` with 95 %."""
    # The terms' own squares hold the effect too, which counts where a slice has many requests.
    squares = variance + effect**2 * slice_weight
    scale = (squares / effect) ** 2

    def shown(weight: float) -> bool:
        total = effect * weight - _SURE * math.sqrt(variance * weight)
        return Evidence(total, squares * weight, weight, scale).log_value >= -math.log(level)

    low, high = 1.0, 2.0
    while not shown(high) and high < _LARGEST:
        low, high = high, 2 * high
    while high - low > 0.005 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high
