"""Train a Keras model and export it, with its preprocessing, as one SavedModel."""

import importlib.util
import os
from contextlib import ExitStack
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from intermodal.components.train_model.arguments import check_arguments
from intermodal.components.train_model.outputs import open_outputs, write_numbers
from intermodal.components.train_model.tuned import with_tuned
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tensorflow import keras
from intermodal.training.checkpoints.resuming import open_checkpoints
from intermodal.training.cluster import Cluster, find_cluster
from intermodal.training.fit import Recipe, metrics_of, open_fit
from intermodal.workers.processes import run_process, run_processes


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
) -> Trained:
    """Train on `train`, stop early on `validation`, and write the model, the curves and the metrics. See the component's contract.

    Where a launcher made this process one of several workers, only the first writes. Where none did and `workers` is above 1, the workers are
    processes of this machine, started here.

    Returns:
        Metrics: the best epoch's `loss`, `val_loss`, `auc` and `val_auc`, the number of `epochs`, the `seconds` of the training, `rows_per_second`
        and `input_wait`.

    Raises:
        ConfigurationError: A hyperparameter or the model function cannot be used, the training diverged, or the environment and `workers` disagree.
        DataError: The examples, schema or statistics cannot be read, or the label is not 0 and 1 with both in each part.
        MachineError: The disk is full, or workers of this machine died more often than `restarts`.
    """
    given = dict(locals())
    if tuned_path:
        return train_model(**with_tuned(given, tuned_path))
    check_arguments(**{name: given[name] for name in signature(check_arguments).parameters})
    cluster = find_cluster(os.environ, int(workers))
    if trained := _trained_elsewhere(given, cluster):
        return trained
    cluster = cluster or Cluster(0, 1)
    with open_fit(Recipe.of(given), cluster) as fit, ExitStack() as stack:
        outputs = stack.enter_context(open_outputs(fit, model_path, training_path)) if cluster.chief else None
        with open_checkpoints(checkpoints, Path(training_path), int(checkpoints_kept), fit.identity(), fit.may_differ(), cluster) as kept:
            outcome = fit.run(kept, outputs.curves if outputs else None, int(checkpoint_steps), checkpoint_minutes)
        head = fit.exportable()
        trained = Trained(metrics_of(outcome), fit.reproduction(head))
        if outputs:
            outputs.write(fit, head, outcome.history, trained.model)
    if cluster.chief:
        write_numbers(trained.metrics, outcome.history, metrics_path, curves_path)
    return trained


def _trained_elsewhere(given: dict[str, Any], cluster: Cluster | None) -> Trained | None:
    """Train in processes that are started here, where no launcher started several workers, or where Keras must be imported with another backend.

    None: neither is so, and this process is to train.
    """
    backend, workers = given["backend"], int(given["workers"])
    other = {} if backend == keras.backend.backend() else _variables_of(backend)
    function = f"{__name__}:{train_model.__name__}"
    if cluster is None and (workers > 1 or other):
        return Trained(**run_processes(function, given, workers, int(given["restarts"]), other))
    return Trained(**run_process(function, given, other)) if other else None


def _variables_of(backend: str) -> dict[str, str]:
    """Return what the environment must say for Keras to run with a backend: it is chosen when Keras is imported."""
    if backend == "jax" and importlib.util.find_spec("jax") is None:
        raise ConfigurationError("backend is jax, and JAX is not installed in this environment; install jax<=0.11.1, or use the backend tensorflow")
    return {"KERAS_BACKEND": backend}
