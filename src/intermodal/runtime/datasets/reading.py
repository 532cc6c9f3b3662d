"""The one reader of Dataset artifacts. PyArrow is imported when a dataset is opened, for not every image has it."""

import os
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from intermodal.runtime.datasets.listing import TEST, TRAIN, VALIDATION, DataFile, find_splits
from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

#: The shares of rows that are cut from data without splits, and from data that has `train` and `test` alone.
_SHARES: Final = {TRAIN: 0.8, VALIDATION: 0.1, TEST: 0.1}
_SHARES_OF_TRAIN: Final = {TRAIN: 0.9, VALIDATION: 0.1}


@dataclass(frozen=True)
class _Cut:
    """The rows of a split whose place (see `held_out.row_places`) is at least `start` and below `end`."""

    split: str
    start: float
    end: float


class Dataset:
    """The rows of a Dataset artifact, by split.

    Args:
        path: The artifact, for messages.
        files: The Parquet files of each split.
        cuts: Splits that are cut from others by a hash of each row.
    """

    def __init__(self, path: Path, files: Mapping[str, Sequence[Path]], cuts: Mapping[str, _Cut] | None = None) -> None:
        self.path = path
        self._files = files
        self._cuts = cuts or {}

    @property
    def splits(self) -> list[str]:
        """The names: `train`, `validation` and `test` first, then others by name; `train` alone, and everything in it, where there are no splits."""
        return list({**dict.fromkeys(self._cuts), **dict.fromkeys(self._files)})

    def files(self, split: str) -> list[Path]:
        """Return the Parquet files that hold a split's rows, and, of one that `with_held_out` cut, other rows too.

        Raises:
            DataError: There is no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.path}: it has no split {split!r}, only {', '.join(self.splits)}; add the folder {split}, or name another split")
        return list(self._files[self._cuts[split].split if split in self._cuts else split])

    def schema(self, split: str) -> "pa.Schema":
        """Return the columns of a split, of all its files together; numbers of several types have the widest.

        Raises:
            DataError: There is no such split, a file is damaged, or files have types that do not go together.
        """
        import pyarrow as pa

        from intermodal.runtime.datasets.parquet_files import file_schema

        types: dict[str, pa.DataType] = {}
        for file in self.files(split):
            for each in file_schema(file):
                types[each.name] = _common(types.get(each.name), each.type, file, each.name)
        return pa.schema(list(types.items()))

    def rows(self, split: str) -> int:
        """Return how many rows a split has; of one that was cut by reading it, of others from the files' footers.

        Raises:
            DataError: There is no such split, or a file is damaged.
        """
        from intermodal.runtime.datasets.parquet_files import row_groups

        if split in self._cuts:
            return sum(batch.num_rows for batch in self.batches(split))
        return sum(sum(row_groups(file)) for file in self.files(split))

    def batches(self, split: str, columns: Sequence[str] | None = None) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a split, in the order of the files' names, in batches of at most 65,536 rows and about 64 MiB.

        Args:
            split: Its name.
            columns: The columns, in this order. Default: all. One that a file lacks, and another file of the split has, is null there.

        Raises:
            DataError: There is no such split or column, a file is damaged, or files have types that do not go together.
        """
        for _, batch in self._batches(split, columns, None):
            yield batch

    def tables(self, split: str, columns: Sequence[str] | None = None) -> "Iterator[pa.Table]":
        """Yield the batches of a split as tables. See `batches`."""
        import pyarrow as pa

        for batch in self.batches(split, columns):
            yield pa.Table.from_batches([batch])

    def numbered(self, split: str, columns: Sequence[str] | None, ranges: Sequence[tuple[int, int]]) -> "Iterator[tuple[int, pa.RecordBatch]]":
        """Yield the batches of a split that hold rows of some ranges, each after the number of its first row. See `batches`.

        Only the row groups with such rows are read; of a split that was cut by a hash of each row, all.

        Args:
            split: Its name.
            columns: The columns. Default: all.
            ranges: First row and end of each range, ascending; rows are numbered from 0, in the order of `batches`.

        Raises:
            DataError: As `batches`.
        """
        for first, batch in self._batches(split, columns, ranges):
            if _touches(ranges, first, first + batch.num_rows):
                yield first, batch

    def _batches(self, split: str, columns: Sequence[str] | None, ranges: Sequence[tuple[int, int]] | None) -> "Iterator[tuple[int, pa.RecordBatch]]":
        import pyarrow as pa

        from intermodal.runtime.datasets.held_out import row_places
        from intermodal.runtime.datasets.parquet_files import file_batches, row_groups

        schema = self.schema(split)
        for name in columns or []:
            if name not in schema.names:
                raise DataError(f"{self.path}: the split {split!r} has no column {name!r}; {nearest(name, schema.names)}")
        wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
        cut = self._cuts.get(split)
        first = 0
        for file in self.files(split):
            if cut or ranges is None:
                for batch in file_batches(file, schema.names if cut else wanted.names):
                    chosen = _fitted(batch, wanted, file)
                    if cut:
                        places = row_places(batch)
                        chosen = chosen.filter(pa.array((places >= cut.start) & (places < cut.end)))
                    if chosen.num_rows:
                        yield first, chosen
                        first += chosen.num_rows
                continue
            for group, rows in enumerate(row_groups(file)):
                end = first + rows
                if _touches(ranges, first, end):
                    for batch in file_batches(file, wanted.names, [group]):
                        yield first, _fitted(batch, wanted, file)
                        first += batch.num_rows
                first = end

    def read(self, split: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of a split as one table. See `batches`.

        Raises:
            DataError: As `batches`, or the split has no rows.
        """
        import pyarrow as pa

        batches = list(self.batches(split, columns))
        if not batches:
            remedy = "give more data, or a folder of its own" if split in self._cuts else "widen its window or fraction"
            raise DataError(f"{self.path}: the split {split!r} has no rows; {remedy}")
        return pa.Table.from_batches(batches)

    def with_held_out(self) -> "Dataset":
        """Return the dataset with parts to hold out from training, which are cut by a hash of each row where they are not there.

        Data without splits, or with `train` alone, is cut into `train` (0.8 of the rows, about), `validation` (0.1) and `test` (0.1); of data with
        `train` and `test` alone a tenth of `train` becomes `validation`. Anything else stays as it is: what a model was trained on cannot
        become its `test` afterwards. A row's part depends on its values alone, so that every component cuts alike; equal rows are in one part.
        """
        shares = {(TRAIN,): _SHARES, (TRAIN, TEST): _SHARES_OF_TRAIN}.get(tuple(self._files))
        if self._cuts or shares is None:
            return self
        cuts, start = {}, 0.0
        for name, share in shares.items():
            cuts[name] = _Cut(TRAIN, start, start + share)
            start += share
        last = list(shares)[-1]
        cuts[last] = _Cut(TRAIN, cuts[last].start, 1.0)
        return Dataset(self.path, self._files, cuts)


@contextmanager
def open_dataset(path: str | os.PathLike[str]) -> Iterator[Dataset]:
    """Open a Dataset artifact: a Parquet or CSV file with or without a suffix, a directory of such files, or one with a directory for each split.

    CSV (UTF-8, commas, a header; empty fields and NA are null) is written as Parquet into a temporary directory first, which ends with the block. A
    column of all its CSV files has one type, the narrowest that every value fits.

    Args:
        path: The artifact. See `listing.find_splits`.

    Raises:
        DataError: There is nothing there, only a part of it was written, a file is neither Parquet nor CSV, or a CSV file is not well-formed.
        MachineError: The temporary directory has no room for what was CSV.
    """
    whole = Path(path)
    splits = find_splits(whole)
    with tempfile.TemporaryDirectory(prefix="dataset-") as scratch, room(whole, scratch):
        yield Dataset(whole, as_parquet(splits, Path(scratch)))


def as_parquet(parts: Mapping[str, Sequence[DataFile]], scratch: Path) -> dict[str, list[Path]]:
    """Return the files of each part, CSV files as the Parquet files that they are written to; a column has one type in all of them.

    Args:
        parts: The files of one table, by part.
        scratch: The directory for what was CSV; need not exist.

    Raises:
        DataError: A CSV file is not well-formed.
    """
    csv = [file for files in parts.values() for file in files if file.kind == "csv"]
    written: dict[Path, Path] = {}
    if csv:
        from intermodal.runtime.datasets.csv_files import write_parquet

        scratch.mkdir(parents=True, exist_ok=True)
        written = write_parquet(csv, scratch)
    return {part: [written.get(file.path, file.path) for file in files] for part, files in parts.items()}


def _touches(ranges: Sequence[tuple[int, int]], first: int, end: int) -> bool:
    """Return whether rows from `first` to before `end` are in one of some ranges, which ascend."""
    at = bisect_right(ranges, first, key=lambda each: each[1])
    return at < len(ranges) and ranges[at][0] < end


def _common(known: "pa.DataType | None", kind: "pa.DataType", file: Path, column: str) -> "pa.DataType":
    """Return the type that holds the values of two, dictionaries being no type of their own."""
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if known is None or pa.types.is_null(known) or known == kind:
        return kind
    if pa.types.is_null(kind):
        return known
    both = (known, kind)
    if all(pa.types.is_integer(each) for each in both):
        return pa.int64()
    if all(pa.types.is_integer(each) or pa.types.is_floating(each) for each in both):
        return pa.float64()
    if all(pa.types.is_string(each) or pa.types.is_large_string(each) for each in both):
        return pa.large_string()
    if all(pa.types.is_timestamp(each) and bool(each.tz) == bool(known.tz) for each in both):
        return pa.timestamp("us" if "ns" not in (known.unit, kind.unit) else "ns", known.tz and "UTC")
    raise DataError(f"{file}: column {column!r} is {kind}, and {known} in another file of the split; write both alike")


def _fitted(batch: "pa.RecordBatch", schema: "pa.Schema", file: Path) -> "pa.RecordBatch":
    import pyarrow as pa

    columns = []
    for wanted in schema:
        index = batch.schema.get_field_index(wanted.name)
        column = batch.column(index) if index >= 0 else pa.nulls(batch.num_rows, wanted.type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            columns.append(column if column.type == wanted.type else column.cast(wanted.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{file}: column {wanted.name!r}: {error}; write the split's files alike") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
