"""CSV files: the narrowest types that all their rows fit, and their rows as Arrow batches."""

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from intermodal.components.ingest_tables.files import TableFile
from intermodal.components.ingest_tables.source import Source
from intermodal.runtime.errors import DataError

Types = dict[str, pa.DataType]

#: Bytes parsed at a time; doubled for a file with longer lines, up to the limit.
_BLOCK = 4 << 20
_LARGEST_BLOCK = 256 << 20

#: The order in which Arrow tries types on a column. A column gets the first that all rows fit, wherever in the file each row stands.
LADDER = (
    pa.null(),
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    pa.timestamp("s"),
    pa.timestamp("s", "UTC"),
    pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"),
    pa.float64(),
    pa.string(),
)

_MISFIT = re.compile(
    r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to (.+?): (?:(?:invalid value|expected (?:a|no) zone offset in) '(.*)')?", re.DOTALL
)


class CsvFile:
    """One CSV file of a table.

    Args:
        file: Where it is.
        source: How to read it.
    """

    def __init__(self, file: TableFile, source: Source) -> None:
        self._file = file
        self._source = source
        self._block = _BLOCK

    def names(self, declared: Types) -> list[str]:
        """Return the columns' names as the file has them, empty and double ones too."""
        while True:
            try:
                with self._open(dict.fromkeys(declared, pa.string())) as reader:
                    return list(reader.schema.names)
            except pa.ArrowInvalid as error:
                self._enlarge_or_refuse(error)

    def scan(self, types: Types, declared: Types) -> Types:
        """Read the file once, without keeping it, and return its columns with the declared types or the narrowest that all rows fit.

        Args:
            types: Types that other files of the table fit; these are widened where this file does not.
            declared: Types that are never widened.

        Raises:
            DataError: The file is not CSV, or not in its encoding, or a value is not of the type declared.
        """
        names = self.names(declared)
        types = dict(types)
        while True:
            try:
                with self._open(types) as reader:
                    types |= {each.name: each.type for each in reader.schema}
                    if any(types[name] == pa.binary() for name in names if name not in declared):
                        self._refuse_encoding(None)
                    for _ in reader:
                        pass
                return {name: types[name] for name in names}
            except pa.ArrowInvalid as error:
                if not (misfit := _MISFIT.search(str(error))):
                    self._enlarge_or_refuse(error)
                    continue
                if "UTF8" in str(error):
                    self._refuse_encoding(error)
                column = names[int(misfit[1])]
                if column in declared:
                    self._refuse_value(column, misfit[2], misfit[3], error)
                types[column] = _wider(types[column], misfit[3])

    def batches(self, types: Types) -> Iterator[pa.RecordBatch]:
        """Yield the rows, parsed as types that `scan` found."""
        with self._open(types) as reader:
            yield from reader

    @contextmanager
    def _open(self, types: Types, only: Sequence[str] = ()) -> Iterator[csv.CSVStreamingReader]:
        source = self._source
        with self._file.open() as content:
            stream: Any = content
            if codecs.lookup(source.encoding).name != "utf-8":
                stream = pa.transcoding_input_stream(pa.PythonFile(content, mode="r"), source.encoding, "utf-8")
            try:
                with csv.open_csv(
                    stream,
                    csv.ReadOptions(block_size=self._block, skip_rows=source.skip_rows, column_names=list(source.column_names) or None),
                    csv.ParseOptions(newlines_in_values=True),
                    csv.ConvertOptions(
                        column_types=types, null_values=list(source.null_values), strings_can_be_null=True, include_columns=list(only)
                    ),
                ) as reader:
                    yield reader
            except UnicodeError as error:
                self._refuse_encoding(error)

    def _enlarge_or_refuse(self, error: pa.ArrowInvalid) -> None:
        text = " ".join(str(error).split())[:300]
        if "UTF8" in text:
            self._refuse_encoding(error)
        if "straddl" in text and self._block < _LARGEST_BLOCK:
            self._block *= 2
            return
        if "straddl" in text:
            text = f"a line is longer than {_LARGEST_BLOCK >> 20} MiB; is a quote not closed?"
        if "Empty CSV file" in text:
            text = "the file is empty; a table needs a header and rows"
        raise DataError(f"{self._file.name}: {text}; correct the file") from error

    def _refuse_value(self, column: str, kind: str, value: str | None, error: pa.ArrowInvalid) -> NoReturn:
        row = 0
        with self._open({column: pa.string()}, only=[column]) as reader:
            for batch in reader:
                found = pc.index(batch.column(column), value).as_py()
                row += found + 1 if found >= 0 else batch.num_rows
                if found >= 0:
                    break
        zone = " (without a zone: declare timestamp[us], and the source's `time_zone`)" if kind.startswith("timestamp") and "tz" in kind else ""
        raise DataError(
            f"{self._file.name}: row {row}, column {column!r}: {str(value)[:100]!r} is not {kind}{zone}; correct the file, declare another type in "
            "`columns`, or add the text to `null_values`"
        ) from error

    def _refuse_encoding(self, error: BaseException | None) -> NoReturn:
        name = self._source.encoding
        with self._file.open() as content:
            for number, line in enumerate(io.BufferedReader(cast(Any, content)), 1):
                try:
                    line.decode(name)
                except UnicodeDecodeError as wrong:
                    raise DataError(
                        f"{self._file.name}: line {number}, byte {wrong.start + 1}: 0x{line[wrong.start]:02x} is not {name}; "
                        "declare the file's `encoding`, for instance latin-1"
                    ) from error
                except UnicodeError:  # of the whole text, a missing byte order mark for instance
                    break
        raise DataError(f"{self._file.name}: not {name} text; declare the file's `encoding`, for instance latin-1") from error


def _wider(kind: pa.DataType, value: str) -> pa.DataType:
    """Return the next type of the ladder that the value fits."""
    line = ('"' + value.replace('"', '""') + '"\n').encode()
    options = csv.ReadOptions(column_names=["value"], block_size=len(line) + 1024)
    own = csv.read_csv(io.BytesIO(line), options, csv.ParseOptions(newlines_in_values=True), csv.ConvertOptions(null_values=[])).schema.types[0]
    return LADDER[max(LADDER.index(kind) + 1, LADDER.index(own))]
