"""The champion of a registered model: the version that the gate passed and that serves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.components.promote_model.arguments import check_arguments
from intermodal.registry.client import CHAMPION, REFERENCE, champion_of, lock_registry, open_existing_registry, registry_errors
from intermodal.registry.notes import champion_note, promotion_key, registry_notes
from intermodal.registry.promotion import ChampionChangedError, check_compared, is_passed
from intermodal.runtime.artifacts import read_json, whole_directory, write_json
from intermodal.runtime.errors import DataError, MachineError, StoreError
from intermodal.runtime.redaction import redacted


def promote_model(*, registration_path: str, deployment_path: str | None, registry: str, promotion_path: str) -> dict[str, Any]:
    """Move the alias `champion` to a registered version, where its gate passed or there was none. See the component's contract for the arguments.

    A version that is the champion already stays it, so a second attempt changes nothing.

    Returns:
        Metadata of the promotion: `name`, `version`, and whether that is the `champion`.

    Raises:
        ConfigurationError: The registry's URI is not one that MLflow takes.
        StoreError: The registry cannot be reached or refuses, or its champion changed since the gate compared with it.
        DataError: An input cannot be read, or the deployment is of another version.
    """
    check_arguments(registry=registry)
    name, version, decision = _registered(Path(registration_path))
    url = _served_at(Path(deployment_path), version) if deployment_path else None
    notes = registry_notes(registry)
    key = promotion_key(name, version, decision)
    with lock_registry(registry):
        outcome = notes.get(key)
        if outcome is None:
            try:
                client = open_existing_registry(registry)
                if client is None:
                    raise StoreError(f"model registry {registry}: no such file; give the registry that version {version} of {name} was registered in")
                with registry_errors(registry):
                    outcome = _promote(client, name, version, decision, registry)
                    state, found = notes.state(), champion_of(client, name)
                    if outcome["champion"] == (found is not None and str(found.version) == version):  # nobody else has moved the alias since
                        notes.put(state, champion_note(client, name) | {key: outcome})
            except ChampionChangedError as error:
                raise StoreError(f"{error}; version {version} serves at {url} until then") if url else error from error
            except (StoreError, MachineError) as error:
                raise type(error)(f"{error}{_unpromoted(version, url, decision)}") from error
    print(f"{name}: {outcome['outcome']}")  # noqa: T201 - for the task's log
    metadata = {"name": name, "version": version, "champion": outcome["champion"]}
    with whole_directory(promotion_path) as folder:
        write_json(folder / "promotion.json", metadata | outcome | {"registry": redacted(registry)})
    return metadata


def _registered(folder: Path) -> tuple[str, str, Any]:
    """Return name and version of a registration, and the decision that it holds, if any."""
    registration = read_json(folder / "registration.json")
    if not isinstance(registration, dict) or not {"name", "version"} <= registration.keys():
        raise DataError(f"{folder / 'registration.json'}: without 'name' and 'version'; give the output `registration` of register_model")
    file = folder / "decision.json"
    decision = read_json(file) if file.exists() else None
    if decision is not None and (not isinstance(decision, dict) or "verdict" not in decision):
        raise DataError(f"{file}: without 'verdict'; run gate_model again")
    return str(registration["name"]), str(registration["version"]), decision


def _served_at(deployment: Path, version: str) -> str:
    """Return where a version serves; deploy steps of others need not say it.

    Raises:
        DataError: It is another version that serves there.
    """
    file = deployment / "deployment.json"
    record = read_json(file) if file.exists() else {}
    if not isinstance(record, dict):
        raise DataError(f"{file}: no JSON object; run the task that writes it again")
    served = str(record.get("version") or version)
    if served != version:
        raise DataError(f"{file}: it is version {served} that serves, and version {version} that is to be the champion; give the deployment of that")
    return str(record.get("url") or "its endpoint")


def _promote(client: Any, name: str, version: str, decision: Mapping[str, Any] | None, registry: str) -> dict[str, Any]:
    """Move the alias where the decision allows it; return what `promotion.json` says of it."""
    found = champion_of(client, name)
    current = str(found.version) if found else None
    if decision is not None:
        if not is_passed(decision):
            stays = f"version {current} stays the champion" if current else "there is still no champion"
            previous = None if current == version else current
            outcome = f"the gate's verdict on version {version} is {decision['verdict']}: {stays}"
            return {"champion": current == version, "previous_champion": previous, "outcome": outcome}
        check_compared(name, version, current, decision, registry)
    if current == version:
        # After an attempt that was interrupted once it had moved the alias, or for the same model again.
        compared = (decision or {}).get("champion_version")
        return {
            "champion": True,
            "previous_champion": None if compared is None else str(compared),
            "outcome": f"version {version} is the champion already",
        }
    if decision is None or decision.get("supersedes_reference") or champion_of(client, name, REFERENCE) is None:
        # First, so that a promotion that is cut short here is completed by the next.
        client.set_registered_model_alias(name, REFERENCE, version)
    client.set_registered_model_alias(name, CHAMPION, version)
    before = f", in place of version {current}" if current else ""
    return {"champion": True, "previous_champion": current, "outcome": f"version {version} is the champion now{before}"}


def _unpromoted(version: str, url: str | None, decision: Mapping[str, Any] | None) -> str:
    """Say what serves and what is champion where the alias could not be moved."""
    compared = (decision or {}).get("champion_version")
    serves = f"version {version} serves at {url}" if url else f"version {version} is registered"
    champion = f"the champion is version {compared}, as when the gate compared" if compared is not None else "it is not the champion yet"
    return f"; {serves}, and {champion}: running again completes the promotion"
