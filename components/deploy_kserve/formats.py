"""Which server a model needs: ours, or a ServingRuntime of the cluster by the name of its format."""

from pathlib import Path
from typing import Final

from intermodal.components.deploy_kserve.arguments import PREDICTOR
from intermodal.runtime.errors import ConfigurationError
from intermodal.runtime.tree import walk

#: Files by which a format is known, first match first, as glob patterns of the name in the model's folder.
_FILES: Final = (
    ("saved_model.pb", PREDICTOR),
    ("*/saved_model.pb", PREDICTOR),
    ("*.keras", PREDICTOR),
    ("*.h5", PREDICTOR),
    ("MLmodel", "mlflow"),
    ("config.pbtxt", "triton"),
    ("*/config.pbtxt", "triton"),
    ("*.onnx", "onnx"),
    ("*.bst", "xgboost"),
    ("*.ubj", "xgboost"),
    ("*.safetensors", "huggingface"),
    ("*.joblib", "sklearn"),
    ("*.pkl", "sklearn"),
    ("*.pickle", "sklearn"),
    ("*.pmml", "pmml"),
    ("model-store/*.mar", "pytorch"),
)
#: First bytes of a Keras file, which as an artifact may have any name: a zip archive or HDF5.
_KERAS: Final = (b"PK\x03\x04", b"\x89HDF")
#: Formats whose runtimes speak V2 alone, in KServe 0.20.
_V2_ONLY: Final = frozenset({"mlflow", "onnx", "tensorrt", "triton"})


def format_of(model: Path) -> str:
    """Return the format of a model, recognised by its files.

    Raises:
        ConfigurationError: It is not recognised.
    """
    if model.is_file():
        with model.open("rb") as start:
            if start.read(4) in _KERAS:
                return PREDICTOR
    names = [model.name] if model.is_file() else [name for name, _ in walk(model, 2)] if model.is_dir() else []
    for pattern, found in _FILES:
        if any(Path(name).match(pattern) and name.count("/") == pattern.count("/") for name in names):
            return found
    there = ", ".join(names[:5]) or "nothing"
    raise ConfigurationError(f"model_format: {model} its files are of no known format (it holds {there}); name it, for instance sklearn")


def protocol_of(model_format: str) -> str:
    """Return the protocol that the runtimes of a format speak, unless the user names one."""
    return "v2" if model_format in _V2_ONLY else "v1"
