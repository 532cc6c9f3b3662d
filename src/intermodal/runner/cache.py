"""The local cache: outputs by what went in (code, values, and the *content* of artifacts), and taken only when they are still whole."""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl import executor
from kfp.local.cache import LocalCache

from intermodal.runner.code import code_digest
from intermodal.runner.environments import lock_digest
from intermodal.runtime.artifacts import write_json
from intermodal.runtime.tree import file_hash, files_below

#: Nanoseconds after its last change from when on a file's times tell the next change: a file system's clock ticks every few milliseconds.
_SETTLED = 100_000_000


class Digests:
    """Content digests of files and folders; a file's is remembered by its size, its times and its inode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._known: dict[str, list[Any]] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._changed = False

    def of(self, path: Path) -> str | None:
        """Return the digest of a file, or of all files below a folder with their names; None when there is nothing there."""
        if path.is_file():
            return self._file(path)
        if not path.is_dir():
            return None
        digest = hashlib.sha256()
        for name, each in files_below(path).items():
            digest.update(f"{name}\0{self._file(each)}\n".encode())
        return digest.hexdigest()

    def _file(self, path: Path) -> str:
        status = path.stat()
        # A copy can carry the old size and modification time, never the old inode and time of change.
        mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(str(path))
        if known and known[:-1] == mark:
            return str(known[-1])
        digest = file_hash(path).hex()
        if time.time_ns() - status.st_ctime_ns < _SETTLED:
            return digest
        with self._lock:
            self._known[str(path)] = [*mark, digest]
            self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learnt for the next run; digests of files that are gone are forgotten."""
        if self._changed:
            with self._lock:
                write_json(self._path, {path: known for path, known in self._known.items() if Path(path).exists()})


class ContentCache(LocalCache):  # type: ignore[misc]
    """kfp's local cache with two differences: artifacts count by content, not by where they lie, and an entry is checked before it is used.

    Args:
        folder: Where entries lie, one file each.
        reading: Whether entries are looked up; finished tasks are entered in any case.
        image_content: Names what an image reference stands for; in containers the content behind a tag can change. Default: the reference.
    """

    def __init__(self, folder: Path, *, reading: bool = True, image_content: Callable[[str], str] = str) -> None:
        super().__init__(str(folder))
        self.digests = Digests(folder / "digests")
        self._reading = reading
        self._image_content = functools.cache(image_content)

    def compute_key(
        self,
        component_name: str,
        image: str,
        full_command: list[str],
        arguments: dict[str, Any],
        env_vars: dict[str, str] | None = None,
        custom_cache_key: str | None = None,
    ) -> str:
        """Return the key of a task: its component's name, then a digest of everything it can see."""
        seen = {
            "image": self._image_content(image),
            "lock": lock_digest(),
            "code": code_digest(full_command),
            "command": full_command,
            "arguments": {name: self._content(value) for name, value in arguments.items()},
            "variables": env_vars or {},
            "key": custom_cache_key,
        }
        return f"{component_name}.{hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()}"

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the outputs kept under a key, if every artifact among them is still what it was."""
        path = Path(self._entry_path(key))
        if not self._reading or not path.exists():
            return None
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            outputs = {name: _restored(value) for name, value in entry["outputs"].items()}
        except (OSError, ValueError, KeyError):
            return None
        return outputs if self._marks(outputs) == entry["marks"] else None

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Keep outputs under a key."""
        write_json(self._entry_path(key), {"outputs": self._serialize_outputs(outputs), "marks": self._marks(outputs)})

    def _marks(self, outputs: dict[str, Any]) -> dict[str, Any]:
        return {name: self._content(value) for name, value in outputs.items()}

    def _content(self, value: Any) -> Any:
        if isinstance(value, dsl.Artifact):
            return [type(value).schema_title, self.digests.of(Path(value.uri)) or value.uri, value.metadata]
        if isinstance(value, list):
            return [self._content(each) for each in value]
        return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and value.get("__kfp_artifact_list__"):
        return [_restored(each) for each in value["artifacts"]]
    if isinstance(value, dict) and value.get("__kfp_artifact__"):
        kind = {"schemaTitle": value["schema_title"]}
        return executor.create_artifact_instance({"name": value["name"], "uri": value["uri"], "metadata": value["metadata"], "type": kind})
    return value
