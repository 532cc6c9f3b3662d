"""The version of a registered model that is the champion."""

from typing import NamedTuple

from intermodal.components.find_champion.arguments import check_arguments
from intermodal.registry.client import MODEL_TAG, NO_CHAMPION, champion_of, open_existing_registry, registry_errors
from intermodal.registry.notes import champion_key, registry_notes


class Champion(NamedTuple):
    """A version, `none` without a champion, and the SHA-256 of its model's files, empty where it is not known."""

    version: str
    model_sha256: str


def find_champion(*, name: str, registry: str) -> Champion:
    """Return the champion of a registered model. See the component's contract for the arguments.

    Raises:
        ConfigurationError: The name or the registry's URI is not one that MLflow takes.
        StoreError: The registry cannot be reached.
    """
    check_arguments(name=name, registry=registry)
    notes = registry_notes(registry)
    if known := notes.get(champion_key(name)):
        return Champion(*known)
    found = Champion(NO_CHAMPION, "")
    if client := open_existing_registry(registry):
        state = notes.state()
        with registry_errors(registry):
            if version := champion_of(client, name):
                found = Champion(str(version.version), version.tags.get(MODEL_TAG, ""))
        notes.put(state, {champion_key(name): found})
    return found
