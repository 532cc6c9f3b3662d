"""Statistics of a table that need not fit in memory: TFDV's accumulators, fed Arrow batch by Arrow batch."""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tensorflow_metadata.proto.v0 import statistics_pb2

from intermodal.components.validate_data.distributions.samples import Numbers, Rows, Sample, Texts
from intermodal.components.validate_data.statistics import tfdv
from intermodal.components.validate_data.statistics.rows import as_columns, pick
from intermodal.runtime.datasets.parquet_files import batch_rows, file_schema, row_groups, whole_parquet

#: Into how many parts of equal rows a distribution function is divided.
_KNOTS: Final = 1000


class Accumulator:
    """Statistics of the rows added so far. It can be pickled, merged with others and takes the same memory however many rows it has seen."""

    def __init__(self) -> None:
        self.rows = 0
        self.values = 0  # Rows times columns.
        self._partial = [generator.create_accumulator() for generator in tfdv.statistics_generators()]
        self._picked: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch as `read_batches` gives it."""
        lists = pa.RecordBatch.from_arrays([tfdv.ToSingletonListArray(column) for column in batch.columns], batch.schema.names)
        with np.errstate(all="ignore"):  # Moments of infinity are NaN.
            self._partial = [g.add_input(partial, lists) for g, partial in zip(tfdv.statistics_generators(), self._partial, strict=True)]
        self.rows += batch.num_rows
        self.values += batch.num_rows * batch.num_columns

    def pick(self, batch: pa.RecordBatch, first: int, rows: int) -> None:
        """Keep those rows of a batch that are in the sample of their table; for `picked`.

        Args:
            batch: Consecutive rows, as `read_batches` gives them.
            first: The number of the batch's first row in the table, from 0.
            rows: The rows of the table.
        """
        self._picked += pick(batch, first, rows)

    def picked(self) -> Rows:
        """Return the rows that were kept, by column."""
        return as_columns(self._picked)

    @classmethod
    def merged(cls, accumulators: Sequence[Self]) -> Self:
        """Return the statistics of all the rows that some accumulators have seen; these stay as they are."""
        result = cls()
        partials = zip(*(accumulator._partial for accumulator in accumulators), strict=True)
        # TFDV merges into the first, whence the copy.
        with np.errstate(all="ignore"):
            result._partial = [
                g.merge_accumulators([copy.deepcopy(first), *rest]) for g, (first, *rest) in zip(tfdv.statistics_generators(), partials, strict=True)
            ]
        result.rows = sum(accumulator.rows for accumulator in accumulators)
        result.values = sum(accumulator.values for accumulator in accumulators)
        result._picked = [batch for accumulator in accumulators for batch in accumulator._picked]
        return result

    def statistics(self, name: str, coarse: bool = False) -> statistics_pb2.DatasetFeatureStatisticsList:
        """Return the statistics as TFDV's message. This ends the accumulator: its sketches take no more values, and can be merged no more.

        Args:
            name: What to call the one dataset in the message.
            coarse: Compute histograms from 100 quantiles instead of 1,000, at a third of the cost: for those who use only counts.
        """
        generators = tfdv.statistics_generators(quantiles=1 if coarse else 10)
        with np.errstate(all="ignore"):
            outputs = [g.extract_output(g.compact(partial)) for g, partial in zip(generators, self._partial, strict=True)]
        result = tfdv.merge_dataset_feature_statistics(outputs)
        result.datasets[0].name = name
        result.datasets[0].num_examples = self.rows
        return result

    def samples(self, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, Sample]:
        """Return each feature's distribution, finer than TFDV's message has it.

        Args:
            statistics: What `statistics` returned.
        """
        sketches = {path.steps()[0]: partial.numeric_stats.quantiles_summary for path, partial in self._partial[0].items()}
        found = {feature.path.step[0]: feature for feature in statistics.datasets[0].features}
        return {name: _sample(feature, float(self.rows), sketches.get(name)) for name, feature in found.items()}


def _sample(feature: statistics_pb2.FeatureNameStatistics, rows: float, sketch: Any) -> Sample:
    if feature.WhichOneof("stats") == "string_stats":
        texts = feature.string_stats
        counts = {bucket.label: bucket.sample_count for bucket in texts.rank_histogram.buckets}
        return Texts(rows, rows - texts.common_stats.num_non_missing if counts else rows, counts, int(texts.unique))
    numbers = feature.num_stats
    present = numbers.common_stats.num_non_missing - sum(histogram.num_nan for histogram in numbers.histograms[:1])
    knots, below = tfdv.read_quantiles(sketch, _KNOTS) if present else (np.empty(0), np.empty(0))
    return Numbers(rows, rows - present, knots, below)


def readable(kind: pa.DataType) -> bool:
    """Say whether a column of an Arrow type can be a feature: numbers, booleans, text and bytes, plain or dictionary-encoded, or all nulls."""
    return _target(kind) is not None


def read_blocks(files: Sequence[Path], ignored: Sequence[str], blocks: int = 1, wanted: range | None = None) -> list[Accumulator]:
    """Read Parquet files in order, a batch at a time, and return the statistics of equal runs of consecutive rows.

    Args:
        files: Parquet files of one table; a column may be absent from some.
        ignored: Columns to leave unread.
        blocks: Into how many runs of rows to divide the whole. Merged, they are the statistics of all.
        wanted: The runs to read, by number from 0. Default: all.

    Raises:
        DataError: A file is not whole Parquet.
    """
    wanted = range(blocks) if wanted is None else wanted
    accumulators = {block: Accumulator() for block in wanted}
    rows = sum(sum(row_groups(file)) for file in files)
    first, last = (_block_end(rows, blocks, block) for block in (wanted.start - 1, wanted.stop - 1))
    row = 0
    for file in files:
        with whole_parquet(str(file)):
            parquet = pq.ParquetFile(file)
            for group, count in enumerate(row_groups(file)):
                if row < last and row + count > first:
                    _add_group(accumulators, parquet, ignored, group, row, rows, blocks)
                row += count
    return list(accumulators.values())


def _add_group(
    accumulators: dict[int, Accumulator], parquet: pq.ParquetFile, ignored: Sequence[str], group: int, row: int, rows: int, blocks: int
) -> None:
    for batch in read_batches(parquet, ignored, group):
        for block, piece in divided(batch, row, rows, blocks):
            if block in accumulators:
                accumulators[block].add(piece)
                accumulators[block].pick(piece, row, rows)
            row += piece.num_rows


def divided(batch: pa.RecordBatch, first: int, rows: int, blocks: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the pieces of a batch that fall into each of `blocks` equal runs of a table's rows, with the run's number.

    Args:
        batch: Consecutive rows.
        first: The number of the batch's first row in the table, from 0.
        rows: The rows of the table.
        blocks: Into how many runs the table is divided.
    """
    taken = 0
    while taken < batch.num_rows:
        block = min((first + taken) * blocks // rows, blocks - 1)
        piece = batch.slice(taken, _block_end(rows, blocks, block) - first - taken)
        yield block, piece
        taken += piece.num_rows


def _block_end(rows: int, blocks: int, block: int) -> int:
    """Return the number of the first row after a run."""
    return -(-rows * (block + 1) // blocks)


def read_batches(parquet: pq.ParquetFile, ignored: Sequence[str], group: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a row group in batches that are bounded in rows and bytes, its columns as integers, floats or bytes."""
    columns = [column.name for column in parquet.schema_arrow if column.name not in ignored and readable(column.type)]
    for batch in parquet.iter_batches(batch_size=batch_rows(parquet, group), columns=columns, row_groups=[group]):
        yield _converted(batch)


def column_types(files: Sequence[Path]) -> dict[str, pa.DataType]:
    """Return the columns of some Parquet files, each with its type in the first file that has it, from their footers alone."""
    types: dict[str, pa.DataType] = {}
    for file in files:
        for column in file_schema(file):
            types.setdefault(column.name, column.type)
    return types


def _target(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that TFDV is given for a column's type, or None when there is none."""
    if pa.types.is_dictionary(kind):
        return _target(kind.value_type)
    if pa.types.is_boolean(kind) or (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_uint64(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.large_binary()
    return pa.null() if pa.types.is_null(kind) else None


def _converted(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays, names = [], []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        arrays.append(array.cast(_target(array.type), safe=False))  # A double may be less exact than what it stands for.
        names.append(name)
    return pa.RecordBatch.from_arrays(arrays, names)
