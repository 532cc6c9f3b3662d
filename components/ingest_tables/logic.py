"""Tables from files into Parquet, split, hashed and listed in a manifest."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intermodal.components.ingest_tables.arguments import check_arguments
from intermodal.components.ingest_tables.content import ContentHash
from intermodal.components.ingest_tables.reading import Table
from intermodal.components.ingest_tables.source import Source
from intermodal.components.ingest_tables.splitting import SPLIT_COLUMN, Split
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.errors import DataError

_ROW_GROUP = 1 << 17


def ingest_tables(
    *,
    sources: Sequence[Any],
    split_by: str,
    split_table: str,
    split_column: str,
    split_parts: Mapping[str, Any],
    split_end: str,
    split_step: str,
    fingerprint: str,
    tables_path: str,
) -> dict[str, Any]:
    """Read tables, split one of them, and write all as Parquet with a manifest. See the component's contract.

    Args:
        sources: A URI or an object for each table; see `source.Source`.
        split_by: `time`, `hash`, or empty: no split.
        split_table: The table to split; empty: the only one.
        split_column: The column to split by.
        split_parts: Part to window or fraction.
        split_end: Where windows that are counted back end; empty: with the data.
        split_step: By how much they move at a time.
        fingerprint: Goes into the manifest as it is.
        tables_path: The directory to write, whole or not at all.

    Returns:
        The start and end of each part that is a window of time, by part.

    Raises:
        ConfigurationError: A source or the split makes no sense.
        DataError: A file is missing, broken, empty or not as declared, or a part gets no row.
        MachineError: A disk is full.
    """
    given: dict[str, Any] = {"split_by": split_by, "split_table": split_table, "split_column": split_column, "split_parts": split_parts}
    check_arguments(sources=sources, **given, split_end=split_end, split_step=split_step)
    parsed = [Source.parse(source) for source in sources]
    division = Split(split_table or parsed[0].name, split_by, split_column, split_parts, split_end, split_step) if split_by else None
    with whole_directory(tables_path) as folder:
        listed = {}
        for source in parsed:
            divides = division if division and division.table == source.name else None
            listed[source.name] = _write_table(Table(source), divides, folder / source.name)
        write_json(folder / "manifest.json", {"fingerprint": fingerprint, "tables": listed})
    return division.windows() if division else {}


def _write_table(table: Table, split: Split | None, folder: Path) -> dict[str, Any]:
    if split:
        split.check(table.schema)
        if split.follows_data:
            split.place_windows(_last_time(table, split.column))
    whole = ContentHash(table.schema)
    with ExitStack() as files:
        parts: dict[str, _Part] = {}
        for batch in table.batches():
            whole.add(batch)
            for name, rows in (split.divide(batch) if split else {"": batch}).items():
                if name not in parts:
                    parts[name] = _Part(folder / (f"{SPLIT_COLUMN}={name}" if split else ""), table.schema, files)
                parts[name].write(rows)
    rows = sum(part.rows for part in parts.values())
    if not rows:
        raise DataError(f"{table.source.uri}: the table {table.source.name!r} has no rows; nothing can be made of it")
    entry: dict[str, Any] = {
        "rows": rows,
        "sha256": whole.hexdigest(),
        "columns": {each.name: str(each.type) for each in table.schema},
    }
    if split:
        for name in split.parts:
            if name not in parts:
                raise DataError(f"split: the part {name!r} of table {split.table!r} gets no row; {split.remedy(name)}")
        windows = split.windows()
        entry["splits"] = {
            name: {"rows": part.rows, "sha256": part.hash.hexdigest(), **windows.get(name, {})} for name, part in sorted(parts.items())
        }
    return entry


def _last_time(table: Table, column: str) -> int | None:
    """Return the last time of a column, in microseconds since 1970 (UTC); None where it has none."""
    latest = (pc.max(batch.column(column).cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())).as_py() for batch in table.batches())
    return max((each for each in latest if each is not None), default=None)


class _Part:
    """One Parquet file being written."""

    def __init__(self, folder: Path, schema: pa.Schema, files: ExitStack) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._writer = files.enter_context(pq.ParquetWriter(folder / "part-0.parquet", schema, compression="zstd"))
        self.hash = ContentHash(schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=_ROW_GROUP)
        self.hash.add(batch)
        self.rows += batch.num_rows
