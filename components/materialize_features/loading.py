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

from intermodal.features.files import online_store_file, registry_file
from intermodal.features.registry import is_registry, set_aside
from intermodal.features.store import FeatureRepository, open_store, reaching
from intermodal.runtime.disk import room
from intermodal.runtime.errors import DataError
from intermodal.runtime.file_notes import FileNotes
from intermodal.runtime.secret_values import with_variables
from intermodal.runtime.user_code import exit_refused


def load(definitions: Path, tables: Path, service: str, settings: dict[str, Any], notes: FileNotes, key: str) -> dict[str, Any]:
    """Apply definitions to the registry, load a service's views into the online store, and note that.

    Args:
        definitions: The folder of Feast definitions.
        tables: The feature sources, `<name>.parquet` each.
        service: The service; empty: the only one.
        settings: Feast's own settings.
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
    newest = {view.name: _newest(Path(view.batch_source.file_options.uri), view.batch_source.timestamp_field) for view in views}
    loaded = {name: {"rows": rows, "newest": timestamp.isoformat()} for name, (rows, timestamp) in newest.items()}
    filled = with_variables(settings, "store")
    folders = _make_folders(filled)
    with _lock(online_store_file(filled, definitions)):
        file = registry_file(filled, definitions)
        if file and file.exists() and not is_registry(file):
            set_aside(file)
        with room("registry", *folders):
            store = open_store(settings, definitions)
        end = max(timestamp for _, timestamp in newest.values())
        with reaching("registry", *folders):
            store.apply(repository.objects)
        with reaching("online store", *folders):
            for view in views:
                start = end - view.ttl if view.ttl else datetime(1970, 1, 1, tzinfo=UTC)
                with exit_refused(f"{definitions}: a transformation of {view.name!r}"):
                    store.materialize(start_date=start, end_date=end + timedelta(microseconds=1), feature_views=[view.name])
        if not repository.outside:
            notes.put(notes.state(), {key: loaded})
    return loaded


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
