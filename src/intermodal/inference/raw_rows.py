"""Rows of examples as a SavedModel takes them: one array a column, before any preprocessing."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import check_whole


def read_part(examples_path: str | os.PathLike[str], part: str, columns: list[str] | None = None) -> pa.Table:
    """Read a part of examples.

    Args:
        examples_path: A directory with one directory of Parquet files a part.
        part: For instance ``train``.
        columns: The columns to read. Default: all.

    Raises:
        DataError: The part is missing, unreadable, empty, or lacks a column.
    """
    check_whole(examples_path)
    folder = Path(examples_path) / part
    if not folder.is_dir():
        raise DataError(f"{folder}: the examples have no part {part!r}; give the split a part of that name")
    try:
        data = ds.dataset(folder, format="parquet")
        missing = [name for name in columns or [] if name not in data.schema.names]
        if missing:
            raise DataError(f"{folder}: no column {', '.join(missing)}; there are {', '.join(data.schema.names)}")
        table = data.to_table(columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{folder}: not readable as Parquet ({error}); run the task that writes it again") from error
    if not table.num_rows:
        raise DataError(f"{folder}: the part {part!r} has no rows; widen its window or fraction")
    return table


def raw_columns(table: pa.Table, inputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return what a model takes, by column, each of shape (rows,): strings as bytes, null as b""; numbers as float64, null as NaN.

    Args:
        table: Rows, with at least the inputs' columns.
        inputs: As in ``signature.json``: objects with ``name`` and ``type``.

    Raises:
        DataError: A column's type cannot be taken as the model's.
    """
    return {each["name"]: _array(table.column(each["name"]), each) for each in inputs}


def _array(column: pa.ChunkedArray, wanted: dict[str, Any]) -> np.ndarray:
    text = wanted["type"] == "string"
    try:
        if text:
            return np.asarray(column.cast(pa.string()).cast(pa.binary()).fill_null(b"").to_numpy(), dtype=object)
        if not (
            pa.types.is_integer(column.type)
            or pa.types.is_floating(column.type)
            or pa.types.is_decimal(column.type)
            or pa.types.is_boolean(column.type)
        ):
            raise pa.ArrowInvalid("not a number")
        numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
        return np.asarray(numbers.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(), dtype=np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"column {wanted['name']!r} is {column.type}, and the model takes {wanted['type']} ({error}); cast it where it is made"
        ) from error


def binary_labels(table: pa.Table, label: str, part: str) -> np.ndarray:
    """Return the labels as float32, shape (rows,).

    Raises:
        DataError: The label is null, not a number, or anything but 0 and 1 somewhere.
    """
    column = table.column(label)
    if column.null_count:
        raise DataError(f"label {label!r} of the part {part!r} is null in {column.null_count} rows; leave them out or label them")
    values = _array(column, {"name": label, "type": "number"})
    other = values[(values != 0) & (values != 1)]
    if other.size:
        raise DataError(f"label {label!r} of the part {part!r} holds {other[0]:g}; it must be 0 or 1")
    return values.astype(np.float32)
