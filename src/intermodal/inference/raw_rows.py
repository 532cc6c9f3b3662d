"""Rows of examples as a model takes them: one array a column, before any preprocessing."""

from typing import Any

import numpy as np
import pyarrow as pa

from intermodal.runtime.errors import DataError


def raw_columns(table: pa.Table, inputs: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return what a model takes, by column, each of shape (rows,): strings as bytes, null as b""; numbers as float64, null as NaN.

    Args:
        table: Rows, with at least the inputs' columns.
        inputs: As in ``signature.json``: objects with ``name`` and ``type``.

    Raises:
        DataError: A column's type cannot be taken as the model's.
    """
    return {each["name"]: _array(table.column(each["name"]), each) for each in inputs}


def is_number(kind: pa.DataType) -> bool:
    """Return whether a model can take a column of this type as numbers; booleans are 0 and 1."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind))


def _array(column: pa.ChunkedArray, wanted: dict[str, Any]) -> np.ndarray:
    text = wanted["type"] == "string"
    try:
        if text:
            return np.asarray(column.cast(pa.string()).cast(pa.binary()).fill_null(b"").to_numpy(), dtype=object)
        if not is_number(column.type):
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
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raise DataError(f"label {label!r} of the part {part!r} is text, for instance {column[0].as_py()!r:.60}; it must be 0 or 1")
    values = _array(column, {"name": label, "type": "number"})
    other = values[(values != 0) & (values != 1)]
    if other.size:
        raise DataError(f"label {label!r} of the part {part!r} holds {other[0]:g}; it must be 0 or 1")
    return values.astype(np.float32)
