"""Splits: which part each row of a table belongs to."""

import difflib
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intermodal.runtime.errors import ConfigurationError, DataError

#: The part of rows that no part claims.
NO_PART = "none"
#: The column that tells a row's part, spelt in the folders' names.
SPLIT_COLUMN = "split"
_KEYS = ("table", "by", "column", "parts")


class Split:
    """A division of one table's rows into named parts; a row's part depends on nothing but its own column.

    Raises:
        ConfigurationError: The division makes no sense: a key is missing, windows overlap, fractions do not sum to 1.
    """

    def __init__(self, value: Mapping[str, Any]) -> None:
        for key in value:
            if key not in _KEYS:
                close = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
                raise ConfigurationError(f"split: there is no key {key!r}; {f'did you mean {close[0]!r}?' if close else f'the keys are {_KEYS}'}")
        for key in _KEYS:
            if not value.get(key):
                raise ConfigurationError(f"split: the key {key!r} is required")
        self.table, self.by, self.column = str(value["table"]), str(value["by"]), str(value["column"])
        # By name: on its way through a pipeline's parameters a mapping loses its order, and a row's part must not depend on it.
        self.parts = dict(sorted(value["parts"].items()))
        for part in self.parts:
            if part == NO_PART or not re.fullmatch(r"[A-Za-z_][\w-]{0,99}", part, re.ASCII):
                raise ConfigurationError(f"split: part {part!r}: it names a folder, and {NO_PART!r} is taken; use letters, digits, - and _")
        self._seen: tuple[int, ...] = ()
        if self.by == "time":
            self._windows = {part: _window(part, bounds) for part, bounds in self.parts.items()}
            self._refuse_overlap()
        elif self.by == "hash":
            self._edges = np.cumsum([float(share) for share in self.parts.values()])
            if min(self.parts.values()) <= 0 or abs(self._edges[-1] - 1) > 1e-9:
                raise ConfigurationError(
                    f"split: the fractions of {', '.join(self.parts)} are {list(self.parts.values())}; they must be positive and sum to 1"
                )
        else:
            raise ConfigurationError(f"split: by {self.by!r}; it must be time or hash")

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

    def remedy(self) -> str:
        """Return what to do about a part without rows."""
        if self.by == "hash" or not self._seen:
            return f"column {self.column!r} has too few different values; use larger fractions, or more data"
        first, last = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment) for moment in self._seen)
        return f"column {self.column!r} runs from {first.isoformat()} to {last.isoformat()}; correct the part's bounds"

    def _by_time(self, column: pa.Array) -> dict[str, np.ndarray]:
        moments = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        known = np.asarray(pc.is_valid(column))
        values = np.asarray(pc.fill_null(moments, 0))
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

    def _refuse_overlap(self) -> None:
        ordered = sorted(self._windows.items(), key=lambda item: item[1])
        for (one, (_, end)), (other, (start, _)) in pairwise(ordered):
            if start < end:
                raise ConfigurationError(f"split: the windows of {one} and {other} overlap; a row may be in one part only")


def _place(value: Any) -> float:
    """Return a place in [0, 1) that depends on the value's text alone: the first 53 bits of its BLAKE2b digest."""
    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _window(part: str, bounds: Mapping[str, str]) -> tuple[int, int]:
    limits = {"start": -(2**63), "end": 2**63 - 1}
    for name, text in bounds.items():
        if name not in limits:
            raise ConfigurationError(f"split: part {part}: there is no bound {name!r}; the bounds are start and end")
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError as error:
            raise ConfigurationError(
                f"split: part {part}: {name} {text!r} is not an ISO 8601 time; write 2013-09-01T00:00:00Z, for instance"
            ) from error
        if moment.tzinfo is None:
            raise ConfigurationError(f"split: part {part}: {name} {text!r} has no time zone; write {text}Z for UTC")
        limits[name] = (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if limits["start"] >= limits["end"]:
        raise ConfigurationError(f"split: part {part}: start {bounds['start']} is not before end {bounds['end']}")
    return limits["start"], limits["end"]
