"""The newest feature values, in the online store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from intermodal.artifacts import whole_directory, write_json
from intermodal.errors import DataError
from intermodal.feature_store import FeatureRepository, open_store


def materialize_features(
    tables_path: str, tables_uri: str, repository_path: str, feature_service: str, feature_store: dict[str, Any], materialization_path: str
) -> None:
    """Apply a repository's definitions to the registry, and load the newest value of every entity into the online store.

    Newest is as of the newest event in the data, not of the clock. Doing it twice leaves the same values.

    Args:
        tables_path: Feature sources, `<name>.parquet` each.
        tables_uri: Where the registry says the sources lie.
        repository_path: Feast definitions.
        feature_service: The service whose views are loaded.
        feature_store: Feast's own settings: the stores that outlive the run.
        materialization_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The repository, the service or the settings are wrong.
        DataError: A source's file is missing.
    """
    repository = FeatureRepository(Path(repository_path), tables_path)
    wanted = {projection.name for projection in repository.service(feature_service).feature_view_projections}
    for folder in (
        value for value in (feature_store.get("registry"), (feature_store.get("online_store") or {}).get("path")) if isinstance(value, str)
    ):
        if folder and "://" not in folder:
            Path(folder).parent.mkdir(parents=True, exist_ok=True)
    store = open_store(feature_store, Path(repository_path))
    loaded = {}
    views = [view for view in repository.views if view.name in wanted]
    newest = {view.name: _newest(Path(view.batch_source.file_options.uri), view.batch_source.timestamp_field) for view in views}
    store.apply(repository.objects)
    end = max(moment for _, moment in newest.values())
    for view in views:
        rows, moment = newest[view.name]
        start = end - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC)
        store.materialize(start_date=start, end_date=end + timedelta(microseconds=1), feature_views=[view.name])
        loaded[view.name] = {"rows": rows, "newest": moment.isoformat()}
    with whole_directory(materialization_path) as folder_:
        write_json(
            folder_ / "materialization.json",
            {"views": loaded, "registry": feature_store.get("registry"), "online_store": feature_store.get("online_store"), "sources": tables_uri},
        )


def _newest(path: Path, timestamp: str) -> tuple[int, datetime]:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: the feature source is missing; the transforms must make the table {path.stem!r}") from None
    column = file.read([timestamp]).column(timestamp)
    newest = pc.max(column).as_py()
    if newest is None:
        raise DataError(f"{path}: the feature source has no rows; check its transform")
    return file.metadata.num_rows, newest if newest.tzinfo else newest.replace(tzinfo=UTC)
