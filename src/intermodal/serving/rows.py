"""Rows of a request, checked against the model's inputs and turned into one array a column."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

#: KServe V2 names of the signature's types, first the one that the metadata gives.
DATATYPES = {
    "string": ("BYTES",),
    "integer": ("INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8", "BOOL", "FP64", "FP32"),
    "number": ("FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8", "BOOL"),
    "boolean": ("BOOL",),
}
_WORDS = {"string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false"}
#: NumPy kinds that stand for a type, in an array of a row.
_KINDS = {"string": "US", "integer": "iub", "number": "iufb", "boolean": "b"}
Inputs = Sequence[Mapping[str, Any]]


class RowError(ValueError):
    """A request's rows are not what the model takes; the text says which value, where, and what it should be."""


def columns_of_instances(instances: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the arrays that V1 instances give: strings as bytes, null as b""; numbers as float64, null as NaN, or as the input's `dtype`.

    Args:
        instances: What came under the key "instances": a list of objects with one value a column; a column that is not required may be left
            out or null. Where the model has one input, its values may stand in the list without an object.
        inputs: As `ServableModel.inputs` describes them.

    Returns:
        Arrays of shape (rows,), or (rows, *shape) for an input with a `shape`.

    Raises:
        RowError: A column is unknown, missing, null where that is not allowed, or of another type.
    """
    if not isinstance(instances, list):
        raise RowError(f'"instances" is {_shown(instances)}; it must be a list of objects, one a row')
    known = {each["name"] for each in inputs}
    if len(inputs) == 1:
        instances = [each if isinstance(each, dict) else {inputs[0]["name"]: each} for each in instances]
    for row, instance in enumerate(instances):
        if not isinstance(instance, dict):
            raise RowError(f"instances[{row}] is {_shown(instance)}; it must be an object with one value a column")
        if unknown := sorted(instance.keys() - known):
            raise RowError(f"instances[{row}]: there is no column {unknown[0]!r:.80}; the model takes {', '.join(sorted(known))}")
    return {
        each["name"]: _column([instance.get(each["name"]) for instance in instances], each, lambda row, name: f"instances[{row}].{name}")
        for each in inputs
    }


def columns_of_tensors(tensors: Iterable[tuple[str, Sequence[int], str, list[Any]]], inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the arrays that V2 tensors (name, shape, datatype, data) give; as `columns_of_instances`.

    A tensor has the shape [rows] or [rows, 1], or that of an input with a `shape`; NaN is null, for a binary tensor has no other; a column that is
    not required may be left out.

    Raises:
        RowError: As `columns_of_instances`, or a shape or datatype does not fit, or the tensors differ in rows.
    """
    known = {each["name"]: each for each in inputs}
    given: dict[str, list[Any]] = {}
    for name, shape, datatype, data in tensors:
        if name not in known:
            raise RowError(f"there is no input {name!r:.80}; the model takes {', '.join(sorted(known))}")
        if name in given:
            raise RowError(f"input {name!r} came twice; send each column once")
        allowed = DATATYPES[known[name]["type"]]
        if datatype not in allowed:
            raise RowError(f"input {name!r} has the datatype {datatype!r:.40}; it must be {allowed[0]}")
        given[name] = _nested(name, list(shape), data) if known[name].get("shape") else _flat(name, list(shape), data)
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) > 1:
        raise RowError(f"the inputs differ in rows: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}; send as many of each")
    rows = next(iter(counts.values()), None)
    if rows is None:
        raise RowError(f"no input came; the model takes {', '.join(sorted(known))}")
    values = {
        name: [None if isinstance(value, float) and math.isnan(value) else value for value in given[name]] if name in given else [None] * rows
        for name in known
    }
    return {name: _column(values[name], each, lambda row, name: f"input {name!r}, row {row}") for name, each in known.items()}


