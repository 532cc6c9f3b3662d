"""What samples of a feature are compared with: its shares in cells, as a whole and in each block, and what else varies between blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from intermodal.components.validate_data.distributions.samples import Array, Numbers, Sample, Texts, Words

#: Numbers are compared in cells between their deciles, the same number of rows in each where no value repeats.
_LEVELS: Final = np.arange(1, 10) / 10

#: Where more than half of the numbers are 0, these quantiles of the others divide them.
_MOSTLY: Final = 0.5
_NONZERO: Final = np.array([0.25, 0.5, 0.75])

#: Numbers with more different values than this are not known by their values.
_STEPS: Final = 250

#: Texts are compared in cells of one value each, the most frequent ones, and one for all others.
_VALUES: Final = 19

#: So many of the most frequent values are kept by name.
_FREQUENT: Final = 100


@dataclass(frozen=True)
class Reference:
    """A feature of the part that others are compared with, divided into blocks of consecutive rows.

    Attributes:
        numeric: Whether it holds numbers.
        edges: Of numbers: the upper ends of the cells but the last; ascending.
        labels: Of texts: the values that have a cell of their own.
        known: Of texts: all values, where there are no more than 1,000.
        counts: Rows in each cell, those without a value in the last; of shape (cells,).
        blocks: The same for each block; of shape (blocks, cells).
        low: Of numbers: the least.
        high: Of numbers: the greatest.
        size: Of numbers: `Numbers.size` of the whole, and of each block that has it.
        spread: Of numbers: `Numbers.spread`, likewise.
        lean: Of numbers: `Numbers.lean`, likewise.
        outside: Of numbers: the greatest share of a block's rows that are outside the range of the others.
        new: Of texts: the greatest share of a block's rows with values that no other block has.
        commonest: The greatest share of one value in any block.
        filled: Of numbers: the least number of values other than 0 in any block; None: not known (an earlier version's `blocks.json`).
        steps: Of numbers with few different values: these, other than 0; ascending.
        on_steps: Of these numbers, for each block, the share of its values other than 0 that other blocks have too.
        frequent: Of texts: the most frequent values.
        judged: Of texts: those values that other columns are asked about.
        tables: Of texts: for each of these columns the picked rows by block, value and cell; of shape (blocks, judged, cells).
        correlations: Of numbers: for each of the nearest others the rank correlation in each block.
    """

    numeric: bool
    counts: list[float]
    blocks: list[list[float]]
    commonest: float
    edges: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    known: list[str] | None = None
    low: float = 0.0
    high: float = 0.0
    size: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    lean: list[float] = field(default_factory=list)
    outside: float = 0.0
    new: float = 0.0
    filled: float | None = None
    steps: list[float] = field(default_factory=list)
    on_steps: list[float] = field(default_factory=list)
    frequent: list[str] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    tables: dict[str, list[Any]] = field(default_factory=dict)
    correlations: dict[str, list[float]] = field(default_factory=dict)

    def count(self, sample: Sample) -> Array:
        """Return the rows of a sample of the same kind in each cell; of shape (cells,)."""
        return _count_numbers(sample, self.edges) if isinstance(sample, Numbers) else _count_texts(sample, self.labels)

    def codes(self, column: Array | Words) -> npt.NDArray[np.int64]:
        """Return the cell of each of some rows, as `count` numbers them; the last cell where a column of another kind came."""
        nothing = len(self.counts) - 1
        if isinstance(column, Words):
            at = {label: number for number, label in enumerate(self.labels)}
            known = [nothing if self.numeric else at.get(value, len(self.labels)) for value in column.values]
            return np.array([*known, nothing])[column.codes]
        if not self.numeric:
            return np.full(len(column), nothing)
        cells = np.searchsorted(np.array(self.edges, float), column, side="left")
        return np.where(np.isnan(column), nothing, np.minimum(cells, nothing - 1))

    @cached_property
    def rows(self) -> float:
        """The rows of the whole."""
        return float(sum(self.counts))

    def on(self, sample: Numbers) -> float:
        """Return the share of a sample's values other than 0 that are near one of `steps`; NaN where there are none."""
        return _on(sample, np.array(self.steps))

    def distance(self, counts: Array) -> float:
        """Return the total variation between the whole and a sample's counts: the share of rows that would have to be in another cell, 0 to 1."""
        return _distance(counts, np.array(self.counts))

    @cached_property
    def own_distance(self) -> float:
        """The greatest total variation between a block and the rest of the whole."""
        blocks = np.array(self.blocks)
        return max((_distance(block, blocks.sum(axis=0) - block) for block in blocks), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as `blocks.json` has it."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


References: TypeAlias = dict[str, Reference]


def _distance(one: Array, other: Array) -> float:
    return float(np.abs(one / max(one.sum(), 1) - other / max(other.sum(), 1)).sum() / 2)


def _count_numbers(sample: Numbers, edges: Sequence[float]) -> Array:
    reached = sample.at_most(np.array(edges, float)) if len(sample.knots) else np.zeros(len(edges))
    return np.concatenate([np.diff(reached, prepend=0.0, append=sample.rows - sample.missing), [sample.missing]])


def _count_texts(sample: Texts, labels: Sequence[str]) -> Array:
    own = [sample.counts.get(label, 0.0) for label in labels]
    return np.array([*own, sample.rows - sample.missing - sum(own), sample.missing], float)


def refer(whole: Mapping[str, Sample], blocks: Sequence[Mapping[str, Sample]]) -> References:
    """Return a reference for each feature of a whole that is divided into blocks; features without a value have none."""
    result = {}
    for name, sample in whole.items():
        if sample.rows > sample.missing:
            parts = [block[name] for block in blocks if name in block]
            result[name] = _numbers(sample, parts) if isinstance(sample, Numbers) else _texts(sample, parts)
    return result


def _numbers(whole: Numbers, blocks: Sequence[Sample]) -> Reference:
    parts = [block for block in blocks if isinstance(block, Numbers)]
    filled = [block for block in parts if len(block.knots)]
    edges = np.unique(np.concatenate([whole.quantiles(_LEVELS), whole.nonzero_quantiles(_NONZERO) if whole.zeros > _MOSTLY else np.empty(0)]))
    edges = edges[(edges < whole.knots[-1]) & np.isfinite(edges)]
    steps = whole.values if 2 <= len(whole.values) <= _STEPS and np.isfinite(whole.values).all() else np.empty(0)
    return Reference(
        numeric=True,
        counts=_count_numbers(whole, list(edges)).tolist(),
        blocks=[_count_numbers(block, list(edges)).tolist() for block in parts],
        commonest=max((block.commonest for block in filled), default=1.0),
        edges=edges.tolist(),
        low=_finite(whole.knots[0]),
        high=_finite(whole.knots[-1]),
        size=_there([whole.size, *(block.size for block in filled)]),
        spread=_there([whole.spread, *(block.spread for block in filled)]),
        lean=_there([whole.lean, *(block.lean for block in filled)]),
        outside=_greatest_outside(filled),
        filled=min((block.nonzero for block in parts), default=0.0),
        steps=steps.tolist(),
        on_steps=_on_steps(steps, filled),
    )


def _on_steps(values: Array, blocks: Sequence[Numbers]) -> list[float]:
    """Return how much of each block has values that other blocks have too, of those that there are."""
    counted = np.array([np.isin(values, block.values) for block in blocks])
    shares = [_on(block, values[np.delete(counted, at, axis=0).any(axis=0)]) for at, block in enumerate(blocks)]
    return _there(shares) if len(values) else []


def _on(sample: Numbers, steps: Array) -> float:
    """Return the share of a sample's values other than 0 that are near one of some steps: within a twentieth of the least distance of two."""
    if len(steps) < 2:
        return float("nan")
    near = max(float(np.diff(steps / 20).min()), 1e-9 * float(np.abs(steps).max()))
    return sample.near(steps, near)


def _there(values: Sequence[float]) -> list[float]:
    return [value for value in values if np.isfinite(value)]


def _finite(value: float) -> float:
    """Return a number that JSON can hold."""
    return float(np.clip(value, np.finfo(float).min, np.finfo(float).max))


def _greatest_outside(blocks: Sequence[Numbers]) -> float:
    """Return the greatest share of a block's values that are outside the range of the other blocks."""
    if len(blocks) < 2:
        return 1.0
    low, high = np.array([block.knots[0] for block in blocks]), np.array([block.knots[-1] for block in blocks])
    return max(outside(block, np.delete(low, at).min(), np.delete(high, at).max()) for at, block in enumerate(blocks))


def outside(sample: Numbers, low: float, high: float) -> float:
    """Return the share of a sample's values that are outside a range."""
    return float((sample.less_than(low) + sample.below[-1] - sample.at_most(np.array([high]))[0]) / sample.below[-1])


def _texts(whole: Texts, blocks: Sequence[Sample]) -> Reference:
    parts = [block for block in blocks if isinstance(block, Texts)]
    filled = [block for block in parts if block.counts]
    frequent = sorted(whole.counts, key=lambda label: (-whole.counts[label], label))[:_FREQUENT]
    labels = frequent[:_VALUES]
    return Reference(
        numeric=False,
        counts=_count_texts(whole, labels).tolist(),
        blocks=[_count_texts(block, labels).tolist() for block in parts],
        commonest=max((block.commonest for block in filled), default=1.0),
        labels=labels,
        frequent=frequent,
        known=sorted(whole.counts) if whole.different <= len(whole.counts) else None,
        new=_greatest_new(filled),
    )


def _greatest_new(blocks: Sequence[Texts]) -> float:
    """Return the greatest share of a block's values that no other block has."""
    if len(blocks) < 2:
        return 1.0
    seen: dict[str, int] = {}
    for block in blocks:
        for label in block.counts:
            seen[label] = seen.get(label, 0) + 1
    return max(sum(count for label, count in block.counts.items() if seen[label] == 1) / sum(block.counts.values()) for block in blocks)


def new_share(sample: Texts, known: Sequence[str]) -> float:
    """Return the share of a sample's values that are none of those known."""
    old = sum(sample.counts.get(label, 0.0) for label in known)
    return max(0.0, 1.0 - old / (sample.rows - sample.missing))
