"""The same statistics, computed by Apache Beam: on Dataflow, Flink, Spark or this machine, by its pipeline options."""

import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions

from intermodal.components.validate_data.statistics.streaming import Accumulator, divided, read_batches
from intermodal.runtime.datasets.parquet_files import row_groups, whole_parquet
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError

#: Runners whose workers see this machine's files.
_LOCAL: Final = ("DirectRunner", "BundleBasedDirectRunner", "SwitchingDirectRunner", "FnApiRunner", "PrismRunner")


@dataclass(frozen=True)
class _RowGroup:
    """What one worker reads at a time.

    Attributes:
        part: The part it belongs to.
        file: The Parquet file, as a worker opens it.
        group: The row group's number in the file.
        first: The number of its first row in the part.
        rows: The rows of the part.
        blocks: Into how many runs of rows the part is divided.
    """

    part: str
    file: str
    group: int
    first: int
    rows: int
    blocks: int


def read_with_beam(
    files: Mapping[str, Sequence[Path]],
    examples_path: Path,
    examples_uri: str,
    ignored: Sequence[str],
    blocks: Mapping[str, int],
    beam_options: Sequence[str],
) -> dict[str, list[Accumulator]]:
    """Do what `read_blocks` does, for all parts in one Beam pipeline.

    Args:
        files: The Parquet files of each part.
        examples_path: The directory above them on this machine.
        examples_uri: The same directory as the workers open it; empty: `examples_path`.
        ignored: Columns to leave unread.
        blocks: Into how many runs of rows to divide each part.
        beam_options: Apache Beam pipeline options, for instance `--runner=DataflowRunner`, `--temp_location=gs://bucket/tmp`.

    Raises:
        ConfigurationError: There is no such runner, or a runner with workers elsewhere lacks a `--temp_location`, or is given CSV.
        DataError: A file is not whole Parquet.
    """
    groups = list(_row_groups(files, examples_path, examples_uri.removeprefix("file://") or str(examples_path), blocks))
    shared = all(file.is_relative_to(examples_path) for paths in files.values() for file in paths)
    with tempfile.TemporaryDirectory() as here:
        try:
            options = PipelineOptions([str(option) for option in beam_options])
            found = FileSystems.join(_temporary(options, here, shared), f"statistics-{Path(here).name}")
            pipeline = beam.Pipeline(options=options)
        except ValueError as error:
            raise ConfigurationError(f"beam_options {list(beam_options)}: {str(error).partition(chr(10))[0]}") from error
        FileSystems.mkdirs(found)
        try:
            with room("statistics", here), pipeline:
                _ = (
                    pipeline
                    | "Row groups" >> beam.Create(groups)
                    | "Spread" >> beam.Reshuffle()
                    | "Read" >> beam.FlatMap(_read, list(ignored))
                    | "Merge" >> beam.CombinePerKey(Accumulator.merged)
                    | "Save" >> beam.Map(_save, found)
                )
            return {part: [_load(found, part, block) for block in range(count)] for part, count in blocks.items()}
        finally:
            FileSystems.delete([found])


def _temporary(options: PipelineOptions, here: str, shared: bool) -> str:
    runner = options.view_as(StandardOptions).runner or "DirectRunner"
    given: str | None = options.view_as(GoogleCloudOptions).temp_location
    if runner.rpartition(".")[2] not in _LOCAL and not shared:
        raise ConfigurationError(f"beam_options: {runner} has workers elsewhere, which cannot read CSV examples; write them as Parquet")
    if given is None and runner.rpartition(".")[2] not in _LOCAL:
        raise ConfigurationError(f"beam_options: {runner} needs --temp_location, a directory that its workers and this task can write and read")
    return given or here


def _row_groups(files: Mapping[str, Sequence[Path]], path: Path, uri: str, blocks: Mapping[str, int]) -> Iterator[_RowGroup]:
    for part, paths in files.items():
        counted = [(file, group, rows) for file in paths for group, rows in enumerate(row_groups(file))]
        total, first = sum(rows for _, _, rows in counted), 0
        for file, group, rows in counted:
            yield _RowGroup(part, _opened_as(file, path, uri), group, first, total, blocks[part])
            first += rows


def _opened_as(file: Path, path: Path, uri: str) -> str:
    """Return a file's name as the workers open it: below the examples' URI, or, where it was made here from CSV, its own."""
    if not file.is_relative_to(path):
        return str(file)
    return uri if file == path else f"{uri.rstrip('/')}/{file.relative_to(path).as_posix()}"


def _read(group: _RowGroup, ignored: Sequence[str]) -> Iterator[tuple[tuple[str, int], Accumulator]]:
    accumulators: dict[int, Accumulator] = {}
    row = group.first
    with whole_parquet(group.file), FileSystems.open(group.file, compression_type="auto") as opened:
        for batch in read_batches(pq.ParquetFile(opened), ignored, group.group):
            for block, piece in divided(batch, row, group.rows, group.blocks):
                accumulator = accumulators.setdefault(block, Accumulator())
                accumulator.add(piece)
                accumulator.pick(piece, row, group.rows)
                row += piece.num_rows
    for block, accumulator in accumulators.items():
        yield (group.part, block), accumulator


def _save(found: tuple[tuple[str, int], Accumulator], directory: str) -> None:
    (part, block), accumulator = found
    with FileSystems.create(_name(directory, part, block)) as file:
        file.write(pickle.dumps(accumulator))


def _load(directory: str, part: str, block: int) -> Accumulator:
    name = _name(directory, part, block)
    if not FileSystems.exists(name):
        return Accumulator()  # The block has no rows.
    with FileSystems.open(name) as file:
        loaded: Accumulator = pickle.loads(file.read())  # noqa: S301 - our own workers wrote it, under a name made here.
        return loaded


def _name(directory: str, part: str, block: int) -> str:
    name: str = FileSystems.join(directory, f"{part}-{block}.pickle")
    return name
