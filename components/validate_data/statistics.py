"""Statistics of a table that need not fit in memory: TFDV's accumulators, fed Arrow batch by Arrow batch."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import statistics_pb2

from intermodal.components.validate_data import tfdv
from intermodal.errors import DataError

#: Rows a batch. Cost a row falls until about here, and so many rows of 100 columns take some 50 MB.
BATCH_ROWS = 65_536

#: TFDV's in-memory mode counts with 1,024 buckets, and above so many distinct values its top values are wrong and depend on how the table is
#: cut. With these many the counts are exact up to 131,072 distinct values, and cost nothing that can be seen.
_COUNT_BUCKETS = 131_072


class Accumulator:
    """Statistics of the rows added so far. It can be pickled, merged with others and takes the same memory however many rows it has seen."""

    def __init__(self) -> None:
        self.rows = 0
        self._partial = [generator.create_accumulator() for generator in _generators()]

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch as `read_batches` gives it."""
        lists = pa.RecordBatch.from_arrays([tfdv.ToSingletonListArray(column) for column in batch.columns], batch.schema.names)
        self._partial = [g.add_input(partial, lists) for g, partial in zip(_generators(), self._partial, strict=True)]
        self.rows += batch.num_rows

    @classmethod
    def merged(cls, accumulators: Sequence[Self]) -> Self:
        """Return the statistics of all the rows that some accumulators have seen; these stay as they are."""
        result = cls()
        partials = zip(*(accumulator._partial for accumulator in accumulators), strict=True)
        # TFDV merges into the first, whence the copy.
        result._partial = [g.merge_accumulators([copy.deepcopy(first), *rest]) for g, (first, *rest) in zip(_generators(), partials, strict=True)]
        result.rows = sum(accumulator.rows for accumulator in accumulators)
        return result

    def statistics(self, name: str) -> statistics_pb2.DatasetFeatureStatisticsList:
        """Return the statistics as TFDV's message, with one dataset called `name`."""
        partials = copy.deepcopy(self._partial)  # Reading a quantile sketch out ends it.
        outputs = [g.extract_output(g.compact(partial)) for g, partial in zip(_generators(), partials, strict=True)]
        result = tfdv.merge_dataset_feature_statistics(outputs)
        result.datasets[0].name = name
        result.datasets[0].num_examples = self.rows
        return result


def _generators() -> list[Any]:
    """Return what TFDV computes by default: `stats_impl.get_generators(StatsOptions(), in_memory=True)`, but for the bucket count."""
    return [
        tfdv.BasicStatsGenerator(),
        tfdv.TopKUniquesSketchStatsGenerator(
            num_top_values=20,
            num_rank_histogram_buckets=1000,
            num_misragries_buckets=_COUNT_BUCKETS,
            num_kmv_buckets=16_384,
        ),
    ]


def readable(kind: pa.DataType) -> bool:
    """Say whether a column of an Arrow type can be a feature: numbers, booleans, text and bytes, plain or dictionary-encoded, or all nulls."""
    return _target(kind) is not None


def read_blocks(files: Sequence[Path], ignored: Sequence[str], blocks: int = 1) -> list[Accumulator]:
    """Read Parquet files in order, a batch at a time, and return the statistics of `blocks` equal runs of consecutive rows.

    Args:
        files: Parquet files of one table; a column may be absent from some.
        ignored: Columns to leave unread.
        blocks: Into how many runs of rows to divide the whole. Merged, they are the statistics of all.

    Raises:
        DataError: A file is not whole Parquet.
    """
    accumulators = [Accumulator() for _ in range(blocks)]
    rows = sum(_open(file).metadata.num_rows for file in files)
    ends = [rows * (block + 1) // blocks for block in range(blocks)]
    row, block = 0, 0
    for batch in (batch for file in files for batch in read_batches(file, ignored)):
        taken = 0
        while taken < batch.num_rows:
            while row >= ends[block]:
                block += 1
            piece = batch.slice(taken, ends[block] - row)
            accumulators[block].add(piece)
            taken, row = taken + piece.num_rows, row + piece.num_rows
    return accumulators


def read_batches(file: Path, ignored: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file's rows in batches of `BATCH_ROWS`, its columns as integers, floats or bytes.

    Raises:
        DataError: The file is not whole Parquet.
    """
    parquet = _open(file)
    columns = [column.name for column in parquet.schema_arrow if column.name not in ignored and readable(column.type)]
    try:
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, columns=columns):
            yield _converted(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not whole Parquet ({_first_line(error)}); run the task that writes it again") from error


def column_types(files: Sequence[Path]) -> dict[str, pa.DataType]:
    """Return the columns of some Parquet files, each with its type in the first file that has it, from their footers alone."""
    types: dict[str, pa.DataType] = {}
    for file in files:
        for column in _open(file).schema_arrow:
            types.setdefault(column.name, column.type)
    return types


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: not whole Parquet ({_first_line(error)}); run the task that writes it again") from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(". ")[:200]


def _target(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that TFDV is given for a column's type, or None when there is none."""
    if pa.types.is_dictionary(kind):
        return _target(kind.value_type)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.large_binary()
    return pa.null() if pa.types.is_null(kind) else None


def _converted(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays, names = [], []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        arrays.append(array.cast(_target(array.type)))
        names.append(name)
    return pa.RecordBatch.from_arrays(arrays, names)
