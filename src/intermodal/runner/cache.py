"""The local cache: outputs by what went in (code, values, and the *content* of artifacts), and taken only when they are still whole."""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from intermodal.execution.code import code_digest
from intermodal.execution.environments import image_digest
from intermodal.runner.inputs import Values
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


class Cache:
    """Outputs of finished tasks. Artifacts count by content, not by where they lie, and an entry is checked before it is used.

    Args:
        folder: Where entries lie, one file each.
        reading: Whether entries are looked up; finished tasks are entered in any case.
        image_content: Names what a task of an image runs in, whatever the image is called. Default: the image's environment on this machine.
    """

    def __init__(self, folder: Path, *, reading: bool = True, image_content: Callable[[str], str] = image_digest) -> None:
        self.digests = Digests(folder / "digests")
        self._folder, self._reading = folder, reading
        self._image_content = functools.cache(image_content)

    def key(self, component: str, image: str, command: list[str], inputs: Values, variables: dict[str, str], own_key: str = "") -> str:
        """Return the key of a task: its component's name, then a digest of everything it can see.

        Args:
            component: The component's name.
            image: Its image.
            command: Its command line, placeholders and all.
            inputs: What it is given.
            variables: What the component sets in its environment.
            own_key: A key that the pipeline's author gave the task.
        """
        seen = {
            "image": self._image_content(image),
            "code": code_digest(command),
            "command": command,
            "parameters": inputs.parameters,
            "artifacts": self._contents(inputs),
            "variables": variables,
            "key": own_key,
        }
        return f"{component}.{hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()}"

    def get(self, key: str) -> tuple[Values, Path] | None:
        """Return the outputs kept under a key and the folder of the task that made them, if every artifact among them is still what it was."""
        if not self._reading:
            return None
        try:
            entry = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
            outputs, folder, contents = Values(**entry["outputs"]), Path(entry["folder"]), entry["contents"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (outputs, folder) if self._contents(outputs) == contents else None

    def put(self, key: str, outputs: Values, folder: Path) -> None:
        """Keep the outputs of a task, whose folder is `folder`, under a key."""
        entry = {"outputs": asdict(outputs), "folder": str(folder), "contents": self._contents(outputs)}
        write_json(self._folder / f"{key}.json", entry)

    def _contents(self, values: Values) -> dict[str, Any]:
        lists = {name: each if isinstance(each, list) else [each] for name, each in values.artifacts.items()}
        return {
            name: [[each["type"], self.digests.of(Path(each["uri"])) or each["uri"], each["metadata"]] for each in found]
            for name, found in lists.items()
        }
