"""Ingesting small tables through the public function."""

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from intermodal.components.ingest_tables.logic import ingest_tables


def call(function, sources, output, split: dict | None = None, fingerprint: str = "") -> None:
    """Call the logic with what the contract has as defaults where nothing is given; `split` has the parameters' names without `split_`."""
    given = {"by": "", "table": "", "column": "", "parts": {}, "end": "", "step": "1 day"} | (split or {})
    function(sources=sources, **{f"split_{name}": value for name, value in given.items()}, fingerprint=fingerprint, tables_path=str(output))


@dataclass(frozen=True)
class Ingest:
    """A folder of files, and what becomes of them."""

    folder: Path

    def put(self, name: str, content: str | bytes | pa.Table) -> str:
        """Write a file, and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def __call__(self, uri: str, *, split: dict | None = None, name: str = "rows", **source) -> dict:
        """Ingest one table and return its entry in the manifest."""
        call(ingest_tables, [{"name": name, "uri": uri, **source}], self.output, split, fingerprint="v1")
        return json.loads((self.output / "manifest.json").read_text())["tables"][name]

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def left(self) -> list[str]:
        """Return the names of all that lies in the folder, hidden or not."""
        return sorted(path.name for path in self.folder.iterdir())

    def read(self, part: str | None = None, name: str = "rows") -> pa.Table:
        """Read what was written of a table, or of one of its parts."""
        return pq.read_table(self.output / name / (f"split={part}" if part else ""), partitioning=None)


@pytest.fixture
def ingest(tmp_path):
    return Ingest(tmp_path)
