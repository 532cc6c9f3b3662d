"""Which rows a model was trained on, kept beside it as hashes, so that it is not judged on them.

A row is known by the columns that are no inputs of the model (keys, timestamps), where these tell rows apart: features may be computed otherwise by
the time another model is compared with this one. Else by all its columns.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from intermodal.runtime.datasets.held_out import row_places
from intermodal.runtime.errors import DataError

#: The file in a model's directory: one column `row` of 44-bit hashes, sorted; its metadata names the columns that they are of.
TRAINED_ROWS: Final = "trained_rows.parquet"
_COLUMNS: Final = b"columns"
#: Of a million rows that none of ten million trained on is, one is taken for one of them in every second case.
_RANGE: Final = 2.0**44
#: Share of rows with a hash of their own from which on columns tell rows apart.
_TELLS_APART: Final = 0.99


def hashed_rows(read: Callable[[list[str]], Iterable[pa.Table]], columns: Sequence[str], inputs: Sequence[str]) -> pa.Table:
    """Return the hashes of the rows that a model is fitted to or chosen by.

    Args:
        read: Gives the tables of these rows, with the columns that it is asked for.
        columns: All columns that there are.
        inputs: Those that are the model's inputs or its label.
    """
    every = sorted(columns)
    keys = [name for name in every if name not in inputs]
    for known_by in filter(None, (keys, every)):
        hashes = np.concatenate([_hashes(table, known_by) for table in read(known_by)])
        rows = np.unique(hashes)
        if known_by is every or len(rows) >= _TELLS_APART * len(hashes):
            break
    return pa.table({"row": rows}, metadata={_COLUMNS: json.dumps(known_by).encode()})


def write_trained_rows(model: Path, rows: pa.Table) -> None:
    """Write what `hashed_rows` gave into a model's directory."""
    pq.write_table(rows, model / TRAINED_ROWS, compression="zstd", use_dictionary=False, column_encoding={"row": "DELTA_BINARY_PACKED"})


def rows_trained_on(model: Path, table: pa.Table) -> NDArray[np.bool_] | None:
    """Return which rows of a table a model was trained on, shape (rows,); None where its directory does not tell, or the table lacks a column.

    Raises:
        DataError: The file is damaged.
    """
    file = model / TRAINED_ROWS
    if not file.is_file():
        return None
    try:
        known = pq.read_table(file)
        columns = json.loads((known.schema.metadata or {})[_COLUMNS])
        rows = known.column("row").to_numpy()
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise DataError(f"{file}: not the rows that a model was trained on ({error}); train the model again") from error
    return np.isin(_hashes(table, columns), rows) if set(columns) <= set(table.column_names) else None


def _hashes(table: pa.Table, columns: list[str]) -> NDArray[np.uint64]:
    batches = table.select(columns).to_batches()
    found = [(row_places(batch) * _RANGE).astype(np.uint64) for batch in batches]
    return np.concatenate(found) if found else np.empty(0, np.uint64)
