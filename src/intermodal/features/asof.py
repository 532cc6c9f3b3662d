"""A Feast offline store that joins features as of each entity row's timestamp: see `features.point_in_time`.

Feast's shipped DuckDB store gives the same values through an inequality join and a row number, whose cost grows almost with the square of the
rows where keys are few. Named in feature_store.yaml by its class path, `intermodal.features.asof.AsofOfflineStore`.
"""

import os
import tempfile
import uuid
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_NAME, FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.repo_config import RepoConfig
from feast.utils import make_tzaware
from pydantic import StrictStr

from intermodal.features.point_in_time import EntityRows
from intermodal.features.view_source import ViewSource
from intermodal.runtime.errors import ConfigurationError, DataError

#: Entity rows joined at once, and rows of a batch of the result.
_CHUNK = 1 << 19
_BATCH = 1 << 16


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings: those of Feast's DuckDB store, and one more."""

    type: StrictStr = "intermodal.features.asof.AsofOfflineStore"
    #: Leave out what was created later in every retrieval, and in materialisation too, for which Feast has no such argument.
    filter_by_created_timestamp: bool = False


class AsofOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's DuckDB store with another point-in-time join, and the newest rows by the same rule; everything else is inherited."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **_: Any,
    ) -> RetrievalJob:
        """Join features to entity rows as of each row's timestamp.

        A value counts from its event time, inclusive, until its view's TTL has passed, inclusive; a TTL of 0 never ends. The newest row wins even
        when its values are null. Among rows of one timestamp the newest `created` wins, null being the oldest, and among rows equal in that too the
        one with the greatest values, wherever it stands in the files: all of the view's features are compared in the order of their names in the
        source, null is the least. A key with a null in it matches nothing.

        Args:
            config: Feast's settings.
            feature_views: The views to join.
            feature_refs: `view:feature` each.
            entity_df: A frame, or a DuckDB SELECT, with the join keys and one timestamp column; a SELECT streams. Fastest in order of time: chunks
                of rows out of order have the sources in memory whole.
            registry: Feast's registry.
            project: Feast's project.
            full_feature_names: Whether features are called `view__feature`.
            filter_by_created_timestamp: Whether rows created after a row's timestamp are unknown to it; a row whose `created` is null always is.
                False, Feast's default, leaves it to the setting of that name in `AsofOfflineStoreConfig`.

        Returns:
            A job; no row is read before it is asked for its result.

        Raises:
            ConfigurationError: A view's source is no file source, or a feature's name is taken.
            DataError: The entity rows lack a join key.
        """
        # By default DuckDB spills into the working directory.
        connection = duckdb.connect(config={"temp_directory": f"{tempfile.gettempdir()}/duckdb-{uuid.uuid4().hex}"})
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        if isinstance(entity_df, str):
            entities = f"({entity_df})"
        else:
            connection.register("entity_frame", entity_df)
            entities = "entity_frame"
        schema = connection.sql(f"SELECT * FROM {entities} LIMIT 0").to_arrow_table().schema
        timestamp = infer_event_timestamp_from_entity_df(dict(schema.empty_table().to_pandas().dtypes))
        known = filter_by_created_timestamp or config.offline_store.filter_by_created_timestamp
        sources = [_source(view, feature_refs, config, registry, project, full_feature_names, known) for view in feature_views]
        taken = set(schema.names)
        for source in sources:
            if missing := [key for key in source.keys if key not in schema.names]:
                raise DataError(f"feature view {source.view!r}: the rows to join to have no column {missing[0]!r}; their columns are {schema.names}")
            for name in source.columns.values():
                if name in taken:
                    raise ConfigurationError(f"feature {source.view}:{name}: there is a column of that name already; rename one")
                taken.add(name)
        return AsofRetrievalJob(connection, entities, timestamp, sources, full_feature_names)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return for each key the row that `get_historical_features` joins at the end date.

        Feast materialises it where its setting `materialization: {pull_latest_features: true}` is on, as `materialize_features` has it; otherwise
        Feast reads all rows, and of equal times it takes any.

        Ties, null keys and null `created` are as there. Where the setting `filter_by_created_timestamp` is on, rows created after the end date are
        left out: the end date must then be no earlier than the newest `created`, for all that is known to be loaded.

        Args:
            config: Feast's settings.
            data_source: A file source.
            join_key_columns: The key's columns in the source.
            feature_name_columns: All of the view's features, as columns in the source.
            timestamp_field: The column of event times.
            created_timestamp_column: The column of creation times, if there is one.
            start_date: Rows of earlier event times do not count.
            end_date: Rows of later event times do not count.

        Returns:
            A job; no row is read before it is asked for its result.

        Raises:
            ConfigurationError: The source is no file source.
        """
        created = created_timestamp_column or None
        source = ViewSource(
            view=data_source.name,
            path=_path(data_source, data_source.name, config),
            keys=join_key_columns,
            source_keys=join_key_columns,
            timestamp=timestamp_field,
            created=created,
            ttl=timedelta(0),
            columns={name: name for name in (*feature_name_columns, timestamp_field, *([created] if created else []))},
            deciding=feature_name_columns,
            filter_created=config.offline_store.filter_by_created_timestamp,
        )
        return NewestRowsJob(source, timestamp_field, created, make_tzaware(start_date), make_tzaware(end_date))


def _path(source: DataSource | None, view: str, config: RepoConfig) -> str:
    if not isinstance(source, FileSource):
        raise ConfigurationError(f"feature view {view!r}: its source is {type(source).__name__}; this offline store reads file sources")
    return str(FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.file_options.uri))


def _source(
    view: FeatureView, refs: Sequence[str], config: RepoConfig, registry: Any, project: str, full_names: bool, filter_created: bool
) -> ViewSource:
    source = view.batch_source
    path = _path(source, view.name, config)
    name = view.projection.name_to_use()
    features = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == name]
    mapped = {feature: field for field, feature in (source.field_mapping or {}).items()}
    stored = [registry.get_entity(entity, project).join_key for entity in view.entities if entity != DUMMY_ENTITY_NAME]
    aliases = view.projection.join_key_map or {}
    return ViewSource(
        view=name,
        path=path,
        keys=[aliases.get(key, key) for key in stored],
        source_keys=[mapped.get(key, key) for key in stored],
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl=view.ttl or timedelta(0),
        columns={mapped.get(feature, feature): f"{name}__{feature}" if full_names else feature for feature in features},
        deciding=[mapped.get(each.name, each.name) for each in view.features],
        filter_created=filter_created,
    )


class _Job(RetrievalJob):  # type: ignore[misc]
    """Rows that have not been read yet."""

    def __init__(self, full_feature_names: bool) -> None:
        self._full_feature_names = full_feature_names

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[Any]:
        """None: on-demand views are not computed here."""
        return []

    @property
    def metadata(self) -> None:
        """None is kept."""
        return

    @abstractmethod
    def reader(self) -> pa.RecordBatchReader:
        """Return the result in batches."""

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.reader().read_all()

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to a saved dataset's Parquet file."""
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise ConfigurationError(f"{path}: it exists; name another file, or allow overwriting")
        reader = self.reader()
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)


