"""The hyperparameters of a training: names, ranges, and the file in which a search hands them over."""

import re
from collections.abc import Mapping
from typing import Any

from intermodal.runtime.arguments import ArgumentError, in_range, whole_number

#: Hyperparameters that are parameters of the components that train.
NAMED = ("hidden_units", "dropout", "learning_rate", "batch_size", "epochs", "patience")
#: How the model is computed, in Keras' words; its variables are float32 in each.
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
#: The file of the artifact that `tune_model` writes as `best` and `train_model` takes as `tuned`.
TUNED = "parameters.json"


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


def check_model_function(model_function: str, own: Mapping[str, Any]) -> None:
    """Raise ArgumentError for a model function that is not written `file.py:function`, or one's own hyperparameters that nothing would read.

    Args:
        model_function: Empty: none.
        own: `hyperparameters` of a component.
    """
    if model_function and not re.fullmatch(r"[^:]+\.py:\w+", model_function):
        raise ArgumentError("model_function", f"{model_function!r} must be written file.py:function")
    for name in own:
        if name in NAMED:
            raise ArgumentError(f"hyperparameters.{name}", f"it has a parameter of its own; give it as {name}")
        if not model_function:
            raise ArgumentError(f"hyperparameters.{name}", f"nothing reads it, for there is no model_function; there are {', '.join(NAMED)}")


def all_hyperparameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return all hyperparameters among a component's arguments, one's own (`hyperparameters`) too.

    Whole numbers become `int`: in a platform's JSON they are 12.0.
    """
    named = {name: arguments[name] for name in NAMED}
    whole = {name: int(named[name]) for name in ("batch_size", "epochs", "patience")}
    return {**named, "hidden_units": [int(units) for units in named["hidden_units"]], **whole, **arguments["hyperparameters"]}
