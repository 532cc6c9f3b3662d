"""Point-in-time join: for each entity row the feature row of its key that is newest at its timestamp.

Each feature row becomes one integer: its key's number and, below it, its place in order of time. Sorted, these integers have a key's rows side by
side, and a binary search finds the last one before an entity row's timestamp. Times are compared in whole microseconds, finer ones rounded down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
#: With Arrow's own allocator, tables that come and go take a sixth more processor time and memory.
MEMORY = pa.system_memory_pool()
EARLIEST = np.iinfo(np.int64).min
#: Holds every 64-bit integer, with and without a sign.
_ANY_INTEGER = pa.decimal128(20, 0)


@dataclass
class EntityRows:
    """A chunk of entity rows: each key column is encoded once, however many views join on it."""

    table: pa.Table
    timestamp: str
    encoded: dict[str, tuple[pa.Array, Integers]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        #: Microseconds since 1970; rows without a timestamp have the earliest there is, and match nothing.
        self.timestamps = microseconds(self.table.column(self.timestamp))
        #: The rows in order of time, None where they are so already; and their timestamps in that order.
        self.order = time_order(self.timestamps)
        self.ordered = self.timestamps if self.order is None else self.timestamps[self.order]
        #: The different timestamps, ascending, and for each of the ordered rows the position of its own.
        first = np.append(True, self.ordered[1:] != self.ordered[:-1])[: len(self.ordered)]
        self.distinct, self.inverse = self.ordered[first], np.cumsum(first) - 1
        known = self.distinct[self.distinct > EARLIEST]
        #: The range of the timestamps; None where no row has one.
        self.range = (int(known[0]), int(known[-1])) if len(known) else None

    def encode(self, key: str) -> None:
        """Find a key's distinct values, once for all views that join on it."""
        column = self.table.column(key).combine_chunks()
        encoded = column.cast(value_type(column.type)).dictionary_encode()
        #: A key's distinct values, and for each row the position of its value; -1 for null.
        self.encoded[key] = encoded.dictionary, _filled(encoded.indices, -1).astype(np.int64)


class Ties:
    """The values of all of a view's features, by which one of several rows of the same key and times wins.

    What is not asked for decides too: else a tie would go one way in one feature service and another way in the next, or online.
    """

    def __init__(self, values: pa.Table, rest: Callable[[], pa.Table] | None) -> None:
        """Take the values that were read, and what reads the others: only where there is a tie."""
        self._tables, self._rest = [values], rest

    def columns(self, positions: Integers) -> list[pa.ChunkedArray | pa.Array]:
        """Return these rows' values, in the order of the features' names, in a form that can be sorted."""
        if self._rest:
            self._tables.append(self._rest())
            self._rest = None
        columns = {name: table.column(name) for table in self._tables for name in table.column_names}
        return [_comparable(columns[name].take(pa.array(positions))) for name in sorted(columns)]


@dataclass(frozen=True)
class Rows:
    """Feature rows in order of their timestamps, and of `created` among equal ones."""

    keys: list[pa.ChunkedArray]
    timestamps: Integers
    created: Integers | None
    values: pa.Table
    ties: Ties
    #: The position of the first row among those that `ties` knows.
    first: int = 0

    def between(self, earliest: int | None, latest: int) -> "Rows":
        """Return the rows of a time range, both ends included, without copying them."""
        first = 0 if earliest is None else int(np.searchsorted(self.timestamps, earliest))
        end = int(np.searchsorted(self.timestamps, latest, side="right"))
        created = None if self.created is None else self.created[first:end]
        keys = [key.slice(first, end - first) for key in self.keys]
        return Rows(keys, self.timestamps[first:end], created, self.values.slice(first, end - first), self.ties, self.first + first)


def match(rows: Rows, entities: EntityRows, keys: Sequence[str], *, filter_created: bool) -> Integers:
    """Return for each entity row the position of its feature row, -1 for none.

    Args:
        rows: The feature rows.
        entities: The entity rows.
        keys: The entity rows' key columns.
        filter_created: Whether rows created after an entity row's timestamp are unknown to it.
    """
    wanted, codes = _codes(rows, entities, keys)
    bits = len(codes).bit_length()
    codes <<= bits
    codes |= np.arange(len(codes))
    codes.sort()
    packed = _without_lost_ties(rows, codes[np.searchsorted(codes, 0) :], bits)
    if not filter_created or rows.created is None or not (rows.created > rows.timestamps).any():
        return _last_before(packed, bits, rows.timestamps, wanted, entities)
    # A row is known from the later of its two times on; of the known ones the newest wins: of a key's rows so far, the one furthest in order.
    code, position = packed >> bits, packed & ((1 << bits) - 1)
    known = np.maximum(rows.timestamps, rows.created)[position]
    by_key = np.lexsort((known, code))
    newest = position[np.maximum.accumulate(by_key)]
    by_time = np.argsort(known[by_key], kind="stable")
    place = np.empty_like(by_time)
    place[by_time] = np.arange(len(by_time))
    last = _last_before((code << bits) | place, bits, known[by_key][by_time], wanted, entities)
    return np.where(last < 0, -1, newest[by_time[last]]) if len(packed) else last


