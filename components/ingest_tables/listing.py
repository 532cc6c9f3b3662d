"""Which files are behind a URI, here or in an object store: the one answer for whoever reads them and whoever tells whether they changed."""

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from intermodal.components.ingest_tables.files import TableFile, guess_kind
from intermodal.runtime.errors import DataError, StoreError
from intermodal.runtime.tree import check_name, local_path, matches, matching, split_glob, walk

#: A store's own options come last, `?region=eu-west-1&scheme=http`; a `?` elsewhere is a glob's, and a `%` or `[` is part of a name.
_URI = re.compile(r"(?P<scheme>\w+)://(?P<bucket>[^/?]+)/*(?P<key>.*?)/*(?:\?(?P<options>\w+=[^/]*))?")
_STAGED = re.compile(r".*/staged/[0-9a-f]{32}/[^/]+")
#: What Arrow's client would go on trying for by default, without credentials too, is 15 minutes.
_RETRY_SECONDS = 60


def find_files(uri: str, kind: str | None) -> list[TableFile]:
    """Return the files behind a URI, sorted by name, each file once however many links lead to it.

    Args:
        uri: A file, a glob or a directory; a local path, file://, gs:// or s3://.
        kind: `csv` or `parquet`; None: read from each name.

    Raises:
        DataError: There is nothing there, the URI cannot be understood, a link leads nowhere or in a circle, or a name does not say its format.
        StoreError: The object store cannot be reached, or refuses.
    """
    if "://" not in uri:
        return _local(uri, Path(uri).absolute(), kind)
    if uri.startswith("file://"):
        return _local(uri, local_path(uri), kind)
    system, bucket, key = _store(uri)
    with _reaching(uri):
        return _remote(uri, system, f"{bucket}/{key}".rstrip("/"), kind)


def _local(uri: str, path: Path, kind: str | None) -> list[TableFile]:
    fixed, pattern = split_glob(path)
    if not os.path.exists(fixed):  # noqa: PTH110 - of a name too long, or with a NUL, it says no
        raise DataError(f"{uri:.300}: no such file or directory, or none that may be read; correct the source's uri")
    if pattern:
        found = [each for _, each in matching(fixed, pattern)]
    elif fixed.is_dir():
        found = [each for name, each in walk(fixed) if _counts(name)]
    else:
        found = [fixed]
    if not found:
        raise _nothing(uri, bool(pattern))
    if broken := next((each for each in found if not each.is_file()), None):
        raise DataError(f"{broken}: neither a file nor a directory, or a link that leads nowhere; correct the source's uri, or remove it")
    for each in found:
        check_name(each, str(each))
    system = fs.LocalFileSystem()
    return [TableFile(str(each), system, str(each), kind or _kind(str(each))) for each in _distinct(found)]


def _distinct(paths: Iterable[Path]) -> list[Path]:
    """Return each real file once, under its own name where that is among those found, else under the first of its links' names."""
    real: dict[str, Path] = {}
    for each in sorted(paths, key=lambda path: (path.is_symlink(), os.path.realpath(path.parent) != str(path.parent), str(path))):
        real.setdefault(os.path.realpath(each), each)
    return sorted(real.values(), key=str)


def _store(uri: str) -> tuple[Any, str, str]:
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise DataError(f"{uri}: not a URI of an object store; write gs://bucket/path or s3://bucket/path")
    scheme, bucket, options = parts["scheme"], parts["bucket"], parts["options"] or ""
    if scheme in ("gs", "gcs"):
        options += f"&retry_limit_seconds={_RETRY_SECONDS}" if "retry_limit_seconds=" not in options else ""
        if (emulator := os.environ.get("STORAGE_EMULATOR_HOST")) and "endpoint_override=" not in options:
            # Google's own clients go there by this variable; Arrow's does not know it.
            server = urlsplit(emulator if "://" in emulator else f"http://{emulator}")
            options += f"&scheme={server.scheme}&endpoint_override={server.netloc}"
            bucket = f"anonymous@{bucket.rpartition('@')[2]}"
    try:
        system, found = fs.FileSystem.from_uri(f"{scheme}://{bucket}" + (f"?{options.lstrip('&')}" if options else ""))
    except pa.ArrowInvalid as error:
        raise DataError(f"{uri}: not a URI of an object store ({error}); write gs://bucket/path or s3://bucket/path") from error
    return system, found, parts["key"]


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{uri}: the store cannot be reached or refuses ({reason}); check the task's endpoint, credentials and rights") from error


def _remote(uri: str, system: Any, path: str, kind: str | None) -> list[TableFile]:
    _check_staged(uri, system, path)
    fixed, pattern = _split_remote(system, path)
    info = system.get_file_info(fixed)
    if info.type == fs.FileType.NotFound and not pattern:
        raise DataError(f"{uri}: no such file or directory; correct the source's uri")
    if info.type == fs.FileType.File and not pattern:
        paths = [fixed]
    else:
        deep = not pattern or "/" in pattern or "**" in pattern
        found = system.get_file_info(fs.FileSelector(fixed, recursive=deep, allow_not_found=True))
        names = {each.path.removeprefix(f"{fixed}/"): each.path for each in found if each.type == fs.FileType.File}
        paths = sorted(each for name, each in names.items() if (matches(name, pattern) if pattern else _counts(name)))
    if not paths:
        raise _nothing(uri, bool(pattern))
    prefix = uri.partition("://")[0] + "://"
    return [TableFile(prefix + each, system, each, kind or _kind(prefix + each)) for each in paths]


def _check_staged(uri: str, system: Any, path: str) -> None:
    """See that what a submission staged is all there still: fewer files would be less data, without a word."""
    staged = _STAGED.match(path)
    if not staged:
        return
    try:
        with system.open_input_stream(f"{staged[0]}.complete") as marker:
            wanted: dict[str, int] | None = json.loads(marker.read() or b"null")
    except FileNotFoundError:
        wanted = None
    found = [system.get_file_info(staged[0]), *system.get_file_info(fs.FileSelector(staged[0], recursive=True, allow_not_found=True))]
    there = {each.path.removeprefix(staged[0]).removeprefix("/"): each.size for each in found}
    if wanted is None or any(there.get(name) != size for name, size in wanted.items()):
        raise DataError(
            f"{uri}: files that were staged here were deleted or changed since; submit again, which uploads them anew, and create its schedules again"
        )


def _split_remote(system: Any, path: str) -> tuple[str, str]:
    """As `tree.split_glob`: a name with a glob's marks in it that exists as it is written is a name."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if glob.has_magic(part) and system.get_file_info("/".join(parts[: number + 1])).type == fs.FileType.NotFound:
            return "/".join(parts[:number]), "/".join(parts[number:])
    return path, ""


def _counts(name: str) -> bool:
    """Whether a file of a directory is part of its table: a CSV or Parquet file, it and its folders not hidden or set aside."""
    return bool(guess_kind(name)) and not any(part[0] in "._" for part in name.split("/"))


def _nothing(uri: str, pattern: bool) -> DataError:
    return DataError(f"{uri}: no file matches; correct the pattern" if pattern else f"{uri}: the directory holds no CSV or Parquet file")


def _kind(name: str) -> str:
    kind = guess_kind(name)
    if kind is None:
        raise DataError(f"{name}: the name does not say whether this is CSV or Parquet; say so with the source's `format`")
    return kind
