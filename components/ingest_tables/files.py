"""The files behind a URI: found by name, glob or folder, opened out of zip and gzip, here or in an object store."""

import glob
import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from intermodal.errors import DataError, StoreError

_KINDS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_WRAPPINGS = {".zip", ".gz"}


@dataclass(frozen=True)
class TableFile:
    """One file of a table.

    Attributes:
        name: The whole path or URI, as errors show it.
        system: The file system it lies on.
        path: Its path there.
        kind: `csv` or `parquet`.
    """

    name: str
    system: Any
    path: str
    kind: str

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file's content, out of its zip or gzip; Parquet can be sought in.

        Raises:
            DataError: The archive is broken, or holds not exactly one file.
        """
        wrapping = PurePosixPath(self.path).suffix.lower()
        try:
            with self.system.open_input_file(self.path) as raw:
                if wrapping == ".zip":
                    with zipfile.ZipFile(raw) as archive, archive.open(self._member(archive)) as content:
                        yield from _seekable(content, self.kind)
                elif wrapping == ".gz":
                    with gzip.open(raw) as content:
                        yield from _seekable(content, self.kind)
                else:
                    yield raw
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise DataError(f"{self.name}: the archive is broken or cut short ({error}); fetch it again") from error
        except NotImplementedError as error:
            raise DataError(f"{self.name}: the archive is packed in a way that cannot be read here ({error}); pack it with deflate") from error
        except OSError as error:
            if error.errno is not None:
                raise
            # bz2 says nothing more exact.
            raise DataError(f"{self.name}: the archive is broken or cut short ({error}); fetch it again") from error

    def _member(self, archive: zipfile.ZipFile) -> str:
        names = [name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in _KINDS and not name.startswith("__MACOSX")]
        if len(names) != 1:
            raise DataError(f"{self.name}: the archive holds {len(names)} tables ({', '.join(names[:3])}); put one file in each archive")
        if archive.getinfo(names[0]).flag_bits & 1:
            raise DataError(f"{self.name}: the archive is encrypted; decrypt it first")
        return names[0]


def _seekable(content: Any, kind: str) -> Iterator[IO[bytes]]:
    if kind == "csv":
        yield content
        return
    with tempfile.TemporaryFile() as whole:
        while piece := content.read(io.DEFAULT_BUFFER_SIZE * 128):
            whole.write(piece)
        whole.seek(0)
        yield whole


def find_files(uri: str, kind: str | None) -> list[TableFile]:
    """Return the files behind a URI, sorted by name.

    Args:
        uri: A file, a glob or a directory; a local path, gs:// or s3://.
        kind: `csv` or `parquet`; None: told from each name.

    Raises:
        DataError: There is nothing there, the URI cannot be understood, or a name does not tell its format.
        StoreError: The object store cannot be reached, or refuses.
    """
    if "://" not in uri:
        return _found(uri, fs.LocalFileSystem(), str(Path(uri).absolute()), kind)
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        raise DataError(f"{uri}: not a URI of an object store ({error}); write gs://bucket/path or s3://bucket/path") from error
    try:
        return _found(uri, system, path, kind)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{uri}: the store cannot be reached or refuses ({reason}); check the task's endpoint, credentials and rights") from error


def _found(uri: str, system: Any, path: str, kind: str | None) -> list[TableFile]:
    prefix = "" if isinstance(system, fs.LocalFileSystem) else uri.partition("://")[0] + "://"
    info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound and glob.has_magic(path):
        paths = _matching(system, path)
        if not paths:
            raise DataError(f"{uri}: no file matches; correct the pattern")
    else:
        if info.type == fs.FileType.NotFound:
            raise DataError(f"{uri}: no such file or directory; correct the source's uri")
        if info.type == fs.FileType.Unknown:
            raise DataError(f"{uri}: neither a file nor a directory; correct the source's uri")
        paths = [path] if info.type == fs.FileType.File else _below(system, path)
        if not paths:
            raise DataError(f"{uri}: the directory holds no CSV or Parquet file")
    return [TableFile(prefix + each, system, each, kind or _kind(prefix + each)) for each in paths]


def _below(system: Any, path: str) -> list[str]:
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    return sorted(each.path for each in found if each.type == fs.FileType.File and _guess(each.path) and each.base_name[0] not in "._")


def _matching(system: Any, pattern: str) -> list[str]:
    """Return the files that match: `*` and `?` within a folder's level, `**` over any levels; hidden ones only when named."""
    parts = pattern.split("/")
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    selector = fs.FileSelector("/".join(parts[:fixed]) or "/", recursive=fixed < len(parts) - 1, allow_not_found=True)
    found = [each.path for each in system.get_file_info(selector) if each.type == fs.FileType.File]
    return sorted(path for path in found if _matches(path.split("/")[fixed:], parts[fixed:]))


def _matches(path: list[str], pattern: list[str]) -> bool:
    if not pattern or not path:
        return not pattern and not path
    if pattern[0] == "**":
        return _matches(path, pattern[1:]) or _matches(path[1:], pattern)
    if path[0].startswith(".") and not pattern[0].startswith("."):
        return False
    return fnmatchcase(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


def _guess(name: str) -> str | None:
    suffixes = [each.lower() for each in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _WRAPPINGS:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _kind(name: str) -> str:
    kind = _guess(name)
    if kind is None:
        raise DataError(f"{name}: the name does not tell whether this is CSV or Parquet; say so with the source's `format`")
    return kind
