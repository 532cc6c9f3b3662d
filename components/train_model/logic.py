"""Train a Keras model and export it, with its preprocessing, as one SavedModel."""

import hashlib
import importlib.util
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from intermodal.components.train_model.arguments import check_arguments
from intermodal.components.train_model.examples import Labels, check_labels, example_row, find_inputs, source_of
from intermodal.components.train_model.exporting import export, export_weights
from intermodal.components.train_model.network import network
from intermodal.components.train_model.preprocessing import FARTHEST, Preprocessing
from intermodal.components.train_model.tuned import with_tuned
from intermodal.drawing.figures import learning_curves
from intermodal.drawing.page import page
from intermodal.inference.trained_rows import hashed_rows, write_trained_rows
from intermodal.runtime.artifacts import whole_directory, whole_file, write_json
from intermodal.runtime.datasets import open_dataset
from intermodal.runtime.datasets.listing import TRAIN, VALIDATION
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tensorflow import keras, tf
from intermodal.runtime.tree import tree_hash
from intermodal.runtime.user_code import exit_refused
from intermodal.training.backend import Backend
from intermodal.training.cluster import Cluster, find_cluster
from intermodal.training.loop import Curves, DivergedError, Loop, Outcome, Settings
from intermodal.training.order import SHARDS
from intermodal.training.progress import Progress
from intermodal.training.resuming import open_checkpoints
from intermodal.training.rows import Part
from intermodal.training.tensorboard import TensorBoardCurves
from intermodal.training.tensorflow_steps import TensorFlowSteps
from intermodal.workers.processes import run_process, run_processes

