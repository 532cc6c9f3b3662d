"""The one reader of a directory of tables, as tasks that derive or join tables take it."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from intermodal.runtime.datasets.listing import find_tables
from intermodal.runtime.datasets.reading import Dataset, as_parquet
from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError

#: The column that a table's part is read as.
PART_COLUMN: Final = "split"


@dataclass(frozen=True)
class Tables:
    """Tables by name.

    Attributes:
        path: The artifact, for messages.
        files: The Parquet files of each table, by table and part; the part is empty where the table has none.
        scratch: A temporary directory, which ends with the block that opened the tables.
    """

    path: Path
    files: Mapping[str, Mapping[str, Sequence[Path]]]
    scratch: Path

    def folder(self) -> Path:
        """Return a folder that has each table as `<name>.parquet`, its parts in the column `split`; the artifact itself where it is such a folder.

        Raises:
            DataError: A file is damaged, or a table's files have types that do not go together.
            MachineError: The temporary directory is full.
        """
        singles = {name: parts[""][0] for name, parts in self.files.items() if list(parts) == [""] and len(parts[""]) == 1}
        if len(singles) == len(self.files) and all(file == self.path / f"{name}.parquet" for name, file in singles.items()):
            return self.path
        made = self.scratch / "tables"
        made.mkdir(exist_ok=True)
        for name in self.files:
            target = made / f"{name}.parquet"
            if name in singles:
                target.symlink_to(singles[name].absolute())
            else:
                self._write(name, target)
        return made

    def _write(self, name: str, target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # One split of all files, so that all parts have one schema.
        data = Dataset(self.path / name, {"": [file for files in self.files[name].values() for file in files]})
        schema = data.schema("")
        divided = list(self.files[name]) != [""]
        if divided and PART_COLUMN in schema.names:
            raise DataError(f"{self.path / name}: its folders are named by parts, and it has a column {PART_COLUMN!r} already; rename the column")
        written = schema.append(pa.field(PART_COLUMN, pa.string())) if divided else schema
        with room(self.path, target.parent), pq.ParquetWriter(target, written) as writer:
            for part, files in self.files[name].items():
                for batch in Dataset(self.path / name, {"": files}).batches(""):
                    # A part alone may lack columns that another has.
                    given = dict(zip(batch.schema.names, batch.columns, strict=True))
                    columns = [given[each.name].cast(each.type) if each.name in given else pa.nulls(batch.num_rows, each.type) for each in schema]
                    columns += [pa.array([part or None] * batch.num_rows, pa.string())] if divided else []
                    writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=written))


@contextmanager
def open_tables(path: str | os.PathLike[str]) -> Iterator[Tables]:
    """Open a directory of tables, or a file that is one. See `listing.find_tables`.

    CSV is written as Parquet into a temporary directory first, as `open_dataset` does.

    Args:
        path: The artifact.

    Raises:
        DataError: There is no table, only a part was written, two tables have one name, or a file is neither Parquet nor well-formed CSV.
        MachineError: The temporary directory has no room for what was CSV.
    """
    whole = Path(path)
    found = find_tables(whole)
    if not found:
        raise DataError(f"{whole}: there are no tables; give a directory of Parquet or CSV files, as ingest_tables writes it")
    with tempfile.TemporaryDirectory(prefix="tables-") as scratch, room(whole, scratch):
        yield Tables(whole, {name: as_parquet(parts, Path(scratch, name)) for name, parts in found.items()}, Path(scratch))
