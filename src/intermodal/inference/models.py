"""Model artifacts, whoever wrote them: what a loaded model is, and loading one of any format that `formats` gives a loader."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intermodal.inference.formats import FORMATS, names_in
from intermodal.runtime.errors import DataError
from intermodal.runtime.tensorflow import tf
from intermodal.runtime.tree import check_whole


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
    """Load a directory or a file of a format that has a loader (`formats.FORMATS`).

    A SavedModel may also be one that a directory holds alone, as the version folder of TensorFlow Serving.

    Raises:
        DataError: It is of no such format, holds several models, or cannot be read.
    """
    if path.is_dir():
        check_whole(path)
    elif not path.is_file():
        raise DataError(f"{path}: no such file or directory; give a SavedModel directory or a Keras file")
    names = names_in(path)
    for each in FORMATS:
        if each.loader and (found := each.found_in(names)):
            if len(found) > 1:
                raise DataError(f"{path}: it holds {len(found)} models; give the directory of one SavedModel, or one Keras file")
            module, _, function = each.loader.partition(":")
            model: Model = getattr(importlib.import_module(module), function)(path, found[0])
            return model
    if path.is_dir():
        raise DataError(f"{path}: it holds no saved_model.pb and no .keras file; give the directory of one SavedModel, or one Keras file")
    raise DataError(f"{path}: neither a SavedModel directory nor a Keras file; save the model with Keras' model.save() or model.export()")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
