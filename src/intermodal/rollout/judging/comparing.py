"""Each metric of both models as evidence: that the candidate is worse than tolerated, and that it does no harm.

Models are compared within each slice and the slices' differences added, with Mantel and Haenszel's weights (Journal of the National Cancer Institute
22, 1959; for differences: Greenland and Robins, Biometrics 41, 1985). So whatever both models meet alike, a burst of load or the time of day,
cancels, at any share of the requests.

A quantile is compared within each slice by how many requests exceed it: if the candidate takes up to `r` times as long, no more of its requests
exceed `r` times the p95 of the slice than of the stable model's exceed that p95.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from intermodal.rollout.judging.counts import CANDIDATE, STABLE, Counts, Floats, Histogram, Moments
from intermodal.rollout.judging.evidence import Evidence, gather
from intermodal.rollout.judging.limits import QUANTILES, Limit

#: Where predictions are compared: at the bounds of their histogram that are nearest to these shares of both models' predictions.
_PLACES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_FEW: Final = 20
#: Neighbouring buckets may differ by so much, or by the harm where that is more.
_WIDEST: Final = 1.3
_REQUESTS_A_POINT: Final = 60


@dataclass(frozen=True)
class Comparison:
    """One metric of both models.

    Attributes:
        metric: Its name.
        stable: What the stable model has: a share, seconds, or the metric's own unit.
        candidate: What the candidate has.
        counts: Requests (or predictions, or labels) of the stable model and of the candidate behind it.
        worse: Evidence that the candidate is worse than tolerated; any of them shows it.
        harmless: Evidence that it is not worse by the harm; all of them are needed. Empty: no harm was named.
    """

    metric: str
    stable: float
    candidate: float
    counts: tuple[float, float]
    worse: tuple[Evidence, ...]
    harmless: tuple[Evidence, ...]


@dataclass(frozen=True)
class Unmeasured:
    """A metric that cannot be compared.

    Attributes:
        metric: Its name.
        reason: What is missing, and the remedy.
        needed: Whether the candidate cannot be promoted without it.
    """

    metric: str
    reason: str
    needed: bool


@dataclass(frozen=True)
class _Pair:
    """Some events of both models: shape (slices,) each; in a reference, `before` is the stable model's from another span."""

    bad_stable: Floats
    of_stable: Floats
    bad_candidate: Floats
    of_candidate: Floats
    before: bool

    def rate(self, model: int) -> float:
        bad, of = (self.bad_stable, self.of_stable) if model == STABLE else (self.bad_candidate, self.of_candidate)
        return float(bad.sum() / max(of.sum(), 1.0))

    @property
    def counts(self) -> tuple[float, float]:
        return float(self.of_stable.sum()), float(self.of_candidate.sum())

    def evidence(self, allowed: float, effect: float, *, more: bool, rates: tuple[float, float]) -> Evidence:
        """Return the evidence that the candidate's rate exceeds the stable one's by more than `allowed`; not `more`: by less.

        Args:
            allowed: The difference of the hypothesis.
            effect: The difference beyond it that is looked for.
            more: The direction.
            rates: Stable model's and candidate's rates under the hypothesis, for the variance by chance.
        """
        sign = 1.0 if more else -1.0
        chance = [max(rate * (1 - rate), 0.0) for rate in np.clip(rates, 0.0, 1.0)]
        of, bad = self.of_candidate, self.bad_candidate
        if self.before:
            known = self.rate(STABLE)
            # What is not known of the stable model's own rate is held against whatever is to be shown.
            allowed += known + sign * 2 * _standard_error(self.bad_stable, self.of_stable)
            return gather(sign * (bad - of * allowed), of, of * chance[CANDIDATE], effect)
        both = np.maximum(of + self.of_stable, 1e-12)
        weights = of * self.of_stable / both
        terms = (bad * self.of_stable - self.bad_stable * of) / both - weights * allowed
        floors = (self.of_stable / both) ** 2 * of * chance[CANDIDATE] + (of / both) ** 2 * self.of_stable * chance[STABLE]
        return gather(sign * terms, weights, floors, effect)


