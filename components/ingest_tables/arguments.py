"""Checks of the arguments of `ingest_tables`."""

import codecs
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from intermodal.components.ingest_tables.windows import check_windows
from intermodal.runtime.arguments import ArgumentError, one_of

#: The part of rows that no part claims.
NO_PART: Final = "none"
_KEYS: Final = ("name", "uri", "format", "columns", "column_names", "skip_rows", "null_values", "encoding", "time_zone", "row_number")


def check_arguments(
    *,
    sources: Sequence[Any],
    split_by: str,
    split_table: str,
    split_column: str,
    split_parts: Mapping[str, Any],
    split_end: str,
    split_step: str,
) -> None:
    """Check what `ingest_tables` is given; its contract says what each argument means.

    Raises:
        ArgumentError: A source or the split makes no sense.
    """
    check_sources(sources)
    check_split(split_by, split_table, split_column, split_parts, [each["name"] for each in map(named_source, sources)])
    if split_by == "time":
        check_windows(split_parts, split_end, split_step)
    elif split_end:
        raise ArgumentError("split_end", "it is for windows of time; set split_by to time")


def check_sources(sources: Sequence[Any]) -> None:
    """Check sources, which are URIs or objects.

    Raises:
        ArgumentError: There is none; a key is unknown or missing; a name is no folder's, or there twice; the format or encoding is unknown.
    """
    if not sources:
        raise ArgumentError("sources", "it must not be empty; give the URI of a file, a glob or a directory")
    named = [named_source(source) for source in sources]
    for source in named:
        _check_source(source)
    names = [source["name"] for source in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ArgumentError("sources", f"two sources are called {twice[0]!r}; rename one")


def named_source(source: Any) -> dict[str, Any]:
    """Return a source as an object; one that is a URI is named after its file, or, of a glob, after its folder.

    Raises:
        ArgumentError: It is neither a text nor an object, or no name can be made of its URI.
    """
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str):
        raise ArgumentError("sources", f"{source!r} must be a URI, or an object with `name` and `uri`")
    parts = PurePosixPath(source.partition("://")[2] or source.partition(":")[2] or source).parts
    plain = [part for part in parts if not re.search(r"[*?\[]", part)] or [""]
    name = re.sub(r"\W+", "_", plain[-1].lstrip(".").partition(".")[0], flags=re.ASCII).strip("_")
    if not name:
        raise ArgumentError("sources", f"{source!r} gives no name for the table; write {{name: …, uri: {source!r}}}")
    return {"name": f"_{name}" if name[0].isdigit() else name, "uri": source}


def _check_source(source: Mapping[str, Any]) -> None:
    where = f"source {source.get('name', '?')!r}"
    for key in source:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(_KEYS)}"
            raise ArgumentError("sources", f"{where}: there is no key {key!r}; {hint}")
    for key in ("name", "uri"):
        if key not in source:
            raise ArgumentError("sources", f"{dict(source)}: the key {key!r} is required")
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", str(source["name"]), re.ASCII):
        raise ArgumentError("sources", f"source name {source['name']!r}: it names a folder and a relation; use letters, digits and underscores")
    if source.get("format") not in (None, "csv", "parquet"):
        raise ArgumentError("sources", f"{where}: format {source['format']!r}; it must be csv or parquet")
    skipped = source.get("skip_rows", 0)
    if not isinstance(skipped, int | float) or skipped < 0 or skipped != int(skipped):
        raise ArgumentError("sources", f"{where}: skip_rows {skipped!r}; it must be a whole number, 0 or more")
    encoding = str(source.get("encoding", "utf-8"))
    try:
        "".encode(encoding)
        if codecs.lookup(encoding).name in ("idna", "punycode"):  # of host names
            raise LookupError(encoding)
    except (LookupError, ValueError):  # rot13 and base64 are codecs too, but not from bytes to text
        raise ArgumentError("sources", f"{where}: there is no encoding {encoding!r}; latin-1, for instance, is one") from None


def check_split(by: str, table: str, column: str, parts: Mapping[str, Any], tables: Sequence[str]) -> None:
    """Check how a table is to be divided.

    Args:
        by: `time`, `hash`, or empty: not at all.
        table: The table; empty: the only one.
        column: The column to divide by.
        parts: Part to window or fraction.
        tables: The tables there are.

    Raises:
        ArgumentError: The division makes no sense: something is missing or unknown, or fractions do not sum to 1.
    """
    if not by:
        if given := next((name for name, value in (("split_table", table), ("split_column", column), ("split_parts", parts)) if value), None):
            raise ArgumentError(given, "it does nothing without split_by; set split_by to time or hash")
        return
    one_of("split_by", by, ("time", "hash"))
    if not table and len(tables) > 1:
        raise ArgumentError("split_table", f"name the table to split: {' or '.join(tables)}")
    if table and table not in tables:
        raise ArgumentError("split_table", f"there is no table {table!r}; the tables are {', '.join(tables)}")
    if not column:
        raise ArgumentError("split_column", f"name the column to split by {by}")
    if not parts:
        example = "{train: {end: -90 days}, test: {start: -90 days}}" if by == "time" else "{train: 0.8, test: 0.2}"
        raise ArgumentError("split_parts", f"name the parts, for instance {example}")
    for part in parts:
        if part == NO_PART or not re.fullmatch(r"[A-Za-z_][\w-]{0,99}", part, re.ASCII):
            raise ArgumentError("split_parts", f"part {part!r}: it names a folder, and {NO_PART!r} is taken; use letters, digits, - and _")
    if by == "hash":
        _check_fractions(parts)


def _check_fractions(parts: Mapping[str, Any]) -> None:
    for part, share in parts.items():
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise ArgumentError(f"split_parts.{part}", f"{share!r} must be a fraction, for instance 0.8")
    if min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > 1e-9:
        raise ArgumentError("split_parts", f"the fractions of {', '.join(parts)} are {list(parts.values())}; they must be positive and sum to 1")
