"""Model artifacts, whoever wrote them: a SavedModel with or without `signature.json`, or a Keras file."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from intermodal.inference.saved_model import load_saved_model
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import check_whole

#: What a Keras file begins with, and the suffix without which Keras reads none.
_KERAS: Final = {b"PK\x03\x04": ".keras", b"\x89HDF": ".h5"}


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        path: The artifact, for messages.
        call: Takes a tensor for each input, by name, and returns the outputs by name.
        tensors: The inputs.
        columns: `signature.json`'s inputs; None: there is none, and inputs are found by `tensors`.
        output: Name of the output with the probability; None: not known.
        logit: Whether the output is known to be a logit (True) or a probability (False); None: not known.
        example: `signature.json`'s row; None without that file.
    """

    path: Path
    call: Callable[..., dict[str, tf.Tensor]]
    tensors: dict[str, tf.TensorSpec]
    columns: list[dict[str, Any]] | None
    output: str | None
    logit: bool | None
    example: dict[str, Any] | None = None


def load_model(path: Path) -> Model:
    """Load a SavedModel directory (or one that a directory holds alone, as the version folder of TensorFlow Serving), or a Keras file.

    Raises:
        DataError: It is none of these, or cannot be read.
    """
    if path.is_dir():
        check_whole(path)
        keras_files = sorted([*path.glob("*.keras"), *path.glob("*.h5")])
        folders = [each for each in (path, *sorted(path.glob("*/"))) if (each / "saved_model.pb").is_file()]
        if len(folders) == 1:
            return _saved_model(path, folders[0])
        if not folders and len(keras_files) == 1:
            return _keras_model(path, keras_files[0])
        several = f"{len(folders) or len(keras_files)} models" if folders or keras_files else "no saved_model.pb and no .keras file"
        raise DataError(f"{path}: it holds {several}; give the directory of one SavedModel, or one Keras file")
    if not path.is_file():
        raise DataError(f"{path}: no such file or directory; give a SavedModel directory or a Keras file")
    return _keras_model(path, path)


def _saved_model(path: Path, folder: Path) -> Model:
    try:
        loaded = load_saved_model(folder)
    except (OSError, tf.errors.OpError, ValueError) as error:
        raise DataError(f"{path}: not a SavedModel that can be read ({_first_line(error)}); train it again") from error
    if "serving_default" not in loaded.signatures:
        names = ", ".join(loaded.signatures) or "none"
        raise DataError(f"{path}: it has no signature serving_default, only: {names}; save it with Keras' model.export(), or name the signature so")
    serve = loaded.signatures["serving_default"]
    tensors = dict(sorted(serve.structured_input_signature[1].items()))  # a SavedModel keeps them in no order
    signature = folder / "signature.json"
    described = read_json(signature) if signature.is_file() else None

    def call(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
        found: dict[str, tf.Tensor] = serve(**columns)
        return found if loaded else {}  # it holds the variables only while it lives, so this function keeps it

    if described is None:
        return Model(path, call, tensors, None, None, None)
    return Model(path, call, tensors, described["inputs"], described["output"], False, described.get("example"))


def _keras_model(path: Path, file: Path) -> Model:
    with file.open("rb") as content:
        start = content.read(4)
    suffix = _KERAS.get(start)
    if suffix is None:
        raise DataError(f"{file}: neither a SavedModel directory nor a Keras file; save the model with Keras' model.save() or model.export()")
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / f"model{suffix}"
        link.symlink_to(file.absolute())
        try:
            model = tf.keras.models.load_model(link, compile=False)
        except Exception as error:  # whatever a foreign file makes Keras raise
            raise DataError(
                f"{file}: Keras cannot load it ({_first_line(error)}); save it with Keras {tf.keras.__version__} or export a SavedModel"
            ) from error
    names = [each.name for each in model.inputs]
    tensors = {each.name: tf.TensorSpec(each.shape, each.dtype, name=each.name) for each in model.inputs}
    outputs = [each.name for each in model.outputs]
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", None) if len(outputs) == 1 else None

    def call(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
        given = [columns[name] for name in names]
        found = model(given[0] if len(given) == 1 else dict(columns) if isinstance(model.input, dict) else given, training=False)
        if isinstance(found, dict):
            return {str(name): each for name, each in found.items()}
        return dict(zip(outputs, tf.nest.flatten(found), strict=True))

    logit = {"linear": True, "sigmoid": False, "softmax": False}.get(str(activation))
    return Model(path, call, tensors, None, outputs[0] if len(outputs) == 1 else None, logit)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
