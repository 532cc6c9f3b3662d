"""Splits: which part each row of a table belongs to."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intermodal.components.ingest_tables.arguments import NO_PART
from intermodal.components.ingest_tables.windows import data_end, is_rolling, parse_end, parse_step, parse_windows, resolve, written
from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.errors import DataError

#: The column that tells a row's part, spelt in the folders' names.
SPLIT_COLUMN = "split"


class Split:
    """A division of one table's rows into named parts; a row's part depends on nothing but its own column, and, where windows roll, on its last time.

    Args:
        table: The table's name.
        by: `time` or `hash`.
        column: The column that decides.
        parts: Part to window or fraction, which `arguments.check_arguments` has passed.
        end: Where windows that roll end; empty: with the data.
        step: By which they move.

    Attributes:
        follows_data: Whether `place_windows` must be called, with the column's last time, before rows are divided.
    """

    def __init__(self, table: str, by: str, column: str, parts: Mapping[str, Any], end: str, step: str) -> None:
        self.table, self.by, self.column = table, by, column
        # By name: on its way through a pipeline's parameters a mapping loses its order, and a row's part must not depend on it.
        self.parts = dict(sorted(parts.items()))
        self._seen: tuple[int, ...] = ()
        self._windows: dict[str, tuple[int, int]] = {}
        self.follows_data = False
        if by == "time":
            self._parsed, self._step = parse_windows(self.parts), parse_step(step)
            self.follows_data = is_rolling(self._parsed) and not end
            if not self.follows_data:
                self._windows = resolve(self._parsed, parse_end(end, self._step) if end else 0)
        else:
            self._edges = np.cumsum([float(share) for share in self.parts.values()])

    def place_windows(self, last: int | None) -> None:
        """Place windows that follow the data.

        Args:
            last: The column's last time, in microseconds since 1970 (UTC); None: it has none.

        Raises:
            DataError: There is no time, or windows that roll and windows that do not overlap.
        """
        if last is None:
            raise DataError(f"split: column {self.column!r} of table {self.table!r} has no time to count windows back from; give `split_end`")
        end = data_end(last, self._step)
        try:
            self._windows = resolve(self._parsed, end)
        except ArgumentError as error:
            raise DataError(f"{error}, as the data of table {self.table!r} ends {written(end)}; move the window") from error

    def windows(self) -> dict[str, dict[str, str | None]]:
        """Return the start and end of each part in ISO 8601, None where it is open; nothing of a split by hash."""
        return {part: {"start": written(start), "end": written(end)} for part, (start, end) in self._windows.items()}

    def divide(self, batch: pa.RecordBatch) -> dict[str, pa.RecordBatch]:
        """Return the rows of each part, in order; parts without rows are left out.

        Raises:
            DataError: The column cannot divide the rows.
        """
        column = batch.column(self.column)
        masks = self._by_time(column) if self.by == "time" else self._by_hash(column)
        claimed = np.zeros(batch.num_rows, bool)
        divided = {}
        for part, mask in masks.items():
            claimed |= mask
            divided[part] = batch.filter(pa.array(mask))
        divided[NO_PART] = batch.filter(pa.array(~claimed))
        return {part: rows for part, rows in divided.items() if rows.num_rows}

    def check(self, schema: pa.Schema) -> None:
        """Raise `DataError` unless the table's schema has the column, and of a type that can divide."""
        if self.column not in schema.names:
            raise DataError(f"split: table {self.table!r} has no column {self.column!r}; its columns are {', '.join(schema.names)}")
        if SPLIT_COLUMN in (name.casefold() for name in schema.names):
            raise DataError(f"split: table {self.table!r} has a column {SPLIT_COLUMN!r} already, which is where the part's name goes; rename it")
        kind = schema.field(self.column).type
        if self.by == "time" and not (pa.types.is_timestamp(kind) and kind.tz):
            remedy = "give the source a `time_zone`" if pa.types.is_timestamp(kind) else "declare it timestamp[us, UTC] in the source's `columns`"
            raise DataError(f"split: column {self.column!r} of table {self.table!r} is {kind}, not a time with a zone; {remedy}")

    def remedy(self, part: str) -> str:
        """Return what to do about a part without rows."""
        if self.by == "hash" or not self._seen:
            return f"column {self.column!r} has too few different values; use larger fractions, or more data"
        (start, end), (first, last) = (tuple(written(each) for each in times) for times in (self._windows[part], self._seen))
        remedy = "shorten the windows, or give older data" if is_rolling(self._parsed) else "correct the part's bounds"
        return f"column {self.column!r} runs from {first} to {last}, the part from {start or 'its beginning'} to {end or 'its end'}; {remedy}"

    def _by_time(self, column: pa.Array) -> dict[str, np.ndarray]:
        timestamps = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        known = np.asarray(pc.is_valid(column))
        values = np.asarray(pc.fill_null(timestamps, 0))
        if known.any():
            seen = [*self._seen, int(values[known].min()), int(values[known].max())]
            self._seen = (min(seen), max(seen))
        return {part: known & (values >= start) & (values < end) for part, (start, end) in self._windows.items()}

    def _by_hash(self, column: pa.Array) -> dict[str, np.ndarray]:
        encoded = column.dictionary_encode()
        places = np.array([_place(value) for value in encoded.dictionary.to_pylist()] + [0.0])
        known = np.asarray(pc.is_valid(column))
        indices = np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)))
        chosen = np.minimum(np.searchsorted(self._edges, places[indices], side="right"), len(self._edges) - 1)
        return {part: known & (chosen == number) for number, part in enumerate(self.parts)}


def _place(value: Any) -> float:
    """Return a place in [0, 1) that depends on the value's text alone: the first 53 bits of its BLAKE2b digest."""
    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
