"""The parts of a table: a directory of Parquet files each."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from intermodal.components.validate_data.anomalies import Anomaly
from intermodal.components.validate_data.statistics import column_types, readable
from intermodal.runtime.errors import DataError
from intermodal.runtime.tree import check_whole

_ORDER: Final = ("train", "validation", "test")


def part_files(examples: Path) -> dict[str, list[Path]]:
    """Return the Parquet files of each part, `train` first, then `validation` and `test`.

    Raises:
        DataError: There is no part `train`, or only a part of the directory was written.
    """
    check_whole(examples)
    found = {directory.name: sorted(directory.glob("*.parquet")) for directory in sorted(examples.glob("*/"))}
    parts = [part for part, files in found.items() if files]
    if "train" not in parts:
        raise DataError(f"{examples}: there is no train/*.parquet; the parts are {', '.join(parts) or 'none'}; name one of the split's parts train")
    return {part: found[part] for part in sorted(parts, key=lambda part: (_ORDER.index(part) if part in _ORDER else len(_ORDER), part))}


def find_unused(files: Mapping[str, Sequence[Path]], ignored: Sequence[str]) -> list[Anomaly]:
    """Return a warning for each column that is neither ignored nor readable (see `statistics.readable`), and each ignored one that is not there."""
    types = {part: column_types(paths) for part, paths in files.items()}
    found = [
        Anomaly(part, column, "UNSUPPORTED_TYPE", "warning", f"{part}: {column!r} is {kind}, neither number nor text, and is left out; {_CURE}")
        for part, columns in types.items()
        for column, kind in columns.items()
        if column not in ignored and not readable(kind)
    ]
    for column in ignored:
        if column not in types["train"]:
            near = difflib.get_close_matches(column, types["train"], n=1)
            hint = f"; was {near[0]!r} meant?" if near else ""
            found.append(Anomaly("train", column, "IGNORED_MISSING", "warning", f"train: `ignored` names {column!r}, which is no column{hint}"))
    return found


_CURE: Final = "convert it, or name it in `ignored`"
