"""Examples: the parts of a labelled table, checked before a model sees them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intermodal.errors import DataError


def read_part(examples_path: str, part: str) -> pa.Table:
    """Read one part of the examples.

    Raises:
        DataError: The part is missing, empty or broken.
    """
    files = sorted((Path(examples_path) / part).glob("*.parquet"))
    if not files:
        raise DataError(f"{examples_path}: there is no {part}/*.parquet; name one of the split's parts {part}")
    try:
        table = pa.concat_tables([pq.ParquetFile(file).read() for file in files], promote_options="default")
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{Path(examples_path) / part}: not whole Parquet ({error}); run the task that writes it again") from error
    if not table.num_rows:
        raise DataError(f"{Path(examples_path) / part}: no rows; check the bounds of the split")
    return table


def read_label(table: pa.Table, label: str, part: str) -> np.ndarray:
    """Return the label, shape (rows,), float32, 0 or 1.

    Raises:
        DataError: It is missing, has nulls or other values, or only one class.
    """
    if label not in table.column_names:
        raise DataError(f"part {part}: there is no label column {label!r}; the columns are {', '.join(table.column_names)}")
    column = table.column(label)
    if column.null_count:
        raise DataError(f"part {part}: label {label!r} is null in {column.null_count} of {len(column)} rows; leave such rows out of the spine")
    values = sorted(pc.unique(column).to_pylist(), key=str)
    if not set(values) <= {0, 1}:
        raise DataError(f"part {part}: label {label!r} has the values {values[:5]}; it must be 0 or 1")
    if len(values) < 2:
        raise DataError(f"part {part}: label {label!r} is always {values[0]}; there is nothing to learn from one class, check the split")
    return np.asarray(column.cast(pa.float32()))
