"""What a model is registered with: its framework, its files, its metrics and its lineage, from the artifacts that there are."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from intermodal.inference.formats import formats_of
from intermodal.registry.client import MODEL_TAG
from intermodal.runtime.artifacts import read_json
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import tree_hash

REPRODUCTION: Final = "reproduction.json"
#: What is stored of each artifact, beside the model.
_STORED: Final = {
    "statistics": "",
    "schema": "schema.pbtxt",
    "evaluation": "evaluation.json",
    "decision": "decision.json",
    "training": "history.json",
    "tables": "manifest.json",
}


def framework_of(model: Path) -> str:
    """Return what a model was made with, as far as its files tell: for instance `tensorflow` or `keras`; empty where they do not."""
    return next((each.framework for each in formats_of(model) if each.framework), "")


def evidence_files(given: Mapping[str, Path]) -> dict[str, Path]:
    """Return what is stored beside a model, by its name there, of the artifacts that were given.

    Raises:
        DataError: An artifact lacks its file.
    """
    files = {file or name: given[name] / file for name, file in _STORED.items() if name in given}
    for path in files.values():
        if not path.exists():
            raise DataError(f"{path}: no such file; was the task that writes it run?")
    record = given["training"] / REPRODUCTION if "training" in given else None
    return files | ({REPRODUCTION: record} if record and record.exists() else {})  # a training of another component need not have one


def reproduction_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return what a repetition of the training needs, as it recorded it: seed, commit, image, versions; empty where it recorded nothing.

    Raises:
        DataError: The record cannot be read.
    """
    return {name: str(value) for name, value in read_json(files[REPRODUCTION]).items()} if REPRODUCTION in files else {}


def parameters_of(given: Mapping[str, Path], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's parameters: the hyperparameters that the training recorded, then those that were given.

    Raises:
        DataError: The record cannot be read.
    """
    record = given["training"] / "hyperparameters.json" if "training" in given else None
    return {**(read_json(record) if record and record.exists() else {}), **parameters}


def lineage_of(given: Mapping[str, Path], model_hash: str) -> dict[str, Any]:
    """Return the hashes of what a model was made from and judged by.

    Raises:
        DataError: An artifact cannot be read.
    """
    lineage: dict[str, Any] = {MODEL_TAG: model_hash}
    if "tables" in given:
        manifest = read_json(given["tables"] / "manifest.json")
        lineage["data_fingerprint"] = manifest["fingerprint"]
        lineage["tables"] = {name: table["sha256"] for name, table in manifest["tables"].items()}
    return lineage | {f"{name}_sha256": tree_hash(given[name]) for name in ("repository", "code", "schema", "decision") if name in given}


def metrics_of(files: Mapping[str, Path], metrics: Mapping[str, Any]) -> list[tuple[str, float, int]]:
    """Return name, value and step of the metrics of an evaluation, of training curves and of a Metrics artifact, without undefined ones.

    Raises:
        DataError: A file cannot be read.
    """
    found = [*_evaluated(files), *_curves(files), *((name, value, 0) for name, value in metrics.items() if name != "display_name")]
    return [(name, float(value), step) for name, value, step in found if isinstance(value, int | float) and math.isfinite(value)]


def _evaluated(files: Mapping[str, Path]) -> Iterator[tuple[str, Any, int]]:
    if "evaluation.json" in files:
        for name, estimate in read_json(files["evaluation.json"])["models"]["challenger"]["metrics"].items():
            for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
                yield f"{name}{suffix}", estimate[part], 0


def _curves(files: Mapping[str, Path]) -> Iterator[tuple[str, Any, int]]:
    if "history.json" in files:
        for name, values in read_json(files["history.json"]).items():
            yield from ((f"training/{name}", value, epoch) for epoch, value in enumerate(values))
