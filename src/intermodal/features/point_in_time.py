"""Point-in-time join: for each entity row the feature row of its key that is newest at its timestamp.

Each feature row becomes one integer: its key's number and, below it, its place in order of time. Sorted, these integers have a key's rows side by
side, and a binary search finds the last one before an entity row's timestamp. Times are compared in whole microseconds, finer ones rounded down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from intermodal.runtime.errors import DataError

Integers = npt.NDArray[np.int64]
#: With Arrow's own allocator, tables that come and go take a sixth more processor time and memory.
_MEMORY = pa.system_memory_pool()
_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}
_EARLIEST = np.iinfo(np.int64).min
#: The column of the one time as of which the newest rows are found.
_END = "__end"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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
        self.timestamps = _microseconds(self.table.column(self.timestamp))
        #: The rows in order of time, None where they are so already; and their timestamps in that order.
        self.order = _time_order(self.timestamps)
        self.ordered = self.timestamps if self.order is None else self.timestamps[self.order]
        #: The different timestamps, ascending, and for each of the ordered rows the position of its own.
        first = np.append(True, self.ordered[1:] != self.ordered[:-1])[: len(self.ordered)]
        self.distinct, self.inverse = self.ordered[first], np.cumsum(first) - 1
        known = self.distinct[self.distinct > _EARLIEST]
        #: The range of the timestamps; None where no row has one.
        self.range = (int(known[0]), int(known[-1])) if len(known) else None

    def encode(self, key: str) -> None:
        """Find a key's distinct values, once for all views that join on it."""
        column = self.table.column(key).combine_chunks()
        encoded = column.cast(_value_type(column.type)).dictionary_encode()
        #: A key's distinct values, and for each row the position of its value; -1 for null.
        self.encoded[key] = encoded.dictionary, _filled(encoded.indices, -1).astype(np.int64)


class _Ties:
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
class _Rows:
    """Feature rows in order of their timestamps, and of `created` among equal ones."""

    keys: list[pa.ChunkedArray]
    timestamps: Integers
    created: Integers | None
    values: pa.Table
    ties: _Ties
    #: The position of the first row among those that `ties` knows.
    first: int = 0

    def between(self, earliest: int | None, latest: int) -> "_Rows":
        """Return the rows of a time range, both ends included, without copying them."""
        first = 0 if earliest is None else int(np.searchsorted(self.timestamps, earliest))
        end = int(np.searchsorted(self.timestamps, latest, side="right"))
        created = None if self.created is None else self.created[first:end]
        keys = [key.slice(first, end - first) for key in self.keys]
        return _Rows(keys, self.timestamps[first:end], created, self.values.slice(first, end - first), self.ties, self.first + first)


