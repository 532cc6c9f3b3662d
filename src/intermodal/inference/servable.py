"""A model as a server needs it: what it takes and gives, whoever made it, and predictions on columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intermodal.inference.models import load_model
from intermodal.runtime.errors import DataError
from intermodal.runtime.tensorflow import tf


@dataclass(frozen=True)
class ServableModel:
    """A loaded model.

    Attributes:
        inputs: As in `signature.json`: a `name`, a `type` (string, integer, number, boolean), whether it is `required`, and the name of its `tensor`
            where that is another. Derived from the model's own tensors where there is no such file; then numbers also have their `dtype` (NumPy's
            name), and an input that is no plain column has its `shape` without the rows (-1: any length).
        outputs: NumPy's `dtype` and the `shape`, without the rows, of each output, by name: of all, or of the one that `signature.json` names.
        example: One row; None without `signature.json`.
    """

    inputs: list[dict[str, Any]]
    outputs: dict[str, tuple[str, list[int]]]
    example: dict[str, Any] | None
    _function: Any
    _tensors: dict[str, tf.TensorSpec]

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs for rows.

        Args:
            columns: One array an input, of shape (rows,) or, where the input has a `shape`, (rows, *shape). Cast to what the model takes.

        Returns:
            One array an output, of shape (rows, ...); an output of shape (rows, 1) comes as (rows,).
        """
        names = {each["name"]: each.get("tensor", each["name"]) for each in self.inputs}
        found = self._function(**{names[name]: _tensor(values, self._tensors[names[name]]) for name, values in columns.items()})
        return {name: _flat(found[name].numpy()) for name in self.outputs}


def load_servable(path: Path) -> ServableModel:
    """Load a model.

    Args:
        path: A SavedModel's directory, with or without `signature.json`, a Keras file, or a directory that holds one of them; see `load_model`.

    Raises:
        DataError: There is none, it cannot be loaded, or it takes no rows by name.
    """
    model = load_model(path)
    if not model.tensors:
        raise DataError(f"{path}: the model takes nothing by name; export it with one named input for each column")
    for name, specification in model.tensors.items():
        if specification.shape.rank == 0 or (specification.shape.rank and specification.shape[0] is not None):
            raise DataError(f"{path}: input {name!r} has the shape {specification.shape}; its first dimension must be None, any number of rows")
    inputs = [dict(each) for each in model.columns] if model.columns else [_input(name, each) for name, each in sorted(model.tensors.items())]
    if missing := [name for each in inputs if (name := each.get("tensor", each["name"])) not in model.tensors]:
        raise DataError(f"{path}: signature.json names the input {missing[0]!r}; the model has {', '.join(model.tensors)}")
    # Keras would else run layer by layer at each request.
    function = tf.function(model.call).get_concrete_function(**model.tensors)
    outputs = {str(name): _output(each) for name, each in sorted(function.structured_outputs.items())}
    if model.columns:
        if model.output not in outputs:
            raise DataError(f"{path}: signature.json names the output {model.output!r}; the model has {', '.join(outputs)}")
        outputs = {model.output: outputs[model.output]}
    return ServableModel(inputs, outputs, model.example, function, model.tensors)


def zero_row(inputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a row of zeros that fits the inputs; None where an input is text or has a dimension of any length, for which no value is sure to fit."""
    if any(each["type"] == "string" or -1 in each.get("shape", ()) for each in inputs):
        return None
    return {each["name"]: np.zeros(each.get("shape", ()), bool if each["type"] == "boolean" else int).tolist() for each in inputs}


def _input(name: str, specification: tf.TensorSpec) -> dict[str, Any]:
    kinds = {"b": "boolean", "i": "integer", "u": "integer"}
    kind = "string" if specification.dtype == tf.string else kinds.get(np.dtype(specification.dtype.as_numpy_dtype).kind, "number")
    made: dict[str, Any] = {"name": name, "type": kind, "required": True}
    if kind in ("integer", "number"):
        made["dtype"] = specification.dtype.name
    shape = _shape(specification)
    return made if shape in ([], [1]) else made | {"shape": shape}


def _output(specification: tf.TensorSpec) -> tuple[str, list[int]]:
    shape = _shape(specification)
    return ("object" if specification.dtype == tf.string else specification.dtype.name), [] if shape == [1] else shape


def _shape(specification: tf.TensorSpec) -> list[int]:
    return [-1 if size is None else int(size) for size in specification.shape[1:]] if specification.shape.rank else []


def _tensor(values: np.ndarray, specification: tf.TensorSpec) -> Any:
    if specification.shape.rank == 2 and values.ndim == 1:
        values = values.reshape(-1, 1)
    return tf.constant(values if specification.dtype == tf.string else values.astype(specification.dtype.as_numpy_dtype), specification.dtype)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
