"""The network to train: a model function of the user's, or a multilayer perceptron."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tensorflow import keras
from intermodal.runtime.tree import check_staged
from intermodal.runtime.user_code import exit_refused, load_module


def network(code_path: str | None, model_function: str, width: int, settings: dict[str, Any]) -> Callable[[], keras.Model]:
    """Return what builds the model, anew at each call.

    Args:
        code_path: The folder of the model function's file.
        model_function: `file.py:function`; empty: a multilayer perceptron.
        width: Features.
        settings: All hyperparameters.

    Raises:
        ConfigurationError: There is no such function; when called: it fails, or returns something else than a Keras model with one logit.
    """
    function = _function(code_path, model_function) if model_function else multilayer_perceptron
    return lambda: _built(function, model_function, width, settings)


def _built(function: Callable[[int, dict[str, Any]], Any], model_function: str, width: int, settings: dict[str, Any]) -> keras.Model:
    with exit_refused(f"model_function {model_function!r}"):
        model = function(width, settings)
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