class ViewSource:
    """The Parquet source of one feature view, joined to one chunk of entity rows after the other."""

    def __init__(
        self,
        *,
        view: str,
        path: str,
        keys: Sequence[str],
        source_keys: Sequence[str],
        timestamp: str,
        created: str | None,
        ttl: timedelta,
        columns: dict[str, str],
        deciding: Sequence[str],
        filter_created: bool,
    ) -> None:
        """Describe the join; nothing is read before `open`.

        Args:
            view: The view's name.
            path: A Parquet file, a directory of them (Hive partitions become columns), a glob, or a URI of an object store.
            keys: The join keys' columns in the entity rows.
            source_keys: The same in the source.
            timestamp: The column of event times in the source.
            created: The column of creation times in the source; None: there is none.
            ttl: How long a value counts, inclusive; zero: for ever.
            columns: Column in the source to name in the result.
            deciding: The columns in the source, whether in the result or not, that decide between rows of the same key and times.
            filter_created: Whether rows created after an entity row's timestamp, or with a null there, are unknown to it.
        """
        self.view, self.path, self.keys, self.columns, self._deciding = view, path, list(keys), columns, list(deciding)
        self._source_keys, self._timestamp, self._created = list(source_keys), timestamp, created
        self._ttl = int(ttl / timedelta(microseconds=1))
        self._filter_created = filter_created and created is not None
        self._read: tuple[list[tuple[str, list[int]]], _Rows] | None = None

    def open(self) -> None:
        """Read the files' metadata.

        Raises:
            DataError: A file or a column is missing, or a file is damaged.
        """
        matching: list[str] = []
        if "://" not in self.path and not Path(self.path).exists():
            matching = sorted(glob(self.path, recursive=True))  # noqa: PTH207 - an absolute pattern
        # Parquet holds texts as a dictionary and positions already: reading them as such is several times as fast.
        self._format = ds.ParquetFileFormat(read_options=ds.ParquetReadOptions(dictionary_columns=set(self._source_keys)))
        try:
            self._dataset = ds.dataset(matching or self.path, format=self._format, partitioning="hive")
            self._fragments = list(self._dataset.get_fragments())
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error
        names = [*self._source_keys, self._timestamp, *([self._created] if self._created else []), *self.columns]
        self._names = list(dict.fromkeys(names))
        if missing := [name for name in self._names if name not in self._dataset.schema.names]:
            raise self._error(f"there is no column {missing[0]!r}; its columns are {self._dataset.schema.names}")

    def check_keys(self, entities: pa.Schema) -> None:
        """Raise `DataError` where a key is text on one side and a number, say, on the other."""
        for key, stored in zip(self.keys, self._source_keys, strict=True):
            wanted, found = (_value_type(schema.field(name).type) for schema, name in ((entities, key), (self._dataset.schema, stored)))
            if _family(wanted) != _family(found):
                raise DataError(
                    f"feature view {self.view!r}: key {key!r} is {wanted} in the rows to join to and {found} in {self.path}; cast one of them"
                )

    @property
    def size(self) -> int:
        """How many rows the source has."""
        return sum(fragment.metadata.num_rows for fragment in self._fragments)

    @property
    def fields(self) -> list[pa.Field]:
        """The result's columns."""
        return [pa.field(name, _value_type(self._dataset.schema.field(stored).type)) for stored, name in self.columns.items()]

    def join(self, entities: EntityRows) -> list[pa.Array | pa.ChunkedArray]:
        """Return the values for each entity row, null where there is none, a column for each of `fields`.

        Raises:
            DataError: A file is damaged.
        """
        if entities.range is None:
            return [pa.nulls(len(entities.timestamps), each.type) for each in self.fields]
        rows, matched = self._matched(entities, entities.range[0] - self._ttl if self._ttl else None, entities.range[1])
        if self._ttl and len(rows.timestamps):
            # Where nothing matched (-1) this compares with the last row, and the result is -1 either way.
            matched[rows.timestamps[matched] < entities.timestamps - self._ttl] = -1
        indices = pa.array(matched, mask=matched < 0)
        return [pc.take(rows.values.column(stored), indices, memory_pool=_MEMORY) for stored in self.columns]

    def latest(self, start: datetime, end: datetime) -> pa.Table:
        """Return for each key the row that a join at `end` gives it: its key's columns, by their names in the source, and those of `fields`.

        Args:
            start: Older rows do not count.
            end: With a zone, as `start`. Newer rows do not count, nor such as were created later where these are unknown.

        Raises:
            DataError: A file is damaged.
        """
        earliest, latest = ((time - _EPOCH) // timedelta(microseconds=1) for time in (start, end))
        try:
            stored = self._dataset.to_table(columns=self._source_keys, filter=self._within(earliest, latest), memory_pool=_MEMORY)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error
        keys = pa.table({name: stored.column(name).cast(_value_type(stored.schema.field(name).type)) for name in self._source_keys})
        keys = keys.group_by(self._source_keys, use_threads=False).aggregate([]).drop_null() if self._source_keys else keys
        count = keys.num_rows if self._source_keys else 1
        entities = EntityRows(pa.table({**dict(zip(self.keys, keys.columns, strict=True)), _END: pa.repeat(pa.scalar(latest), count)}), _END)
        for key in self.keys:
            entities.encode(key)
        rows, matched = self._matched(entities, earliest, latest)
        found, positions = pa.array(np.flatnonzero(matched >= 0)), pa.array(matched[matched >= 0])
        columns = {name: keys.column(name).take(found) for name in self._source_keys}
        return pa.table(columns | {name: rows.values.column(stored).take(positions) for stored, name in self.columns.items()})

    def _matched(self, entities: EntityRows, earliest: int | None, latest: int) -> tuple[_Rows, Integers]:
        """Return the rows of a time range, both ends included, and for each entity row the position of its own among them, -1 for none."""
        try:
            rows = self._rows(earliest, latest).between(earliest, latest)
            return rows, _match(rows, entities, self.keys, filter_created=self._filter_created)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error

    def _rows(self, earliest: int | None, latest: int) -> _Rows:
        """Return the rows of the row groups that may have some of the time range; where these are the ones of the last call, as they were then."""
        condition = self._within(earliest, latest)
        pieces = [piece for fragment in self._fragments for piece in fragment.split_by_row_group(condition)]
        chosen = [(piece.path, [group.id for group in piece.row_groups]) for piece in pieces]
        if self._read is None or self._read[0] != chosen:
            self._read = None  # frees the memory first
            self._read = chosen, self._sorted(ds.FileSystemDataset(pieces, self._dataset.schema, self._format, self._dataset.filesystem))
        return self._read[1]

    def _within(self, earliest: int | None, latest: int) -> pc.Expression:
        """Return the condition on a row group's statistics, in the column's own unit."""
        kind = self._dataset.schema.field(self._timestamp).type
        condition = pc.scalar(True)
        if not pa.types.is_timestamp(kind):
            return condition
        low, high = earliest, latest + 1
        if kind.unit == "ns":
            low, high = None if low is None else low * 1000, high * 1000
        else:
            low, high = None if low is None else low // _MICROSECONDS[kind.unit], -(-high // _MICROSECONDS[kind.unit])
        column = pc.field(self._timestamp)
        if low is not None and abs(low) < 1 << 63:
            condition = column >= pa.scalar(low, pa.int64()).cast(kind)
        return condition & (column < pa.scalar(high, pa.int64()).cast(kind)) if abs(high) < 1 << 63 else condition

    def _sorted(self, source: ds.Dataset) -> _Rows:
        table = source.to_table(columns=self._names, memory_pool=_MEMORY)
        timestamps = _microseconds(table.column(self._timestamp))
        created = _microseconds(table.column(self._created)) if self._created else None
        order = _time_order(timestamps, created)
        kept = timestamps > _EARLIEST
        if created is not None and self._filter_created:
            kept &= created > _EARLIEST
        if order is not None or not kept.all():
            order = np.flatnonzero(kept) if order is None else order[kept[order]]
            table, timestamps, created = table.take(order), timestamps[order], None if created is None else created[order]
        keys = [table.column(name) for name in self._source_keys]
        keys = [column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in keys]
        values = table.select(list(self.columns))
        for place, (stored, each) in enumerate(zip(self.columns, self.fields, strict=True)):
            values = values.set_column(place, stored, _contiguous(values.column(stored).cast(each.type)))
        others = [name for name in self._deciding if name not in self.columns and name in self._dataset.schema.names]

        def rest() -> pa.Table:
            found = source.to_table(columns=others, memory_pool=_MEMORY)
            return found if order is None else found.take(pa.array(order))

        return _Rows(keys, timestamps, created, values, _Ties(values, rest if others else None))

    def _error(self, reason: object) -> DataError:
        return DataError(f"feature view {self.view!r}: features cannot be joined from {self.path}: {reason}")


def _match(rows: _Rows, entities: EntityRows, keys: Sequence[str], *, filter_created: bool) -> Integers:
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


def _codes(rows: _Rows, entities: EntityRows, keys: Sequence[str]) -> tuple[Integers, Integers]:
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


def _without_lost_ties(rows: _Rows, packed: Integers, bits: int) -> Integers:
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
        return column.cast(_value_type(column.type))
    return pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())


