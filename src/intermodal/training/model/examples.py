"""The rows of the examples, as this component reads them: the inputs they describe, their labels, and batches for the loop."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.inference.raw_rows import binary_labels, raw_columns
from intermodal.runtime.datasets import Dataset
from intermodal.runtime.datasets.listing import TRAIN
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.tensorflow import tf
from intermodal.training.model.inputs import Input, derive_inputs, inputs_of_rows, usable
from intermodal.training.model.preprocessing import Preprocessing, tensor_specs
from intermodal.training.rows import Source


def find_inputs(examples: Dataset, schema_path: str | None, statistics_path: str | None, label: str) -> list[Input]:
    """Return the inputs that schema and statistics describe, or, where neither was given, the rows of `train`.

    Raises:
        ConfigurationError: One of the two is missing, or they do not go together.
        DataError: They cannot be read, or no column can be an input.
    """
    return _inputs(schema_path, statistics_path, label) or _inputs_of(examples, label)


def _inputs(schema_path: str | None, statistics_path: str | None, label: str) -> list[Input] | None:
    """Return the inputs that schema and statistics describe; None where neither was given."""
    if schema_path is None and statistics_path is None:
        return None
    if schema_path is None or statistics_path is None:
        there, missing = ("statistics", "schema") if schema_path is None else ("schema", "statistics")
        raise ConfigurationError(f"there is the input {there!r} and no {missing!r}; give both, as validate_data writes them, or neither")
    schema_file, statistics_file = Path(schema_path) / "schema.pbtxt", Path(statistics_path) / "train.pb"
    try:
        schema = text_format.Parse(schema_file.read_text(encoding="utf-8"), schema_pb2.Schema())
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics_file.read_bytes())
    except (OSError, text_format.ParseError, DecodeError) as error:
        raise DataError(f"{schema_file} or {statistics_file}: not readable ({error}); run the task that writes them again") from error
    return derive_inputs(schema, statistics, label)


def _inputs_of(examples: Dataset, label: str) -> list[Input]:
    """Return the inputs that the rows of `train` describe, and print which columns are left out."""
    fields = [field for field in examples.schema(TRAIN) if field.name != label and usable(field.type)]
    inputs = inputs_of_rows(pa.schema(fields), examples.tables(TRAIN, [field.name for field in fields])) if fields else []
    names = {each.name for each in inputs}
    unused = [field.name for field in examples.schema(TRAIN) if field.name not in names and field.name != label]
    if not inputs:
        raise DataError(f"{examples.path}: no column beside the label {label!r} has numbers or text; there are {', '.join(unused) or 'none'}")
    if unused:
        sys.stdout.write(f"left out, for they are neither number nor text, or have no value: {', '.join(unused)}\n")
    return inputs


@dataclass(frozen=True)
class Labels:
    """What the labels of a part say: how many there are, and a hash that tells one set of rows from another."""

    rows: int
    digest: str


def check_labels(examples: Dataset, part: str, label: str) -> Labels:
    """Read the label's column of a part, in batches.

    Raises:
        DataError: The part has no rows, a label is null or not 0 and 1, or all are the same.
    """
    rows, ones, digest = 0, 0, hashlib.sha256()
    for batch in examples.batches(part, [label]):
        try:
            values = binary_labels(pa.Table.from_batches([batch]), label, part)
        except DataError:
            binary_labels(examples.read(part, [label]), label, part)  # says in how many rows of the whole part
            raise
        rows, ones = rows + len(values), ones + int(values.sum())
        digest.update(np.packbits(values.astype(np.bool_)).tobytes())
    if not rows:
        examples.read(part, [label])  # says so, with the remedy
    if ones in (0, rows):
        raise DataError(f"label {label!r} of the part {part!r} is {int(ones > 0)} in all {rows} rows; a model needs both 0 and 1 there")
    return Labels(rows, digest.hexdigest()[:16])


def source_of(examples: Dataset, part: str, rows: int, inputs: list[Input], label: str, preprocess: Preprocessing) -> Source:
    """Return a part's rows for the loop, with the preprocessing that they go through."""
    signature, specs = [each.signature() for each in inputs], tensor_specs(inputs)

    def convert(table: pa.Table) -> tuple[Any, np.ndarray]:
        raw = raw_columns(table, signature)
        tensors = {each.tensor: tf.constant(raw[each.name], specs[each.tensor].dtype) for each in inputs}
        return preprocess(tensors), binary_labels(table, label, part)

    return Source(examples, part, rows, [*(each.name for each in inputs), label], convert, preprocess.width)


def example_row(examples: Dataset, inputs: list[Input]) -> dict[str, Any]:
    """Return the first row of `train` as JSON."""
    row = next(examples.batches(TRAIN, [each.name for each in inputs])).slice(0, 1).to_pylist()[0]
    return {each.name: None if isinstance(row[each.name], float) and not np.isfinite(row[each.name]) else row[each.name] for each in inputs}
