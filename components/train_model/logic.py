"""Train a Keras model and export it, with its preprocessing, as one SavedModel."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow import keras
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.train_model.preprocessing import Input, Preprocessing, derive_inputs, tensor_specs
from intermodal.inference.raw_rows import binary_labels, raw_columns, read_part
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.tree import check_staged
from intermodal.runtime.user_code import exit_refused, load_module

DEFAULTS: dict[str, Any] = {"hidden_units": [128], "dropout": 0.1, "learning_rate": 1e-3, "batch_size": 1024, "epochs": 12, "patience": 2}
_CHUNK = 65_536


def train_model(
    *,
    examples_path: str,
    schema_path: str,
    statistics_path: str,
    repository_path: str,
    label: str,
    model_function: str,
    hyperparameters: dict[str, Any],
    seed: int,
    model_path: str,
    training_path: str,
    metrics_path: str,
) -> dict[str, float]:
    """Train on `train`, stop early on `validation`, and write the model, the curves and the metrics. See the component's contract.

    Returns:
        The best epoch's `loss`, `val_loss`, `auc` and `val_auc`, the number of `epochs` and the `seconds` of the fit.

    Raises:
        ConfigurationError: A hyperparameter or the model function cannot be used, or the training diverged.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
    """
    settings = _settings(hyperparameters)
    keras.utils.set_random_seed(int(seed))
    tf.config.experimental.enable_op_determinism()
    inputs = _inputs(schema_path, statistics_path, label)
    preprocess = Preprocessing(inputs)
    train, example = _load(examples_path, "train", inputs, label, preprocess)
    validation, _ = _load(examples_path, "validation", inputs, label, preprocess)
    head = _head(repository_path, model_function, preprocess.width, settings)

    with whole_directory(training_path) as training, whole_directory(model_path) as exported:
        started = time.perf_counter()
        with exit_refused(f"the model of {model_function!r}"):
            history = _fit(head, train, validation, settings, training)
        seconds = time.perf_counter() - started
        write_json(training / "history.json", history)
        _export(head, preprocess, inputs, exported)
        write_json(
            exported / "signature.json",
            {"inputs": [each.signature() for each in inputs], "output": "probability", "example": example},
        )
    best = int(np.argmin(history["val_loss"]))
    metrics = {name: values[best] for name, values in history.items()} | {"epochs": float(len(history["loss"])), "seconds": round(seconds, 3)}
    write_json(metrics_path, metrics)
    return metrics


def _settings(hyperparameters: dict[str, Any]) -> dict[str, Any]:
    settings = DEFAULTS | hyperparameters
    for name in ("batch_size", "epochs", "patience"):
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 1:
            raise ConfigurationError(f"hyperparameter {name} is {value!r}; it must be a whole number from 1")
        settings[name] = int(value)
    if not isinstance(settings["learning_rate"], int | float) or settings["learning_rate"] <= 0:
        raise ConfigurationError(f"hyperparameter learning_rate is {settings['learning_rate']!r}; it must be a number above 0")
    return settings


def _inputs(schema_path: str, statistics_path: str, label: str) -> list[Input]:
    schema_file, statistics_file = Path(schema_path) / "schema.pbtxt", Path(statistics_path) / "train.pb"
    try:
        schema = text_format.Parse(schema_file.read_text(encoding="utf-8"), schema_pb2.Schema())
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics_file.read_bytes())
    except (OSError, text_format.ParseError, DecodeError) as error:
        raise DataError(f"{schema_file} or {statistics_file}: not readable ({error}); run the task that writes them again") from error
    return derive_inputs(schema, statistics, label)


def _load(
    examples_path: str, part: str, inputs: list[Input], label: str, preprocess: Preprocessing
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    """Return the dense features (rows, width) and labels (rows,) of a part, and its first row as JSON."""
    table = read_part(examples_path, part, [each.name for each in inputs] + [label])
    labels = binary_labels(table, label, part)
    if labels.min() == labels.max():
        raise DataError(f"label {label!r} of the part {part!r} is {labels[0]:g} in all {len(labels)} rows; a model needs both classes there")
    dense = np.empty((len(labels), preprocess.width), np.float32)
    specs = tensor_specs(inputs)
    for start in range(0, len(labels), _CHUNK):
        rows = raw_columns(table.slice(start, _CHUNK), [each.signature() for each in inputs])
        dense[start : start + _CHUNK] = preprocess({name: tf.constant(values, specs[name].dtype) for name, values in rows.items()})
    return (dense, labels), _example(table, inputs)


def _example(table: pa.Table, inputs: list[Input]) -> dict[str, Any]:
    row = table.slice(0, 1).to_pylist()[0]
    return {each.name: None if isinstance(row[each.name], float) and not np.isfinite(row[each.name]) else row[each.name] for each in inputs}


def _head(repository_path: str, model_function: str, width: int, settings: dict[str, Any]) -> keras.Model:
    build = _function(repository_path, model_function) if model_function else multilayer_perceptron
    with exit_refused(f"model_function {model_function!r}"):
        model = build(width, settings)
    if not isinstance(model, keras.Model) or model.output_shape != (None, 1):
        shape = getattr(model, "output_shape", None)
        raise ConfigurationError(f"{model_function} returned {type(model).__name__} with output {shape}; return a keras.Model with one logit")
    return model


def _function(repository_path: str, model_function: str) -> Callable[[int, dict[str, Any]], Any]:
    file, _, name = model_function.partition(":")
    check_staged(Path(repository_path))
    path = Path(repository_path) / file
    if not name or path.suffix != ".py":
        raise ConfigurationError(f"model_function is {model_function!r}; write it as file.py:function")
    if not path.is_file():
        raise ConfigurationError(f"model_function {model_function!r}: {path} does not exist; put it in the feature repository")
    function = getattr(load_module(path), name, None)
    if not callable(function):
        raise ConfigurationError(f"model_function {model_function!r}: {path} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def multilayer_perceptron(width: int, settings: dict[str, Any]) -> keras.Model:
    """Return a multilayer perceptron from `width` features to one logit."""
    layers: list[Any] = [keras.Input((width,))]
    for units in settings["hidden_units"]:
        layers += [keras.layers.Dense(int(units), activation="relu"), keras.layers.Dropout(settings["dropout"])]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def _fit(
    head: keras.Model, train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], settings: dict[str, Any], training: Path
) -> dict[str, list[float]]:
    (training / "checkpoints").mkdir()
    head.compile(
        optimizer=keras.optimizers.Adam(settings["learning_rate"]),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.AUC(from_logits=True, name="auc")],
    )
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=settings["patience"], restore_best_weights=True),
        keras.callbacks.ModelCheckpoint(str(training / "checkpoints" / "best.weights.h5"), "val_loss", save_best_only=True, save_weights_only=True),
        keras.callbacks.TensorBoard(str(training / "logs"), write_graph=False),
        keras.callbacks.TerminateOnNaN(),
    ]
    size = settings["batch_size"]
    # Shuffled by Keras in memory: the dense tensor is cached already, so a tf.data pipeline would only copy it.
    fitted = head.fit(
        *train, batch_size=size, epochs=settings["epochs"], validation_data=validation, validation_batch_size=8192, callbacks=callbacks, verbose=2
    )
    history = {name: [float(value) for value in values] for name, values in fitted.history.items()}
    broken = not history.get("val_loss") or not np.isfinite(history["loss"] + history["val_loss"]).all()
    if broken:
        epoch = len(history["loss"])
        raise ConfigurationError(
            f"the training diverged in epoch {epoch}: the loss is no number; lower learning_rate, now {settings['learning_rate']}"
        )
    return history


def _export(head: keras.Model, preprocess: Preprocessing, inputs: list[Input], path: Path) -> None:
    """Write the SavedModel: the graph from raw columns to probability."""
    module = tf.Module()
    module.preprocess, module.head = preprocess, head

    @tf.function(input_signature=[tensor_specs(inputs)])  # type: ignore[untyped-decorator]
    def serve(columns: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"probability": tf.sigmoid(head(preprocess(columns), training=False)[:, 0])}

    tf.saved_model.save(module, str(path), signatures={"serving_default": serve})
