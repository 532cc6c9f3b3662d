"""The champion of a registered model, with the schema and statistics of its training data."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from intermodal.components.fetch_champion.arguments import check_arguments
from intermodal.registry.client import CHAMPION, FRAMEWORK_TAG, MODEL_TAG, NO_CHAMPION, champion_of, open_existing_registry, registry_errors
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.errors import StoreError
from intermodal.runtime.tree import tree_hash


def fetch_champion(*, name: str, registry: str, version: str, model_sha256: str, reference: str, champion_path: str) -> dict[str, str]:
    """Write the champion's model, schema and statistics to a directory, whole or not at all. See the component's contract for the arguments.

    Returns:
        Metadata of the model: `name`, `version`, `framework`, `registry` and `sha256`; empty without a champion.

    Raises:
        ConfigurationError: The name, the registry's URI, the version or the hash is not one.
        StoreError: The registry cannot be reached, or has lost or changed the champion's files.
        MachineError: The disk is full.
    """
    check_arguments(name=name, registry=registry, version=version, model_sha256=model_sha256, reference=reference)
    with whole_directory(champion_path) as folder:
        found: Any = None
        pinned: str | None = None
        if version != NO_CHAMPION:
            client = open_existing_registry(registry)
            if version and not client:
                raise StoreError(f"model registry {registry}: there is no such file, so no {name} version {version}; give another registry")
            if client:
                with registry_errors(registry, folder):
                    found = client.get_model_version(name, version) if version else champion_of(client, name)
                    if found:
                        _download(client, found, folder)
                        pinned = reference if reference not in ("", NO_CHAMPION, str(found.version)) else None
                        if pinned:
                            _download_model(client, client.get_model_version(name, pinned), folder / "reference")
        if not found:
            write_json(folder / "champion.json", {"version": None, "model_sha256": None})
            return {}
        content = tree_hash(folder / "model") if (folder / "model").is_dir() else ""
        if content != (model_sha256 or found.tags.get(MODEL_TAG, content)) or not content:
            raise StoreError(
                f"model registry {registry}: the files of {name} version {found.version} are not those that were registered;"
                f" restore the artifacts of run {found.run_id}, or give the alias {CHAMPION!r} to another version"
            )
        write_json(
            folder / "champion.json", {"version": str(found.version), "model_sha256": content} | ({"reference_version": pinned} if pinned else {})
        )
    framework = found.tags.get(FRAMEWORK_TAG, "")
    return {"name": name, "version": str(found.version), "framework": framework, "registry": registry, "sha256": content}


def _download(client: Any, version: Any, folder: Path) -> None:
    """Download a version's model and, from its run, the schema and statistics; not its evaluations, which change when it is judged again."""
    run = version.run_id
    kept = {each.path for each in client.list_artifacts(run)} & {"statistics", "schema.pbtxt"} if run else set()
    _download_model(client, version, folder / "model")
    with _full_disk_seen(folder):
        for each in sorted(kept):
            client.download_artifacts(run, each, str(folder))


def _download_model(client: Any, version: Any, target: Path) -> None:
    from mlflow.artifacts import download_artifacts

    uri = client.get_model_version_download_uri(version.name, version.version)
    with _full_disk_seen(target.parent), TemporaryDirectory(dir=target.parent) as scratch:
        # MLflow downloads some kinds of URI into the folder, others into a folder below it.
        (into := Path(scratch, "download")).mkdir()
        Path(download_artifacts(artifact_uri=uri, dst_path=str(into), tracking_uri=client.tracking_uri)).rename(target)


@contextmanager
def _full_disk_seen(folder: Path) -> Iterator[None]:
    """Raise a full disk as such: MLflow reports any failure to write as a wrong path. What it wrote is still there, so it can be seen."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException:
        if shutil.disk_usage(folder).free < 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        raise
