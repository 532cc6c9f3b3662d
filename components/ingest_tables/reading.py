"""A table's rows as Arrow batches of one schema, streaming, whatever files they come from."""

import difflib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intermodal.components.ingest_tables.files import TableFile
from intermodal.components.ingest_tables.listing import find_files
from intermodal.components.ingest_tables.source import Source
from intermodal.runtime.datasets.csv_files import CsvFile, CsvOptions, fit_types
from intermodal.runtime.datasets.parquet_files import whole_parquet
from intermodal.runtime.errors import DataError

_BATCH = 1 << 16
_REMEDY = "fetch or write it again"


class Table:
    """A source's files, read far enough to know their one schema."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._files = find_files(source.uri, source.format)
        kinds = {file.kind for file in self._files}
        if len(kinds) > 1:
            raise DataError(f"{source.uri}: CSV and Parquet files lie beside each other; name one kind with a glob, *.parquet for instance")
        self._csv = [CsvFile(file, _csv_options(source)) for file in self._files] if kinds == {"csv"} else []
        stored = self._scan_csv() if self._csv else self._scan_parquet()
        fields = [pa.field(name, self._written(kind)) for name, kind in zip(stored.names, stored.types, strict=True)]
        if source.row_number:
            if source.row_number in stored.names:
                raise DataError(f"{source.uri}: row_number {source.row_number!r} is a column already; choose another name")
            fields.append(pa.field(source.row_number, pa.int64()))
        self.schema = pa.schema(fields)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order of the files' names, in the table's schema.

        Raises:
            DataError: A file is broken, or a value does not fit its column's type.
        """
        number = 0
        for index, file in enumerate(self._files):
            for batch in self._csv[index].batches(self._types) if self._csv else _parquet_batches(file):
                yield self._finished(file, batch, number)
                number += batch.num_rows

    def _scan_csv(self) -> pa.Schema:
        """Return the columns of all files, with the narrowest types that every row of every file fits."""
        declared = self.source.declared()
        first: list[str] = []
        for file, table in zip(self._files, self._csv, strict=True):
            names = table.names(declared)
            self._check_names(file, names, first)
            first = first or names
        self._types = fit_types(self._csv, declared)
        return pa.schema([(name, self._types[name]) for name in first])

    def _scan_parquet(self) -> pa.Schema:
        declared = self.source.declared()
        schemas: list[pa.Schema] = []
        for file in self._files:
            with file.open() as content, whole_parquet(file.name, _REMEDY):
                schema = pq.ParquetFile(content).schema_arrow
            self._check_names(file, schema.names, schemas[0].names if schemas else [])
            schema = pa.schema([(each.name, _plain(each.type)) for each in schema])
            for column, kind in declared.items():
                if not self._can_be(schema.field(column).type, kind):
                    raise DataError(
                        f"{file.name}: column {column!r} is {schema.field(column).type}, declared is {kind}; correct `columns`, or the file"
                    )
            schemas.append(schema)
            try:
                unified = pa.unify_schemas(schemas, promote_options="permissive")
            except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
                raise DataError(f"{file.name}: its types differ from those of {self._files[0].name} ({error}); write both alike") from error
        return pa.schema([(each.name, declared.get(each.name, each.type)) for each in unified])

    def _check_names(self, file: TableFile, names: list[str], first: list[str]) -> None:
        folded = [name.casefold() for name in names]
        for name in names:
            if not name:
                raise DataError(f"{file.name}: column {names.index(name) + 1} has no name; name it, or give all `column_names` and `skip_rows: 1`")
            if folded.count(name.casefold()) > 1:
                raise DataError(f"{file.name}: the column {name!r} is there twice (SQL does not tell upper from lower case); rename one")
        for column in [*self.source.columns, *first]:
            if column not in names:
                close = difflib.get_close_matches(column, names, n=1, cutoff=0.6)
                hint = f"was it renamed {close[0]!r}?" if close else f"the columns are {', '.join(names)}"
                raise DataError(f"{file.name}: the column {column!r} is missing; {hint}")
        if first and (more := [name for name in names if name not in first]):
            raise DataError(f"{file.name}: the column {more[0]!r} is not in {self._files[0].name}; a table's files must have the same columns")

    def _written(self, kind: pa.DataType) -> pa.DataType:
        """Return the type a column is written with; all nulls count as text, and seconds become what Parquet has."""
        if pa.types.is_null(kind):
            return pa.string()
        if pa.types.is_timestamp(kind):
            zone = "UTC" if kind.tz or self.source.time_zone else None
            return pa.timestamp("us" if kind.unit == "s" else kind.unit, zone)
        return kind

    def _can_be(self, stored: pa.DataType, declared: pa.DataType) -> bool:
        if pa.types.is_timestamp(stored) and pa.types.is_timestamp(declared):
            return bool(stored.tz or self.source.time_zone) == bool(declared.tz)
        families = (_is_number, pa.types.is_timestamp, lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind))
        return stored == declared or pa.types.is_null(stored) or any(each(stored) and each(declared) for each in families)

    def _finished(self, file: TableFile, batch: pa.RecordBatch, start: int) -> pa.RecordBatch:
        columns = []
        for wanted in self.schema:
            if wanted.name == self.source.row_number:
                columns.append(pa.array(range(start, start + batch.num_rows), pa.int64()))
                continue
            column = batch.column(wanted.name)
            try:
                if self.source.time_zone and pa.types.is_timestamp(column.type) and column.type.tz is None:
                    column = pc.assume_timezone(column, self.source.time_zone, ambiguous="earliest", nonexistent="raise")
                columns.append(column.cast(wanted.type))
            except pa.ArrowInvalid as error:
                raise DataError(f"{file.name}: column {wanted.name!r}: {error}; declare another type in `columns`, or correct the file") from error
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _csv_options(source: Source) -> CsvOptions:
    remedy = "declare the file's `encoding`, for instance latin-1"
    return CsvOptions(source.null_values, source.column_names, source.skip_rows, source.encoding, remedy)


def _parquet_batches(file: TableFile) -> Iterator[pa.RecordBatch]:
    with file.open() as content, whole_parquet(file.name, _REMEDY):
        yield from pq.ParquetFile(content).iter_batches(batch_size=_BATCH)


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type that holds the same values without a dictionary or wide offsets."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
