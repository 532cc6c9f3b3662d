"""A Feast offline store on DuckDB that joins as of a timestamp with DuckDB's own ASOF join.

Feast's shipped DuckDB store gives the same values through an inequality join and a row number, whose cost grows almost with the square of the
rows where keys are few. Named in feature_store.yaml by its class path, `intermodal.features.asof.AsofOfflineStore`.
"""

import glob
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.repo_config import RepoConfig
from pydantic import StrictStr

from intermodal.runtime.errors import ConfigurationError, DataError

_MOMENT = "event_timestamp"
_ROW = "__row"
_ENTITIES = "__entities"
#: Rows joined at once where the sources allow it: sorting that many again needs little memory.
_STRETCH = 1 << 17
_BATCH = 1 << 16


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings: those of Feast's DuckDB store."""

    type: StrictStr = "intermodal.features.asof.AsofOfflineStore"


class AsofOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """Feast's DuckDB store with another point-in-time join; everything else is inherited."""

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
        """Join features to entity rows as of each row's moment.

        A value counts from its event time, inclusive, until its view's TTL has passed, inclusive; a TTL of 0 never ends. The newest row wins
        even when its values are null; among rows of one moment the newest `created` wins.

        Args:
            config: Feast's settings.
            feature_views: The views to join.
            feature_refs: `view:feature` each.
            entity_df: A frame, or a DuckDB SELECT, with the join keys and one timestamp column; a SELECT streams.
            registry: Feast's registry.
            project: Feast's project.
            full_feature_names: Whether features are called `view__feature`.
            filter_by_created_timestamp: Whether rows created after a row's moment are unknown to it.

        Returns:
            A job; nothing is read before it is asked for its result.
        """
        # Unasked, DuckDB spills into the working directory.
        connection = duckdb.connect(config={"temp_directory": f"{tempfile.gettempdir()}/duckdb-{uuid.uuid4().hex}"})
        # Else DuckDB picks a loop join for few rows of unknown size: minutes in place of tenths of a second.
        connection.execute("SET TimeZone = 'UTC'; SET asof_loop_join_threshold = 0; SET preserve_insertion_order = true")
        if isinstance(entity_df, str):
            entities = f"({entity_df})"
        else:
            connection.register("entity_frame", entity_df)
            entities = "entity_frame"
        schema = connection.sql(f"SELECT * FROM {entities} LIMIT 0").to_arrow_table().schema
        frame = schema.empty_table().to_pandas()
        moment = infer_event_timestamp_from_entity_df(dict(frame.dtypes))
        joins = [_Join.of(view, feature_refs, config, registry, project, full_feature_names, filter_by_created_timestamp) for view in feature_views]
        for join in joins:
            if lacking := [key for key in join.keys if key not in schema.names]:
                raise DataError(f"feature view {join.view!r}: the rows to join to have no column {lacking[0]!r}; their columns are {schema.names}")
        return AsofRetrievalJob(connection, _Query(entities, schema.names, moment, joins), full_feature_names)


