"""The model's inputs: raw columns, and what preprocessing knows of each, from a schema and statistics or from the rows themselves."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.inference.raw_rows import raw_columns
from intermodal.inference.tensor_names import tensor_names
from intermodal.runtime.errors import ConfigurationError

#: A column of more values keeps its most frequent ones: each costs one column of the dense tensor.
LARGEST_VOCABULARY = 256


@dataclass(frozen=True)
class Input:
    """One raw column.

    Attributes:
        name: The column.
        tensor: What its tensor is called in the signature.
        type: `string`, `integer` or `number`.
        required: Whether it may not be null.
        vocabulary: Of a category, most frequent value first.
        mean: Of a number.
        deviation: Of a number.
    """

    name: str
    tensor: str
    type: str
    required: bool
    vocabulary: tuple[str, ...] | None = None
    mean: float = 0.0
    deviation: float = 1.0

    def signature(self) -> dict[str, Any]:
        """Return the column as `signature.json` lists it."""
        listed = {"name": self.name, "type": self.type, "required": self.required}
        return listed if self.tensor == self.name else listed | {"tensor": self.tensor}


def derive_inputs(schema: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList, label: str) -> list[Input]:
    """Return the model's inputs: the schema's features without the label, with what the statistics say of them.

    Raises:
        ConfigurationError: No feature is left, or the statistics know nothing of one.
    """
    known = {each.path.step[0] if each.path.step else each.name: each for each in statistics.datasets[0].features}
    domains = {each.name: tuple(each.value) for each in schema.string_domain}
    names = [each for each in schema.feature if each.name != label and each.lifecycle_stage != schema_pb2.DEPRECATED]
    if not names:
        raise ConfigurationError(f"the schema has no feature beside the label {label!r}; a model needs one at least")
    unknown = [each.name for each in names if each.name not in known]
    if unknown:
        raise ConfigurationError(f"the statistics lack {', '.join(unknown)}, which the schema has; compute them on the same columns")
    tensors = tensor_names(each.name for each in names)
    return [_input(each, tensors[each.name], known[each.name], domains) for each in names]


def _input(feature: schema_pb2.Feature, tensor: str, statistics: statistics_pb2.FeatureNameStatistics, domains: dict[str, tuple[str, ...]]) -> Input:
    required = feature.presence.min_fraction == 1.0
    if feature.type == schema_pb2.BYTES:
        declared = tuple(feature.string_domain.value) or domains.get(feature.domain, ())
        ranked = sorted(statistics.string_stats.rank_histogram.buckets, key=lambda bucket: (-bucket.sample_count, bucket.label))
        seen = tuple(bucket.label for bucket in ranked)
        # Most frequent first, so that the cut falls on what is rare; a declared value that training never saw cannot be learnt.
        vocabulary = tuple(dict.fromkeys(value for value in seen if value and (not declared or value in declared)))[:LARGEST_VOCABULARY]
        return Input(feature.name, tensor, "string", required, vocabulary=vocabulary)
    numbers = statistics.num_stats
    kind = "integer" if feature.type == schema_pb2.INT else "number"
    return Input(feature.name, tensor, kind, required, mean=numbers.mean, deviation=numbers.std_dev or 1.0)


def usable(kind: pa.DataType) -> bool:
    """Say whether a column of an Arrow type can be an input: numbers, booleans and text."""
    return _type(kind) is not None


def _type(kind: pa.DataType) -> str | None:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else None


def inputs_of_rows(schema: pa.Schema, batches: Iterable[pa.Table]) -> list[Input]:
    """Return an input for each column of usable type that has a value, with its vocabulary, or its mean and deviation (population), in these rows.

    A column without nulls is not thereby required: rows to come may lack a value.

    Args:
        schema: The columns.
        batches: The rows, read once; in memory are one batch and the distinct texts.
    """
    kinds = {field.name: kind for field in schema if (kind := _type(field.type))}
    texts = {name: pa.table({"value": pa.array([], pa.string()), "count": pa.array([], pa.int64())}) for name in kinds if kinds[name] == "string"}
    numbers = {name: (0, 0.0, 0.0) for name in kinds if kinds[name] != "string"}
    for batch in batches:
        for name, known in texts.items():
            counts = pc.value_counts(batch.column(name).cast(pa.string()).combine_chunks().drop_null())
            new = pa.table({"value": counts.field(0), "count": counts.field(1)})
            merged = pa.concat_tables([known, new]).group_by("value").aggregate([("count", "sum")])
            texts[name] = pa.table({"value": merged.column("value"), "count": merged.column("count_sum")})
        for name, sums in numbers.items():
            numbers[name] = _with(sums, raw_columns(batch.select([name]), [{"name": name, "type": kinds[name]}])[name])
    tensors = tensor_names(schema.names)
    inputs = []
    for name, kind in kinds.items():
        if kind == "string":
            values, counted = (texts[name].column(each).to_pylist() for each in ("value", "count"))
            ranked = sorted(zip(counted, values, strict=True), key=lambda each: (-each[0], each[1]))[: LARGEST_VOCABULARY + 1]
            vocabulary = tuple(value for _, value in ranked if value)[:LARGEST_VOCABULARY]
            if vocabulary:
                inputs.append(Input(name, tensors[name], kind, False, vocabulary=vocabulary))
        else:
            count, mean, squares = numbers[name]
            if count:
                inputs.append(Input(name, tensors[name], kind, False, mean=mean, deviation=float(np.sqrt(squares / count)) or 1.0))
    return inputs


def _with(sums: tuple[int, float, float], values: np.ndarray) -> tuple[int, float, float]:
    """Return count, mean and summed squares about the mean with more values, those that are no finite number left out (Chan, Golub, LeVeque 1979)."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return sums
    count, mean, squares = sums
    more = float(finite.mean())
    whole, apart = count + finite.size, more - mean
    return whole, mean + apart * finite.size / whole, squares + float(np.square(finite - more).sum()) + apart**2 * count * finite.size / whole
