"""Where checkpoints are: files of a folder, or objects below a place in an object store; each appears whole."""

import hashlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, IntermodalError
from intermodal.storage.object_store import Content, open_object_store

_NAME: Final = re.compile(r"step-(\d{8,})-([0-9a-f]{16})\.npz")
_HASH_LENGTH: Final = 16
#: A scratch file that nobody has written to for so long belongs to a process that was killed.
_ABANDONED_SECONDS: Final = 900


class Name(NamedTuple):
    """A checkpoint's file name, in order of age: its step, and the beginning of the SHA-256 of its content in hexadecimal digits."""

    step: int
    digest: str

    def __str__(self) -> str:
        return f"step-{self.step:08d}-{self.digest}.npz"


class GoneError(Exception):
    """A checkpoint was listed and is not there any more."""


#: Gives a scratch file its name.
Publish = Callable[[Name], None]


class Place(Protocol):
    """Where the checkpoints of one training are. Errors are `OSError` (a folder's) and `IntermodalError`."""

    where: str

    def where_is(self, name: Name) -> str:
        """Return a checkpoint's address."""

    def names(self) -> set[Name]:
        """Return all that are there, whole or not."""

    def content(self, name: Name) -> AbstractContextManager[Path]:
        """Give a file with the content of a checkpoint. Raises `GoneError`, or the file is not there, where there is none any more."""

    def scratch(self, step: int) -> AbstractContextManager[tuple[Path, Publish]]:
        """Give a path to write to, and what gives it its name; what has got none does not stay."""

    def delete(self, name: Name) -> None:
        """Delete one, if it is there."""


def open_place(where: str) -> Place:
    """Return a folder, which is made, or a place in an object store.

    Raises:
        ConfigurationError: The scheme is unknown, the folder cannot be written to, or the address of the store is not known.
        MachineError: The disk is full.
        PlatformError: There are no credentials for the store.
    """
    parts = urlsplit(where)
    if parts.scheme in ("gs", "s3", "minio"):
        return _Bucket(where)
    if parts.scheme:
        raise ConfigurationError(f"{where}: checkpoints go to a folder, or to gs://, s3:// or minio://; correct the place")
    return _Folder(where)


def digest_of(path: Path) -> str:
    """Return what a name says of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_LENGTH]


class _Folder:
    def __init__(self, where: str) -> None:
        self._path = Path(where).absolute()
        self.where = str(self._path)
        try:
            with room(self._path, self._path):
                self._path.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self._path):
                    pass
        except OSError as error:
            raise ConfigurationError(
                f"{where}: checkpoints cannot be written there ({error.strerror}); name a folder that can be written to"
            ) from error
        with suppress(OSError):
            self._remove_abandoned()

    def where_is(self, name: Name) -> str:
        return str(self._path / str(name))

    def names(self) -> set[Name]:
        return _names(each.name for each in self._path.iterdir())

    @contextmanager
    def content(self, name: Name) -> Iterator[Path]:
        yield self._path / str(name)

    @contextmanager
    def scratch(self, step: int) -> Iterator[tuple[Path, Publish]]:
        path = self._path / f".step-{step:08d}.{uuid.uuid4().hex}.partial"

        def publish(name: Name) -> None:
            _to_disk(path)
            path.replace(self._path / str(name))
            with suppress(OSError):  # some file systems cannot
                _to_disk(self._path)

        try:
            with room(self._path, self._path):
                yield path, publish
        finally:
            path.unlink(missing_ok=True)

    def delete(self, name: Name) -> None:
        (self._path / str(name)).unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        """Remove the scratch files of processes that were killed while they wrote."""
        for each in self._path.glob(".step-*.partial"):
            with suppress(FileNotFoundError):
                if time.time() - each.stat().st_mtime > _ABANDONED_SECONDS:
                    each.unlink()


class _Bucket:
    def __init__(self, where: str) -> None:
        parts = urlsplit(where)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if parts.scheme == "minio" and not endpoint:
            raise ConfigurationError(f"{where}: the address of this store is not known; set AWS_ENDPOINT_URL_S3")
        scheme = "gs" if parts.scheme == "gs" else "s3"
        self.where = where.rstrip("/")
        self._prefix = f"{folder}/" if (folder := unquote(parts.path).strip("/")) else ""
        self._store = open_object_store(f"{scheme}://{parts.netloc}", endpoint if scheme == "s3" else None)

    def where_is(self, name: Name) -> str:
        return f"{self.where}/{name}"

    def names(self) -> set[Name]:
        return _names(key.removeprefix(self._prefix) for key in self._store.keys(f"{self._prefix}step-"))

    @contextmanager
    def content(self, name: Name) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder, room(self.where_is(name), folder):
            path = Path(folder) / str(name)
            try:
                self._store.get(f"{self._prefix}{name}", path)
            except IntermodalError as error:
                if name not in self.names():
                    raise GoneError from error
                raise
            yield path

    @contextmanager
    def scratch(self, step: int) -> Iterator[tuple[Path, Publish]]:
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder, room(self.where, folder):
            path = Path(folder) / f"step-{step:08d}.npz"
            yield path, lambda name: self._store.put(f"{self._prefix}{name}", Content(path))

    def delete(self, name: Name) -> None:
        self._store.delete(f"{self._prefix}{name}")


def _names(files: Iterable[str]) -> set[Name]:
    return {Name(int(match[1]), match[2]) for each in files if (match := _NAME.fullmatch(each))}


def _to_disk(path: Path) -> None:
    """Have the kernel write a file, or the names in a folder, to its disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
