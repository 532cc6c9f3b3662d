"""The rules that keep a model from becoming much worse for some of the rows while it is no worse for all of them.

A slice blocks when the model is worse there than the champion, or than the reference, by more than the margin, or misses a bound, and that beyond
chance: when it is shown to be worse at all, and the number itself is beyond the margin. As many slices give chance many chances, the p-values of all
slices and limits are corrected together (Holm, Scandinavian Journal of Statistics 6, 1979): a model that is beyond its limits in none is blocked by
some slice in no more than 1 - confidence of the cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from intermodal.components.gate_model.outcome import BLOCKED, PASSED, TITLES, Outcome
from intermodal.components.gate_model.scored_rows import Compared
from intermodal.evaluation.intervals import Estimate, Floats, pooled_estimates
from intermodal.evaluation.multiple_tests import holm

#: Of ranks, in a slice.
BINS = 512
#: How many names of slices a sentence lists.
_LISTED = 5


@dataclass(frozen=True)
class SliceLimits:
    """What is asked of every slice, by metric.

    Attributes:
        margin: How much worse than the champion, and than the reference, the model may be, in the metric's units.
        minimum: The least the metric may be.
        maximum: The most it may be.
    """

    margin: dict[str, float]
    minimum: dict[str, float]
    maximum: dict[str, float]


@dataclass(frozen=True)
class _Test:
    """One limit in one slice, of a kind: a margin to `champion` or `reference`, a `minimum` or a `maximum`.

    `excess` is how much worse than the other model it is, or how far beyond the bound.
    """

    column: str
    slice: str
    kind: str
    metric: str
    excess: Estimate
    limit: float

    @property
    def allowed(self) -> float:
        """What the excess may be."""
        return self.limit if self.kind in ("champion", "reference") else 0.0

    @property
    def broken(self) -> bool:
        """Whether the number is beyond the limit, by chance or not."""
        return (self.excess.value or 0.0) > self.allowed

    @property
    def text(self) -> str:
        """Say by how much."""
        value = self.excess.value or 0.0
        if self.kind in ("champion", "reference"):
            worse = f"worse by {value:.3f}" if value > 0 else "no worse"
            worse += " than the reference" if self.kind == "reference" else ""
            return f"{self.slice} ({TITLES[self.metric]} {worse}, allowed {self.limit:g})"
        number, words = (self.limit - value, "below") if self.kind == "minimum" else (self.limit + value, "above")
        return f"{self.slice} ({TITLES[self.metric]} {number:.3f}, {words} {self.limit:g})"


def judge_slices(rows: Compared, limits: SliceLimits, confidence: float, minimum_rows: int, minimum_blocks: int) -> list[Outcome]:
    """Judge the model in each slice; one outcome for each column.

    Args:
        rows: Scored by the model and, for a margin, by the champion.
        limits: What is asked of every slice.
        confidence: That no slice blocks a model that is beyond its limits in none.
        minimum_rows: Slices with fewer rows are not judged.
        minimum_blocks: Nor are those with fewer blocks.
    """
    if not (limits.margin or limits.minimum or limits.maximum):
        return []
    tests: list[_Test] = []
    unjudged: dict[str, list[tuple[str, str]]] = {}
    for column in rows.slices:
        parts: dict[str, Compared] = {}
        for name, count, part in rows.parts(column, minimum_rows, BINS):
            if part is None:
                unjudged.setdefault(column, []).append((name, f"{count} rows, fewer than {minimum_rows}"))
            elif part.blocks.count < minimum_blocks:
                unjudged.setdefault(column, []).append((name, f"{part.blocks.count} blocks, fewer than {minimum_blocks}"))
            else:
                parts[name] = part
        found = list(_tests(column, parts, limits))
        tests += [each for each in found if each.excess.error is not None]
        for name in parts:
            unknown = dict.fromkeys(TITLES[each.metric] for each in found if each.slice == name and each.excess.error is None)
            if unknown:
                unjudged.setdefault(column, []).append((name, f"too few rows of a class for {', '.join(unknown)}"))
    level = 1 - confidence
    adjusted, _ = holm(np.array([each.excess.p_value(0.0) for each in tests], float), level)
    broken = [each for each, chance in zip(tests, adjusted, strict=True) if chance <= level and each.broken]
    return [_outcome(column, [each for each in tests if each.column == column], broken, unjudged.get(column, [])) for column in rows.slices]


def _tests(column: str, parts: dict[str, Compared], limits: SliceLimits) -> Iterator[_Test]:
    """Yield a test for each limit in each slice of a column."""
    excesses = {name: _excesses(part, limits) for name, part in parts.items()}
    for kind, metric, limit in next(iter(excesses.values()), {}):
        found = pooled_estimates([each[kind, metric, limit] for each in excesses.values()], [part.blocks for part in parts.values()])
        yield from (_Test(column, name, kind, metric, each, limit) for name, each in zip(parts, found, strict=True))


def _excesses(part: Compared, limits: SliceLimits) -> dict[tuple[str, str, float], Floats]:
    """Return how far a part is beyond each limit, by its kind, metric and number: of all rows, and without each block."""
    worse = {
        (other, metric, limits.margin[metric]): values
        for other in part.others
        for metric, values in part.worsening(list(limits.margin), other).items()
    }
    low = {("minimum", metric, bound): bound - part.metrics[metric] for metric, bound in limits.minimum.items()}
    high = {("maximum", metric, bound): part.metrics[metric] - bound for metric, bound in limits.maximum.items()}
    return worse | low | high


def _outcome(column: str, tests: list[_Test], broken: list[_Test], unjudged: list[tuple[str, str]]) -> Outcome:
    rule = f"slices {column}"
    left_out = f"; not judged: {_listed([f'{name} ({why})' for name, why in unjudged])}" if unjudged else ""
    if not tests:
        return Outcome(rule, PASSED, f"no {column} can be judged{left_out}", unjudged=tuple(unjudged))
    own = [each for each in broken if each.column == column]
    worst = max(own or tests, key=lambda each: (each.excess.value or 0.0) - each.allowed)
    if own:
        text = f"limits are broken, beyond chance, where {column} is {_listed([each.text for each in own])}: look at these rows"
    else:
        text = f"no {column} breaks a limit beyond chance; the nearest is {worst.text}"
    low, high = worst.excess.below(0.975), worst.excess.above(0.975)
    return Outcome(rule, BLOCKED if own else PASSED, text + left_out, worst.excess.value, worst.allowed, low, high, tuple(unjudged))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
