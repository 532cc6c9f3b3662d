"""What is known about the content of files, kept beside them, so that a task need not find it out again while they are unchanged."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from intermodal import __version__
from intermodal.runtime.artifacts import read_json, write_json
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import file_hash

#: What lies beside a SQLite file while a change of it is under way, or was cut short: the file is then not all of the database.
_JOURNALS = ("-journal", "-wal")


class FileNotes:
    """Notes on some files, in `<last file>.notes.json`. They hold for exactly the content that they were made of.

    Args:
        files: The files; none: nothing is ever known.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._place = files[-1].with_name(f"{files[-1].name}.notes.json") if files else None

    def state(self) -> str:
        """Return a digest of the files' content; empty while one is not there, or is a database in the middle of a change."""
        try:
            if not self._files or any(file.with_name(file.name + ending).exists() for file in self._files for ending in _JOURNALS):
                return ""
            return hashlib.sha256(b"".join(file_hash(file) for file in self._files)).hexdigest()
        except OSError:
            return ""

    def get(self, key: str) -> Any:
        """Return what is noted under a key for the files as they are; None if nothing is."""
        return self._noted(self.state()).get(key)

    def put(self, state: str, values: Mapping[str, Any]) -> None:
        """Note JSON values by their keys, if the files are still what they were when the values were found out.

        Args:
            state: What `state` gave before. Values noted for another one are dropped.
            values: What to note.
        """
        if self._place and state and state == self.state():
            with suppress(OSError):  # a folder that is only read: it is found out each time
                write_json(self._place, {"state": state, "values": {**self._noted(state), **values}})

    def _noted(self, state: str) -> dict[str, Any]:
        try:
            noted = read_json(self._place) if self._place and self._place.exists() else {}
            return dict(noted["values"]) if state and noted.get("state") == state else {}
        except (DataError, OSError, KeyError, TypeError, ValueError, AttributeError):  # not a file of ours
            return {}


def note_key(*parts: Any, packages: Sequence[str] = ()) -> str:
    """Return a key for what follows from some JSON values, this package's version and that of others.

    Args:
        parts: The values.
        packages: Names of the distributions that the result depends on.
    """
    versions = {"intermodal": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return hashlib.sha256(json.dumps([parts, versions], sort_keys=True).encode()).hexdigest()