#: Rows that the validation's loss is computed on at once, over all workers.
_VALIDATION_BATCH: Final = 8192
#: Of the process that writes the SavedModel where this one's Keras does not run on TensorFlow, and holds the GPU's memory.
_EXPORT: Final = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}


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
    tuned_path: str | None,
    model_function: str,
    hidden_units: list[int],
    dropout: float,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    hyperparameters: dict[str, Any],
    seed: int,
    backend: str,
    workers: int,
    model_parallel: int,
    restarts: int,
    steps_per_execution: int,
    precision: str,
    jit_compile: bool,
    checkpoints: str,
    checkpoint_steps: int,
    checkpoint_minutes: float,
    checkpoints_kept: int,
    model_path: str,
    training_path: str,
    metrics_path: str,
    curves_path: str,
    watch: Curves | None = None,
) -> Trained:
    """Train on `train`, stop early on `validation`, and write the model, the curves and the metrics. See the component's contract.

    Where a launcher made this process one of several workers, only the first writes. Where none did and `workers` is above 1, the workers are
    processes of this machine, started here.

    Args beside the component's:
        watch: Gets the numbers of each epoch and may raise an error, which ends the training. Where it is given the training is a trial of a
            search: nothing is written, and the metrics are returned.

    Returns:
        Metrics: the best epoch's `loss`, `val_loss`, `auc` and `val_auc`, the number of `epochs`, the `seconds` of the training, `rows_per_second`
        and `input_wait`.

    Raises:
        ConfigurationError: A hyperparameter or the model function cannot be used, the training diverged, or the environment and `workers` disagree.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
        MachineError: The disk is full, or workers of this machine died more often than `restarts`.
    """
    given = {name: value for name, value in locals().items() if name != "watch"}
    if tuned_path:
        return train_model(**with_tuned(given, tuned_path), watch=watch)
    named = {
        "hidden_units": hidden_units,
        "dropout": dropout,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "epochs": epochs,
        "patience": patience,
    }
    check_arguments(
        label=label,
        model_function=model_function,
        **named,  # type: ignore[arg-type]
        hyperparameters=hyperparameters,
        backend=backend,
        workers=workers,
        model_parallel=model_parallel,
        restarts=restarts,
        steps_per_execution=steps_per_execution,
        precision=precision,
        checkpoint_steps=checkpoint_steps,
        checkpoint_minutes=checkpoint_minutes,
        checkpoints_kept=checkpoints_kept,
    )
    cluster = find_cluster(os.environ, int(workers))
    other = {} if backend == keras.backend.backend() else _variables_of(backend)
    if cluster is None and (workers > 1 or other):
        return Trained(**run_processes(f"{__name__}:train_model", given, int(workers), int(restarts), other))
    if other:
        return Trained(**run_process(f"{__name__}:train_model", given, other))
    cluster = cluster or Cluster(0, 1)
    writes = cluster.chief and not watch
    whole = {"hidden_units": [int(units) for units in hidden_units], "batch_size": int(batch_size), "epochs": int(epochs), "patience": int(patience)}
    settings = named | whole | hyperparameters
    # First of all: several workers must be set up before anything runs in a framework.
    steps = _steps(backend, cluster, learning_rate, int(steps_per_execution), precision, jit_compile, int(model_parallel))
    keras.utils.set_random_seed(int(seed))
    tf.config.experimental.enable_op_determinism()
    with ExitStack() as stack:
        examples = stack.enter_context(open_dataset(examples_path)).with_held_out()
        labels = {part: check_labels(examples, part, label) for part in (TRAIN, VALIDATION)}
        _check_workers(cluster, labels)
        inputs = find_inputs(examples, schema_path, statistics_path, label)
        preprocess = Preprocessing(inputs)
        build = network(code_path, model_function, preprocess.width, settings)
        steps.begin(build)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rows-")))
        parts = {}
        for part, batch, shuffled in ((TRAIN, int(batch_size), int(seed)), (VALIDATION, _VALIDATION_BATCH, None)):
            rows = source_of(examples, part, labels[part].rows, inputs, label, preprocess)
            parts[part] = stack.enter_context(Part(rows, cluster, batch, scratch, seed=shuffled, replicas=steps.replicas))
        if cluster.chief and batch_size > labels[TRAIN].rows:
            sys.stdout.write(f"batch_size is {int(batch_size)}, more than the {labels[TRAIN].rows} rows of {TRAIN!r}: one step an epoch\n")
        hashed = (
            hashed_rows(
                lambda columns: (batch for part in (TRAIN, VALIDATION) for batch in examples.tables(part, columns)),
                examples.schema(TRAIN).names,
                [label, *(each.name for each in inputs)],
            )
            if writes
            else None
        )
        identity = {
            "backend": backend,
            "seed": int(seed),
            "hyperparameters": {name: value for name, value in settings.items() if name not in ("epochs", "patience")},
            "model_function": f"{model_function} {tree_hash(code_path)}" if model_function and code_path else "",
            "precision": precision,
            "variables": _digest(steps.state().values(), values=False),
            "inputs": hashlib.sha256(repr(inputs).encode()).hexdigest()[:16],
            "rows": {part: asdict(each) for part, each in labels.items()},
        }
        versions = {"tensorflow": tf.__version__, "keras": keras.__version__} | ({"jax": version("jax")} if backend == "jax" else {})
        may_differ = {"workers": cluster.count, "model_parallel": int(model_parallel), **versions}
        plan = Settings(int(epochs), int(patience), int(steps_per_execution), int(checkpoint_steps), checkpoint_minutes)

        outputs = stack.enter_context(ExitStack())
        training = outputs.enter_context(whole_directory(training_path)) if writes else None
        exported = outputs.enter_context(whole_directory(model_path)) if writes else None
        curves = TensorBoardCurves(training / "logs") if training else None
        with open_checkpoints(checkpoints, Path(training_path), int(checkpoints_kept), identity, may_differ, cluster) as kept:
            loop = Loop(steps, parts[TRAIN], parts[VALIDATION], plan, cluster, kept, watch or curves, Progress(cluster.chief, labels[TRAIN].rows))
            try:
                with exit_refused(f"the model of {model_function!r}"):
                    outcome = loop.run()
            except DivergedError as error:
                raise ConfigurationError(_diverged(error, settings, preprocess)) from error
            if outcome.stopped:
                last = f"the last checkpoint is {kept.last}" if kept else "the chief writes the last checkpoint"
                sys.stdout.write(f"stopped by SIGTERM; {last}, and the same task goes on from there\n")
                raise SystemExit(128 + signal.SIGTERM)
        if watch:
            return Trained(_metrics(outcome), {})
        head = steps.exportable(build)
        about = {
            "framework": "tensorflow",
            "framework_version": tf.__version__,
            "keras_version": keras.__version__,
            "python_version": platform.python_version(),
            "label": label,
            "seed": str(int(seed)),
            "backend": backend,
            "workers": str(cluster.count),
            "hardware": steps.hardware,
            "precision": precision,
            "weights_sha256": _digest(each.numpy() for each in head.weights),
        }
        metrics = _metrics(outcome)
        if training and exported and curves and hashed is not None:
            curves.close()
            (training / "checkpoints").mkdir()
            weights = training / "checkpoints" / "best.weights.h5"
            head.save_weights(weights)
            write_json(training / "history.json", outcome.history)
            write_json(training / "hyperparameters.json", settings)
            write_json(training / "reproduction.json", about)
            if backend == "tensorflow":
                export(head, preprocess, inputs, exported)
            else:
                model = {"code_path": code_path, "model_function": model_function, "settings": settings, "inputs": [asdict(each) for each in inputs]}
                paths = {"weights_path": str(weights), "model_path": str(exported)}
                run_process(f"{export_weights.__module__}:{export_weights.__name__}", model | paths, _EXPORT)
            write_trained_rows(exported, hashed)
            signature = {"inputs": [each.signature() for each in inputs], "output": "probability", "example": example_row(examples, inputs)}
            write_json(exported / "signature.json", signature)
    if cluster.chief:
        write_json(metrics_path, metrics)
        drawn = page("Learning curves", learning_curves(outcome.history), "There are none: the training has no finite number.")
        with whole_file(curves_path) as file:
            file.write_text(drawn, encoding="utf-8")
    return Trained(metrics, about)


