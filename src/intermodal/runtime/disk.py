"""Full disks: which of the file systems in use is the full one, in one sentence."""

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from intermodal.runtime.errors import MachineError

#: How each sentence of this module begins.
NO_ROOM: Final = "no room left in"
_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What DuckDB names when its temporary files have taken nine tenths of their disk.
_SPILL: Final = "max_temp_directory_size"
# As libraries write it that raise errors of their own: the C library's texts, SQLite's, DuckDB's.
_TEXTS: Final = (*map(os.strerror, _ERRNOS), "database or disk is full", _SPILL)


def is_full(error: BaseException) -> bool:
    """Return whether an error of any library says that a disk, a quota or the limit of a file's size is exhausted."""
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    text = str(error)
    return any(each in text for each in _TEXTS)


@contextmanager
def room(what: str | os.PathLike[str], *folders: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever is raised when a disk is full into one sentence that names that disk.

    Use it inside whatever removes the files on failure: afterwards the disk has room again, and nothing tells which it was.

    Args:
        what: What is being made: a path, or a store's name.
        folders: The folders that are written to; they need not exist. The temporary directory is one in any case.

    Raises:
        MachineError: A disk is full, its quota used up, or a file as large as may be.
    """
    try:
        yield
    except MachineError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise MachineError(f"{what}: {full_disk(error, *folders)} and run again") from error


def full_disk(error: BaseException, *folders: str | os.PathLike[str]) -> str:
    """Return which disk an error means that says that one is full, and the remedy. See `room`."""
    return _reason(error, [Path(each).absolute() for each in folders])


def _reason(error: BaseException, folders: list[Path]) -> str:
    folder = _full_folder(error, folders)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EFBIG or os.strerror(errno.EFBIG) in str(error):
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        largest = f" than {_size(limit)}" if limit != resource.RLIM_INFINITY else ""
        return f"no file in {folder} may be larger{largest} ({os.strerror(errno.EFBIG)}); raise the limit (ulimit -f)"
    status = os.statvfs(_existing(folder))
    remedy = ", or set TMPDIR to a folder of another disk," if folder == _temporary() else ""
    if number == errno.EDQUOT or os.strerror(errno.EDQUOT) in str(error):
        return f"{NO_ROOM} {folder}: the quota on its disk, mounted at {_mount_point(folder)}, is used up; free some space there{remedy}"
    size = f"{_size(status.f_blocks * status.f_frsize)}, {_size(_free(folder))} free by now"
    return f"{NO_ROOM} {folder}: its disk, mounted at {_mount_point(folder)}, is full ({size}); free some space there{remedy}"


def _full_folder(error: BaseException, folders: list[Path]) -> Path:
    """Return the folder whose disk is meant: the one that the error names, else the one with the least room."""
    if _SPILL in str(error):
        return _temporary()
    candidates = sorted([*folders, _temporary()], key=lambda each: len(str(each)), reverse=True)
    meant = [each for each in candidates if f"{each}/" in str(error)]
    if isinstance(error, OSError):
        for name in (error.filename, error.filename2):
            if isinstance(name, str | bytes):
                file = Path(os.fsdecode(name)).absolute()
                meant.append(next((each for each in candidates if file.is_relative_to(each)), file.parent))
    return min(meant or candidates, key=_free)


def _temporary() -> Path:
    # Not tempfile.gettempdir() alone: it passes over a folder that is full.
    return Path(os.environ.get("TMPDIR") or tempfile.tempdir or "/tmp").absolute()  # noqa: S108


def _free(folder: Path) -> int:
    status = os.statvfs(_existing(folder))
    return status.f_bavail * status.f_frsize if status.f_favail or not status.f_files else 0


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _mount_point(folder: Path) -> Path:
    folder = _existing(folder).resolve()
    return next((each for each in (folder, *folder.parents) if each.is_mount()), Path("/"))


def _size(number: int) -> str:
    return f"{number / 2**20:,.0f} MiB" if number >= 10 * 2**20 else f"{number / 2**10:,.0f} KiB"
