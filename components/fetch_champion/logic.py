"""The champion of a registered model, with what it was trained on."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from intermodal.registry.client import CHAMPION, open_registry, reached
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.errors import StoreError
from intermodal.runtime.tree import tree_hash


def fetch_champion(*, model_registry: str, model_name: str, version: str, model_sha256: str, champion_path: str) -> None:
    """Write the champion's model, schema and statistics, or that there is none yet.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        version: The champion's version; empty: there is none yet.
        model_sha256: What its model must hash to.
        champion_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The registry's URI is of no kind that is known.
        StoreError: The registry cannot be reached, or has lost or changed the champion's files.
        MachineError: The disk is full.
    """
    with whole_directory(champion_path) as folder:
        if not version:
            write_json(folder / "champion.json", {"version": None, "model_sha256": None})
            return
        client = open_registry(model_registry)
        with reached(model_registry, folder):
            run = client.get_model_version(model_name, version).run_id
            # Not its evaluations and decisions: the same model may be judged again, and is the same champion still.
            for kept in ("model", "statistics", "schema.pbtxt"):
                _download(client, run, kept, folder)
        if not (folder / "model").is_dir() or tree_hash(folder / "model") != model_sha256:
            raise StoreError(
                f"model registry {model_registry}: the files of {model_name} version {version} are not those that were registered;"
                f" restore the artifacts of run {run}, or give the alias {CHAMPION!r} to another version"
            )
        write_json(folder / "champion.json", {"version": version, "model_sha256": model_sha256})


def _download(client: Any, run: str, name: str, folder: Path) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.download_artifacts(run, name, str(folder))
    except MlflowException:
        # MLflow says of any failure to write that the path is wrong. What it wrote lies there still, so that a full disk can be seen.
        if shutil.disk_usage(folder).free < 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        raise
