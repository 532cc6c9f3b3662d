"""Which part each row belongs to where data has no splits: by a hash of the row's values, so that order, files and formats do not matter.

A row's place is a number in [0, 1). Each value is hashed to 64 bits and mixed with its column's name, and the columns' hashes are added: their
order does not matter, and a column of nulls counts like one that is absent. The mixing function is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), of texts BLAKE2b. Equal rows have one place: no copy of a training row is
held out.
"""

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: What all components cut by. A constant: were it a component's own seed, a model could be evaluated on rows that it was trained on.
SEED: Final = 0

Hashes = NDArray[np.uint64]


def row_places(batch: pa.RecordBatch, seed: int = SEED) -> NDArray[np.float64]:
    """Return a place in [0, 1) for each row, shape (rows,), from its values and the columns' names alone.

    Numbers of all types are compared as double precision, times as microseconds in UTC; a NaN is null.
    """
    total = np.full(batch.num_rows, _text_hash(f"seed {seed}"), np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values, known = _hashes(column)
        total += np.where(known, _mixed(values + np.uint64(_text_hash(name))), np.uint64(0))
    return (_mixed(total) >> np.uint64(11)).astype(np.float64) / 2.0**53


def _hashes(column: pa.Array) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return a hash of each value, and which are known."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _hashes(column.cast(kind.value_type))
    known = np.asarray(pc.is_valid(column))
    if pa.types.is_null(kind):
        return np.zeros(len(column), np.uint64), known
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), 0.0)) + 0.0  # so that -0.0 is 0.0
        return _mixed(numbers.view(np.uint64)), known & ~np.isnan(numbers)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        times = column.cast(pa.timestamp("us", kind.tz if pa.types.is_timestamp(kind) else None), safe=False).cast(pa.int64())
        return _mixed(np.asarray(pc.fill_null(times, 0)).view(np.uint64) + np.uint64(1)), known
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        column = pa.array([None if value is None else repr(value) for value in column.to_pylist()], pa.string())
    encoded = column.dictionary_encode()
    of_texts = np.array([*(_text_hash(value) for value in encoded.dictionary.to_pylist()), 0], np.uint64)
    return of_texts[np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)))], known


def _text_hash(value: str | bytes) -> int:
    content = value.encode() if isinstance(value, str) else value
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def _mixed(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
