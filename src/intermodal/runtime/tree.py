"""Files of this machine behind a path, a glob or a folder, as everything here reads, hashes and copies them: links followed, loops refused."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from intermodal.runtime.errors import DataError

#: Lies in a directory as long as it is not whole, where the file system cannot rename directories; the name is that of Hadoop's committers.
PARTIAL: Final = "_temporary"
_STAGED = re.compile(r"/staged/([0-9a-f]{32})/[^/]+$")


def walk(folder: Path, levels: int | None = None) -> Iterator[tuple[str, Path]]:
    """Yield all that lies below a folder and is no folder: its name from there, with slashes, and its path. Links to folders are followed.

    Args:
        folder: Where to start.
        levels: How many folders deep, the first one included. Default: all.

    Raises:
        DataError: There is no such folder, it cannot be read, or a link leads to one of its own parent folders.
    """
    yield from _walk(folder, "", (), levels)


def _walk(folder: Path, prefix: str, above: tuple[str, ...], levels: int | None) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder}: this link leads to {real}, one of its own parent folders, so reading would not end; remove the link")
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be read ({error.strerror}); correct the path or its permissions") from error
    for each in entries:
        if not each.is_dir():
            yield prefix + each.name, each
        elif levels is None or levels > 1:
            yield from _walk(each, f"{prefix}{each.name}/", (*above, real), None if levels is None else levels - 1)


def files_below(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their names from there, folder by folder in order of names; without `__pycache__` and broken links.

    Raises:
        DataError: See `walk` and `check_name`.
    """
    found = {name: path for name, path in walk(folder) if path.is_file() and "__pycache__" not in name.split("/")}
    for name, path in found.items():
        check_name(path, name)
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def check_name(path: Path, name: str) -> None:
    """Refuse a name that is not UTF-8: neither an object store, nor Arrow, nor a log takes it.

    Args:
        path: The file.
        name: Its name, or the part of its path that counts.

    Raises:
        DataError: The name is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        raise DataError(f"{shown}: the name of this file is not UTF-8 text; rename it") from None


def file_hash(path: Path) -> bytes:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def hash_files(hashes: Mapping[str, bytes]) -> str:
    """Return the one SHA-256 of files, from their names and their own hashes in the order given."""
    digest = hashlib.sha256()
    for name, each in hashes.items():
        digest.update(f"{name}\0".encode() + each)
    return digest.hexdigest()


def is_whole(path: str | os.PathLike[str]) -> bool:
    """Return whether a directory is there, with something in it, and is not marked as half-written (by `PARTIAL`)."""
    folder = Path(path)
    return folder.is_dir() and any(folder.iterdir()) and not (folder / PARTIAL).exists()


def check_whole(path: str | os.PathLike[str]) -> None:
    """Refuse a directory whose writing was cut short.

    Raises:
        DataError: It is not whole.
    """
    if Path(path, PARTIAL).exists():
        raise DataError(f"{path}: only a part of it was written (it holds {PARTIAL}); run the task that writes it again")


def tree_hash(folder: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the content and relative names of all files below a folder; times, order and `__pycache__` do not matter.

    Raises:
        DataError: There is no such folder, it is not whole, cannot be read, or a link in it leads to one of its own parent folders.
    """
    check_whole(folder)
    return hash_files({name: file_hash(path) for name, path in files_below(Path(folder)).items()})


def content_hash(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, or of a folder's; see `tree_hash`."""
    return tree_hash(path) if Path(path).is_dir() else file_hash(Path(path)).hex()


def check_staged(folder: Path) -> None:
    """See that a folder that was staged under its content's hash, as `staged/HASH/NAME`, has that content; other folders pass.

    Raises:
        DataError: It is gone, or not what was staged.
    """
    staged = _STAGED.search(folder.as_posix())
    if staged and not (folder.is_dir() and tree_hash(folder).startswith(staged[1])):
        raise DataError(
            f"{folder}: files of this staged folder were deleted or changed since the run was submitted; submit again, which uploads them anew, and "
            "create its schedules again"
        )


def local_path(uri: str) -> Path:
    """Return the path that a file:// URI names.

    Raises:
        DataError: It names another machine, or is not absolute.
    """
    rest = uri.removeprefix("file://").removeprefix("localhost")
    if not rest.startswith("/"):
        raise DataError(f"{uri}: not the URI of a file here; write file:///absolute/path, or the path itself")
    return Path(unquote(rest))


def split_glob(path: Path) -> tuple[Path, str]:
    """Divide a path into the folder or file that is fixed, and the glob pattern below it; the pattern is empty where there is none.

    A name with `*`, `?` or `[` in it that exists as it is written is a name, not a pattern.
    """
    fixed = Path(path.anchor)
    for number, part in enumerate(path.parts[len(fixed.parts) :], len(fixed.parts)):
        if glob.has_magic(part) and not os.path.exists(fixed / part):  # noqa: PTH110 - of a name too long, or with a NUL, it says no
            return fixed, "/".join(path.parts[number:])
        fixed /= part
    return fixed, ""


def matching(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Yield, of what lies below a folder, what matches a glob pattern. See `matches` and `walk`."""
    parts = pattern.split("/")
    for name, path in walk(folder, None if "**" in parts else len(parts)):
        if matches(name, pattern):
            yield name, path


def matches(name: str, pattern: str) -> bool:
    """Tell whether a name matches: `*`, `?` and `[..]` within a folder's level, `**` over any levels; hidden ones only when named."""
    wanted = pattern.split("/")
    reached = {0}  # how many parts of the pattern the name has passed so far, in each way there is
    for each in name.split("/"):
        for position in sorted(reached):
            while position < len(wanted) and wanted[position] == "**":
                position += 1
                reached.add(position)
        reached = {
            position if wanted[position] == "**" else position + 1
            for position in reached
            if position < len(wanted) and (wanted[position] == "**" or _matches_part(each, wanted[position]))
        }
    return len(wanted) in reached


def _matches_part(name: str, pattern: str) -> bool:
    return (pattern.startswith(".") or not name.startswith(".")) and fnmatchcase(name, pattern)
