"""The SavedModel: the graph from raw columns to probability."""

from pathlib import Path
from typing import Any

from intermodal.runtime.tensorflow import keras, tf
from intermodal.training.model.inputs import Input
from intermodal.training.model.network import network
from intermodal.training.model.preprocessing import Preprocessing, tensor_specs


def export(head: keras.Model, preprocess: Preprocessing, inputs: list[Input], path: Path) -> None:
    """Write the SavedModel.

    Args:
        head: From preprocessed features to one logit; of Keras' TensorFlow backend.
        preprocess: From raw columns to features.
        inputs: The raw columns.
        path: An existing directory.
    """
    module = tf.Module()
    module.preprocess, module.head = preprocess, head

    @tf.function(input_signature=[tensor_specs(inputs)])  # type: ignore[untyped-decorator]
    def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"probability": tf.sigmoid(head(preprocess(columns), training=False)[:, 0])}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})


def export_weights(
    *,
    code_path: str | None,
    model_function: str,
    settings: dict[str, Any],
    inputs: list[dict[str, Any]],
    weights_path: str,
    model_path: str,
) -> None:
    """Write the SavedModel of weights that another backend of Keras trained; for a process whose Keras runs on TensorFlow.

    Args:
        code_path: As `network` takes it.
        model_function: As `network` takes it.
        settings: As `network` takes them.
        inputs: The attributes of each `Input`.
        weights_path: A file of `keras.Model.save_weights`.
        model_path: An existing directory.

    Raises:
        ConfigurationError: The model function fails here.
    """
    columns = [Input(**{**each, "vocabulary": each["vocabulary"] if each["vocabulary"] is None else tuple(each["vocabulary"])}) for each in inputs]
    preprocess = Preprocessing(columns)
    head = network(code_path, model_function, preprocess.width, settings)()
    head.load_weights(weights_path)
    export(head, preprocess, columns, Path(model_path))
