"""From raw columns to one dense tensor, derived from a schema and statistics; part of the exported graph."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.runtime.errors import ConfigurationError

#: A column of more values keeps its most frequent ones: each costs one column of the dense tensor.
LARGEST_VOCABULARY = 256
#: Numbers are cut this many standard deviations from the mean, so that one broken measurement cannot drown a row.
FARTHEST = 5.0


@dataclass(frozen=True)
class Input:
    """One raw column: `vocabulary` for a category, `mean` and `deviation` for a number."""

    name: str
    type: str
    required: bool
    vocabulary: tuple[str, ...] | None = None
    mean: float = 0.0
    deviation: float = 1.0

    def signature(self) -> dict[str, Any]:
        """Return the column as `signature.json` lists it."""
        return {"name": self.name, "type": self.type, "required": self.required}


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
    return [_input(each, known[each.name], domains) for each in names]


def _input(feature: schema_pb2.Feature, statistics: statistics_pb2.FeatureNameStatistics, domains: dict[str, tuple[str, ...]]) -> Input:
    required = feature.presence.min_fraction == 1.0
    if feature.type == schema_pb2.BYTES:
        declared = tuple(feature.string_domain.value) or domains.get(feature.domain, ())
        ranked = sorted(statistics.string_stats.rank_histogram.buckets, key=lambda bucket: (-bucket.sample_count, bucket.label))
        seen = tuple(bucket.label for bucket in ranked)
        # Most frequent first, so that the cut falls on what is rare; a declared value that training never saw cannot be learnt.
        vocabulary = tuple(dict.fromkeys(value for value in seen if value and (not declared or value in declared)))[:LARGEST_VOCABULARY]
        return Input(feature.name, "string", required, vocabulary=vocabulary)
    numbers = statistics.num_stats
    kind = "integer" if feature.type == schema_pb2.INT else "number"
    return Input(feature.name, kind, required, mean=numbers.mean, deviation=numbers.std_dev or 1.0)


class Preprocessing(tf.Module):  # type: ignore[misc]
    """Raw columns, each of shape (rows,), to one float32 tensor (rows, `width`).

    A category is one-hot, its first place for null and every value outside the vocabulary. A number is normalised, cut at `FARTHEST`
    deviations, the mean where it is null, NaN or infinite, followed by a column that says so.
    """

    def __init__(self, inputs: list[Input]):
        super().__init__()
        self._numbers = [each for each in inputs if each.vocabulary is None]
        self._categories = [each for each in inputs if each.vocabulary is not None]
        self._tables = [_table(each.vocabulary or ()) for each in self._categories]
        self.width = 2 * len(self._numbers) + sum(1 + len(each.vocabulary or ()) for each in self._categories)

    def __call__(self, columns: dict[str, tf.Tensor]) -> tf.Tensor:
        """Return the dense tensor of the rows."""
        parts = [
            tf.one_hot(table.lookup(columns[each.name]), 1 + len(each.vocabulary or ()), dtype=tf.float32)
            for each, table in zip(self._categories, self._tables, strict=True)
        ]
        if self._numbers:
            values = tf.stack([columns[each.name] for each in self._numbers], axis=1)
            present = tf.math.is_finite(values)
            mean = tf.constant([each.mean for each in self._numbers], tf.float64)
            deviation = tf.constant([each.deviation for each in self._numbers], tf.float64)
            normal = tf.clip_by_value((tf.where(present, values, mean) - mean) / deviation, -FARTHEST, FARTHEST)
            parts += [tf.cast(normal, tf.float32), tf.cast(tf.logical_not(present), tf.float32)]
        return tf.concat(parts, axis=1)


def _table(vocabulary: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(vocabulary), tf.string, shape=(len(vocabulary),))
    places = tf.range(1, len(vocabulary) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, places), default_value=0)


def tensor_specs(inputs: list[Input]) -> dict[str, tf.TensorSpec]:
    """Return the raw columns' shapes and types: strings, and float64 for every number, in which null is NaN."""
    return {each.name: tf.TensorSpec((None,), tf.string if each.type == "string" else tf.float64, name=each.name) for each in inputs}