def _last_before(packed: Integers, bits: int, times: Integers, wanted: Integers, entities: EntityRows) -> Integers:
    """Return for each entity row the place of the last row of its key, in time, that is no later than it; -1 for none.

    Args:
        packed: A key's number and, in the low bits, a place in `times`; ascending.
        bits: How many bits hold the place.
        times: Ascending times.
        wanted: The number of each entity row's key, -1 for none.
        entities: The entity rows.
    """
    last = np.full(len(wanted), -1, np.int64)
    if not len(packed):
        return last
    # By key and time, so that the search goes through the same memory again and again; sorting integers is faster than finding their order.
    width = len(wanted).bit_length()
    by_key = (wanted if entities.order is None else wanted[entities.order]) << width
    by_key |= np.arange(len(wanted))
    by_key.sort()
    order = by_key & ((1 << width) - 1)
    by_key >>= width
    bound = np.searchsorted(times, entities.distinct, side="right")[entities.inverse[order]]
    bound |= by_key << bits
    before = np.searchsorted(packed, bound)
    found = packed[before - 1]
    places = found & ((1 << bits) - 1)
    found >>= bits
    places[(found != by_key) | (before == 0)] = -1
    last[order if entities.order is None else entities.order[order]] = places
    return last


def _codes(rows: Rows, entities: EntityRows, keys: Sequence[str]) -> tuple[Integers, Integers]:
    """Return one integer for each entity row's key and each feature row's; -1 where a part is null, or the key is no entity row's."""
    wanted, stored = np.zeros(len(entities.timestamps), np.int64), np.zeros(len(rows.timestamps), np.int64)
    for number, (key, column) in enumerate(zip(keys, rows.keys, strict=True)):
        values, part = entities.encoded[key]
        found = _positions(column, values)
        if number == 0:
            wanted, stored = part, found
            continue
        wanted = np.where((wanted < 0) | (part < 0), -1, wanted * len(values) + part)
        stored = np.where((stored < 0) | (found < 0), -1, stored * len(values) + found)
        # Numbered anew, so that the product of many keys' sizes does not overflow.
        known = pd.Index(pd.unique(wanted[wanted >= 0]))
        wanted, stored = known.get_indexer(pd.Index(wanted)).astype(np.int64), known.get_indexer(pd.Index(stored)).astype(np.int64)
    return wanted, stored


def _positions(column: pa.ChunkedArray, values: pa.Array) -> Integers:
    """Return the positions among `values` of a dictionary-encoded column's; -1 for null and what is not among them."""
    found = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        distinct, known = chunk.dictionary, values
        if distinct.type != known.type:
            common = _ANY_INTEGER if pa.types.is_integer(known.type) else pa.string()
            distinct, known = distinct.cast(common), known.cast(common)
        lookup = pc.index_in(distinct, value_set=known, skip_nulls=True).cast(pa.int64())
        found.append(_filled(lookup.take(chunk.indices), -1))
    return np.concatenate(found)


def _without_lost_ties(rows: Rows, packed: Integers, bits: int) -> Integers:
    """Leave out the rows that lose against another one of the same key, timestamp and `created`.

    The row with the greatest values wins, compared in the order of their columns' names (all of the view's features, asked for or not), a missing one
    being the least, so that the order in the file does not matter.
    """
    position = packed & ((1 << bits) - 1)
    ordered = rows.timestamps[position]
    same = ordered[1:] == ordered[:-1]
    where = np.flatnonzero(same)
    equal = packed[where] >> bits == packed[where + 1] >> bits
    if rows.created is not None:
        equal &= rows.created[position[where]] == rows.created[position[where + 1]]
    if not equal.any():
        return packed
    same[where] = equal
    starts = np.concatenate([[True], ~same])
    tied = np.flatnonzero(~starts | np.append(~starts[1:], False))
    group = np.cumsum(starts[tied])
    values = rows.ties.columns(position[tied] + rows.first)
    table = pa.table({"group": group} | {f"value{number}": each for number, each in enumerate(values)})
    order = pc.sort_indices(table, sort_keys=[(name, "descending") for name in table.column_names]).to_numpy()  # nulls come last
    repeated = group[order][1:] == group[order][:-1]
    lost = tied[order][1:][repeated]
    return np.delete(packed, lost)


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """Return a column that can be sorted: lists and objects as text."""
    if not pa.types.is_nested(column.type):
        return column.cast(value_type(column.type))
    return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())


def time_order(timestamps: Integers, created: Integers | None = None) -> npt.NDArray[np.intp] | None:
    """Return the order by time; None where rows are in it already."""
    later = timestamps[1:] >= timestamps[:-1]
    if created is not None:
        later &= (timestamps[1:] > timestamps[:-1]) | (created[1:] >= created[:-1])
    if later.all():
        return None
    return np.argsort(timestamps, kind="stable") if created is None else np.lexsort((created, timestamps))


def microseconds(column: pa.ChunkedArray) -> Integers:
    """Return times as microseconds since 1970, rounded down; without a zone they are in UTC; the earliest integer for null."""
    kind = column.type
    if not pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us"))
    elif kind.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", kind.tz))
    numbers: Integers = _filled(contiguous(column.cast(pa.int64())), EARLIEST)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        numbers = np.where(numbers == EARLIEST, EARLIEST, numbers // 1000)
    return numbers


def _filled(integers: pa.Array, value: int) -> npt.NDArray[Any]:
    """Return an array's integers, a value in place of null."""
    numbers: npt.NDArray[Any] = (integers.fill_null(value) if integers.null_count else integers).to_numpy()
    return numbers


def contiguous(column: pa.ChunkedArray) -> pa.Array:
    """Return one array, a copy only where there are several chunks (of more than 2 GB of text Arrow makes several again)."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks(MEMORY)


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return a type, that of the values where these are kept in a dictionary."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
