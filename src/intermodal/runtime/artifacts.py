"""Artifacts on disk: written whole or not at all."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from intermodal.runtime.disk import is_full, room
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import PARTIAL, check_whole


@contextmanager
def whole_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory to fill; it appears at `path`, replacing what is there, only when the block ends without an error.

    On a disk it is filled beside `path` and renamed, so that whatever stops the block (an exception, a full disk, a kill) leaves `path` as it was;
    a kill within the renaming leaves nothing there. An object store behind FUSE (gcsfuse) cannot rename a directory: there it is filled in the
    temporary directory, then copied file by file, and for so long holds a file `PARTIAL`, by which `is_whole` and `check_whole` know it.

    Raises:
        MachineError: A disk is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    name = f".{target.name}.{uuid.uuid4().hex}"
    copied = _on_fuse(target.parent)
    scratch = Path(tempfile.gettempdir(), f"{name}.partial") if copied else target.with_name(f"{name}.partial")
    replaced = target.with_name(f"{name}.replaced")
    try:
        with room(target, target.parent):
            scratch.mkdir()
            yield scratch
            if target.is_symlink() or target.is_file():
                target.unlink()
            if copied or not _renamed(scratch, target, replaced):
                _copy(scratch, target)
    finally:
        for each in (scratch, replaced):
            shutil.rmtree(each, ignore_errors=True)


def _renamed(scratch: Path, target: Path, replaced: Path) -> bool:
    """Put a directory in another's place; return False where directories cannot be renamed."""
    try:
        if target.exists():
            target.rename(replaced)
        try:
            scratch.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise
    except OSError as error:
        if is_full(error):
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a directory file by file to where nothing is atomic but a file's appearance."""
    target.mkdir(exist_ok=True)
    partial = target / PARTIAL
    partial.touch()
    try:
        _empty(target)
        for each in sorted(source.rglob("*")):
            copy = target / each.relative_to(source)
            if each.is_dir():
                copy.mkdir()
            else:
                shutil.copyfile(each, copy)
    except BaseException:
        with suppress(OSError):
            _empty(target)
            partial.unlink()
            target.rmdir()
        raise
    partial.unlink()


def _empty(target: Path) -> None:
    """Remove all that a directory holds but the file that says it is not whole."""
    for each in target.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != PARTIAL:
            each.unlink()


def _on_fuse(folder: Path) -> bool:
    """Return whether a folder lies on a FUSE mount: by FUSE come the file systems over object stores."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return False
    return any(mount[2] == wanted and mount[mount.index("-") + 1].partition(".")[0] == "fuse" for mount in mounts)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write one file to; it appears at `path` only when the block ends without an error.

    Raises:
        MachineError: A disk is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with room(target, target.parent):
            yield scratch
            scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all; NaN and infinity are refused (`ValueError`)."""
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON artifact.

    Raises:
        DataError: The file is missing or is not JSON, or the directory it lies in is not whole.
    """
    check_whole(Path(path).parent)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; was the task that writes it run?") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and run the task that writes it again") from error
