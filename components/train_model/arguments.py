"""Checks of `train_model`'s arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty, one_of, whole_number
from intermodal.training.model.hyperparameters import PRECISIONS, check_hyperparameters, check_model_function

#: Frameworks that make the steps.
BACKENDS = ("tensorflow", "jax")


def check_arguments(
    *,
    label: str,
    model_function: str,
    hidden_units: Sequence[int],
    dropout: float,
    learning_rate: float,
    batch_size: int,
    epochs: int,
    patience: int,
    hyperparameters: Mapping[str, Any],
    backend: str,
    workers: int,
    model_parallel: int,
    restarts: int,
    steps_per_execution: int,
    precision: str,
    checkpoint_steps: int,
    checkpoint_minutes: float,
    checkpoints_kept: int,
) -> None:
    """Raise ArgumentError for a hyperparameter out of its range, or one that nothing would read."""
    not_empty("label", label)
    check_model_function(model_function, hyperparameters)
    named = {"hidden_units": hidden_units, "dropout": dropout, "learning_rate": learning_rate}
    check_hyperparameters(named | {"batch_size": batch_size, "epochs": epochs, "patience": patience})
    one_of("precision", precision, PRECISIONS)
    one_of("backend", backend, BACKENDS)
    in_range("checkpoint_minutes", checkpoint_minutes, 0)
    for name, value, low in (
        ("workers", workers, 1),
        ("model_parallel", model_parallel, 1),
        ("restarts", restarts, 0),
        ("steps_per_execution", steps_per_execution, 1),
        ("checkpoint_steps", checkpoint_steps, 0),
        ("checkpoints_kept", checkpoints_kept, 1),
    ):
        whole_number(name, value, low)
    if model_parallel > 1 and backend != "jax":
        raise ArgumentError("model_parallel", f"it is {model_parallel}, and backend is {backend!r}; only 'jax' splits weights: use that, or 1")
