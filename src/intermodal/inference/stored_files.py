"""The files of a model as a registry stores them, and the one hash by which a model is known wherever it is judged, registered or fetched."""

from pathlib import Path

from intermodal.inference.formats import suffix_of
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import file_hash, hash_files, tree_hash


def model_files(model: Path) -> dict[str, Path]:
    """Return where each part of a model goes below the folder `model` of its run: all of a directory under the empty name, or one file.

    Raises:
        DataError: There is nothing there.
    """
    if model.is_dir() and any(model.iterdir()):
        return {"": model}
    if not model.is_file() or not model.stat().st_size:
        raise DataError(f"{model}: no model there, neither a file nor a directory with files; give a SavedModel, a Keras file or another model")
    return {f"{model.name}{'' if model.suffix else suffix_of(model)}": model}


def model_hash(model: Path) -> str:
    """Return the SHA-256 that `tree_hash` gives for the model as it is stored.

    Raises:
        DataError: There is nothing there.
    """
    files = model_files(model)
    return tree_hash(model) if model.is_dir() else hash_files({name: file_hash(path) for name, path in files.items()})
