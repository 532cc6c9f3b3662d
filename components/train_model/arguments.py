"""Checks of `train_model`'s arguments."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty, one_of, whole_number

#: Hyperparameters that are parameters of the component.
NAMED = ("hidden_units", "dropout", "learning_rate", "batch_size", "epochs", "patience")
#: How the model is computed, in Keras' words; its variables are float32 in each.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
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
    if model_function and not re.fullmatch(r"[^:]+\.py:\w+", model_function):
        raise ArgumentError("model_function", f"{model_function!r} must be written file.py:function")
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
    for name in hyperparameters:
        if name in NAMED:
            raise ArgumentError(f"hyperparameters.{name}", f"it has a parameter of its own; give it as {name}")
        if not model_function:
            raise ArgumentError(f"hyperparameters.{name}", f"nothing reads it, for there is no model_function; there are {', '.join(NAMED)}")


def check_hyperparameters(given: Mapping[str, Any]) -> None:
    """Raise ArgumentError for a hyperparameter of `NAMED` that is out of its range; not all need be given."""
    for name, value in given.items():
        if name == "hidden_units":
            if not isinstance(value, list | tuple):
                raise ArgumentError(name, f"{value!r} must be a list of whole numbers")
            for units in value:
                whole_number(name, units, 1)
        elif name == "dropout":
            in_range(name, value, 0, 1, open_high=True)
        elif name == "learning_rate":
            in_range(name, value, 0, open_low=True)
        else:
            whole_number(name, value, 1)
