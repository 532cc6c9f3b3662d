"""CSV files: the narrowest types that all their rows fit, and their rows as Arrow batches."""

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

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


class Readable(Protocol):
    """A file of any place, with a name for messages."""

    @property
    def name(self) -> str:
        """Its path or URI."""

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """Open its content."""


@dataclass(frozen=True)
class CsvOptions:
    """How a CSV file is written.

    Attributes:
        null_values: Texts that mean null.
        column_names: The columns' names where the file has no header; empty: its first line.
        skip_rows: Lines to pass over before the header.
        encoding: Its character encoding.
        encoding_remedy: What to do about a file in another encoding, for the message.
    """

    null_values: Sequence[str] = ("", "NA")
    column_names: Sequence[str] = ()
    skip_rows: int = 0
    encoding: str = "utf-8"
    encoding_remedy: str = "save it as UTF-8"


class CsvFile:
    """One CSV file of a table.

    Args:
        file: Where it is.
        options: How it is written.
    """

    def __init__(self, file: Readable, options: CsvOptions) -> None:
        self._file = file
        self._options = options
        self._block = _BLOCK
        self._names: list[str] = []

    def names(self, declared: Types) -> list[str]:
        """Return the columns' names as the file has them, empty and double ones too."""
        while not self._names:
            try:
                with self._open(dict.fromkeys(declared, pa.string())) as reader:
                    self._names = list(reader.schema.names)
            except pa.ArrowInvalid as error:
                self._enlarge_or_refuse(error)
        return self._names

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
        options = self._options
        with self._file.open() as content:
            stream: Any = content
            if codecs.lookup(options.encoding).name != "utf-8":
                stream = pa.transcoding_input_stream(pa.PythonFile(content, mode="r"), options.encoding, "utf-8")
            try:
                with csv.open_csv(
                    stream,
                    csv.ReadOptions(block_size=self._block, skip_rows=options.skip_rows, column_names=list(options.column_names) or None),
                    csv.ParseOptions(newlines_in_values=True),
                    csv.ConvertOptions(
                        column_types=types, null_values=list(options.null_values), strings_can_be_null=True, include_columns=list(only)
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
        name = self._options.encoding
        with self._file.open() as content:
            for number, line in enumerate(io.BufferedReader(cast(Any, content)), 1):
                try:
                    line.decode(name)
                except UnicodeDecodeError as wrong:
                    raise DataError(
                        f"{self._file.name}: line {number}, byte {wrong.start + 1}: 0x{line[wrong.start]:02x} is not {name}; "
                        f"{self._options.encoding_remedy}"
                    ) from error
                except UnicodeError:  # of the whole text, a missing byte order mark for instance
                    break
        raise DataError(f"{self._file.name}: not {name} text; {self._options.encoding_remedy}") from error


def _wider(kind: pa.DataType, value: str) -> pa.DataType:
    """Return the next type of the ladder that the value fits."""
    line = ('"' + value.replace('"', '""') + '"\n').encode()
    options = csv.ReadOptions(column_names=["value"], block_size=len(line) + 1024)
    own = csv.read_csv(io.BytesIO(line), options, csv.ParseOptions(newlines_in_values=True), csv.ConvertOptions(null_values=[])).schema.types[0]
    return LADDER[max(LADDER.index(kind) + 1, LADDER.index(own))]


def fit_types(files: Sequence[CsvFile], declared: Types) -> Types:
    """Return, for each column of some files, its declared type or the narrowest that every row of every file fits; reads them all.

    Raises:
        DataError: See `CsvFile.scan`.
    """
    types = dict(declared)
    fitting: dict[int, Types] = {}
    # A type widened for a later file must fit the earlier ones too.
    while stale := [index for index, file in enumerate(files) if fitting.get(index) != {name: types.get(name) for name in file.names(declared)}]:
        for index in stale:
            fitting[index] = files[index].scan(types, declared)
            types |= fitting[index]
    return types


def write_parquet(files: Sequence[Readable], folder: Path) -> dict[Path, Path]:
    """Write the files of a dataset as Parquet, in a directory, and return where each is then.

    Raises:
        DataError: A file is not well-formed, has a column without a name or two of one name, or separates values by something else than commas.
    """
    tables = [CsvFile(file, CsvOptions()) for file in files]
    for file, table in zip(files, tables, strict=True):
        _check_names(file.name, table.names({}))
    types = fit_types(tables, {})
    written = {}
    for number, (file, table) in enumerate(zip(files, tables, strict=True)):
        schema = pa.schema([(name, _stored(types[name])) for name in table.names({})])
        written[Path(file.name)] = folder / f"{number}.parquet"
        with pq.ParquetWriter(folder / f"{number}.parquet", schema) as writer:
            for batch in table.batches(types):
                writer.write_batch(pa.RecordBatch.from_arrays([batch.column(each.name).cast(each.type) for each in schema], schema=schema))
    return written


def _check_names(file: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{file}: column {number} has no name; name it in the first line")
        if names.count(name) > 1:
            raise DataError(f"{file}: the column {name!r} is there twice; rename one")
    if len(names) == 1 and (separator := next((each for each in ";\t|" if each in names[0]), None)):
        raise DataError(f"{file}: its values are separated by {separator!r}, not by commas; write it with commas")


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return the type a column has in Parquet: text where all is null, microseconds in place of seconds."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_time32(kind):
        return pa.time32("ms")
    return pa.timestamp("us", kind.tz) if pa.types.is_timestamp(kind) and kind.unit == "s" else kind
