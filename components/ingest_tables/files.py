"""A file of a table, here or in an object store: opened out of zip and gzip, and the state by which a change is detected."""

import gzip
import hashlib
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from pyarrow import fs

from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError, StoreError

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

    def state(self) -> list[str]:
        """Return what changes with the file's content: its hash here; name, version, etag, size and time of writing in an object store.

        Raises:
            StoreError: The file cannot be read any more, or its store gives neither version nor etag.
        """
        try:
            with self.system.open_input_file(self.path) as content:
                if isinstance(self.system, fs.LocalFileSystem):
                    return [self.kind, hashlib.file_digest(content, "sha256").hexdigest()]
                metadata = {key.lower(): value.decode() for key, value in content.metadata().items()}
        except OSError as error:
            raise StoreError(f"{self.name}: it cannot be read ({' '.join(str(error).split())}); run again when nothing changes it") from error
        version, etag = metadata.get("generation") or metadata.get("versionid", ""), metadata.get("etag", "")
        if not (version or etag):
            raise StoreError(f"{self.name}: the store gives neither version nor etag, so that a change could not be detected; use another store")
        # The time: where nothing has a version, old content that came back is another object, for other content was read in between.
        return [self.kind, self.path, version, etag, metadata.get("size") or metadata.get("content-length", ""), metadata.get("last-modified", "")]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file's content, out of its zip or gzip; Parquet can be sought in.

        Raises:
            DataError: The archive is broken, or holds not exactly one file.
            MachineError: The temporary directory has no room for an archived Parquet file.
        """
        wrapping = PurePosixPath(self.path).suffix.lower()
        try:
            with self.system.open_input_file(self.path) as raw:
                if wrapping == ".zip":
                    with zipfile.ZipFile(raw) as archive, archive.open(self._member(archive)) as content:
                        yield from self._seekable(content)
                elif wrapping == ".gz":
                    with gzip.open(raw) as content:
                        yield from self._seekable(content)
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

    def _seekable(self, content: Any) -> Iterator[IO[bytes]]:
        if self.kind == "csv":
            yield content
            return
        with tempfile.TemporaryFile() as whole:
            with room(self.name):
                while piece := content.read(io.DEFAULT_BUFFER_SIZE * 128):
                    whole.write(piece)
                whole.seek(0)
            yield whole


def guess_kind(name: str) -> str | None:
    """Return `csv` or `parquet` as a file's name tells it, inside zip or gzip too; None: it does not tell."""
    suffixes = [each.lower() for each in PurePosixPath(name).suffixes]
    if suffixes and suffixes[-1] in _WRAPPINGS:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None
