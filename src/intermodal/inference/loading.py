"""Any SavedModel or Keras file as one kind of object: what it takes, what it gives, and predictions on columns."""

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from intermodal.inference.saved_model import load_saved_model
from intermodal.runtime.errors import DataError

_SIGNATURE: Final = "serving_default"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_KERAS_SUFFIXES: Final = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    Attributes:
        inputs: As in `signature.json`: a `name`, a `type` (string, integer, number, boolean), whether it is `required`, and the name of its `tensor`
            in the signature where that is another. Derived from the serving signature where there is no such file; then numbers also have their
            `dtype` (NumPy's name), and an input that is no plain column has its `shape` without the rows (-1: any length).
        outputs: NumPy's `dtype` and the `shape`, without the rows, of each output, by name.
        output: The one output, or the one that `signature.json` names; None where there are several.
        example: One row; None without `signature.json`.
    """

    inputs: list[dict[str, Any]]
    outputs: dict[str, tuple[str, list[int]]]
    output: str | None
    example: dict[str, Any] | None
    _function: Any
    _model: Any  # the signature holds its variables only while this lives

    def predict(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs for rows.

        Args:
            columns: One array an input, of shape (rows,) or, where the input has a `shape`, (rows, *shape). Cast to what the model takes.

        Returns:
            One array an output, of shape (rows, ...); an output of shape (rows, 1) comes as (rows,).
        """
        specifications = self._function.structured_input_signature[1]
        tensors = {each["name"]: each.get("tensor", each["name"]) for each in self.inputs}
        found = self._function(**{tensors[name]: _tensor(values, specifications[tensors[name]]) for name, values in columns.items()})
        return {name: _flat(found[name].numpy()) for name in self.outputs}


def load_model(path: Path) -> LoadedModel:
    """Load a model.

    Args:
        path: A SavedModel's directory, with or without `signature.json`; a Keras file (`.keras`, or HDF5), whatever its name; or a directory that
            holds one Keras file.

    Raises:
        DataError: There is none, it cannot be loaded, or no signature of it takes rows by name.
    """
    described = _described(path)
    model = _loaded(path)
    function = _serving_function(path, model)
    specifications = function.structured_input_signature[1]
    if not specifications:
        raise DataError(f"{path}: the signature {_SIGNATURE} takes nothing by name; export the model with one named input for each column")
    for name, specification in specifications.items():
        if specification.shape.rank == 0 or (specification.shape.rank and specification.shape[0] is not None):
            raise DataError(
                f"{path}: input {name!r} has the shape {specification.shape}; its first dimension must be rows, any number of them (None)"
            )
    inputs = described["inputs"] if described else [_input(name, each) for name, each in sorted(specifications.items())]
    outputs = {name: _output(each) for name, each in sorted(function.structured_outputs.items())}
    if described:
        if missing := [name for each in inputs if (name := each.get("tensor", each["name"])) not in specifications]:
            raise DataError(f"{path}/signature.json: the model has no input {missing[0]!r}; it has {', '.join(specifications)}")
        if described["output"] not in outputs:
            raise DataError(f"{path}/signature.json: the model has no output {described['output']!r}; it has {', '.join(outputs)}")
        outputs = {described["output"]: outputs[described["output"]]}
    return LoadedModel(inputs, outputs, next(iter(outputs)) if len(outputs) == 1 else None, (described or {}).get("example"), function, model)


def zero_row(inputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return a row of zeros that fits the inputs; None where an input is text or has a dimension of any length, for which no value is sure to fit."""
    if any(each["type"] == "string" or -1 in each.get("shape", ()) for each in inputs):
        return None
    return {each["name"]: np.zeros(each.get("shape", ()), bool if each["type"] == "boolean" else int).tolist() for each in inputs}


def _described(path: Path) -> dict[str, Any] | None:
    file = path / "signature.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"inputs": [dict(each) for each in found["inputs"]], "output": str(found["output"]), "example": found.get("example")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file}: not the description of a model's inputs and output ({type(error).__name__}: {error}); delete it or correct it"
        ) from error


def _loaded(path: Path) -> Any:
    try:
        if (path / "saved_model.pb").is_file():
            return load_saved_model(path)
        return _from_keras(_keras_file(path))
    except DataError:
        raise
    except Exception as error:  # TensorFlow and Keras raise whatever their readers met
        sentence = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise DataError(
            f"{path}: the model cannot be loaded ({sentence}); export it again, as a SavedModel where it has layers of your own"
        ) from error


def _keras_file(path: Path) -> Path:
    candidates = [path] if path.is_file() else sorted(each for each in path.glob("*") if each.is_file() and each.suffix in _KERAS_SUFFIXES)
    found = [each for each in candidates if _is_keras(each)]
    if len(found) != 1:
        there = f"{len(found)} Keras files are there" if found else "there is neither"
        raise DataError(f"{path}: expected a SavedModel (saved_model.pb) or one Keras file; {there}")
    return found[0]


def _is_keras(file: Path) -> bool:
    with file.open("rb") as start:
        return start.read(8) == _HDF5 or zipfile.is_zipfile(file)


def _from_keras(file: Path) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells its formats by the suffix, which an artifact's path lacks.
        named = Path(folder) / ("model.keras" if zipfile.is_zipfile(file) else "model.h5")
        shutil.copyfile(file, named)
        tf.keras.models.load_model(named, compile=False).export(f"{folder}/exported", verbose=False)
        return tf.saved_model.load(f"{folder}/exported")


def _serving_function(path: Path, model: Any) -> Any:
    signatures = dict(model.signatures)
    if _SIGNATURE in signatures:
        return signatures[_SIGNATURE]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    raise DataError(f"{path}: no signature {_SIGNATURE}; there are {', '.join(signatures) or 'none'}; export the model with that signature")


def _input(name: str, specification: Any) -> dict[str, Any]:
    kind = np.dtype(specification.dtype.as_numpy_dtype).kind if specification.dtype != tf.string else "S"
    kinds = {"S": "string", "O": "string", "b": "boolean", "i": "integer", "u": "integer"}
    made: dict[str, Any] = {"name": name, "type": kinds.get(kind, "number"), "required": True}
    if made["type"] in ("integer", "number"):
        made["dtype"] = specification.dtype.name
    shape = _shape(specification)
    return made if shape in ([], [1]) else made | {"shape": shape}


def _output(specification: Any) -> tuple[str, list[int]]:
    shape = _shape(specification)
    return ("object" if specification.dtype == tf.string else specification.dtype.name), [] if shape == [1] else shape


def _shape(specification: Any) -> list[int]:
    return [-1 if size is None else int(size) for size in specification.shape[1:]] if specification.shape.rank else []


def _tensor(values: np.ndarray, specification: Any) -> Any:
    if specification.shape.rank == 2 and values.ndim == 1:
        values = values.reshape(-1, 1)
    return tf.constant(values if specification.dtype == tf.string else values.astype(specification.dtype.as_numpy_dtype), specification.dtype)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values
