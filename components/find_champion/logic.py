"""The version of a registered model that is the champion."""

from typing import NamedTuple

from intermodal.components.find_champion.arguments import check_arguments
from intermodal.registry.client import NO_CHAMPION, open_existing_registry, registry_errors
from intermodal.registry.notes import champion_key, champion_note, registry_notes


class Champion(NamedTuple):
    """What is known of a registered model's champion.

    A version, `none` without a champion; the SHA-256 of its model's files, empty where it is not known; the reference's version, or `none`;
    and by window the models that were judged on it.
    """

    version: str
    model_sha256: str
    reference: str
    judged: dict[str, list[str]]


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
    client = open_existing_registry(registry)
    if client is None:
        return Champion(NO_CHAMPION, "", NO_CHAMPION, {})
    state = notes.state()
    with registry_errors(registry):
        note = champion_note(client, name)
    notes.put(state, note)
    return Champion(*note[champion_key(name)])
