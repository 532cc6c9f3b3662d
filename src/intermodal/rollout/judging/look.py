"""One look at both models."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from intermodal.rollout.judging.comparing import Comparison, Unmeasured, compare
from intermodal.rollout.judging.counts import CANDIDATE, STABLE, Counts
from intermodal.rollout.judging.evidence import Evidence
from intermodal.rollout.judging.limits import QUANTILES, Limit, Settings
from intermodal.rollout.verdict import Decision, Verdict

Outcome = Literal["worse", "harmless", "within limits", "open"]
#: Slices are put together until each has so many requests of the model that has fewer.
_REQUESTS_A_SLICE: Final = 2.0
_OUTAGE_REQUESTS: Final = 10
_MOST_MORE: Final = 1000.0


@dataclass(frozen=True)
class Finding:
    """What a look says of one metric.

    Attributes:
        metric: Its name.
        outcome: `worse` than tolerated; `harmless`: shown not to be worse by the harm; `within limits`: not worse, and nothing need be shown; `open`.
        stable: The stable model's value: a share, seconds, or the metric's own unit.
        candidate: The candidate's.
        evidence: How strong the evidence for `worse` is: `worse` from 1 on.
        sentence: The same in words.
        more: Further requests of the candidate until it is shown to be harmless, if all goes on as it did; 0 where nothing is open.
    """

    metric: str
    outcome: Outcome
    stable: float
    candidate: float
    evidence: float
    sentence: str
    more: float = 0.0


@dataclass(frozen=True)
class Look(Verdict):
    """A verdict with what it comes from.

    Attributes:
        findings: Of each metric that was compared.
        warnings: What was not compared, and why.
    """

    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(counts: Counts, settings: Settings, *, before: Counts | None = None) -> Look:
    """Judge a step by all its slices so far. May be called as often as slices come: the chances of error hold over all looks.

    A candidate is rolled back where any metric is shown to be worse than tolerated. It is promoted where every metric with a `harm` is shown not to
    be worse by that, in a test of its own against the harm: a candidate that does the harm is promoted with a chance of `missed` at most. So
    `promote` never means that merely nothing was found.

    Args:
        counts: The step's slices, from its beginning.
        settings: What is tolerated, and how sure to be.
        before: Where the stable model has no requests beside the candidate's (blue-green): its slices before. The comparison then takes any change of
            the load for the model's, and says so.

    Returns:
        The verdict of this look.
    """
    if outage := _outage(counts, settings):
        return Look("roll back", (outage,))
    warm = counts.taken(counts.start >= (counts.start[0] if len(counts) else 0.0) + settings.warm_up)
    beside = bool(warm.requests[:, STABLE].sum() > 0) or warm.compared is not None
    warnings = []
    if beside:
        before = None
    elif before is not None:
        warnings.append(
            "the stable model has no requests beside the candidate's: the candidate is compared with the stable model's earlier span, "
            "and a change of the load counts as the candidate's"
        )
    if missing := _missing(warm, settings, judged_alone=not beside and before is None):
        return Look("too little data", (missing,), (), tuple(warnings))
    usable = warm.merged(_group(warm, before))
    compared, unmeasured = [], []
    for metric, limit in settings.limits.items():
        each = compare(usable, metric, limit, before)
        if isinstance(each, Comparison):
            compared.append((each, limit))
        elif each is not None:
            unmeasured.append(each)
    findings = tuple(
        _finding(each, limit, settings.false_alarm_of(each.metric, shadow=warm.compared is not None), settings) for each, limit in compared
    )
    warnings += [f"{each.metric} was not compared: {each.reason}" for each in unmeasured]
    decision, reasons = _decided(findings, unmeasured, counts, warm, settings)
    return Look(decision, tuple(reasons), findings, tuple(warnings))


def _decided(
    findings: tuple[Finding, ...], unmeasured: list[Unmeasured], counts: Counts, warm: Counts, settings: Settings
) -> tuple[Decision, list[str]]:
    worse = sorted((each for each in findings if each.outcome == "worse"), key=lambda each: -each.evidence)
    if worse:
        return "roll back", [each.sentence for each in worse]
    waits = [f"{each.metric} cannot be compared: {each.reason}" for each in unmeasured if each.needed]
    waits += [each.sentence for each in findings if each.outcome == "open"]
    answered = float(warm.requests[:, CANDIDATE].sum())
    if answered < settings.minimum_requests:
        waits.insert(0, f"the candidate has answered {answered:,.0f} requests of {settings.minimum_requests:,}")
    lasted = float(counts.end[-1] - counts.start[0])
    if lasted < settings.bake:
        waits.insert(0, f"the step has lasted {lasted:.0f} s of {settings.bake:.0f}")
    if waits:
        return "too little data", waits
    return "promote", [each.sentence for each in findings]


def _outage(counts: Counts, settings: Settings) -> str:
    """Say that most of the candidate's requests fail in the last seconds, while the stable model's do not; empty: they do not."""
    if not settings.outage_seconds or not len(counts):
        return ""
    last = counts.taken(counts.end > counts.end[-1] - settings.outage_seconds)
    if last.end[-1] - last.start[0] < settings.outage_seconds * (1 - 1e-9):
        return ""
    requests, errors = last.requests.sum(axis=0), last.errors.sum(axis=0)
    share = errors / np.maximum(requests, 1.0)
    # In every slice, so that one bad second is no outage.
    steadily = bool(np.all(last.errors[:, CANDIDATE] >= settings.outage_share * last.requests[:, CANDIDATE]))
    if requests[CANDIDATE] < _OUTAGE_REQUESTS or not steadily or share[STABLE] > share[CANDIDATE] / 2:
        return ""
    return (
        f"errors: {errors[CANDIDATE]:,.0f} of the candidate's last {requests[CANDIDATE]:,.0f} requests failed, for {settings.outage_seconds:.0f} s; "
        f"{share[STABLE]:.1%} of the stable model's"
    )


def _missing(warm: Counts, settings: Settings, *, judged_alone: bool) -> str:
    """Say what keeps the models from being compared at all; empty: nothing."""
    if not len(warm):
        return f"nothing is compared in a step's first {settings.warm_up:.0f} s"
    if warm.requests[:, CANDIDATE].sum() == 0:
        return "the candidate has no requests yet"
    if judged_alone:
        return "the stable model has no requests beside the candidate's, and no earlier span is there to compare with"
    return ""


def _group(warm: Counts, before: Counts | None) -> int:
    """Return how many neighbouring slices to put together so that few are without requests of one of the models."""
    fewest = warm.requests[:, CANDIDATE].mean() if before is not None else warm.requests.mean(axis=0).min()
    return max(1, math.ceil(_REQUESTS_A_SLICE / max(float(fewest), 1e-3)))


def _finding(compared: Comparison, limit: Limit, level: float, settings: Settings) -> Finding:
    share = level / len(compared.worse)
    values = [each.log_value + math.log(share) for each in compared.worse]
    best = int(np.argmax(values))
    found = (compared.metric, compared.stable, compared.candidate)
    if values[best] >= 0:
        sentence = f"{_values(compared)}; worse than tolerated ({_amount(compared.metric, limit.tolerated)}), " + _bound(compared, limit, best, share)
        return Finding(found[0], "worse", found[1], found[2], math.exp(min(values[best], 700.0)), sentence)
    evidence = math.exp(values[best])
    if limit.harm is None:
        return Finding(found[0], "within limits", found[1], found[2], evidence, f"{_values(compared)}; nothing against it")
    wanted = -math.log(settings.missed)
    open_ones = [each for each in compared.harmless if each.log_value < wanted]
    if not open_ones:
        return Finding(
            found[0], "harmless", found[1], found[2], evidence, f"{_values(compared)}; not worse by {_amount(compared.metric, limit.harm)}"
        )
    factor = max(_factor(each, wanted) for each in open_ones)
    more = compared.counts[1] * (factor - 1)
    harm = f"that it is not worse by {_amount(compared.metric, limit.harm)}"
    if factor < _MOST_MORE:
        sentence = f"{_values(compared)}; to show {harm} takes about {_rounded(more)} more requests of the candidate"
    else:
        sentence = f"{_values(compared)}; as things stand, no number of requests shows {harm}"
    return Finding(found[0], "open", found[1], found[2], evidence, sentence, more)


def _factor(evidence: Evidence, wanted: float) -> float:
    """Return how many times the requests it takes for the evidence to reach what is wanted, if all goes on as it did."""
    low, high = 1.0, _MOST_MORE
    if evidence.total <= 0 or evidence.grown(high).log_value < wanted:
        return high
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if evidence.grown(middle).log_value < wanted else (low, middle)
    return high


def _values(compared: Comparison) -> str:
    stable, candidate = (f"{each:,.0f}" for each in compared.counts)
    metric = compared.metric
    if metric in QUANTILES:
        ratio = compared.candidate / compared.stable if compared.stable else math.inf
        values = f"candidate {_seconds(compared.candidate)} ({candidate} requests), stable {_seconds(compared.stable)} ({stable})"
        return f"{metric}: {values}, ratio {ratio:.2f}"
    if metric == "predictions":
        return f"predictions: their cumulated shares differ by up to {compared.candidate:.1%} (candidate {candidate}, stable {stable})"
    if metric == "disagreement":
        return f"disagreement: {compared.candidate:.2%} of {candidate} answers"
    if metric == "errors":
        return f"errors: candidate {compared.candidate:.2%} of {candidate} requests, stable {compared.stable:.2%} of {stable}"
    return f"{metric}: candidate {compared.candidate:.4g} ({candidate}), stable {compared.stable:.4g} ({stable})"


def _bound(compared: Comparison, limit: Limit, best: int, level: float) -> str:
    """Say what the difference is at least, at every look."""
    least = max(compared.worse[best].least_effect(level), 0.0)
    sure = f"{1 - level:.2%}".rstrip("0%").rstrip(".") + " %"
    if compared.metric in QUANTILES:
        share = f"{1 - QUANTILES[compared.metric]:.0%}"
        return f"for at least {least:.2%} more of its requests exceed {limit.tolerated:g} times what {share} of the stable one's exceed ({sure} sure)"
    unit = f"{least + limit.tolerated:.2%}" if compared.metric in ("errors", "predictions", "disagreement") else f"{least + limit.tolerated:.4g}"
    return f"by at least {unit} ({sure} sure)"


def _amount(metric: str, value: float) -> str:
    if metric in QUANTILES:
        return f"{value - 1:.0%}"
    return f"{value:.1%} of the answers" if metric in ("errors", "disagreement") else f"{value:g}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _rounded(number: float) -> str:
    digits = max(0, math.floor(math.log10(max(number, 1.0))) - 1)
    return f"{math.ceil(max(number, 1.0) / 10**digits) * 10**digits:,}"
