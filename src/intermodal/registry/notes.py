"""What is known of a local registry while its file is unchanged, so that a task that changes nothing need not import MLflow: that takes seconds."""

from typing import Any

from intermodal.registry.address import database_file
from intermodal.registry.client import MODEL_TAG, NO_CHAMPION, REFERENCE, champion_of, judged_models
from intermodal.runtime.file_notes import FileNotes, note_key


def registry_notes(registry: str) -> FileNotes:
    """Return the notes on a local registry; those on a server's are always empty."""
    file = database_file(registry)
    return FileNotes([file] if file else [])


def champion_key(name: str) -> str:
    """Return the key under which it is noted which versions of a registered model are champion and reference, and what was judged."""
    return note_key("champion", name, packages=["mlflow"])


def champion_note(client: Any, name: str) -> dict[str, Any]:
    """Return the note of which versions are champion and reference of a registered model now, and of which models were judged."""
    version, reference = champion_of(client, name), champion_of(client, name, REFERENCE)
    found = (str(version.version), version.tags.get(MODEL_TAG, "")) if version else (NO_CHAMPION, "")
    return {champion_key(name): (*found, str(reference.version) if reference else NO_CHAMPION, judged_models(client, name))}


def registration_key(*inputs: Any) -> str:
    """Return the key under which the outcome of a registration with some inputs is noted."""
    return note_key("registration", *inputs, packages=["mlflow"])


def promotion_key(*inputs: Any) -> str:
    """Return the key under which the outcome of a promotion with some inputs is noted."""
    return note_key("promotion", *inputs, packages=["mlflow"])