class NewestRowsJob(_Job):
    """The newest row of each key, as of an end date."""

    def __init__(self, source: ViewSource, timestamp: str, created: str | None, start: datetime, end: datetime) -> None:
        super().__init__(full_feature_names=False)
        self._source, self._timestamp, self._created, self._start, self._end = source, timestamp, created, start, end

    def reader(self) -> pa.RecordBatchReader:
        """Return the rows in batches, their event time in place of a creation time that is null.

        Raises:
            DataError: A file or a column is missing, or a file is damaged.
        """
        self._source.open()
        rows = self._source.latest(self._start, self._end)
        if self._created and rows.column(self._created).null_count:
            # SQLite's online store refuses null.
            filled = pc.coalesce(rows.column(self._created), rows.column(self._timestamp).cast(rows.schema.field(self._created).type, safe=False))
            rows = rows.set_column(rows.column_names.index(self._created), self._created, filled)
        return rows.to_reader(_BATCH)


class AsofRetrievalJob(_Job):
    """A point-in-time join that has not been run yet."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, entities: str, timestamp: str, sources: Sequence[ViewSource], full_feature_names: bool
    ) -> None:
        super().__init__(full_feature_names)
        self._connection, self._entities, self._timestamp, self._sources = connection, entities, timestamp, sources

    def reader(self) -> pa.RecordBatchReader:
        """Return the result in batches, in the entity rows' order, joined as they are read.

        Raises:
            DataError: A source's file is missing or damaged, or keys' types do not match; the former possibly while batches are read.
        """
        try:
            chunks = self._connection.sql(f"SELECT * FROM {self._entities}").to_arrow_reader(_CHUNK)
        except duckdb.Error as error:
            raise DataError(f"features cannot be joined: the entity rows cannot be read: {error}") from error
        for source in self._sources:
            source.open()
            source.check_keys(chunks.schema)
        schema = pa.schema([*chunks.schema, *(each for source in self._sources for each in source.fields)])
        return pa.RecordBatchReader.from_batches(schema, self._batches(chunks, schema))

    def _batches(self, chunks: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        # NumPy and Arrow let other threads run meanwhile; the largest source goes first, so that no thread ends up waiting for it.
        by_size = sorted(self._sources, key=lambda source: source.size, reverse=True)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            following = pool.submit(next, chunks, None)
            while (chunk := following.result()) is not None:
                following = pool.submit(next, chunks, None)
                entities = EntityRows(pa.Table.from_batches([chunk]), self._timestamp)
                list(pool.map(entities.encode, {key for source in self._sources for key in source.keys}))
                joined = dict(zip(by_size, pool.map(lambda source, rows=entities: source.join(rows), by_size), strict=True))
                columns = [column for source in self._sources for column in joined[source]]
                yield from pa.table([*entities.table.columns, *columns], schema=schema).to_batches(max_chunksize=_BATCH)
        for source in self._sources:
            if source.late and not source.matched:
                print(  # noqa: T201
                    f"feature view {source.view!r}: no row got a value, as none of {source.path} is known to have been created by then; if its "
                    "creation times are a backfill's, take created_timestamp_column from its source or set filter_by_created_timestamp to false"
                )
