"""A sample of a table's rows, for what no column shows by itself. It is the same however the table is read."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intermodal.components.validate_data.distributions.samples import Array, Rows, Words

#: About so many rows of each part, and at most so many values, rows times columns.
_ROWS: Final = 10_000
_VALUES: Final = 2_000_000

#: Multiples of this, modulo 2^64, are spread evenly, whatever period the rows have (Weyl; Knuth's multiplicative hashing).
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)

#: Longer texts, in bytes, are all taken for one value: names of categories are short, and documents would fill the memory.
_LONGEST: Final = 64


def pick(batch: pa.RecordBatch, first: int, rows: int) -> list[pa.RecordBatch]:
    """Return the rows of a batch that are in the sample of a table: one batch, or none.

    Args:
        batch: Consecutive rows, as `read_batches` gives them.
        first: The number of the batch's first row in the table, from 0.
        rows: The rows of the table.
    """
    wanted = min(_ROWS, _VALUES // max(batch.num_columns, 1))
    at: slice | pa.Array = slice(None)
    if rows > wanted:
        numbers = np.arange(first + 1, first + batch.num_rows + 1, dtype=np.uint64) * _GOLDEN
        at = pa.array(np.flatnonzero(numbers < np.uint64(int(wanted / rows * 2**64))))
        if not len(at):
            return []
    columns = []
    for column in batch.columns:
        taken = column if isinstance(at, slice) else column.take(at)
        columns.append(pc.if_else(pc.greater(pc.binary_length(taken), _LONGEST), b"", taken) if pa.types.is_large_binary(taken.type) else taken)
    return [pa.RecordBatch.from_arrays(columns, batch.schema.names)]


def as_columns(batches: Sequence[pa.RecordBatch]) -> Rows:
    """Return picked rows by column: numbers with NaN where there is none, texts by their codes; columns that some batch lacks are left out."""
    if not batches:
        return {}
    names = [name for name in batches[0].schema.names if all(name in batch.schema.names for batch in batches)]
    found = {name: _column([batch.column(batch.schema.get_field_index(name)) for batch in batches]) for name in names}
    return {name: column for name, column in found.items() if column is not None}


def _column(pieces: Sequence[pa.Array]) -> Array | Words | None:
    kinds = {piece.type for piece in pieces}
    if pa.large_binary() in kinds:
        if len(kinds) > 1:
            return None
        texts = pa.chunked_array(pieces).combine_chunks().dictionary_encode()
        codes = np.asarray(texts.indices.fill_null(-1))
        return Words([each.decode(errors="replace") for each in texts.dictionary.to_pylist()], codes.astype(np.int64))
    if any(pa.types.is_null(kind) for kind in kinds):
        return None
    return np.concatenate([np.asarray(piece.cast(pa.float64(), safe=False).fill_null(np.nan)) for piece in pieces])
