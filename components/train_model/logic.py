"""Train a Keras model and export it, with its preprocessing, as one SavedModel."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow import keras
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from intermodal.components.train_model.arguments import check_arguments
from intermodal.components.train_model.inputs import Input, derive_inputs, inputs_of_table, usable
from intermodal.components.train_model.preprocessing import Preprocessing, tensor_specs
from intermodal.drawing.figures import learning_curves
from intermodal.drawing.page import page
from intermodal.inference.raw_rows import binary_labels, raw_columns
from intermodal.inference.trained_rows import hashed_rows, write_trained_rows
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.datasets import Dataset, open_dataset
from intermodal.runtime.datasets.listing import TRAIN, VALIDATION
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.tree import check_staged
from intermodal.runtime.user_code import exit_refused, load_module

_CHUNK = 65_536


@dataclass(frozen=True)
class Trained:
    """What the artifacts' metadata get: the numbers of `metrics`, and what kind of model it is."""

    metrics: dict[str, float]
    model: dict[str, str]


def train_model(
    *,
    examples_path: str,
    label: str,
    schema_path: str | None,
    statistics_path: str | None,
    code_path: str | None,
    model_function: str,
    hidden_units: list[int],
    dropout: float,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    hyperparameters: dict[str, Any],
    seed: int,
    model_path: str,
    training_path: str,
    metrics_path: str,
    curves_path: str,
) -> Trained:
    """Train on `train`, stop early on `validation`, and write the model, the curves and the metrics. See the component's contract.

    Returns:
        Metrics: the best epoch's `loss`, `val_loss`, `auc` and `val_auc`, the number of `epochs` and the `seconds` of the fit.

    Raises:
        ConfigurationError: A hyperparameter or the model function cannot be used, or the training diverged.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
    """
    named = {
        "hidden_units": hidden_units,
        "dropout": dropout,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
    }
    check_arguments(label=label, model_function=model_function, **named, hyperparameters=hyperparameters)  # type: ignore[arg-type]
    whole = {"hidden_units": [int(units) for units in hidden_units], "batch_size": int(batch_size), "epochs": int(epochs), "patience": int(patience)}
    settings = named | whole | hyperparameters
    keras.utils.set_random_seed(int(seed))
    tf.config.experimental.enable_op_determinism()
    with open_dataset(examples_path) as opened:
        examples = opened.with_held_out()
        inputs = _inputs(schema_path, statistics_path, label) or _inputs_of(examples, label)
        preprocess = Preprocessing(inputs)
        train, example = _load(examples, TRAIN, inputs, label, preprocess)
        validation, _ = _load(examples, VALIDATION, inputs, label, preprocess)
        trained_on = hashed_rows(
            lambda columns: [examples.read(part, columns) for part in (TRAIN, VALIDATION)],
            examples.schema(TRAIN).names,
            [label, *(each.name for each in inputs)],
        )
    head = _head(code_path, model_function, preprocess.width, settings)

    with whole_directory(training_path) as training, whole_directory(model_path) as exported:
        started = time.perf_counter()
        with exit_refused(f"the model of {model_function!r}"):
            history = _fit(head, train, validation, settings, training)
        seconds = time.perf_counter() - started
        write_json(training / "history.json", history)
        write_json(training / "hyperparameters.json", settings)
        _export(head, preprocess, inputs, exported)
        write_trained_rows(exported, trained_on)
        write_json(
            exported / "signature.json",
            {"inputs": [each.signature() for each in inputs], "output": "probability", "example": example},
        )
    best = int(np.argmin(history["val_loss"]))
    metrics = {name: values[best] for name, values in history.items()} | {"epochs": float(len(history["loss"])), "seconds": round(seconds, 3)}
    write_json(metrics_path, metrics)
    with whole_file(curves_path) as scratch:
        scratch.write_text(page("Learning curves", learning_curves(history), "There are none: the training has no finite number."), encoding="utf-8")
    return Trained(metrics, {"framework": "tensorflow", "framework_version": tf.__version__, "label": label})


