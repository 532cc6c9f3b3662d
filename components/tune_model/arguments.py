"""Checks of `tune_model`'s arguments, the search space among them."""

from collections.abc import Mapping, Sequence
from typing import Any

from intermodal.runtime.arguments import ArgumentError, in_range, not_empty, one_of, whole_number
from intermodal.training.model.hyperparameters import NAMED, PRECISIONS, check_hyperparameters, check_model_function

#: What can be searched for, and whether more is better.
METRICS = {"val_loss": False, "val_auc": True}
#: Rules by which a trial ends early.
EARLY_STOPPING = ("none", "median", "halving", "hyperband")
#: Keys of a parameter in the space, by its type.
KEYS = {"float": ("low", "high", "log", "step"), "int": ("low", "high", "log", "step"), "categorical": ("choices",)}
#: What is searched where nothing is named: what the multilayer perceptron's quality depends on most, in bounds that hold for most tables.
_PERCEPTRON: Mapping[str, Any] = {
    "hidden_units": {"type": "categorical", "choices": [[32], [64], [128], [256], [64, 32], [128, 64]]},
    "dropout": {"type": "float", "low": 0.0, "high": 0.5},
    "learning_rate": {"type": "float", "low": 0.0003, "high": 0.03, "log": True},
}


def check_arguments(
    *,
    label: str,
    space: Mapping[str, Any],
    metric: str,
    trials: int,
    parallel: int,
    early_stopping: str,
    timeout: float,
    study: str,
    steps_per_execution: int,
    precision: str,
    model_function: str,
    hyperparameters: Mapping[str, Any],
) -> None:
    """Raise ArgumentError for an argument out of its range, or a search space that cannot be searched.

    The fixed hyperparameters: see `check_hyperparameters`.
    """
    not_empty("label", label)
    one_of("metric", metric, tuple(METRICS))
    one_of("early_stopping", early_stopping, EARLY_STOPPING)
    whole_number("trials", trials, 1)
    whole_number("parallel", parallel, 1)
    in_range("timeout", timeout, 0)
    whole_number("steps_per_execution", steps_per_execution, 1)
    one_of("precision", precision, PRECISIONS)
    if "://" in study:
        raise ArgumentError("study", f"{study!r} must be a folder; a bucket is no place for a search that is under way: mount it, or name a disk")
    check_model_function(model_function, hyperparameters)
    check_space(searched_space(space, model_function), model_function, hyperparameters)


def searched_space(space: Mapping[str, Any], model_function: str) -> Mapping[str, Any]:
    """Return what is searched: the space given, or the multilayer perceptron's own where it is empty.

    Raises:
        ArgumentError: It is empty, and the model is the user's own, of which nothing is known.
    """
    if not space and model_function and isinstance(space, Mapping):
        raise ArgumentError("space", f"it is empty, and what {model_function} reads is not known here; name what is searched")
    return _PERCEPTRON if space == {} else space


def check_space(space: Mapping[str, Any], model_function: str, hyperparameters: Mapping[str, Any]) -> None:
    """Raise ArgumentError, by the parameter's name and key, for a search space that cannot be searched.

    Args:
        space: Parameter to `{type, low, high, log, step}` or `{type, choices}`.
        model_function: Whether other parameters than `NAMED` are read by anything.
        hyperparameters: Fixed ones, which may not be searched too.
    """
    if not isinstance(space, Mapping):
        raise ArgumentError("space", f"{space!r} must map parameters to what they may be")
    not_empty("space", space)
    for name, searched in space.items():
        place = f"space.{name}"
        if name not in NAMED and not model_function:
            raise ArgumentError(place, f"nothing reads it, for there is no model_function; there are {', '.join(NAMED)}")
        if name in hyperparameters:
            raise ArgumentError(place, f"it is fixed by hyperparameters.{name}; take it out of one of the two")
        if not isinstance(searched, Mapping):
            raise ArgumentError(place, f"{searched!r} must be a mapping with a type: {', '.join(KEYS)}")
        kind = searched.get("type", "")
        one_of(f"{place}.type", kind, tuple(KEYS))
        for key in searched:
            if key not in ("type", *KEYS[kind]):
                raise ArgumentError(f"{place}.{key}", f"a parameter of type {kind} has no such key; it has {', '.join(KEYS[kind])}")
        extremes = _choices(place, searched) if kind == "categorical" else _bounds(place, kind, searched)
        if name in NAMED:
            for value in extremes:
                try:
                    check_hyperparameters({name: value})
                except ArgumentError as error:
                    raise ArgumentError(place, error.reason) from None


def _choices(place: str, searched: Mapping[str, Any]) -> Sequence[Any]:
    choices = searched.get("choices")
    if not isinstance(choices, list | tuple) or not choices:
        raise ArgumentError(f"{place}.choices", f"{choices!r} must be a list of values, at least one")
    for index, choice in enumerate(choices):
        if choice in choices[:index]:
            raise ArgumentError(f"{place}.choices", f"{choice!r} is there twice")
    return choices


def _bounds(place: str, kind: str, searched: Mapping[str, Any]) -> Sequence[Any]:
    log, step = searched.get("log", False), searched.get("step")
    if not isinstance(log, bool):
        raise ArgumentError(f"{place}.log", f"{log!r} must be true or false")
    for key in ("low", "high"):
        if key not in searched:
            raise ArgumentError(f"{place}.{key}", "it is missing; give the lowest and the highest value")
    for key in ("low", "high", *(["step"] if step is not None else [])):
        value = searched[key]
        in_range(f"{place}.{key}", value, -1e300, 1e300)
        if kind == "int" and value != value // 1:
            raise ArgumentError(f"{place}.{key}", f"{value!r} must be a whole number, as the type is int")
    low, high = searched["low"], searched["high"]
    if not low < high:
        raise ArgumentError(f"{place}.high", f"{high!r} must be above low, {low!r}")
    if step is not None and not 0 < step <= (high - low) * (1 + 1e-9):
        raise ArgumentError(f"{place}.step", f"{step!r} must be above 0 and at most high - low, {high - low:g}")
    if log and step is not None:
        raise ArgumentError(f"{place}.step", "a logarithmic parameter has no step; take out log or step")
    if log and low <= 0:
        raise ArgumentError(f"{place}.low", f"{low!r} must be above 0 where log is true")
    return (int(low), int(high)) if kind == "int" else (low, high)
