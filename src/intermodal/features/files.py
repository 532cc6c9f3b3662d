"""The stores of Feast's settings that are files of this machine; read without importing Feast."""

from pathlib import Path
from typing import Any


def registry_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the registry's settings, which Feast also takes as its path alone."""
    given = settings.get("registry")
    return given if isinstance(given, dict) else {"path": given}


def registry_file(settings: dict[str, Any], repository: Path) -> Path | None:
    """Return the file of a registry on this machine; None for any other.

    Args:
        settings: As in feature_store.yaml.
        repository: The folder that relative paths start from.
    """
    registry = registry_settings(settings)
    if registry.get("registry_type", "file") != "file" or registry.get("registry_store_type"):
        return None
    return _file(registry.get("path"), repository)


def online_store_file(settings: dict[str, Any], repository: Path) -> Path | None:
    """Return the file of an online store in SQLite; None for any other. See `registry_file` for the arguments."""
    store = settings.get("online_store")
    return _file(store.get("path"), repository) if isinstance(store, dict) and store.get("type") == "sqlite" else None


def store_files(settings: dict[str, Any], repository: Path) -> list[Path]:
    """Return the files of registry and online store where both are such files; else none. See `registry_file` for the arguments."""
    files = [registry_file(settings, repository), online_store_file(settings, repository)]
    return [file for file in files if file] if all(files) else []


def _file(path: Any, repository: Path) -> Path | None:
    return repository / path if isinstance(path, str) and path and "://" not in path else None
