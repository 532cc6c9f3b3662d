"""The formats of models: the files by which each is known, what made it, and what serves it. A row here is how a framework becomes known everywhere.

Standard library alone: components of every image read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from intermodal.runtime.tree import walk


@dataclass(frozen=True)
class Format:
    """A format of models.

    Attributes:
        files: Glob patterns of names in the model's folder, or of the one file; any of them tells the format.
        framework: What made it, as the registry records it; empty: the files do not tell.
        loader: `module:function` that loads it for evaluation and for our predictor: takes the artifact's path and that of the file found, and
            returns an `inference.models.Model`. Empty: only a runtime of KServe's serves it.
        kserve: The format's name in KServe, where a runtime of its own serves it and our predictor does not; empty: none does.
        beginnings: First bytes of a file without a suffix, as the path of an artifact is one, to the suffix that it would have.
    """

    files: tuple[str, ...]
    framework: str = ""
    loader: str = ""
    kserve: str = ""
    beginnings: Mapping[bytes, str] = field(default_factory=dict)

    def found_in(self, names: Mapping[str, Path]) -> list[Path]:
        """Return the files by which a model is of this format, of those that `names_in` finds."""
        return [path for name, path in names.items() if any(_fits(name, pattern) for pattern in self.files)]


#: First match first.
FORMATS: Final = (
    Format(("saved_model.pb", "*/saved_model.pb"), "tensorflow", "intermodal.inference.saved_model:load"),
    Format(("*.keras", "*.h5"), "keras", "intermodal.inference.keras_file:load", beginnings={b"PK\x03\x04": ".keras", b"\x89HDF\r\n\x1a\n": ".h5"}),
    Format(("MLmodel",), kserve="mlflow"),
    Format(("config.pbtxt", "*/config.pbtxt"), kserve="triton"),
    Format(("*.onnx",), "onnx", kserve="onnx"),
    Format(("*.bst", "*.ubj"), "xgboost", kserve="xgboost"),
    Format(("*.safetensors",), kserve="huggingface"),
    Format(("*.joblib", "*.pkl", "*.pickle"), "sklearn", kserve="sklearn"),
    Format(("*.pmml",), kserve="pmml"),
    Format(("model-store/*.mar",), kserve="pytorch"),
    Format(("*.pt", "*.pth"), "pytorch"),
)


def names_in(model: Path) -> dict[str, Path]:
    """Return a model's files by name, two folders deep; of one file its name, with the suffix of its content where the name tells no format."""
    if model.is_dir():
        return dict(sorted(walk(model, 2)))
    return {f"{model.name}{'' if _is_known(model.suffix) else suffix_of(model)}": model} if model.is_file() else {}


def formats_of(model: Path) -> list[Format]:
    """Return the formats that a model's files fit, in the order of `FORMATS`."""
    names = names_in(model)
    return [each for each in FORMATS if each.found_in(names)]


def suffix_of(file: Path) -> str:
    """Return a file's suffix where a format has it, else the one that its first bytes tell; empty where they do not."""
    if _is_known(file.suffix):
        return file.suffix
    with file.open("rb") as content:
        start = content.read(8)
    return next((suffix for each in FORMATS for beginning, suffix in each.beginnings.items() if start.startswith(beginning)), "")


def _is_known(suffix: str) -> bool:
    return bool(suffix) and any(_fits(f"model{suffix}", pattern) for each in FORMATS for pattern in each.files)


def _fits(name: str, pattern: str) -> bool:
    return Path(name).match(pattern) and name.count("/") == pattern.count("/")
