"""Hyperparameters that a search has found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.runtime.arguments import ArgumentError
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.training.model.hyperparameters import NAMED, TUNED, check_hyperparameters


def with_tuned(given: Mapping[str, Any], tuned_path: str) -> dict[str, Any]:
    """Return the arguments of a training with a search's values instead of those of the same name, and no `tuned_path`.

    Args:
        given: Arguments of `train_model`.
        tuned_path: The directory that `tune_model` writes as `best`.

    Raises:
        ConfigurationError: A value is out of its range, or nothing would read it.
        DataError: There is no such file, or it is no JSON object.
    """
    file = Path(tuned_path) / TUNED
    found = read_json(file)
    if not isinstance(found, dict):
        raise DataError(f"{file}: {found!r} must be an object of hyperparameters by name; run tune_model again, which writes it")
    named = {name: value for name, value in found.items() if name in NAMED}
    own = {name: value for name, value in found.items() if name not in NAMED}
    try:
        check_hyperparameters(named)
    except ArgumentError as error:
        raise ConfigurationError(f"{file}: {error}; run tune_model again with a space that leaves it out") from error
    if own and not given["model_function"]:
        raise ConfigurationError(
            f"{file}: nothing reads {', '.join(sorted(own))}, for there is no model_function; give the one that the search was made with"
        )
    return {**given, **named, "hyperparameters": {**given["hyperparameters"], **own}, "tuned_path": None}
