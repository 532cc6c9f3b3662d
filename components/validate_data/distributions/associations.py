"""What the other columns say of a feature: whether its sign is reversed or its values are exchanged, where its own distribution does not show it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from intermodal.components.validate_data.distributions.homogeneity import unlikely
from intermodal.components.validate_data.distributions.references import References
from intermodal.components.validate_data.distributions.samples import Array, Rows, Words

#: Columns that are kept for a feature: those that say most of it.
_PARTNERS: Final = 3

#: Texts times columns that are looked at, at most; but so many columns for each text. A run of more looks at the first columns.
_PAIRS: Final = 6_000
_FIRST: Final = 20

#: The most frequent values of a text that are told apart.
_VALUES: Final = 60

#: Rows that a value, or a pair of numbers, must have in a block and in a sample.
_ROWS: Final = 10
_BLOCKS: Final = 4

#: From this rank correlation on, of one sign in every block, numbers say something of each other's sign.
_CORRELATED: Final = 0.3

#: A value's rows look like another's when so great a share of them does; in every block at most one minus this.
_LOOKS: Final = 0.65

#: Blocks that agree to less than this, of a share or of a correlation's arctanh, are taken to vary by as much.
_LEAST: Final = 0.02

Codes = npt.NDArray[np.int64]


def associate(references: References, blocks: Sequence[Rows]) -> References:
    """Return references that also know which other columns say most of each feature, and what they say in each block.

    Args:
        references: Of each feature its distribution.
        blocks: Picked rows of each block.
    """
    blocks = [block for block in blocks if block]
    names = [name for name in references if all(name in block for block in blocks)] if len(blocks) >= _BLOCKS else []
    codes = [{name: references[name].codes(block[name]) for name in names} for block in blocks]
    numbers = [name for name in names if references[name].numeric]
    texts = [name for name in names if not references[name].numeric]
    result = dict(references)
    for name, found in _correlated(references, numbers, codes):
        result[name] = replace(result[name], correlations=found)
    first = max(_FIRST, _PAIRS // max(len(texts), 1))
    for name in texts:
        judged, tables = _tables(name, references, [other for other in names if other != name][:first], blocks, codes)
        result[name] = replace(result[name], judged=judged, tables=tables)
    return result


def _correlated(references: References, names: list[str], codes: Sequence[Mapping[str, Codes]]) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yield for each number its nearest others, and its rank correlation with them in each block."""
    if len(names) < 2:
        return
    missing = [len(references[name].counts) - 1 for name in names]
    shape = (len(names), len(names))
    low, high = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for block in codes:
        found = _correlations([block[name] for name in names], missing)
        low, high = np.minimum(low, found), np.maximum(high, found)
    strength = np.maximum(np.maximum(low, -high), 0)  # The weakest of any block; 0 where the sign varies.
    np.fill_diagonal(strength, 0)
    near = np.argsort(-strength, axis=1, kind="stable")[:, :_PARTNERS]
    # Once more, for the nearest only: all of every block would be too much to keep.
    kept = [np.take_along_axis(_correlations([block[name] for name in names], missing), near, axis=1) for block in codes]
    for at, name in enumerate(names):
        chosen = [(place, other) for place, other in enumerate(near[at]) if strength[at, other] >= _CORRELATED]
        if chosen:
            yield name, {names[other]: [float(block[at, place]) for block in kept] for place, other in chosen}


