"""From raw columns to one dense tensor; part of the exported graph."""

from dataclasses import dataclass

import numpy as np

from intermodal.runtime.tensorflow import tf
from intermodal.training.model.inputs import Input

#: Numbers are cut this many standard deviations from the mean, so that one broken measurement cannot drown a row.
FARTHEST = 5.0


@dataclass(frozen=True)
class Range:
    """What the numbers of a column are in some rows.

    Attributes:
        name: The column.
        low: The lowest, or `FARTHEST` deviations below the mean where it is lower.
        high: The highest, or `FARTHEST` deviations above the mean where it is higher.
        far: Share of the rows in which it is `FARTHEST` deviations or more from the mean.
    """

    name: str
    low: float
    high: float
    far: float


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
            tf.one_hot(table.lookup(columns[each.tensor]), 1 + len(each.vocabulary or ()), dtype=tf.float32)
            for each, table in zip(self._categories, self._tables, strict=True)
        ]
        if self._numbers:
            values = tf.stack([columns[each.tensor] for each in self._numbers], axis=1)
            present = tf.math.is_finite(values)
            mean = tf.constant([each.mean for each in self._numbers], tf.float64)
            deviation = tf.constant([each.deviation for each in self._numbers], tf.float64)
            normal = tf.clip_by_value((tf.where(present, values, mean) - mean) / deviation, -FARTHEST, FARTHEST)
            parts += [tf.cast(normal, tf.float32), tf.cast(tf.logical_not(present), tf.float32)]
        return tf.concat(parts, axis=1)

    def ranges(self, features: np.ndarray) -> list["Range"]:
        """Return the range of each number in some rows, in its own unit; those most often at `FARTHEST` deviations first, then the widest.

        Args:
            features: Preprocessed rows, shape (rows, width), at least one.
        """
        start = self.width - 2 * len(self._numbers)
        values = features[:, start : start + len(self._numbers)]
        lowest, highest, far = values.min(axis=0), values.max(axis=0), (np.abs(values) >= FARTHEST).mean(axis=0)
        found = []
        for place, each in enumerate(self._numbers):
            low, high = (float(each.mean + each.deviation * edge[place]) for edge in (lowest, highest))
            found.append(Range(each.name, low, high, float(far[place])))
        width = highest - lowest
        return [found[place] for place in sorted(range(len(found)), key=lambda place: (-far[place], -width[place]))]


def _table(vocabulary: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(vocabulary), tf.string, shape=(len(vocabulary),))
    places = tf.range(1, len(vocabulary) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, places), default_value=0)


def tensor_specs(inputs: list[Input]) -> dict[str, tf.TensorSpec]:
    """Return the raw columns' shapes and types, by tensor: strings, and float64 for every number, in which null is NaN."""
    return {each.tensor: tf.TensorSpec((None,), tf.string if each.type == "string" else tf.float64, name=each.tensor) for each in inputs}
