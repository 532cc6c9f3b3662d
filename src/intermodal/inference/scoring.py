"""Probabilities of rows, by any model: which columns go to which input, and what the output means."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from intermodal.inference.models import Model, load_model
from intermodal.inference.raw_rows import is_number, raw_columns
from intermodal.inference.tensor_names import tensor_names
from intermodal.runtime.errors import DataError
from intermodal.runtime.tensorflow import tf

Floats = NDArray[np.float64]
_BATCH: Final = 16_384
#: Names of an output, in the order in which one is chosen where there are several.
_PROBABILITIES: Final = ("probability", "probabilities")


class Scorer:
    """Gives rows probabilities by a model.

    Args:
        path: A SavedModel directory, with or without `signature.json`, or a Keras file.
        table: Rows to come, or their columns alone: says which column goes to which input.
        label: The label's column, which is no input; empty: none.

    Raises:
        DataError: The model cannot be loaded, or a column it takes is missing.
    """

    def __init__(self, path: Path, table: pa.Table, label: str = "") -> None:
        self.model: Model = load_model(path)
        self.inputs = _inputs(self.model, table.schema, label)

    @property
    def columns(self) -> list[str]:
        """The columns that the model takes."""
        return [each["name"] for each in self.inputs]

    def score(self, table: pa.Table) -> Floats:
        """Return the probability of a label of 1 for each row, shape (rows,).

        A model's one output is a probability, shape (rows,) or (rows, 1), or (rows, 2), of which the second column counts. It is a logit where its
        name has `logit` in it, or where a Keras model's last layer is linear.

        Raises:
            DataError: A column is of another type, or the output is no probability.
        """
        scores = np.concatenate([self._batch(table.slice(start, _BATCH)) for start in range(0, table.num_rows, _BATCH)])
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise DataError(
                f"{self.model.path}: {broken} of {len(scores)} probabilities are no numbers; look at the model's weights, and at nulls in the columns"
            )
        if scores.min() < 0 or scores.max() > 1:
            raise DataError(
                f"{self.model.path}: the output has values from {scores.min():.3g} to {scores.max():.3g}, so they are no probabilities; end the "
                "model with a sigmoid, or name its output `logits`"
            )
        return scores

    def _batch(self, table: pa.Table) -> Floats:
        columns = raw_columns(table, self.inputs)
        tensors: dict[str, tf.Tensor] = {}
        for name, spec in self.model.tensors.items():
            taken = [(each["name"], columns[each["name"]]) for each in self.inputs if each.get("tensor", each["name"]) == name]
            for column, values in taken:
                if spec.dtype.is_integer and np.isnan(values).any():
                    raise DataError(f"column {column!r} is null in some rows, and the model takes {spec.dtype.name}; fill it, or leave the rows out")
            matrix = np.stack([values for _, values in taken], axis=1) if spec.shape.rank == 2 else taken[0][1]
            tensors[name] = tf.cast(matrix, spec.dtype) if spec.dtype != tf.string else tf.constant(matrix, tf.string)
        try:
            return _probabilities(self.model, self.model.call(**tensors), table.num_rows)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise DataError(f"{self.model.path}: it fails on these rows ({str(error).strip().partition(chr(10))[0][:300]})") from error


def score_rows(path: Path, table: pa.Table, label: str = "") -> Floats:
    """Return the probabilities, shape (rows,), that a model gives rows. See `Scorer`."""
    return Scorer(path, table, label).score(table)


def _inputs(model: Model, schema: pa.Schema, label: str) -> list[dict[str, Any]]:
    """Return what goes to the model, in order: objects with `name`, `type`, and `tensor`, the input that takes it.

    Without `signature.json` an input of shape (rows,) or (rows, 1) takes the column of its name. A model with one input of shape (rows, n), a number,
    takes all numeric columns but the label, in the table's order.
    """
    if model.columns is not None:
        missing = [each["name"] for each in model.columns if each["name"] not in schema.names]
        if missing:
            raise DataError(f"{model.path}: the model takes {', '.join(missing)}, which the rows lack; bring the columns back or train without them")
        return model.columns
    specs = list(model.tensors.items())
    if len(specs) == 1 and specs[0][1].shape.rank == 2 and specs[0][1].shape[1] != 1:
        return _matrix(model, schema, label, *specs[0])
    by_tensor = {tensor: column for column, tensor in tensor_names(schema.names).items()} | {name: name for name in schema.names}
    odd = [f"{name} {tuple(spec.shape)}" for name, spec in specs if spec.shape.rank not in (1, 2) or (spec.shape.rank == 2 and spec.shape[1] != 1)]
    if odd:
        raise DataError(f"{model.path}: the inputs {', '.join(odd)} are no columns; give a model with one matrix, or with one input a column")
    missing = [name for name, _ in specs if name not in by_tensor]
    if missing:
        raise DataError(
            f"{model.path}: the model takes {', '.join(missing)}, and the rows have {', '.join(schema.names)}; name its inputs as the columns"
        )
    return [{"name": by_tensor[name], "type": "string" if spec.dtype == tf.string else "number", "tensor": name} for name, spec in specs]


def _matrix(model: Model, schema: pa.Schema, label: str, name: str, spec: tf.TensorSpec) -> list[dict[str, Any]]:
    columns = [each.name for each in schema if each.name != label and is_number(each.type)]
    width = spec.shape[1]
    if not spec.dtype.is_floating:
        raise DataError(f"{model.path}: its input {name} is a matrix of {spec.dtype.name}; give a model that takes floats, or one input a column")
    if width is not None and width != len(columns):
        raise DataError(
            f"{model.path}: its input {name} takes {width} numbers a row, and the rows have {len(columns)} numeric columns beside the label "
            f"({', '.join(columns[:8])}{', ...' if len(columns) > 8 else ''}); keep the columns it was trained on, in their order"
        )
    return [{"name": column, "type": "number", "tensor": name} for column in columns]


def _probabilities(model: Model, outputs: dict[str, tf.Tensor], rows: int) -> Floats:
    name = model.output if model.output is not None else _chosen(model, list(outputs))
    values = np.asarray(outputs[name], np.float64)
    logit = model.logit if model.logit is not None else "logit" in name.lower()
    if values.shape == (rows, 2) and model.columns is None:
        return np.asarray(tf.nn.softmax(values)[:, 1] if logit else values[:, 1], np.float64)
    if values.shape not in ((rows,), (rows, 1)):
        raise DataError(f"{model.path}: its output {name} has the shape {values.shape} for {rows} rows; it must be one probability a row")
    values = values.reshape(rows)
    return np.asarray(tf.sigmoid(values), np.float64) if logit else values


def _chosen(model: Model, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    chosen = next((name for name in _PROBABILITIES if name in names), None)
    if chosen is None:
        raise DataError(f"{model.path}: it has the outputs {', '.join(sorted(names))}; name the one with the probability `probability`")
    return chosen