def _inputs(schema_path: str | None, statistics_path: str | None, label: str) -> list[Input] | None:
    """Return the inputs that schema and statistics describe; None where neither was given."""
    if schema_path is None and statistics_path is None:
        return None
    if schema_path is None or statistics_path is None:
        there, missing = ("statistics", "schema") if schema_path is None else ("schema", "statistics")
        raise ConfigurationError(f"there is the input {there!r} and no {missing!r}; give both, as validate_data writes them, or neither")
    schema_file, statistics_file = Path(schema_path) / "schema.pbtxt", Path(statistics_path) / "train.pb"
    try:
        schema = text_format.Parse(schema_file.read_text(encoding="utf-8"), schema_pb2.Schema())
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(statistics_file.read_bytes())
    except (OSError, text_format.ParseError, DecodeError) as error:
        raise DataError(f"{schema_file} or {statistics_file}: not readable ({error}); run the task that writes them again") from error
    return derive_inputs(schema, statistics, label)


def _inputs_of(examples: Dataset, label: str) -> list[Input]:
    """Return the inputs that the rows of `train` describe, and print which columns are left out."""
    columns = [field.name for field in examples.schema(TRAIN) if field.name != label and usable(field.type)]
    inputs = inputs_of_table(examples.read(TRAIN, columns)) if columns else []
    names = {each.name for each in inputs}
    unused = [field.name for field in examples.schema(TRAIN) if field.name not in names and field.name != label]
    if not inputs:
        raise DataError(f"{examples.path}: no column beside the label {label!r} has numbers or text; there are {', '.join(unused) or 'none'}")
    if unused:
        sys.stdout.write(f"left out, for they are neither number nor text, or have no value: {', '.join(unused)}\n")
    return inputs


def _load(
    examples: Dataset, part: str, inputs: list[Input], label: str, preprocess: Preprocessing
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    """Return the dense features (rows, width) and labels (rows,) of a part, and its first row as JSON."""
    table = examples.read(part, [*(each.name for each in inputs), label])
    labels = binary_labels(table, label, part)
    if labels.min() == labels.max():
        raise DataError(f"label {label!r} of the part {part!r} is {labels[0]:g} in all {len(labels)} rows; a model needs both 0 and 1 there")
    dense = np.empty((len(labels), preprocess.width), np.float32)
    specs = tensor_specs(inputs)
    for start in range(0, len(labels), _CHUNK):
        rows = raw_columns(table.slice(start, _CHUNK), [each.signature() for each in inputs])
        tensors = {each.tensor: tf.constant(rows[each.name], specs[each.tensor].dtype) for each in inputs}
        dense[start : start + _CHUNK] = preprocess(tensors)
    return (dense, labels), _example(table, inputs)


def _example(table: pa.Table, inputs: list[Input]) -> dict[str, Any]:
    row = table.slice(0, 1).to_pylist()[0]
    return {each.name: None if isinstance(row[each.name], float) and not np.isfinite(row[each.name]) else row[each.name] for each in inputs}


def _head(code_path: str | None, model_function: str, width: int, settings: dict[str, Any]) -> keras.Model:
    build = _function(code_path, model_function) if model_function else multilayer_perceptron
    with exit_refused(f"model_function {model_function!r}"):
        model = build(width, settings)
    if not isinstance(model, keras.Model) or model.output_shape != (None, 1):
        shape = getattr(model, "output_shape", None)
        raise ConfigurationError(f"{model_function} returned {type(model).__name__} with output {shape}; return a keras.Model with one logit")
    return model


def _function(code_path: str | None, model_function: str) -> Callable[[int, dict[str, Any]], Any]:
    if code_path is None:
        raise ConfigurationError(f"model_function is {model_function!r}, and there is no input 'code'; give the folder of its file")
    file, _, name = model_function.partition(":")
    check_staged(Path(code_path))
    path = Path(code_path) / file
    if not path.is_file():
        raise ConfigurationError(f"model_function {model_function!r}: {path} does not exist; put it into the folder given as `code`")
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
