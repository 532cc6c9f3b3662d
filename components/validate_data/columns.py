"""Columns that are left out of the statistics."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.statistics.streaming import column_types, readable

_REMEDY: Final = "convert it, or name it in `ignored`"


def find_unused(files: Mapping[str, Sequence[Path]], ignored: Sequence[str]) -> list[Anomaly]:
    """Return a warning for each column that is neither ignored nor readable (see `statistics.readable`), and each ignored one that is not there."""
    types = {part: column_types(paths) for part, paths in files.items()}
    found = [
        Anomaly(part, column, "UNSUPPORTED_TYPE", "warning", f"{part}: {column!r} is {kind}, neither number nor text, and is left out; {_REMEDY}")
        for part, columns in types.items()
        for column, kind in columns.items()
        if column not in ignored and not readable(kind)
    ]
    for column in ignored:
        if column not in types["train"]:
            near = difflib.get_close_matches(column, types["train"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(Anomaly("train", column, "IGNORED_MISSING", "warning", f"train: `ignored` names {column!r}, which is no column{hint}"))
    return found
