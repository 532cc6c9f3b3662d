"""Which server a model needs: ours, or a ServingRuntime of the cluster by the name of its format."""

from pathlib import Path
from typing import Final

from intermodal.components.deploy_kserve.arguments import PREDICTOR
from intermodal.inference.formats import formats_of
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tree import walk

#: Formats whose runtimes speak V2 alone, in KServe 0.20.
_V2_ONLY: Final = frozenset({"mlflow", "onnx", "tensorrt", "triton"})


def format_of(model: Path) -> str:
    """Return the format of a model, recognised by its files.

    Raises:
        ConfigurationError: It is not recognised.
    """
    for each in formats_of(model):
        if each.loader or each.kserve:
            return PREDICTOR if each.loader else each.kserve
    names = [model.name] if model.is_file() else [name for name, _ in walk(model, 2)] if model.is_dir() else []
    there = ", ".join(names[:5]) or "nothing"
    raise ConfigurationError(f"model_format: {model} its files are of no known format (it holds {there}); name it, for instance sklearn")


def protocol_of(model_format: str) -> str:
    """Return the protocol that the runtimes of a format speak, unless the user names one."""
    return "v2" if model_format in _V2_ONLY else "v1"
