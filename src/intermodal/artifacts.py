"""Artifacts on disk: written whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intermodal.errors import DataError


@contextmanager
def whole_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty directory to fill; it appears at `path`, replacing what is there, only when the block ends without an error.

    Whatever stops the block (an exception, a full disk, a kill) leaves `path` as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    scratch.mkdir()
    try:
        yield scratch
        if target.is_dir():
            shutil.rmtree(target)
        elif target.exists():
            target.unlink()
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path to write one file to; it appears at `path` only when the block ends without an error. See `whole_directory`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
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
        DataError: The file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; was the task that writes it run?") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and run the task that writes it again") from error