def _flat(name: str, shape: list[int], data: list[Any]) -> list[Any]:
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 0:
        raise RowError(f"input {name!r} has the shape {shape!r:.80}; it must be [rows] or [rows, 1]")
    values = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in data]
    if len(values) != shape[0]:
        raise RowError(f"input {name!r} has the shape {shape} and {len(values)} values; let them agree")
    return values


def _nested(name: str, shape: list[int], data: list[Any]) -> list[Any]:
    values = np.empty(len(data), object)
    values[:] = data
    try:
        nested: list[Any] = (values if len(shape) == 1 else np.array(data, dtype=object)).reshape(shape).tolist()
    except ValueError:
        raise RowError(f"input {name!r} has the shape {shape!r:.80} and {len(data)} values; let them agree") from None
    return nested


def _column(values: list[Any], wanted: Mapping[str, Any], place: Any) -> np.ndarray:
    if wanted.get("shape"):
        return _tensor(values, wanted, place)
    name, kind = wanted["name"], wanted["type"]
    convert, null = _CONVERSIONS[kind], b"" if kind == "string" else math.nan
    array = np.empty(len(values), object if kind == "string" else wanted.get("dtype", np.float64))
    for row, value in enumerate(values):
        if value is None:
            if wanted["required"]:
                raise RowError(f"{place(row, name)} is missing or null; it must be {_WORDS[kind]}")
            array[row] = null
            continue
        try:
            array[row] = convert(value)
        except (TypeError, OverflowError):
            fits = f" that fits {wanted['dtype']}" if "dtype" in wanted else ""
            null_too = "" if wanted["required"] else " or null"
            raise RowError(f"{place(row, name)} is {_shown(value)}; it must be {_WORDS[kind]}{fits}{null_too}") from None
    return array


def _tensor(values: list[Any], wanted: Mapping[str, Any], place: Any) -> np.ndarray:
    """Return an array of shape (rows, *shape)."""
    name, kind, shape = wanted["name"], wanted["type"], wanted["shape"]
    arrays = []
    for row, value in enumerate(values):
        try:
            array = np.array(value)
        except ValueError:  # lists of unequal lengths
            array = np.empty(0, object)
        fits = array.ndim == len(shape) and all(size in (-1, there) for size, there in zip(shape, array.shape, strict=True))
        if not fits or (array.size and array.dtype.kind not in _KINDS[kind]) or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            raise RowError(f"{place(row, name)} is {_shown(value)}; it must be {_WORDS[kind]} at each place of a list of shape {shape}")
        arrays.append(array)
    if len({each.shape for each in arrays}) > 1:
        raise RowError(f"the rows of {name!r} differ in shape, {arrays[0].shape} and others; send rows of one shape a request")
    stacked = np.stack(arrays) if arrays else np.empty((0, *(max(size, 0) for size in shape)))
    if kind == "string":
        texts = np.empty(stacked.size, object)
        texts[:] = [each if isinstance(each, bytes) else str(each).encode() for each in stacked.ravel()]
        return texts.reshape(stacked.shape)
    return stacked.astype(wanted.get("dtype", bool if kind == "boolean" else np.float64))


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise TypeError from None


def _number(value: Any) -> float:
    # True and false count as 1 and 0: so do they in training, where a Boolean column becomes a number.
    if not isinstance(value, int | float):
        raise TypeError
    try:
        number = float(value)
    except OverflowError:
        raise TypeError from None
    if not math.isfinite(number):
        raise TypeError
    return number


def _integer(value: Any) -> int:
    if not _number(value).is_integer():
        raise TypeError
    return int(value)


def _boolean(value: Any) -> bool:
    if value not in (True, False):  # 1 and 0 too
        raise TypeError
    return bool(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"string": _text, "integer": _integer, "number": _number, "boolean": _boolean}


def _shown(value: Any) -> str:
    """Return a value as it stands in JSON, cut short."""
    try:
        text = (
            json.dumps(value, ensure_ascii=False)
            if not isinstance(value, dict | list)
            else f"a list of {len(value)}"
            if isinstance(value, list)
            else "an object"
        )
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
