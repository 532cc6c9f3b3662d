"""The Parquet source of one feature view: what is read of it for a chunk of entity rows, and for the newest row of each key."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from intermodal.features.point_in_time import (
    EARLIEST,
    MEMORY,
    EntityRows,
    Integers,
    Rows,
    Ties,
    contiguous,
    match,
    microseconds,
    time_order,
    value_type,
)
from intermodal.runtime.errors import DataError

_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The column of the one time as of which the newest rows are found.
_END = "__end"


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
        #: How many entity rows got a row, and whether there was one that was created after its event, or nobody knows when.
        self.matched, self.late = 0, False
        self._read: tuple[list[tuple[str, list[int]]], Rows] | None = None

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
            wanted, found = (value_type(schema.field(name).type) for schema, name in ((entities, key), (self._dataset.schema, stored)))
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
        return [pa.field(name, value_type(self._dataset.schema.field(stored).type)) for stored, name in self.columns.items()]

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
        self.matched += int(np.count_nonzero(matched >= 0))
        indices = pa.array(matched, mask=matched < 0)
        return [pc.take(rows.values.column(stored), indices, memory_pool=MEMORY) for stored in self.columns]

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
            stored = self._dataset.to_table(columns=self._source_keys, filter=self._within(earliest, latest), memory_pool=MEMORY)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error
        keys = pa.table({name: stored.column(name).cast(value_type(stored.schema.field(name).type)) for name in self._source_keys})
        keys = keys.group_by(self._source_keys, use_threads=False).aggregate([]).drop_null() if self._source_keys else keys
        count = keys.num_rows if self._source_keys else 1
        entities = EntityRows(pa.table({**dict(zip(self.keys, keys.columns, strict=True)), _END: pa.repeat(pa.scalar(latest), count)}), _END)
        for key in self.keys:
            entities.encode(key)
        rows, matched = self._matched(entities, earliest, latest)
        found, positions = pa.array(np.flatnonzero(matched >= 0)), pa.array(matched[matched >= 0])
        columns = {name: keys.column(name).take(found) for name in self._source_keys}
        return pa.table(columns | {name: rows.values.column(stored).take(positions) for stored, name in self.columns.items()})

    def _matched(self, entities: EntityRows, earliest: int | None, latest: int) -> tuple[Rows, Integers]:
        """Return the rows of a time range, both ends included, and for each entity row the position of its own among them, -1 for none."""
        try:
            rows = self._rows(earliest, latest).between(earliest, latest)
            return rows, match(rows, entities, self.keys, filter_created=self._filter_created)
        except (pa.ArrowException, OSError) as error:
            raise self._error(error) from error

    def _rows(self, earliest: int | None, latest: int) -> Rows:
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

    def _sorted(self, source: ds.Dataset) -> Rows:
        table = source.to_table(columns=self._names, memory_pool=MEMORY)
        timestamps = microseconds(table.column(self._timestamp))
        created = microseconds(table.column(self._created)) if self._created else None
        order = time_order(timestamps, created)
        kept = timestamps > EARLIEST
        if created is not None and self._filter_created:
            kept &= created > EARLIEST
            self.late = self.late or bool((created > timestamps).any() or (created == EARLIEST).any())
        if order is not None or not kept.all():
            order = np.flatnonzero(kept) if order is None else order[kept[order]]
            table, timestamps, created = table.take(order), timestamps[order], None if created is None else created[order]
        keys = [table.column(name) for name in self._source_keys]
        keys = [column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in keys]
        values = table.select(list(self.columns))
        for place, (stored, each) in enumerate(zip(self.columns, self.fields, strict=True)):
            values = values.set_column(place, stored, contiguous(values.column(stored).cast(each.type)))
        others = [name for name in self._deciding if name not in self.columns and name in self._dataset.schema.names]

        def rest() -> pa.Table:
            found = source.to_table(columns=others, memory_pool=MEMORY)
            return found if order is None else found.take(pa.array(order))

        return Rows(keys, timestamps, created, values, Ties(values, rest if others else None))

    def _error(self, reason: object) -> DataError:
        return DataError(f"feature view {self.view!r}: features cannot be joined from {self.path}: {reason}")


def _family(kind: pa.DataType) -> str:
    """Return the type's name, all integers being one type, and all texts."""
    if pa.types.is_integer(kind):
        return "integer"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return "string" if any(test(kind) for test in texts) else str(kind)