def _correlations(columns: Sequence[Codes], missing: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the correlations of all pairs of columns, over the rows in which both have a value; 0 where there are too few. The sums are exact."""
    stacked = np.stack(columns, axis=1)
    there = stacked != np.array(missing)
    x, m = np.where(there, stacked, 0).astype(np.float32), there.astype(np.float32)
    rows, sums, products, squares = m.T @ m, x.T @ m, x.T @ x, (x * x).T @ m
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = rows * squares - sums * sums
        found = (rows * products - sums * sums.T) / np.sqrt(variance * variance.T)
    return np.where((rows >= _ROWS) & (variance > 0) & (variance.T > 0), found, 0).astype(np.float32)


def _tables(
    name: str, references: References, others: Sequence[str], blocks: Sequence[Rows], codes: Sequence[Mapping[str, Codes]]
) -> tuple[list[str], dict[str, list[Any]]]:
    """Return the values of a text that are frequent enough, and for the columns that tell them apart best the rows by block, value and cell."""
    reference = references[name]
    own = [_judged_codes(block[name], reference.frequent[:_VALUES]) for block in blocks]
    rows = np.stack([np.bincount(each + 1, minlength=len(reference.frequent[:_VALUES]) + 1)[1:] for each in own])
    kept = np.flatnonzero((rows >= _ROWS).sum(axis=0) >= _BLOCKS)
    if len(kept) < 2:
        return [], {}
    position = np.full(rows.shape[1] + 1, -1)
    position[kept] = np.arange(len(kept))
    own = [position[each] for each in own]
    counted = {
        other: np.stack([_count(each, block[other], len(kept), len(references[other].counts)) for each, block in zip(own, codes, strict=True)])
        for other in others
    }
    apart = {other: _apart(table.sum(axis=0)) for other, table in counted.items()}
    chosen: dict[str, list[Any]] = {}
    best = np.zeros((len(kept), len(kept)))
    while apart and len(chosen) < _PARTNERS:
        other = max(apart, key=lambda each: float(np.maximum(best, apart[each]).sum()))
        best = np.maximum(best, apart.pop(other))
        chosen[other] = counted[other].tolist()
    return [reference.frequent[at] for at in kept], chosen


def _judged_codes(column: Array | Words, judged: Sequence[str]) -> Codes:
    """Return for each row the number of its value among those judged, -1 for all others."""
    assert isinstance(column, Words)
    at = {value: number for number, value in enumerate(judged)}
    return np.array([*(at.get(value, -1) for value in column.values), -1])[column.codes]


def _count(own: Codes, cells: Codes, values: int, width: int) -> Codes:
    there = own >= 0
    return np.bincount(own[there] * width + cells[there], minlength=values * width).reshape(values, width)


def _profiles(table: npt.NDArray[Any]) -> Array:
    """Return each value's shares of the cells, half a row being added to each."""
    found: Array = (table + 0.5) / (table + 0.5).sum(axis=-1, keepdims=True)
    return found


def _apart(table: npt.NDArray[Any]) -> Array:
    """Return the total variation between each two values' shares of the cells; of shape (values, values)."""
    shares = _profiles(table)
    found: Array = np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2
    return found


def _looks(table: npt.NDArray[Any], profiles: Array) -> Array:
    """Return for each two values which share of the first one's rows is in cells that are more typical of the other; NaN of too few rows."""
    rows = table.sum(axis=1)
    shares = table / np.maximum(rows, 1)[:, None]
    found = (shares[:, None] * (profiles[None] > profiles[:, None])).sum(axis=2)
    return np.where((rows >= _ROWS)[:, None] & (rows >= _ROWS)[None], found, np.nan)


@dataclass(frozen=True)
class Others:
    """The columns of a part, to be asked about each other.

    Attributes:
        references: What the part is compared with.
        rows: Picked rows of the part.
    """

    references: References
    rows: Rows
    _codes: dict[str, Codes] = field(default_factory=dict)

    def codes(self, name: str) -> Codes:
        """Return for each picked row its cell of a feature's reference."""
        if name not in self._codes:
            self._codes[name] = self.references[name].codes(self.rows[name])
        return self._codes[name]

    def known(self, name: str) -> bool:
        """Say whether a feature can be asked."""
        return name in self.rows and name in self.references

    @cached_property
    def _numbers(self) -> list[str]:
        return [name for name, reference in self.references.items() if reference.correlations and self.known(name)]

    @cached_property
    def _correlations(self) -> npt.NDArray[np.float32]:
        missing = [len(self.references[name].counts) - 1 for name in self._numbers]
        return _correlations([self.codes(name) for name in self._numbers], missing)

    def correlation(self, one: str, other: str) -> float:
        """Return the rank correlation of two numbers that have a correlation in the reference."""
        return float(self._correlations[self._numbers.index(one), self._numbers.index(other)])


def find_reversed(name: str, others: Others, broken: set[str], level: float) -> str | None:
    """Say in words that a number's sign is reversed: most of the numbers that it goes with in every block, it goes against.

    Args:
        name: The feature.
        others: The columns of the part.
        broken: Features of the part that are damaged themselves.
        level: Probability of a false alarm that is left.
    """
    reference = others.references[name]
    asked = [other for other in reference.correlations if others.known(other) and other not in broken]
    found = []
    for other in asked:
        known = np.array(reference.correlations[other])
        value = others.correlation(name, other)
        mirrored = value * known.mean() < 0 and abs(value) >= np.abs(known).min() / 2
        if mirrored and unlikely(float(np.arctanh(value)), np.arctanh(np.clip(known, -0.999, 0.999)), 1.0, level / len(asked), _LEAST):
            found.append(f"with {other!r} {value:.2f}, in the blocks {known.min():.2f} to {known.max():.2f}")
    if len(found) * 2 <= len(asked):
        return None
    return f"looks converted, the sign is reversed: its rank correlation {'; '.join(found)}"


def find_exchanged(name: str, others: Others, broken: set[str], level: float) -> str | None:
    """Say in words that values of a text are exchanged: the rows of each look like those of another one, by most of the columns that tell them apart.

    Args:
        name: The feature.
        others: The columns of the part.
        broken: Features of the part that are damaged themselves.
        level: Probability of a false alarm that is left.
    """
    reference = others.references[name]
    asked = [other for other in reference.tables if others.known(other) and other not in broken]
    if not asked or not isinstance(others.rows[name], Words):
        return None
    own = _judged_codes(others.rows[name], reference.judged)
    count = len(reference.judged)
    tellers, turned = np.zeros((count, count), int), np.zeros((count, count), int)
    for other in asked:
        tables = np.array(reference.tables[other])
        whole = tables.sum(axis=0)
        blocks = np.stack([_looks(table, _profiles(whole - table)) for table in tables])
        sample = _looks(_count(own, others.codes(other), count, whole.shape[1]), _profiles(whole))
        there = np.isfinite(blocks)
        told = (there.sum(axis=0) >= _BLOCKS) & (np.where(there, blocks, 0).max(axis=0) <= 1 - _LOOKS) & np.isfinite(sample)
        told &= told.T
        tellers += told
        for one, two in zip(*np.nonzero(told & (sample >= _LOOKS)), strict=True):
            known = blocks[there[:, one, two], one, two]
            turned[one, two] += unlikely(float(sample[one, two]), known, 1.0, level / max(int(told.sum()), 1), _LEAST)
    circles = _circles(turned * 2 > tellers)
    if not circles:
        return None
    named = ", ".join(" and ".join(repr(reference.judged[at]) for at in circle) for circle in circles)
    return (
        f"has values exchanged, {named}: by {' and '.join(map(repr, asked))}, the rows of each look like those of the other, in at least"
        f" {_LOOKS:.0%} of them, where in no block more than {1 - _LOOKS:.0%} do"
    )


def _circles(leads: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Return the groups of which each member leads to every other, directly or not (strongly connected components of two or more)."""
    reached = leads.copy()
    for _ in range(max(len(leads).bit_length(), 1)):
        reached |= (reached.astype(np.int64) @ reached.astype(np.int64)) > 0
    mutual = reached & reached.T
    return [np.flatnonzero(row).tolist() for at, row in enumerate(mutual) if row.any() and np.flatnonzero(row)[0] == at]
