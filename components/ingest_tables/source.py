"""One table and how to read it, as the pipeline's parameters say it."""

import codecs
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import pyarrow as pa

from intermodal.runtime.errors import ConfigurationError

_TYPES = {"date": pa.date32(), "datetime": pa.timestamp("us"), "timestamp": pa.timestamp("us")}
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), *(?:tz=)?([\w/+:-]+)\]")


@dataclass(frozen=True)
class Source:
    """One table and how to read it; see the contract of `ingest_tables`."""

    name: str
    uri: str
    format: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    column_names: Sequence[str] = ()
    skip_rows: int = 0
    null_values: Sequence[str] = ("", "NA")
    encoding: str = "utf-8"
    time_zone: str | None = None
    row_number: str | None = None

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Self:
        """Return a source from its object.

        Raises:
            ConfigurationError: A key is unknown or missing, the name cannot name a folder, or the format or encoding is not known.
        """
        known = [each.name for each in fields(cls)]
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(known)}"
                raise ConfigurationError(f"source {value.get('name', '?')!r}: there is no key {key!r}; {hint}")
        for key in ("name", "uri"):
            if key not in value:
                raise ConfigurationError(f"source {value}: the key {key!r} is required")
        source = cls(**(value | {"skip_rows": int(value.get("skip_rows", 0))}))
        if not re.fullmatch(r"[A-Za-z_]\w{0,99}", source.name, re.ASCII):
            raise ConfigurationError(f"source name {source.name!r}: it names a folder and a relation; use letters, digits and underscores")
        if source.format not in (None, "csv", "parquet"):
            raise ConfigurationError(f"source {source.name!r}: format {source.format!r}; it must be csv or parquet")
        try:
            "".encode(source.encoding)
            if codecs.lookup(source.encoding).name in ("idna", "punycode"):  # of host names
                raise LookupError(source.encoding)
        except (LookupError, ValueError):  # rot13 and base64 are codecs too, but not from bytes to text
            raise ConfigurationError(f"source {source.name!r}: there is no encoding {source.encoding!r}; latin-1, for instance, is one") from None
        source.declared()
        return source

    def declared(self) -> dict[str, pa.DataType]:
        """Return the declared columns with their Arrow types."""
        return {column: _type(self.name, column, text) for column, text in self.columns.items()}


def _type(table: str, column: str, text: str) -> pa.DataType:
    if text in _TYPES:
        return _TYPES[text]
    if zoned := _ZONED.fullmatch(text):
        return pa.timestamp(zoned[1], zoned[2])
    try:
        return pa.type_for_alias(text)
    except ValueError as error:
        raise ConfigurationError(
            f"source {table!r}: column {column!r} is declared {text!r}, which is no Arrow type; int64, double, string or "
            "timestamp[us, UTC], for instance, are"
        ) from error
