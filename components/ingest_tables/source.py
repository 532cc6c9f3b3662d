"""One table and how to read it, as the pipeline's parameters say it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

from intermodal.components.ingest_tables.arguments import named_source
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
    def parse(cls, value: Any) -> Self:
        """Return a source from its object or URI, which `arguments.check_sources` has passed.

        Raises:
            ConfigurationError: A column is declared with what is no Arrow type.
        """
        value = named_source(value)
        source = cls(**(value | {"skip_rows": int(value.get("skip_rows", 0))}))
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
