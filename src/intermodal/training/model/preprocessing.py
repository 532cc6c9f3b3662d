"""From raw columns to one dense tensor; part of the exported graph."""

import numpy as np

from intermodal.runtime.tensorflow import tf
from intermodal.training.model.inputs import Input

#: Numbers are cut this many standard deviations from the mean, so that one broken measurement cannot drown a row.
FARTHEST = 5.0


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

    def far_numbers(self, features: np.ndarray) -> dict[str, float]:
        """Return which numbers lie at `FARTHEST` deviations in some rows, with the share of the rows where they do, most first.

        Args:
            features: Preprocessed rows, shape (rows, width).
        """
        start = self.width - 2 * len(self._numbers)
        far = np.abs(features[:, start : start + len(self._numbers)]) >= FARTHEST
        shares = {each.name: float(share) for each, share in zip(self._numbers, far.mean(axis=0), strict=True) if share}
        return dict(sorted(shares.items(), key=lambda each: -each[1]))


def _table(vocabulary: tuple[str, ...]) -> tf.lookup.StaticHashTable:
    keys = tf.constant(list(vocabulary), tf.string, shape=(len(vocabulary),))
    places = tf.range(1, len(vocabulary) + 1, dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, places), default_value=0)


def tensor_specs(inputs: list[Input]) -> dict[str, tf.TensorSpec]:
    """Return the raw columns' shapes and types, by tensor: strings, and float64 for every number, in which null is NaN."""
    return {each.tensor: tf.TensorSpec((None,), tf.string if each.type == "string" else tf.float64, name=each.tensor) for each in inputs}