def compare(counts: Counts, metric: str, limit: Limit, before: Counts | None = None) -> Comparison | Unmeasured | None:
    """Compare the models in one metric.

    Args:
        counts: Slices with requests of both models; with `before`, of the candidate.
        metric: Its name.
        limit: What is tolerated, and what is harm.
        before: The stable model in an earlier span, where it has no requests beside the candidate's.

    Returns:
        The comparison; what is missing for it; None where it is not measured and needs not be.
    """
    if metric == "errors":
        source = counts if before is None else before
        columns = (source.errors[:, STABLE], source.requests[:, STABLE], counts.errors[:, CANDIDATE], counts.requests[:, CANDIDATE])
        return _share(metric, _Pair(*columns, before=before is not None), limit)
    if metric == "disagreement":
        return _disagreement(counts, limit)
    if metric == "predictions":
        return _predictions(counts, limit, before)
    if metric in QUANTILES:
        return _quantile(counts, metric, limit, before)
    return _moments(counts, metric, limit)


def _share(metric: str, pair: _Pair, limit: Limit) -> Comparison:
    """Compare shares, more of which are worse."""
    stable, candidate = pair.rate(STABLE), pair.rate(CANDIDATE)
    pooled = (sum(map(float, (pair.bad_stable.sum(), pair.bad_candidate.sum()))) + 0.5) / (sum(pair.counts) + 1.0)
    wanted = limit.harm if limit.harm is not None else 2 * limit.tolerated
    effect = max(wanted - limit.tolerated, 1e-4)
    harmless: tuple[Evidence, ...] = ()
    if limit.harm is not None:
        base = float((pair.bad_stable.sum() + 0.5) / (pair.of_stable.sum() + 1.0))
        harmless = (pair.evidence(limit.harm, limit.harm, more=False, rates=(base, base + limit.harm)),)
    return Comparison(metric, stable, candidate, pair.counts, (pair.evidence(limit.tolerated, effect, more=True, rates=(pooled, pooled)),), harmless)


def _disagreement(counts: Counts, limit: Limit) -> Comparison | None:
    if counts.compared is None or counts.agreed is None:
        return None
    none = np.zeros_like(counts.compared)
    # Disagreement is measured on the same requests: what it is compared with is known, 0.
    pair = _Pair(none, none + 1.0, counts.compared - counts.agreed, counts.compared, before=True)
    compared = _share("disagreement", pair, limit)
    return Comparison("disagreement", 0.0, compared.candidate, pair.counts, compared.worse, compared.harmless)


def _quantile(counts: Counts, metric: str, limit: Limit, before: Counts | None) -> Comparison | Unmeasured:
    level = QUANTILES[metric]
    source = before or counts
    needed = limit.harm is not None
    if counts.latencies is None or source.latencies is None:
        return Unmeasured(metric, "there are no latencies; name the query of a histogram, or give no limit for it", needed)
    bounds = counts.latencies.bounds
    of_stable, of_candidate = source.latencies.counts[:, STABLE], counts.latencies.counts[:, CANDIDATE]
    total = of_stable.sum(axis=0)
    if total.sum() < _FEW or of_candidate.sum() == 0:
        return Unmeasured(
            metric, f"{total.sum():.0f} requests of the stable model and {of_candidate.sum():.0f} of the candidate have latencies", needed
        )
    point = _quantile_of(total, bounds, level)
    if reason := _coarse(bounds, point, max(limit.harm or limit.tolerated, _WIDEST)):
        return Unmeasured(metric, reason, needed)
    base = 1 - level

    def pair(factor: float) -> _Pair:
        if before is not None:
            above = [
                _above(of_stable, bounds, np.full(len(of_stable), point)),
                _above(of_candidate, bounds, np.full(len(of_candidate), point * factor)),
            ]
        else:
            points = _points(of_stable, of_candidate, bounds, base, factor)
            above = [_above(of_stable, bounds, points), _above(of_candidate, bounds, points * factor)]
        return _Pair(above[0], of_stable.sum(axis=1), above[1], of_candidate.sum(axis=1), before=before is not None)

    def share_above(factor: float) -> float:
        return float(_above(total[None], bounds, np.array([point * factor]))[0] / total.sum())

    tolerated = pair(limit.tolerated)
    slower = limit.harm if limit.harm is not None else limit.tolerated * 1.25
    worse = tolerated.evidence(0.0, max(share_above(limit.tolerated / slower) - base, base / 10), more=True, rates=(base, base))
    harmless: tuple[Evidence, ...] = ()
    if limit.harm is not None:
        harmless = (pair(limit.harm).evidence(0.0, max(base - share_above(limit.harm), base / 10), more=False, rates=(base, base)),)
    found = _quantile_of(of_candidate.sum(axis=0), bounds, level)
    return Comparison(metric, point, found, tolerated.counts, (worse,), harmless)


