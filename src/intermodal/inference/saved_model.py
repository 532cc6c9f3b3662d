"""SavedModels, read from folders of any name."""

import glob
import tempfile
from pathlib import Path
from typing import Any

from intermodal.inference.models import Model, first_line
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError
from intermodal.runtime.tensorflow import tf


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel; keep what is returned, for its signatures hold its variables only while it lives.

    Raises:
        OSError: There is none in the folder.
    """
    if not glob.has_magic(str(folder)):
        return tf.saved_model.load(str(folder))
    # TensorFlow looks for the variables by a pattern, so brackets in a folder's name hide them: it gets a link without.
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "model"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        return tf.saved_model.load(str(link))


def load(path: Path, file: Path) -> Model:
    """Load a SavedModel; see `formats.Format.loader`.

    Raises:
        DataError: It cannot be read, or has no signature to serve.
    """
    folder = file.parent
    try:
        loaded = load_saved_model(folder)
    except (OSError, tf.errors.OpError, ValueError) as error:
        raise DataError(f"{path}: not a SavedModel that can be read ({first_line(error)}); train it again") from error
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
