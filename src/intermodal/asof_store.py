"""A Feast offline store on DuckDB that joins as of a moment with DuckDB's own ASOF join.

Feast's shipped DuckDB store gives the same values through an inequality join and a row number, whose cost grows almost with the square of the
rows where keys are few. Named in feature_store.yaml by its class path, `intermodal.asof_store.AsofOfflineStore`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.repo_config import RepoConfig
from pydantic import StrictStr

from intermodal.errors import ConfigurationError, DataError

_MOMENT = "event_timestamp"
_ROW = "__row"


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Settings: those of Feast's DuckDB store."""

    type: StrictStr = "intermodal.asof_store.AsofOfflineStore"


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
        connection = duckdb.connect()
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
        return AsofRetrievalJob(connection, _query(entities, schema.names, moment, joins), _KeyTypes(entities, joins), full_feature_names)


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

    def relation(self) -> str:
        """Return the SELECT that reads the view's rows, one a key and moment."""
        path = self.source.replace("'", "''")
        columns = ", ".join(
            _quoted(name) for name in dict.fromkeys([*self.source_keys, self.timestamp, *self.columns, *([self.created] if self.created else [])])
        )
        keys = ", ".join(_quoted(key) for key in [*self.source_keys, self.timestamp])
        last = (
            f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {_quoted(self.created)} DESC) = 1"
            if self.created and not self.filter_created
            else ""
        )
        return f"(SELECT {columns} FROM read_parquet('{path}'){last})"


@dataclass(frozen=True)
class _KeyTypes:
    """The types of the join keys on both sides, which DuckDB would rather cast than refuse: the text "1" would match the number 1."""

    entities: str
    joins: Sequence[_Join]

    def check(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise `DataError` where a key is text on one side and a number, say, on the other."""
        rows = _types(connection.sql(f"SELECT * FROM {self.entities} LIMIT 0"))
        for join in self.joins:
            source = _types(connection.sql(f"SELECT * FROM {join.relation()} LIMIT 0"))
            for key, stored in zip(join.keys, join.source_keys, strict=True):
                if _family(rows[key]) != _family(source[stored]):
                    raise DataError(
                        f"feature view {join.view!r}: key {key!r} is {rows[key]} in the rows to join to and {source[stored]} in {join.source}; "
                        "cast one of them"
                    )


def _types(relation: duckdb.DuckDBPyRelation) -> dict[str, str]:
    return {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}


def _family(kind: str) -> str:
    """Return the type, all whole numbers being one, and all that pandas gives text as being another."""
    if kind.endswith(("INT", "INTEGER")):
        return "INTEGER"
    return "VARCHAR" if kind.startswith("ENUM") else kind


def _query(entities: str, columns: Sequence[str], moment: str, joins: Sequence[_Join]) -> str:
    """Return one SELECT: the entity rows in order, and each view's features beside them."""
    taken = set(columns)
    selected = [f"e.{_quoted(name)}" for name in columns]
    joined = []
    for number, join in enumerate(joins):
        alias = f"v{number}"
        stamp = f"{alias}.{_quoted(join.timestamp)}"
        fresh = f"{stamp} >= e.{_quoted(moment)} - to_microseconds({int(join.ttl.total_seconds() * 1_000_000)})" if join.ttl else "true"
        for stored, name in join.columns.items():
            if name in taken:
                raise ConfigurationError(f"feature {join.view}:{name}: there is a column of that name already; rename one")
            taken.add(name)
            selected.append(f"CASE WHEN {fresh} THEN {alias}.{_quoted(stored)} END AS {_quoted(name)}")
        on = " AND ".join(f"e.{_quoted(key)} = {alias}.{_quoted(stored)}" for key, stored in zip(join.keys, join.source_keys, strict=True))
        if join.filter_created and join.created:
            # What was created later was not known; the ASOF join takes one inequality, so such rows go by the later of their two times.
            joined.append(_created_join(entities, moment, join, alias))
        else:
            joined.append(f"ASOF LEFT JOIN {join.relation()} {alias} ON {on}{' AND ' if on else ''}e.{_quoted(moment)} >= {stamp}")
    return f"SELECT {', '.join(selected)} FROM (SELECT *, row_number() OVER () AS {_ROW} FROM {entities}) e {' '.join(joined)} ORDER BY e.{_ROW}"


def _created_join(entities: str, moment: str, join: _Join, alias: str) -> str:
    keys = " AND ".join(f"r.{_quoted(key)} = s.{_quoted(stored)}" for key, stored in zip(join.keys, join.source_keys, strict=True)) or "true"
    stamp, created = _quoted(join.timestamp), _quoted(str(join.created))
    return (
        f"LEFT JOIN (SELECT r.{_ROW}, s.* FROM (SELECT *, row_number() OVER () AS {_ROW} FROM {entities}) r JOIN {join.relation()} s "
        f"ON {keys} AND r.{_quoted(moment)} >= s.{stamp} AND r.{_quoted(moment)} >= s.{created} "
        f"QUALIFY row_number() OVER (PARTITION BY r.{_ROW} ORDER BY s.{stamp} DESC, s.{created} DESC) = 1) {alias} ON {alias}.{_ROW} = e.{_ROW}"
    )


class AsofRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A point-in-time join that has not been run yet."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: str, keys: _KeyTypes, full_feature_names: bool) -> None:
        self._connection = connection
        self._query = query
        self._keys = keys
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

    def relation(self) -> duckdb.DuckDBPyRelation:
        """Return the result as a DuckDB relation, which can be written or read in batches without holding it whole.

        Raises:
            DataError: A source's file is missing or broken, or keys' types do not match.
        """
        try:
            self._keys.check(self._connection)
            return self._connection.sql(self._query)
        except duckdb.Error as error:
            raise DataError(f"features cannot be joined: {error}") from error

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.relation().to_arrow_table()

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to a saved dataset's Parquet file."""
        path = Path(storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise ConfigurationError(f"{path}: it exists; name another file, or allow overwriting")
        self.relation().write_parquet(str(path))


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'
