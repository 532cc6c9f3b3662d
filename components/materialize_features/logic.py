"""The newest feature values, in the online store."""

from pathlib import Path
from typing import Any

from intermodal.features.files import store_files
from intermodal.runtime.artifacts import whole_directory, write_json
from intermodal.runtime.datasets import open_tables
from intermodal.runtime.file_notes import FileNotes, note_key
from intermodal.runtime.redaction import redacted_settings
from intermodal.runtime.secret_values import with_variables
from intermodal.runtime.tree import content_hash


def materialize_features(
    *,
    tables_path: str,
    tables_uri: str,
    repository_path: str,
    store: dict[str, Any],
    service: str,
    filter_by_created_timestamp: bool,
    materialization_path: str,
) -> None:
    """Apply a repository's definitions to the registry, and load the newest value of every entity into the online store.

    Newest is as of the newest time in the data, of an event or of a row's creation, not of the clock. Doing it twice leaves the same values; where
    both stores are files that are as the same definitions and data left them, nothing is loaded.

    Args:
        tables_path: Feature sources; see `runtime.datasets.open_tables`.
        tables_uri: Where the sources lie for good, which the output says; the registry has `tables_path`.
        repository_path: Feast definitions.
        store: Feast's own settings: the stores that outlive the run.
        service: The service whose views are loaded; empty: the only one.
        filter_by_created_timestamp: Whether rows whose creation time is null are left out, as a retrieval does.
        materialization_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The repository, the service or the settings are wrong.
        DataError: A source's file is missing, broken, empty, or without its timestamp.
        StoreError: The registry or the online store cannot be reached.
        MachineError: The disk of one that is a file is full.
    """
    with open_tables(tables_path) as tables:
        repository = Path(repository_path)
        filled = with_variables(store, "store")
        notes = FileNotes(store_files(filled, repository))
        settings = [service, store, filter_by_created_timestamp]
        key = note_key(tables_path, content_hash(tables_path), content_hash(repository_path), *settings, packages=["feast"])
        views = notes.get(key)
        if views is None:
            # Only now, as it imports Feast, which takes seconds.
            from intermodal.components.materialize_features.loading import load

            views = load(repository, tables.folder(), service, store, filter_by_created_timestamp, notes, key)
    with whole_directory(materialization_path) as folder:
        write_json(
            folder / "materialization.json",
            {
                "views": views,
                "registry": redacted_settings(store.get("registry")),
                "online_store": redacted_settings(store.get("online_store")),
                "sources": tables_uri,
            },
        )
