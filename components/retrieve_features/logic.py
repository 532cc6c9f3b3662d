"""Point-in-time correct features for labelled rows."""

import glob
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureService, FeatureStore
from feast.errors import FeastError

from intermodal.features.asof import AsofOfflineStoreConfig
from intermodal.features.store import FeatureRepository, open_store
from intermodal.runtime.artifacts import whole_directory
from intermodal.runtime.disk import room
from intermodal.runtime.errors import ConfigurationError, DataError
from intermodal.runtime.tree import check_whole
from intermodal.runtime.user_code import exit_refused

_MOMENT = "event_timestamp"
_ROW = "__row"
_ROW_GROUP = 1 << 16


def retrieve_features(
    tables_path: str,
    repository_path: str,
    feature_service: str,
    spine: str,
    feature_store: dict[str, Any],
    examples_path: str,
    data_version: str = "",
) -> None:
    """Join a feature service's values to the spine's rows, each as of its own moment, and write one folder a part.

    The definitions are applied to a registry that ends with this call: what is served is registered by `materialize_features`.

    Args:
        tables_path: Feature sources and the spine, `<name>.parquet` each.
        repository_path: Feast definitions.
        feature_service: The service to retrieve.
        spine: The table of labelled rows.
        feature_store: Feast's own settings; `offline_store` and `project` matter here.
        examples_path: The directory to write, whole or not at all.
        data_version: Names the state of the data that sources outside the tables read. Default: there are no such sources.

    Raises:
        ConfigurationError: The repository, the service or the settings are wrong, or a source lies outside the tables without `data_version`.
        DataError: A table is missing or broken, has no `event_timestamp` with a zone, or a part has no row.
    """
    rows = Path(tables_path) / f"{spine}.parquet"
    columns = _check_spine(rows, spine)
    repository = FeatureRepository(Path(repository_path), tables_path)
    service = repository.service(feature_service)
    if repository.outside and not data_version:
        # The result is reused for equal inputs: a change of such data would go unnoticed.
        raise ConfigurationError(
            f"{repository_path}: the source {repository.outside[0]!r} reads data outside the tables, whose changes nobody would see; make it a table "
            "(data.sources and transforms/), or give features.data_version a text that you change whenever that data changes"
        )
    with tempfile.TemporaryDirectory() as scratch:
        settings = feature_store | {"registry": f"{scratch}/registry.db", "online_store": {"type": "sqlite", "path": f"{scratch}/online.db"}}
        with room(examples_path, scratch):
            store = open_store({"project": "features"} | settings, Path(repository_path))
            store.apply(repository.objects)
        with whole_directory(examples_path) as folder:
            try:
                with room(examples_path, folder), exit_refused(f"{repository_path}: a transformation of {feature_service!r}"):
                    _write_parts(_join(store, service, rows), folder, split="split" in columns)
            except (duckdb.Error, pa.ArrowException) as error:
                raise DataError(f"{tables_path}: features cannot be joined: {error}") from error
            except FeastError as error:
                raise ConfigurationError(f"{repository_path}: features of {feature_service!r} cannot be retrieved: {error}") from error


def _join(store: FeatureStore, service: FeatureService, rows: Path) -> pa.RecordBatchReader:
    """Return the spine's rows in order, the features beside them; they stream where the offline store is our own."""
    if store.config.offline_store.type == AsofOfflineStoreConfig().type:
        path = glob.escape(str(rows)).replace("'", "''")
        selected = f"SELECT * FROM read_parquet('{path}')"  # noqa: S608 - a path, its quotes doubled
        return store.get_historical_features(entity_df=selected, features=service).reader()
    spine = pq.read_table(rows)
    frame = spine.append_column(_ROW, pa.array(range(spine.num_rows))).to_pandas()
    joined = store.get_historical_features(entity_df=frame, features=service).to_arrow().sort_by(_ROW)
    if joined.num_rows != spine.num_rows:
        raise DataError(
            f"{rows}: of {spine.num_rows} rows the offline store {store.config.offline_store.type!r} returned {joined.num_rows}; use another"
        )
    # The spine's own columns, for pandas makes whole numbers with nulls floating.
    for name in joined.column_names:
        if name not in (*spine.column_names, _ROW):
            spine = spine.append_column(name, joined.column(name))
    return spine.to_reader(_ROW_GROUP)


def _check_spine(path: Path, spine: str) -> list[str]:
    check_whole(path.parent)
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no table {spine!r}; the transforms make {', '.join(sorted(each.stem for each in path.parent.glob('*.parquet')))}"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not whole Parquet ({error}); run the task that writes it again") from error
    if _MOMENT not in schema.names:
        raise DataError(f"{path}: the spine has no column {_MOMENT!r}; select each row's moment under that name")
    kind = schema.field(_MOMENT).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise DataError(f"{path}: column {_MOMENT!r} is {kind}, not a time with a zone; select it as TIMESTAMPTZ")
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
