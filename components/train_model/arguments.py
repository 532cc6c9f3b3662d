"""Checks of `train_model`'s arguments."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty, whole_number

#: Hyperparameters that are parameters of the component.
NAMED = ("hidden_units", "dropout", "learning_rate", "batch_size", "epochs", "patience")


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
) -> None:
    """Raise ArgumentError for a hyperparameter out of its range, or one that nothing would read."""
    not_empty("label", label)
    if model_function and not re.fullmatch(r"[^:]+\.py:\w+", model_function):
        raise ArgumentError("model_function", f"{model_function!r} must be written file.py:function")
    if not isinstance(hidden_units, list | tuple):
        raise ArgumentError("hidden_units", f"{hidden_units!r} must be a list of whole numbers")
    for units in hidden_units:
        whole_number("hidden_units", units, 1)
    in_range("dropout", dropout, 0, 1, open_high=True)
    in_range("learning_rate", learning_rate, 0, open_low=True)
    for name, value in (("batch_size", batch_size), ("epochs", epochs), ("patience", patience)):
        whole_number(name, value, 1)
    for name in hyperparameters:
        if name in NAMED:
            raise ArgumentError(f"hyperparameters.{name}", f"it has a parameter of its own; give it as {name}")
        if not model_function:
            raise ArgumentError(f"hyperparameters.{name}", f"nothing reads it, for there is no model_function; there are {', '.join(NAMED)}")
