"""Files of this machine that a task needs, copied to a place named after their content's hash: here, or below an artifact root.

Staged files are checked before they are used again, and written again where they are missing or changed. A file appears whole, and only equal
content replaces it, so that any number of processes can stage the same at once. A place that was returned has all of its files.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from intermodal.runtime.errors import ConfigurationError, DataError, PlatformError
from intermodal.runtime.tree import file_hash, files_below, hash_files, matching, walk
from intermodal.storage.object_store import Content, ObjectStore, open_object_store

_HASH_LENGTH = 32
_REQUESTS_AT_A_TIME = 8
_ATTEMPTS = 5


def stage_here(path: Path, folder: Path) -> Path:
    """Copy a file or a folder to a place below `folder`, unless the same content is there already.

    Raises:
        ConfigurationError: There is nothing at `path`.
        DataError: A link leads to one of its own parent folders, or files keep changing while they are copied.
    """
    path = path.resolve()
    for _ in range(_ATTEMPTS):
        files = _files(path)
        hashes = {name: file_hash(each) for name, each in files.items()}
        target = folder / hash_files(hashes)[:_HASH_LENGTH] / path.name
        if path.is_dir() and target.is_dir():
            for name, extra in walk(target):
                if name not in files and "__pycache__" not in name.split("/"):
                    extra.unlink(missing_ok=True)
        wrong = [name for name, each in hashes.items() if not _holds(target / name, each)]
        if not wrong:
            return target
        for name in wrong:
            _place(files[name], target / name, folder)
    raise DataError(f"{path}: its files change while they are copied; run again when nothing writes there")


def _holds(path: Path, content: bytes) -> bool:
    try:
        return not path.is_symlink() and file_hash(path) == content
    except OSError:
        return False


def _place(source: Path, target: Path, folder: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not beside the target: nothing that lists the staged folder may see it.
    scratch = folder / f".{uuid.uuid4().hex}.partial"
    try:
        shutil.copy(source, scratch)
        os.replace(scratch, target)  # noqa: PTH105
    finally:
        scratch.unlink(missing_ok=True)


class Staging:
    """A place below an artifact root.

    Args:
        root: The artifact root: ``gs://`` or ``s3://``.
        endpoint: URL of an S3-compatible store that is not AWS.
    """

    def __init__(self, root: str, endpoint: str | None = None) -> None:
        self._root = root.rstrip("/")
        self._prefix = urlsplit(self._root).path.strip("/")
        self._endpoint = endpoint
        self._opened: ObjectStore | None = None

    def stage(self, path: Path, pattern: str = "") -> str:
        """Upload a file or a folder; objects that are in the store and unchanged are not sent again.

        Args:
            path: A file or a folder of this machine; `__pycache__` is left out.
            pattern: Of a folder only the files that match this glob. Default: all.

        Returns:
            Its URI, which has the content's hash in it, with the pattern at its end if there is one. A marker beside it, written last, lists
            the files, so that a task can tell whether one was deleted since.

        Raises:
            ConfigurationError: There is nothing at `path`.
            DataError: A link leads to one of its own parent folders.
            PlatformError: The store cannot be reached, refuses, or does not keep what was sent.
        """
        files = {name: Content(each) for name, each in _files(path, pattern).items()}
        digest = hash_files({name: each.sha256 for name, each in files.items()})[:_HASH_LENGTH]
        # Other folders below the digest have equal content under another name; other sources or schedules use them.
        place = self._key("staged", digest, path.name)
        wanted = {"/".join(filter(None, (place, name))): each for name, each in files.items()}
        marker = Content(json.dumps({name: each.size for name, each in files.items()}).encode())
        self._fill(wanted, path)
        for extra in self._store.keys(f"{place}/") - wanted.keys():
            self._store.delete(extra)
        self._fill({f"{place}.complete": marker}, path)
        return "/".join(filter(None, (self._root, "staged", digest, path.name, pattern)))

    def _fill(self, wanted: dict[str, Content], path: Path) -> None:
        with ThreadPoolExecutor(_REQUESTS_AT_A_TIME) as pool:
            wrong = self._wrong(wanted, pool.map)
            list(pool.map(lambda key: self._store.put(key, wanted[key]), wrong))
            if left := self._wrong({key: wanted[key] for key in wrong}, pool.map):
                raise PlatformError(
                    f"{self._root}: after its upload {left[0]} differs from what was sent; submit again when nothing writes to {path} or that object"
                )

    def _wrong(self, wanted: dict[str, Content], each: Callable[..., Iterable[Any]]) -> list[str]:
        held = each(lambda key: self._store.holds(key, wanted[key]), wanted)
        return [key for key, holds in zip(wanted, held, strict=True) if not holds]

    def check(self) -> None:
        """Check that the root can be written, by writing an empty object below it.

        Raises:
            PlatformError: The store cannot be reached, or refuses.
        """
        self._store.put(self._key("staged", ".writable"), Content(b""))

    def _key(self, *parts: str) -> str:
        return "/".join(filter(None, (self._prefix, *parts)))

    @property
    def _store(self) -> ObjectStore:
        if self._opened is None:
            self._opened = open_object_store(self._root, self._endpoint)
        return self._opened


def _files(path: Path, pattern: str = "") -> dict[str, Path]:
    """Return the files at a path by their names from there; that of a single file is empty."""
    if path.is_file():
        return {"": path}
    if not path.is_dir():
        raise ConfigurationError(f"{path}: no such file or folder; correct the configuration")
    found = {name: each for name, each in matching(path, pattern) if each.is_file()} if pattern else files_below(path)
    if not found:
        raise ConfigurationError(f"{path / pattern}: no such file, or an empty folder; correct the configuration")
    return found
