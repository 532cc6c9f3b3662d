"""The newest feature values, in the online store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from intermodal.features.registry import is_registry, set_aside
from intermodal.features.store import FeatureRepository, open_store, reaching, registry_file
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.datasets import open_tables
from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError
from intermodal.runtime.redaction import redacted_settings
from intermodal.runtime.secret_values import with_variables
from intermodal.runtime.user_code import exit_refused


def materialize_features(
    *, tables_path: str, tables_uri: str, repository_path: str, store: dict[str, Any], service: str, materialization_path: str
) -> None:
    """Apply a repository's definitions to the registry, and load the newest value of every entity into the online store.

    Newest is as of the newest event in the data, not of the clock. Doing it twice leaves the same values.

    Args:
        tables_path: Feature sources; see `runtime.datasets.open_tables`.
        tables_uri: Where the sources lie for good, which the output says; the registry has `tables_path`.
        repository_path: Feast definitions.
        store: Feast's own settings: the stores that outlive the run.
        service: The service whose views are loaded; empty: the only one.
        materialization_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The repository, the service or the settings are wrong.
        DataError: A source's file is missing, broken, empty, or without its timestamp.
        StoreError: The registry or the online store cannot be reached.
        MachineError: The disk of one that is a file is full.
    """
    with open_tables(tables_path) as tables:
        repository = FeatureRepository(Path(repository_path), tables.folder())
        newest = _load(repository, service, store)
    with whole_directory(materialization_path) as folder:
        write_json(
            folder / "materialization.json",
            {
                "views": {name: {"rows": rows, "newest": timestamp.isoformat()} for name, (rows, timestamp) in newest.items()},
                "registry": redacted_settings(store.get("registry")),
                "online_store": redacted_settings(store.get("online_store")),
                "sources": tables_uri,
            },
        )


def _load(repository: FeatureRepository, service: str, settings: dict[str, Any]) -> dict[str, tuple[int, datetime]]:
    """Load a service's views, and return the rows and the newest event time of each."""
    wanted = {projection.name for projection in repository.service(service).feature_view_projections}
    views = [view for view in repository.views if view.name in wanted]
    # All sources are looked at before any store is, so that a run that cannot end changes nothing.
    newest = {view.name: _newest(Path(view.batch_source.file_options.uri), view.batch_source.timestamp_field) for view in views}
    filled = with_variables(settings, "store")
    folders = _make_folders(filled)
    file = registry_file(filled, repository.path)
    if file and file.exists() and not is_registry(file):
        set_aside(file)
    with room("registry", *folders):
        store = open_store(settings, repository.path)
    end = max(timestamp for _, timestamp in newest.values())
    with reaching("registry", *folders):
        store.apply(repository.objects)
    with reaching("online store", *folders):
        for view in views:
            start = end - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC)
            with exit_refused(f"{repository.path}: a transformation of {view.name!r}"):
                store.materialize(start_date=start, end_date=end + timedelta(microseconds=1), feature_views=[view.name])
    return newest


def _make_folders(settings: dict[str, Any]) -> list[Path]:
    """Make the folders of a registry and an online store that are files, and return them."""
    folders = []
    for value in (settings.get("registry"), (settings.get("online_store") or {}).get("path")):
        if isinstance(value, str) and value and "://" not in value:
            folders.append(Path(value).parent)
            folders[-1].mkdir(parents=True, exist_ok=True)
    return folders


def _newest(path: Path, timestamp: str) -> tuple[int, datetime]:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: the feature source is missing; there must be a table {path.stem!r}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not whole Parquet ({error}); run the task that writes it again") from error
    if timestamp not in file.schema_arrow.names:
        raise DataError(f"{path}: the feature source has no column {timestamp!r}, which the definitions name as its time; add it")
    column = file.read([timestamp]).column(timestamp)
    newest = pc.max(column).as_py()
    if newest is None:
        raise DataError(f"{path}: the feature source has no rows; check its transform")
    return file.metadata.num_rows, newest if newest.tzinfo else newest.replace(tzinfo=UTC)