@dataclass(frozen=True)
class _Join:
    """One feature view to join."""

    view: str
    source: str
    keys: list[str]
    source_keys: list[str]
    timestamp: str
    created: str | None
    ttl: timedelta
    columns: dict[str, str]
    filter_created: bool

    @classmethod
    def of(
        cls, view: FeatureView, refs: Sequence[str], config: RepoConfig, registry: Any, project: str, full_names: bool, filter_created: bool
    ) -> "_Join":
        source = view.batch_source
        if not isinstance(source, FileSource):
            raise ConfigurationError(f"feature view {view.name!r}: its source is {type(source).__name__}; this offline store reads file sources")
        uri = FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.file_options.uri)
        name = view.projection.name_to_use()
        wanted = [ref.partition(":")[2] for ref in refs if ref.partition(":")[0] == name]
        mapped = {feature: field for field, feature in (source.field_mapping or {}).items()}
        stored = [registry.get_entity(entity, project).join_key for entity in view.entities]
        aliases = view.projection.join_key_map or {}
        return cls(
            view=name,
            source=str(uri),
            keys=[aliases.get(key, key) for key in stored],
            source_keys=[mapped.get(key, key) for key in stored],
            timestamp=source.timestamp_field,
            created=source.created_timestamp_column or None,
            ttl=view.ttl or timedelta(0),
            columns={mapped.get(feature, feature): f"{name}__{feature}" if full_names else feature for feature in wanted},
            filter_created=filter_created,
        )

    @property
    def _table(self) -> str:
        """The source as DuckDB reads it; a file's name is no pattern, whatever is in it."""
        path = glob.escape(self.source) if Path(self.source).exists() else self.source
        return "read_parquet('{}')".format(path.replace("'", "''"))

    def relation(self, stretch: "_Stretch | None" = None) -> str:
        """Return the SELECT that reads the view's rows, one a key and moment; of a stretch those alone that may count in it."""
        columns = ", ".join(
            _quoted(name) for name in dict.fromkeys([*self.source_keys, self.timestamp, *self.columns, *([self.created] if self.created else [])])
        )
        keys = ", ".join(_quoted(key) for key in [*self.source_keys, self.timestamp])
        last = (
            f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {_quoted(self.created)} DESC) = 1"
            if self.created and not self.filter_created
            else ""
        )
        where = f" WHERE {stretch.bounds(_quoted(self.timestamp), self.ttl)}" if stretch else ""
        return f"(SELECT {columns} FROM {self._table}{where}{last})"

    def rows(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Return how many rows the source has, which its file says without being read."""
        return int(_one(connection, f"SELECT count(*) FROM {self._table}")[0])


@dataclass(frozen=True)
class _Stretch:
    """Entity rows that follow each other, and the moments they span: as text, for these may be finer or further than Python's."""

    first: int
    last: int
    earliest: str
    latest: str

    def bounds(self, timestamp: str, ttl: timedelta) -> str:
        """Return the condition on a source's rows that may count in the stretch."""
        latest = f"{timestamp} <= TIMESTAMPTZ '{self.latest}'"
        return f"{latest} AND {timestamp} >= TIMESTAMPTZ '{self.earliest}' - {_interval(ttl)}" if ttl else latest


def _types(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    return {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}


def _family(kind: str) -> str:
    """Return the type, all whole numbers being one, and all that pandas gives text as being another."""
    if kind.endswith(("INT", "INTEGER")):
        return "INTEGER"
    return "VARCHAR" if kind.startswith("ENUM") else kind


@dataclass(frozen=True)
class _Query:
    """The join of views to entity rows, in stretches: sorting all rows back into their order at once costs more than the join."""

    entities: str
    columns: Sequence[str]
    moment: str
    joins: Sequence[_Join]

    def check_keys(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise `DataError` where a key is text on one side and a number, say, on the other: DuckDB would cast, and match "1" with 1."""
        rows = _types(connection.sql(f"SELECT * FROM {self.entities} LIMIT 0"))
        for join in self.joins:
            source = _types(connection.sql(f"SELECT * FROM {join.relation()} LIMIT 0"))
            for key, stored in zip(join.keys, join.source_keys, strict=True):
                if _family(rows[key]) != _family(source[stored]):
                    raise DataError(
                        f"feature view {join.view!r}: key {key!r} is {rows[key]} in the rows to join to and {source[stored]} in {join.source}; "
                        "cast one of them"
                    )

    def load(self, connection: duckdb.DuckDBPyConnection) -> list[_Stretch | None]:
        """Number the entity rows, and return the stretches to join one after the other; one of all, None, where more would not pay."""
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_ENTITIES} AS SELECT *, row_number() OVER () AS {_ROW} FROM {self.entities}")
        moment = _quoted(self.moment)
        rows, seconds = _one(connection, f"SELECT count(*), date_diff('second', min({moment}), max({moment})) FROM {_ENTITIES}")
        # Each stretch reads again what is within the TTL before it: of that no more than there are rows to join to.
        again = sum(join.rows(connection) * (min(1.0, join.ttl.total_seconds() / max(seconds or 0, 1)) if join.ttl else 1) for join in self.joins)
        size = -(-rows // max(1, min(-(-rows // _STRETCH), int(rows / max(again, 1)))))
        if size in (0, rows):
            return [None]
        found = connection.execute(
            f"SELECT min({_ROW}), max({_ROW}), min({moment})::VARCHAR, (max({moment}) + INTERVAL 1 MICROSECOND)::VARCHAR, "
            f"coalesce(min({moment}) >= lag(max({moment})) OVER (ORDER BY min({_ROW})), min({_ROW}) = 1) "
            f"FROM {_ENTITIES} GROUP BY ({_ROW} - 1) // {size} ORDER BY 1"
        ).fetchall()
        # Rows out of order: every stretch would read nearly all of the sources.
        return [_Stretch(*stretch) for *stretch, _ in found] if all(in_order for *_, in_order in found) else [None]

    def sql(self, stretch: _Stretch | None = None) -> str:
        """Return one SELECT: the entity rows in order, and each view's features beside them."""
        taken = set(self.columns)
        moment = f"e.{_quoted(self.moment)}"
        entities = f"(SELECT * FROM {_ENTITIES}{f' WHERE {_ROW} BETWEEN {stretch.first} AND {stretch.last}' if stretch else ''})"
        selected = [f"e.{_quoted(name)}" for name in self.columns]
        joined = []
        for number, join in enumerate(self.joins):
            alias = f"v{number}"
            stamp = f"{alias}.{_quoted(join.timestamp)}"
            fresh = f"{stamp} >= {moment} - {_interval(join.ttl)}" if join.ttl else "true"
            for stored, name in join.columns.items():
                if name in taken:
                    raise ConfigurationError(f"feature {join.view}:{name}: there is a column of that name already; rename one")
                taken.add(name)
                selected.append(f"CASE WHEN {fresh} THEN {alias}.{_quoted(stored)} END AS {_quoted(name)}")
            on = " AND ".join(f"e.{_quoted(key)} = {alias}.{_quoted(stored)}" for key, stored in zip(join.keys, join.source_keys, strict=True))
            source = join.relation(stretch)
            if join.filter_created and join.created:
                # What was created later was not known; the ASOF join takes one inequality, so such rows go by the later of their two times.
                joined.append(_created_join(entities, self.moment, join, source, alias))
            else:
                joined.append(f"ASOF LEFT JOIN {source} {alias} ON {on}{' AND ' if on else ''}{moment} >= {stamp}")
        return f"SELECT {', '.join(selected)} FROM {entities} e {' '.join(joined)} ORDER BY e.{_ROW}"


def _created_join(entities: str, moment: str, join: _Join, source: str, alias: str) -> str:
    keys = " AND ".join(f"r.{_quoted(key)} = s.{_quoted(stored)}" for key, stored in zip(join.keys, join.source_keys, strict=True)) or "true"
    stamp, created = _quoted(join.timestamp), _quoted(str(join.created))
    return (
        f"LEFT JOIN (SELECT r.{_ROW}, s.* FROM {entities} r JOIN {source} s "
        f"ON {keys} AND r.{_quoted(moment)} >= s.{stamp} AND r.{_quoted(moment)} >= s.{created} "
        f"QUALIFY row_number() OVER (PARTITION BY r.{_ROW} ORDER BY s.{stamp} DESC, s.{created} DESC) = 1) {alias} ON {alias}.{_ROW} = e.{_ROW}"
    )


def _interval(ttl: timedelta) -> str:
    return f"to_microseconds({int(ttl.total_seconds() * 1_000_000)})"


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None
    return row


class AsofRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A point-in-time join that has not been run yet."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: _Query, full_feature_names: bool) -> None:
        self._connection = connection
        self._query = query
        self._full_feature_names = full_feature_names
        query.sql()  # refuses names that are taken, before anything is read

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

    def reader(self) -> pa.RecordBatchReader:
        """Return the result in batches, in the entity rows' order, joined as they are read.

        Raises:
            DataError: A source's file is missing or broken, or keys' types do not match; the former possibly while batches are read.
        """
        try:
            self._query.check_keys(self._connection)
            first, *others = self._query.load(self._connection)
            head = self._connection.sql(self._query.sql(first)).to_arrow_reader(_BATCH)
        except duckdb.Error as error:
            raise DataError(f"features cannot be joined: {error}") from error
        return pa.RecordBatchReader.from_batches(head.schema, self._batches(head, others))

    def _batches(self, head: pa.RecordBatchReader, others: Sequence[_Stretch | None]) -> Iterator[pa.RecordBatch]:
        yield from head
        for stretch in others:
            yield from self._connection.sql(self._query.sql(stretch)).to_arrow_reader(_BATCH)

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


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