def _variables_of(backend: str) -> dict[str, str]:
    """Return what the environment must say for Keras to run with a backend: it is chosen when Keras is imported."""
    if backend == "jax" and importlib.util.find_spec("jax") is None:
        raise ConfigurationError("backend is jax, and JAX is not installed in this environment; install jax<=0.11.1, or use the backend tensorflow")
    return {"KERAS_BACKEND": backend}


def _steps(backend: str, cluster: Cluster, learning_rate: float, several: int, precision: str, jit_compile: bool, model_parallel: int) -> Backend:
    if backend == "tensorflow":
        return TensorFlowSteps(cluster, learning_rate=learning_rate, steps_per_execution=several, precision=precision, jit_compile=jit_compile)
    tf.config.set_visible_devices([], "GPU")  # it preprocesses rows here; the devices are JAX's
    from intermodal.training.jax_steps import JaxSteps  # imports JAX

    return JaxSteps(cluster, learning_rate=learning_rate, precision=precision, model_parallel=model_parallel)


def _check_workers(cluster: Cluster, labels: dict[str, Labels]) -> None:
    most = min(SHARDS, *(each.rows for each in labels.values()))
    if cluster.count > most:
        part = min(labels, key=lambda each: labels[each].rows)
        raise ConfigurationError(
            f"workers is {cluster.count}, and at most {most} share these rows ({part!r} has {labels[part].rows}; {SHARDS} is the most); use fewer"
        )


def _metrics(outcome: Outcome) -> dict[str, float]:
    history = outcome.history
    best = int(np.argmin(history["val_loss"]))
    spent = max(outcome.training_seconds, 1e-9)
    return {name: values[best] for name, values in history.items()} | {
        "epochs": float(len(history["loss"])),
        "seconds": round(outcome.seconds, 3),
        "rows_per_second": round(outcome.rows / spent, 1),
        "input_wait": round(outcome.waited / spent, 4),
    }


def _diverged(error: DivergedError, settings: dict[str, Any], preprocess: Preprocessing) -> str:
    where = f"epoch {error.epoch}, step {error.step}" if error.step else f"epoch {error.epoch}, at its validation"
    remedy = f"lower learning_rate, now {settings['learning_rate']}, or raise batch_size, now {settings['batch_size']}"
    far = preprocess.far_numbers(error.batch.features[error.batch.weights > 0]) if error.batch else {}
    diverged = f"the training diverged in {where}: the loss is no number; {remedy}"
    if not far:
        return diverged
    shares = ", ".join(f"{name} ({share:.0%})" for name, share in list(far.items())[:5])
    return f"{diverged}. Columns {FARTHEST:g} deviations or more from their mean in that batch, with the share of its rows: {shares}"


def _digest(arrays: Iterable[np.ndarray], values: bool = True) -> str:
    """Return a hash of arrays: of shapes, types, and of the values. Not of names: Keras numbers the models of a process."""
    digest = hashlib.sha256()
    for value in arrays:
        digest.update(f"{value.shape} {value.dtype}\n".encode())
        if values:
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