def _time_order(timestamps: Integers, created: Integers | None = None) -> npt.NDArray[np.intp] | None:
    """Return the order by time; None where rows are in it already."""
    later = timestamps[1:] >= timestamps[:-1]
    if created is not None:
        later &= (timestamps[1:] > timestamps[:-1]) | (created[1:] >= created[:-1])
    if later.all():
        return None
    return np.argsort(timestamps, kind="stable") if created is None else np.lexsort((created, timestamps))


def _microseconds(column: pa.ChunkedArray) -> Integers:
    """Return times as microseconds since 1970, rounded down; without a zone they are in UTC; the earliest integer for null."""
    kind = column.type
    if not pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us"))
    elif kind.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", kind.tz))
    numbers: Integers = _filled(_contiguous(column.cast(pa.int64())), _EARLIEST)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        numbers = np.where(numbers == _EARLIEST, _EARLIEST, numbers // 1000)
    return numbers


def _filled(integers: pa.Array, value: int) -> npt.NDArray[Any]:
    """Return an array's integers, a value in place of null."""
    numbers: npt.NDArray[Any] = (integers.fill_null(value) if integers.null_count else integers).to_numpy()
    return numbers


def _contiguous(column: pa.ChunkedArray) -> pa.Array:
    """Return one array, a copy only where there are several chunks (of more than 2 GB of text Arrow makes several again)."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks(_MEMORY)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _family(kind: pa.DataType) -> str:
    """Return the type's name, all integers being one type, and all texts."""
    if pa.types.is_integer(kind):
        return "integer"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return "string" if any(test(kind) for test in texts) else str(kind)
