"""The task cache: outputs of finished tasks, found again by what the task was given and by the code it ran."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import executor
from kfp.local.cache import LocalCache

from intermodal.artifacts import read_json, write_json
from intermodal.errors import DataError
from intermodal.images import image_of
from intermodal.targets.environments import lock_digest
from intermodal.targets.revisions import code_revision

Manifest = dict[str, list[int]]


class TaskCache(LocalCache):  # type: ignore[misc]
    """kfp's cache with three differences.

    An input artifact counts by its content, not by its path, so that a task which ran again and wrote the same changes nothing downstream; the
    code and the lock of the project's images count too; and an output that was changed, cut short or deleted since is not taken for whole.

    Args:
        folder: Where entries lie, one JSON file each.
        reading: Whether to look entries up; finished tasks are entered in any case.
    """

    def __init__(self, folder: Path, *, reading: bool = True) -> None:
        super().__init__(str(folder))
        self._reading = reading
        self._known: dict[str, tuple[Manifest, str]] = {}

    def compute_key(
        self,
        component_name: str,
        image: str,
        full_command: list[str],
        arguments: dict[str, Any],
        env_vars: dict[str, str] | None = None,
        custom_cache_key: str | None = None,
    ) -> str:
        """Return the key of a task: a digest of its command, image, code, arguments and variables."""
        facts = {
            "component": component_name.removeprefix("comp-").rstrip("-0123456789"),
            "custom": custom_cache_key,
            "image": image,
            "command": full_command,
            "arguments": {name: self._fact(value) for name, value in arguments.items()},
            "variables": env_vars or {},
            "revision": [code_revision("\n".join(full_command)), lock_digest()] if image_of(image) else [lock_digest()],
        }
        kept = {name: facts[name] for name in ("component", "custom")} if custom_cache_key else facts
        return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the outputs entered under a key; None when there are none or they are no longer as they were written."""
        path = Path(self._entry_path(key))
        if not self._reading or not path.exists():
            return None
        try:
            entry = read_json(path)
        except DataError:
            return None
        for uri, (manifest, digest) in entry["artifacts"].items():
            if _manifest(Path(uri)) != manifest:
                return None
            self._known[uri] = (manifest, digest)
        return {name: _restored(value) for name, value in entry["outputs"].items()}

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Enter the outputs of a finished task."""
        artifacts = [each for value in outputs.values() for each in (value if isinstance(value, list) else [value]) if isinstance(each, dsl.Artifact)]
        local = {each.uri: self._content(each.uri) for each in artifacts if "://" not in each.uri}
        write_json(self._entry_path(key), {"outputs": self._serialize_outputs(outputs), "artifacts": local})

    def _fact(self, value: Any) -> Any:
        if isinstance(value, dsl.Artifact):
            content = value.uri if "://" in value.uri else self._content(value.uri)[1]
            return {"type": type(value).schema_title, "content": content, "metadata": value.metadata}
        if isinstance(value, list):
            return [self._fact(each) for each in value]
        return value

    def _content(self, uri: str) -> tuple[Manifest, str]:
        """Return the manifest and the digest of an artifact; read anew only when the manifest is another one than last time."""
        manifest = _manifest(Path(uri))
        known = self._known.get(uri)
        if known is None or known[0] != manifest:
            known = self._known[uri] = (manifest, _digest(Path(uri), manifest))
        return known


def _manifest(root: Path) -> Manifest:
    """Return size and time of change of each file below a folder, or of the one file; nothing there: empty."""
    if root.is_dir():
        files = [os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names]  # noqa: PTH118
    else:
        files = [str(root)] if root.exists() else []
    found = ((os.path.relpath(file, root), os.stat(file)) for file in sorted(files))  # noqa: PTH116
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in found}


def _digest(root: Path, manifest: Manifest) -> str:
    total = hashlib.sha256()
    for name in manifest:
        with (root / name if name != "." else root).open("rb") as file:
            total.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and value.get("__kfp_artifact_list__"):
        return [_restored(each) for each in value["artifacts"]]
    if isinstance(value, dict) and value.get("__kfp_artifact__"):
        kind = {"schemaTitle": value["schema_title"]}
        return executor.create_artifact_instance({"name": value["name"], "uri": value["uri"], "metadata": value["metadata"], "type": kind})
    return value
