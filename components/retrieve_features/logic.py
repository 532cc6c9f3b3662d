"""Point-in-time correct features for labelled rows."""

import glob
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureService, FeatureStore
from feast.errors import FeastError

from intermodal.features.asof import AsofOfflineStoreConfig
from intermodal.features.store import FeatureRepository, open_store, with_created_filter
from intermodal.runtime.artifacts import whole_directory
from intermodal.runtime.datasets import Tables, open_tables
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.user_code import exit_refused

_TIMESTAMP = "event_timestamp"
_ROW = "__row"
_ROW_GROUP = 1 << 16


def retrieve_features(
    *,
    tables_path: str,
    repository_path: str,
    service: str,
    spine: str,
    store: dict[str, Any],
    data_version: str,
    filter_by_created_timestamp: bool,
    examples_path: str,
) -> None:
    """Join a feature service's values to the spine's rows, each as of its own timestamp, and write one folder a part.

    The definitions are applied to a registry that ends with this call: what is served is registered by `materialize_features`.

    Args:
        tables_path: Feature sources and the spine; see `runtime.datasets.open_tables`.
        repository_path: Feast definitions.
        service: The feature service to retrieve; empty: the only one.
        spine: The table of labelled rows.
        store: Feast's own settings; `offline_store` and `project` matter here.
        data_version: Names the state of the data that sources outside the tables read; empty: there are no such sources.
        filter_by_created_timestamp: Whether rows created after a spine row's timestamp are unknown to it, where a source declares creation times.
        examples_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The repository, the service or the settings are wrong, a source lies outside the tables without `data_version`, or the
            offline store cannot leave out what was created later.
        DataError: A table is missing or broken, has no `event_timestamp` with a zone, or a part has no row.
    """
    with open_tables(tables_path) as tables:
        folder = tables.folder()
        rows = folder / f"{spine}.parquet"
        columns = _check_spine(rows, spine, tables)
        repository = FeatureRepository(Path(repository_path), folder)
        wanted = repository.service(service)
        if repository.outside and not data_version:
            # The result is reused for equal inputs: a change of such data would go unnoticed.
            raise ConfigurationError(
                f"{repository_path}: the source {repository.outside[0]!r} reads data outside the tables, whose changes nobody would see; make it a "
                "table (data.sources and transforms/), or give features.data_version a text that you change whenever that data changes"
            )
        with tempfile.TemporaryDirectory() as scratch:
            stores = {"registry": f"{scratch}/registry.db", "online_store": {"type": "sqlite", "path": f"{scratch}/online.db"}}
            with room(examples_path, scratch):
                settings = with_created_filter({"project": "features"} | store | stores, filter_by_created_timestamp)
                opened = open_store(settings, Path(repository_path))
                opened.apply(repository.objects)
            with (
                whole_directory(examples_path) as examples,
                _named(tables_path, repository_path, wanted.name),
                room(examples_path, examples),
                exit_refused(f"{repository_path}: a transformation of {wanted.name!r}"),
            ):
                joined = _join(opened, wanted, rows, repository.created(wanted) if filter_by_created_timestamp else [])
                _write_parts(joined, examples, split="split" in columns)


@contextmanager
def _named(tables: str, repository: str, service: str) -> Iterator[None]:
    """Say what an error of a library is about."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        raise DataError(f"{tables}: features cannot be joined: {error}") from error
    except FeastError as error:
        raise ConfigurationError(f"{repository}: features of {service!r} cannot be retrieved: {error}") from error


def _join(store: FeatureStore, service: FeatureService, rows: Path, created: list[str]) -> pa.RecordBatchReader:
    """Return the spine's rows in order, the features beside them; they stream where the offline store is our own.

    Args:
        store: The store, the definitions applied.
        service: The features.
        rows: The spine's file.
        created: The views of which rows created later are unknown.
    """
    if store.config.offline_store.type == AsofOfflineStoreConfig().type:
        path = glob.escape(str(rows)).replace("'", "''")
        selected = f"SELECT * FROM read_parquet('{path}')"  # noqa: S608 - a path, its quotes doubled
        return store.get_historical_features(entity_df=selected, features=service).reader()
    spine = pq.read_table(rows)
    frame = spine.append_column(_ROW, pa.array(range(spine.num_rows))).to_pandas()
    try:
        job = store.get_historical_features(entity_df=frame, features=service, filter_by_created_timestamp=bool(created))
    except NotImplementedError as error:
        if not created:
            raise
        raise ConfigurationError(
            f"feature view {created[0]!r} declares creation times, and the offline store {store.config.offline_store.type!r} cannot leave out what "
            "was created after a row's time; use another, or set filter_by_created_timestamp to false, which lets late corrections leak"
        ) from error
    joined = job.to_arrow().sort_by(_ROW)
    if joined.num_rows != spine.num_rows:
        raise DataError(
            f"{rows}: of {spine.num_rows} rows the offline store {store.config.offline_store.type!r} returned {joined.num_rows}; use another"
        )
    # The spine's own columns, for pandas makes whole numbers with nulls floating.
    for name in joined.column_names:
        if name not in (*spine.column_names, _ROW):
            spine = spine.append_column(name, joined.column(name))
    return spine.to_reader(_ROW_GROUP)


def _check_spine(path: Path, spine: str, tables: Tables) -> list[str]:
    if spine not in tables.files:
        raise DataError(f"{tables.path}: there is no table {spine!r}; the tables are {', '.join(tables.files)}")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not whole Parquet ({error}); run the task that writes it again") from error
    if _TIMESTAMP not in schema.names:
        raise DataError(f"{path}: the spine has no column {_TIMESTAMP!r}; select the time of each row's prediction under that name")
    kind = schema.field(_TIMESTAMP).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise DataError(f"{path}: column {_TIMESTAMP!r} is {kind}, not a time with a zone; select it as TIMESTAMPTZ")
    return list(schema.names)


def _write_parts(reader: pa.RecordBatchReader, folder: Path, *, split: bool) -> None:
    """Write the joined rows in their order, streaming; each part must get at least one."""
    writers: dict[str, pq.ParquetWriter] = {}
    try:
        for batch in reader:
            table = pa.Table.from_batches([batch])
            parts = [part for part in table.column("split").unique().to_pylist() if part not in (None, "none")] if split else ["train"]
            kept = table.drop_columns("split") if split else table
            for part in parts:
                rows = kept.filter(pa.compute.equal(table.column("split"), part)) if split else kept
                if part not in writers:
                    (folder / part).mkdir()
                    writers[part] = pq.ParquetWriter(folder / part / "part-0.parquet", rows.schema, compression="zstd")
                writers[part].write_table(rows)
    finally:
        for writer in writers.values():
            writer.close()
    if not writers:
        raise DataError("the spine has no rows, so there is nothing to train on; check the transforms' WHERE and the split")