def _points(stable: Floats, candidate: Floats, bounds: Floats, base: float, factor: float) -> Floats:
    """Return for each slice the latency that a share `base` of both models' requests exceed, the candidate's divided by `factor`; shape (slices,).

    If the candidate's latencies are distributed as `factor` times the stable one's in this slice, both models' requests are exchangeable given these
    points, as in a rank test within strata (van Elteren, 1960), however slow the slice was.
    """
    wanted = max(1, math.ceil(_REQUESTS_A_POINT / max(float((stable.sum() + candidate.sum()) / len(stable)), 1e-9)))
    first = np.arange(0, max(len(stable) - wanted + 1, 1), wanted)
    groups = np.minimum(np.arange(len(stable)) // wanted, len(first) - 1)
    together = [np.add.reduceat(each, first, axis=0) for each in (stable, candidate)]
    above = np.cumsum(together[0][:, ::-1], axis=1)[:, ::-1][:, 1:]
    scaled = _above_each(together[1], bounds, bounds * factor)
    exceed = above + scaled
    of = sum(each.sum(axis=1) for each in together)
    # The first bound that fewer exceed than wanted; the point is between it and the one before.
    place = np.argmax(exceed < base * np.asarray(of)[:, None] + 1e-9, axis=1)
    rows = np.arange(len(first))
    high = exceed[rows, place]
    low = np.where(place > 0, exceed[rows, np.maximum(place - 1, 0)], of)
    part = np.clip((low - base * np.asarray(of)) / np.maximum(low - high, 1e-12), 0.0, 1.0)
    under = np.where(place > 0, bounds[np.maximum(place - 1, 0)], bounds[0] / 2)
    points = under * (bounds[place] / under) ** part
    return np.asarray(points[groups])


def _coarse(bounds: Floats, point: float, factor: float) -> str:
    """Return why the histogram cannot tell latencies that differ by a factor; empty: it can."""
    place = int(np.searchsorted(bounds, point))
    if point * factor > bounds[-1]:
        return f"the latencies' largest bound is {bounds[-1]:g} s, below {factor:g} times the stable model's {point:g} s; measure with larger buckets"
    low = float(bounds[place - 1]) if place else 0.0
    if low == 0 or bounds[place] / low > factor * (1 + 1e-9):
        return (
            f"the latencies' buckets are too wide to see {factor:g} times {point:.3g} s: one goes from {low:g} to {bounds[place]:g} s; "
            f"measure with buckets whose bounds differ by {factor:g} times at most"
        )
    return ""


def _quantile_of(counts: Floats, bounds: Floats, level: float) -> float:
    """Return a quantile of a histogram, even in the logarithm within its bucket; the last bound where it is beyond."""
    cumulated = np.cumsum(counts)
    wanted = level * cumulated[-1]
    place = int(np.searchsorted(cumulated, wanted))
    if place >= len(bounds):
        return float(bounds[-1])
    below = float(cumulated[place - 1]) if place else 0.0
    part = (wanted - below) / max(float(counts[place]), 1e-12)
    low, high = (float(bounds[place - 1]) if place else 0.0), float(bounds[place])
    return float(low * (high / low) ** part if low > 0 else low + (high - low) * part)


def _above(counts: Floats, bounds: Floats, points: Floats) -> Floats:
    """Return how many of each row exceed the row's point, even in the logarithm within its bucket; shapes (rows, bounds + 1) and (rows,)."""
    place = np.minimum(np.searchsorted(bounds, points), len(bounds) - 1)
    rows = np.arange(len(counts))
    low, high = np.where(place > 0, bounds[np.maximum(place - 1, 0)], bounds[0] / 2), bounds[place]
    part = np.clip(np.log(high / points) / np.log(high / low), 0.0, 1.0)
    from_here = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(from_here[rows, place + 1] + part * counts[rows, place])


def _above_each(counts: Floats, bounds: Floats, points: Floats) -> Floats:
    """Return how many of each row exceed each point; shapes (rows, bounds + 1), (points,) and (rows, points)."""
    place = np.minimum(np.searchsorted(bounds, points), len(bounds) - 1)
    low, high = np.where(place > 0, bounds[np.maximum(place - 1, 0)], bounds[0] / 2), bounds[place]
    part = np.clip(np.log(high / points) / np.log(high / low), 0.0, 1.0)
    from_here = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(from_here[:, place + 1] + part * counts[:, place])


def _predictions(counts: Counts, limit: Limit, before: Counts | None) -> Comparison | None:
    if counts.predictions is None or (before is not None and before.predictions is None):
        return None
    source: Histogram = (before or counts).predictions  # type: ignore[assignment]
    stable, candidate = source.counts[:, STABLE], counts.predictions.counts[:, CANDIDATE]
    if stable.sum() == 0 or candidate.sum() == 0:
        return None
    shares = [np.cumsum(each.sum(axis=0))[:-1] / each.sum() for each in (stable, candidate)]
    middle = (shares[0] + shares[1]) / 2
    places = sorted({int(np.argmin(np.abs(middle - place))) for place in _PLACES})
    worse, harmless = [], []
    effect = max((limit.harm if limit.harm is not None else 2 * limit.tolerated) - limit.tolerated, 1e-3)
    for place in places:
        below = [each[:, : place + 1].sum(axis=1) for each in (stable, candidate)]
        of = [each.sum(axis=1) for each in (stable, candidate)]
        base = float(middle[place])
        for one, other in ((0, 1), (1, 0)) if before is None else ((0, 1),):
            pair = _Pair(below[one], of[one], below[other], of[other], before=before is not None)
            worse.append(pair.evidence(limit.tolerated, effect, more=True, rates=(base, base)))
            if limit.harm is not None:
                harmless.append(pair.evidence(limit.harm, limit.harm, more=False, rates=(base, base)))
        if before is not None:  # the other direction: what is above instead of below
            pair = _Pair(of[0] - below[0], of[0], of[1] - below[1], of[1], before=True)
            worse.append(pair.evidence(limit.tolerated, effect, more=True, rates=(base, base)))
            if limit.harm is not None:
                harmless.append(pair.evidence(limit.harm, limit.harm, more=False, rates=(base, base)))
    distance = float(np.abs(shares[0] - shares[1]).max())
    return Comparison("predictions", 0.0, distance, (float(stable.sum()), float(candidate.sum())), tuple(worse), tuple(harmless))


def _moments(counts: Counts, metric: str, limit: Limit) -> Comparison | Unmeasured:
    found: Moments | None = getattr(counts, metric)
    needed = limit.harm is not None
    if found is None or np.any(found.count.sum(axis=0) == 0):
        return Unmeasured(metric, f"there are no values of both models; name a query for `{metric}`, or give no limit for it", needed)
    sign = -1.0 if metric == "business" else 1.0
    of_stable, of_candidate = found.count[:, STABLE], found.count[:, CANDIDATE]
    value = np.where(found.count > 0, found.mean, 0.0)
    weights = of_stable * of_candidate / np.maximum(of_stable + of_candidate, 1e-12)
    differences = sign * (value[:, CANDIDATE] - value[:, STABLE])
    floors = weights**2 * (found.variance / np.maximum(found.count, 1e-12)).sum(axis=1)
    effect = (limit.harm if limit.harm is not None else 2 * limit.tolerated) - limit.tolerated
    worse = gather(weights * (differences - limit.tolerated), weights, floors, effect or float(np.abs(differences).mean()))
    harmless = () if limit.harm is None else (gather(weights * (limit.harm - differences), weights, floors, limit.harm),)
    means = (found.count * value).sum(axis=0) / found.count.sum(axis=0)
    totals = found.count.sum(axis=0)
    return Comparison(metric, float(means[STABLE]), float(means[CANDIDATE]), (float(totals[STABLE]), float(totals[CANDIDATE])), (worse,), harmless)


def _standard_error(bad: Floats, of: Floats) -> float:
    """Return the standard error of a rate whose slices are the units."""
    total = max(float(of.sum()), 1.0)
    residuals = bad - of * (bad.sum() / total)
    return math.sqrt(max(float(residuals @ residuals), float(bad.sum()))) / total
