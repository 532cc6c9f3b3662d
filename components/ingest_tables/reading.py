"""A table's rows as Arrow batches of one schema, streaming, whatever files they come from."""

import codecs
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from intermodal.components.ingest_tables.files import TableFile, find_files
from intermodal.errors import ConfigurationError, DataError

#: Bytes of CSV parsed at a time.
_BLOCK = 8 << 20
#: Types tried, in this order, for a CSV column that is not declared; what fits none is text.
_LADDER = (pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us", "UTC"), pa.timestamp("us"))
_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "float": pa.float64(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us"),
    "timestamp[s, UTC]": pa.timestamp("s", "UTC"),
    "timestamp[ms, UTC]": pa.timestamp("ms", "UTC"),
    "timestamp[us, UTC]": pa.timestamp("us", "UTC"),
}


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
            ConfigurationError: A key is unknown or missing, or the name cannot name a folder.
        """
        known = [each.name for each in fields(cls)]
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                raise ConfigurationError(
                    f"source {value.get('name', '?')!r}: there is no key {key!r}; {f'did you mean {close[0]!r}?' if close else f'the keys are {known}'}"
                )
        missing = {"name", "uri"} - set(value)
        if missing:
            raise ConfigurationError(f"source {value}: the key {sorted(missing)[0]!r} is required")
        if not str(value["name"]).isidentifier():
            raise ConfigurationError(f"source name {value['name']!r}: it names a folder and a relation; use letters, digits and underscores")
        return cls(**(value | {"skip_rows": int(value.get("skip_rows", 0))}))

    def declared(self) -> dict[str, pa.DataType]:
        """Return the declared columns with their Arrow types."""
        return {column: _type(self.name, column, text) for column, text in self.columns.items()}


def _type(table: str, column: str, text: str) -> pa.DataType:
    if text in _TYPES:
        return _TYPES[text]
    try:
        return pa.type_for_alias(text)
    except ValueError as error:
        raise ConfigurationError(
            f"source {table!r}: column {column!r} is declared {text!r}, which is no Arrow type; int64, double, string or "
            "timestamp[us, UTC], for instance, are"
        ) from error


class Table:
    """A source's files, opened far enough to know their one schema."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._files = find_files(source.uri, source.format)
        self._schemas = [self._schema_of(file) for file in self._files]
        self.schema = self._unified()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order of the files' names, in the table's schema.

        Raises:
            DataError: A file is broken, or a value does not fit its column's type.
        """
        number = 0
        for file, types in zip(self._files, self._schemas, strict=True):
            for batch in self._read(file, types):
                batch = self._finished(batch, number)
                number += batch.num_rows
                yield batch

    def _read(self, file: TableFile, types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        with file.open() as content:
            if file.kind == "parquet":
                try:
                    yield from pq.ParquetFile(content).iter_batches(batch_size=1 << 16)
                except (pa.ArrowInvalid, OSError) as error:
                    raise DataError(f"{file.name}: not whole Parquet ({_first(error)}); fetch or write it again") from error
            else:
                yield from self._csv(file, content, types)

    def _csv(self, file: TableFile, content: IO[bytes], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        source = self.source
        named = {"column_names": list(source.column_names)} if source.column_names else {}
        checked: Any = content
        if codecs.lookup(source.encoding).name != "utf-8":
            checked = pa.transcoding_input_stream(pa.PythonFile(content, mode="r"), source.encoding, "utf-8")
        row = 0
        try:
            reader = csv.open_csv(
                checked,
                read_options=csv.ReadOptions(block_size=_BLOCK, skip_rows=source.skip_rows, **named),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(column_types=types, null_values=list(source.null_values), strings_can_be_null=True),
            )
            for batch in reader:
                row += batch.num_rows
                yield batch
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            text = _first(error)
            if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "utf-8" in text.lower():
                raise DataError(
                    f"{file.name}: not {source.encoding} text after row {row} ({text}); name its `encoding`, for instance latin-1"
                ) from error
            if "Empty CSV file" in text:
                raise DataError(f"{file.name}: the file is empty; a table needs a header and rows") from error
            raise DataError(f"{file.name}: after row {row}: {text}; correct the file, or declare the column's type in `columns`") from error

    def _schema_of(self, file: TableFile) -> dict[str, pa.DataType]:
        """Return a file's columns and types: declared, stored, or found by reading the whole of a CSV file once."""
        declared = self.source.declared()
        if file.kind == "parquet":
            with file.open() as content:
                try:
                    schema = pq.read_schema(content)
                except (pa.ArrowInvalid, OSError) as error:
                    raise DataError(f"{file.name}: not whole Parquet ({_first(error)}); fetch or write it again") from error
            found = dict(zip(schema.names, schema.types, strict=True))
            self._check_names(file, schema.names)
            return found | {column: kind for column, kind in declared.items() if column in found}
        types: dict[str, pa.DataType] = {}
        with file.open() as content:
            first = next(self._csv(file, content, {}), None)
        if first is None:
            raise DataError(f"{file.name}: no rows; a table needs at least one")
        self._check_names(file, first.schema.names)
        undeclared = [name for name in first.schema.names if name not in declared]
        if undeclared:
            with file.open() as content:
                # Read as text once, so that a type is found that every row fits, not only those of the first block.
                for batch in self._csv(file, content, dict.fromkeys(first.schema.names, pa.string())):
                    for name in undeclared:
                        types[name] = _widened(types.get(name), batch.column(name))
        return {name: declared.get(name) or types.get(name) or pa.string() for name in first.schema.names}

    def _check_names(self, file: TableFile, names: list[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{file.name}: the column {twice[0]!r} is there twice; rename one")
        for column in self.source.columns:
            if column not in names:
                close = difflib.get_close_matches(column, names, n=1, cutoff=0.6)
                hint = f"was it renamed {close[0]!r}?" if close else f"the columns are {', '.join(names)}"
                raise DataError(f"{file.name}: the column {column!r} is missing; {hint}")

    def _unified(self) -> pa.Schema:
        names = list(dict.fromkeys(name for types in self._schemas for name in types))
        kinds = {}
        for name in names:
            seen = {types[name] for types in self._schemas if name in types}
            kinds[name] = seen.pop() if len(seen) == 1 else pa.float64() if all(map(_is_number, seen)) else pa.string()
        if self.source.time_zone:
            kinds = {name: pa.timestamp(kind.unit, "UTC") if _is_zoneless(kind) else kind for name, kind in kinds.items()}
        columns = [pa.field(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in kinds.items()]
        if self.source.row_number:
            columns.append(pa.field(self.source.row_number, pa.int64()))
        return pa.schema(columns)

    def _finished(self, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        columns = []
        for wanted in self.schema:
            if wanted.name == self.source.row_number:
                columns.append(pa.array(range(start, start + batch.num_rows), pa.int64()))
                continue
            index = batch.schema.get_field_index(wanted.name)
            if index < 0:
                columns.append(pa.nulls(batch.num_rows, wanted.type))
                continue
            column = batch.column(index)
            if self.source.time_zone and _is_zoneless(column.type):
                column = pc.assume_timezone(column, self.source.time_zone, ambiguous="earliest", nonexistent="earliest")
            try:
                columns.append(column.cast(wanted.type))
            except pa.ArrowInvalid as error:
                raise DataError(f"{self.source.uri}: column {wanted.name!r}: {_first(error)}; declare another type in `columns`") from error
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _widened(kind: pa.DataType | None, column: pa.Array) -> pa.DataType | None:
    """Return the narrowest type that fits both what was seen (None: nulls only) and a column of text."""
    if column.null_count == len(column):
        return kind
    candidates = _LADDER if kind is None else {pa.int64(): _LADDER[:2], pa.float64(): _LADDER[1:2]}.get(kind, (kind,))
    for candidate in candidates:
        try:
            column.cast(candidate)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        return candidate
    return pa.string()


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_zoneless(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is None


def _first(error: BaseException) -> str:
    return str(error).partition("\n")[0].removeprefix("CSV conversion error to ").rstrip(". ")[:300]
