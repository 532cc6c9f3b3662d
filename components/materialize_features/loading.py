"""Loading feature values with Feast."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureStore, FeatureView
from feast.infra.offline_stores.file_source import FileSource

from intermodal.features.asof import AsofOfflineStoreConfig
from intermodal.features.files import online_store_file, registry_file
from intermodal.features.registry import is_registry, set_aside
from intermodal.features.store import FeatureRepository, open_store, reaching, with_created_filter
from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError
from intermodal.runtime.file_notes import FileNotes
from intermodal.runtime.secret_values import with_variables
from intermodal.runtime.user_code import exit_refused


def load(
    definitions: Path, tables: Path, service: str, settings: dict[str, Any], filter_by_created_timestamp: bool, notes: FileNotes, key: str
) -> dict[str, Any]:
    """Apply definitions to the registry, load a service's views into the online store, and note that.

    Args:
        definitions: The folder of Feast definitions.
        tables: The feature sources, `<name>.parquet` each.
        service: The service; empty: the only one.
        settings: Feast's own settings.
        filter_by_created_timestamp: Whether rows whose creation time is null are left out, as a retrieval does.
        notes: The notes on both stores.
        key: Where the result is noted, if nothing else than the tables was read.

    Returns:
        Of each view the `rows` of its source and the `newest` event time, in ISO 8601.

    Raises:
        IntermodalError: See `logic.materialize_features`.
    """
    repository = FeatureRepository(definitions, tables)
    wanted = {projection.name for projection in repository.service(service).feature_view_projections}
    views = [view for view in repository.views if view.name in wanted]
    # All sources are looked at before any store is, so that a run that cannot end changes nothing.
    newest = {view.name: _newest(view.batch_source) for view in views}
    loaded = {name: {"rows": rows, "newest": timestamp.isoformat()} for name, (rows, timestamp, _) in newest.items()}
    filled = with_variables(settings, "store")
    folders = _make_folders(filled)
    with _lock(online_store_file(filled, definitions)):
        file = registry_file(filled, definitions)
        if file and file.exists() and not is_registry(file):
            set_aside(file)
        with room("registry", *folders):
            store = open_store(with_created_filter(settings, filter_by_created_timestamp), definitions)
        end = max(timestamp for _, timestamp, _ in newest.values())
        # A row is usually created after its event: up to the newest event alone, the newest rows would be taken for unknown.
        known = max([end, *(created for _, _, created in newest.values() if created)])
        with reaching("registry", *folders):
            store.apply(repository.objects)
        with reaching("online store", *folders):
            for view in views:
                start = end - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC)
                _pull_newest(store, view)
                with exit_refused(f"{definitions}: a transformation of {view.name!r}"):
                    store.materialize(start_date=start, end_date=known + timedelta(microseconds=1), feature_views=[view.name])
        if not repository.outside:
            notes.put(notes.state(), {key: loaded})
    return loaded


def _pull_newest(store: FeatureStore, view: FeatureView) -> None:
    """Have our offline store choose the newest rows of a view, so that ties are as in a join; else Feast does, of equal times by any.

    What Feast computes from several rows, or leaves out of them, needs all of them.
    """
    computed = any(getattr(view, name, None) for name in ("feature_transformation", "aggregations", "filter", "source_views"))
    if store.config.offline_store.type == AsofOfflineStoreConfig().type:
        store.config.materialization_config.pull_latest_features = not computed


@contextmanager
def _lock(file: Path | None) -> Iterator[None]:
    """Let one process at a time load into an online store that is a file: two would mix their values."""
    with ExitStack() as stack:
        if file:
            with room("online store", file.parent):
                guard = stack.enter_context(file.with_name(f"{file.name}.lock").open("w"))
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _make_folders(settings: dict[str, Any]) -> list[Path]:
    """Make the folders of a registry and an online store that are files, and return them."""
    folders = []
    for value in (settings.get("registry"), (settings.get("online_store") or {}).get("path")):
        if isinstance(value, str) and value and "://" not in value:
            folders.append(Path(value).parent)
            folders[-1].mkdir(parents=True, exist_ok=True)
    return folders


def _newest(source: FileSource) -> tuple[int, datetime, datetime | None]:
    """Return a source's rows, its newest event time, and its newest creation time if it has any."""
    path, timestamp, created = Path(source.file_options.uri), source.timestamp_field, source.created_timestamp_column
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: the feature source is missing; there must be a table {path.stem!r}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not whole Parquet ({error}); run the task that writes it again") from error
    for name, what in ((timestamp, "its time"), (created, "its creation time")):
        if name and name not in file.schema_arrow.names:
            raise DataError(f"{path}: the feature source has no column {name!r}, which the definitions name as {what}; add it")
    newest = _maximum(file, timestamp)
    if newest is None:
        raise DataError(f"{path}: the feature source has no rows; check its transform")
    return file.metadata.num_rows, newest, _maximum(file, created) if created else None


def _maximum(file: pq.ParquetFile, name: str) -> datetime | None:
    """Return a column's newest time, in whole microseconds, in UTC where it has no zone; None where all are null."""
    column = file.read([name]).column(name)
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    newest: datetime | None = pc.max(column.cast(pa.timestamp("us", zone), safe=False)).as_py()
    return newest.replace(tzinfo=UTC) if newest and not newest.tzinfo else newest
