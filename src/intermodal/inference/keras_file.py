"""Keras files: zip archives or HDF5, under any name."""

import tempfile
from pathlib import Path

from intermodal.inference.models import Model, first_line
from intermodal.runtime.errors import DataError
from intermodal.runtime.tensorflow import tf


def load(path: Path, file: Path) -> Model:
    """Load a Keras file; see `formats.Format.loader`.

    Raises:
        DataError: It is none, or Keras cannot load it.
    """
    with file.open("rb") as content:
        start = content.read(4)
    suffix = {b"PK\x03\x04": ".keras", b"\x89HDF": ".h5"}.get(start)  # by its suffix alone Keras tells how to read it
    if suffix is None:
        raise DataError(f"{file}: neither a SavedModel directory nor a Keras file; save the model with Keras' model.save() or model.export()")
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / f"model{suffix}"
        link.symlink_to(file.absolute())
        try:
            model = tf.keras.models.load_model(link, compile=False)
        except Exception as error:  # whatever a foreign file makes Keras raise
            raise DataError(
                f"{file}: Keras cannot load it ({first_line(error)}); save it with Keras {tf.keras.__version__} or export a SavedModel"
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
