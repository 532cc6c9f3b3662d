"""The rules that keep a model from becoming much worse for some of the rows while it is no worse for all of them.

A slice blocks when the model is worse there than the champion by more than the margin, and beyond chance. As many slices give chance many chances,
the p-values of all slices and metrics are corrected together (Holm, Scandinavian Journal of Statistics 6, 1979): models that do not differ are
blocked by any slice in no more than 1 - confidence of the cases.
"""

from dataclasses import dataclass

import numpy as np

from intermodal.components.gate_model.outcome import BLOCKED, PASSED, TITLES, Outcome
from intermodal.components.gate_model.scored_rows import ScoredRows
from intermodal.evaluation.intervals import Estimate

_BINS = 512
#: How many names of slices a sentence lists.
_LISTED = 5


@dataclass(frozen=True)
class _Judged:
    column: str
    slice: str
    metric: str
    worse: Estimate


def judge_slices(rows: ScoredRows, margins: dict[str, float], confidence: float, minimum_rows: int, minimum_blocks: int) -> list[Outcome]:
    """Judge the model in each slice; one outcome for each column.

    Args:
        rows: Scored by both models.
        margins: Metric to how much worse than the champion the model may be in a slice, in the metric's units.
        confidence: That no slice blocks a model that is worse in none.
        minimum_rows: Slices with fewer rows are not judged.
        minimum_blocks: Nor are those with fewer blocks.
    """
    judged: list[_Judged] = []
    unjudged: dict[str, list[tuple[str, str]]] = {}
    for column, values in rows.slices.items() if margins else ():
        names, places, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
        for number, (name, count) in enumerate(zip(names, counts, strict=True)):
            why = f"{count} rows, fewer than {minimum_rows}" if count < minimum_rows else ""
            if not why:
                there = places.reshape(-1) == number
                found = rows.worsening(list(margins), there, _BINS)
                blocks = rows.blocks.of(there).count
                why = _why(found, blocks, minimum_blocks)
                judged += [_Judged(column, str(name), metric, worse) for metric, worse in found.items() if not why]
            if why:
                unjudged.setdefault(column, []).append((str(name), why))
    collapsed = [judged[place] for place in _rejected([each.worse.p_value(0.0) for each in judged], 1 - confidence)]
    collapsed = [each for each in collapsed if (each.worse.value or 0.0) > margins[each.metric]]
    return [
        _outcome(column, [each for each in judged if each.column == column], collapsed, unjudged.get(column, []), margins)
        for column in (rows.slices if margins else ())
    ]


def _why(found: dict[str, Estimate], blocks: int, minimum_blocks: int) -> str:
    """Return why a slice cannot be judged; empty: it can."""
    if blocks < minimum_blocks:
        return f"{blocks} blocks, fewer than {minimum_blocks}"
    return "too few rows of a class" if any(each.error is None for each in found.values()) else ""


def _rejected(p_values: list[float], level: float) -> list[int]:
    """Return the places of the hypotheses that Holm's step-down procedure rejects at a family-wise level."""
    rejected = []
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] > level / (len(p_values) - rank):
            break
        rejected.append(int(place))
    return sorted(rejected)


def _outcome(column: str, judged: list[_Judged], collapsed: list[_Judged], unjudged: list[tuple[str, str]], margins: dict[str, float]) -> Outcome:
    rule = f"slices {column}"
    left_out = f"; not judged: {_listed([f'{name} ({why})' for name, why in unjudged])}" if unjudged else ""
    if not judged:
        return Outcome(rule, PASSED, f"no {column} can be judged{left_out}", unjudged=tuple(unjudged))
    worst = max(judged, key=lambda each: (each.worse.value or 0.0) / margins[each.metric] if margins[each.metric] else (each.worse.value or 0.0))
    value, bound = worst.worse.value or 0.0, margins[worst.metric]
    own = [each for each in collapsed if each.column == column]
    if own:
        listed = _listed([f"{each.slice} (by {each.worse.value:.3f}, allowed {margins[each.metric]:g})" for each in own])
        metrics = " and ".join(TITLES[metric] for metric in dict.fromkeys(each.metric for each in own))
        text = f"{metrics} becomes worse beyond chance where {column} is {listed}: look at these rows"
    else:
        most = f"the most is {value:.3f} of {TITLES[worst.metric]} at {worst.slice}, allowed is {bound:g}"
        text = f"no {column} becomes worse by more than is allowed, beyond chance: {most}"
    low, high = worst.worse.below(0.975), worst.worse.above(0.975)
    return Outcome(rule, BLOCKED if own else PASSED, text + left_out, value, bound, low, high, tuple(unjudged))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
