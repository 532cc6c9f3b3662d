"""Networks: the default one, and a user's own."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from intermodal.errors import ConfigurationError


def build_network(width: int, hyperparameters: Mapping[str, Any], model_function: str, repository_path: str) -> keras.Model:
    """Return a network from preprocessed features, shape (rows, width), to one logit, shape (rows, 1).

    Raises:
        ConfigurationError: The user's function cannot be found or called, or returns no such network.
    """
    if not model_function:
        return _perceptron(width, hyperparameters)
    function = _load(model_function, Path(repository_path))
    try:
        network = function(width, dict(hyperparameters))
    except TypeError as error:
        raise ConfigurationError(
            f"model_function {model_function}: {error}; it is called with the number of features and the hyperparameters"
        ) from error
    if not isinstance(network, keras.Model) or tuple(network.output_shape) != (None, 1):
        shape = getattr(network, "output_shape", type(network).__name__)
        raise ConfigurationError(f"model_function {model_function}: returned {shape}, not a Keras model with one output logit")
    return network


def _perceptron(width: int, hyperparameters: Mapping[str, Any]) -> keras.Model:
    layers: list[Any] = [keras.Input((width,))]
    for units in hyperparameters["hidden_units"]:
        layers += [keras.layers.Dense(int(units), activation="relu"), keras.layers.Dropout(float(hyperparameters["dropout"]))]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


def _load(model_function: str, repository: Path) -> Any:
    file, found, name = model_function.partition(":")
    path = repository / file
    if not found or not path.is_file():
        raise ConfigurationError(f"model_function {model_function!r}: no file {file!r} in the repository; write file.py:function")
    specification = importlib.util.spec_from_file_location("_user_model", path)
    if specification is None or specification.loader is None:
        raise ConfigurationError(f"model_function {model_function!r}: {file} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        functions = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise ConfigurationError(f"model_function {model_function!r}: {file} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    return getattr(module, name)
