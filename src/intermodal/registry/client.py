"""The model registry: MLflow, in a local database file or behind a server, by URI."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from intermodal.registry.address import database_file
from intermodal.registry.database import bring_up_to_date, is_current, is_locked
from intermodal.runtime.disk import is_full, room
from intermodal.runtime.errors import StoreError
from intermodal.runtime.redaction import redacted

#: The alias of the version that others are compared with, and that is deployed.
CHAMPION: Final = "champion"
#: The alias of the version that the total loss of all later champions is measured against; see `promote_model`.
REFERENCE: Final = "reference"
#: Tag of a version, and of its run: the SHA-256 of its model's files.
MODEL_TAG: Final = "model_sha256"
#: Tag of a version: what its model was made with.
FRAMEWORK_TAG: Final = "framework"
#: Tag of a version: the windows that it was judged on, as `evaluate_model` names them, separated by commas.
WINDOWS_TAG: Final = "windows"
#: In place of a version where a model has no champion; MLflow's versions are numbers.
NO_CHAMPION: Final = "none"
_REACH_SECONDS: Final = 10
#: Database files that this process has locked.
_LOCKED: Final[set[Path]] = set()

# A server that does not answer is an error after about a minute; by MLflow's defaults it would be one after many.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():
    os.environ.setdefault(_name, _value)


def open_registry(registry: str) -> Any:
    """Return an MLflow client for a tracking server and model registry.

    Args:
        registry: ``sqlite:////absolute/path.db``, whose artifacts are in ``mlflow-artifacts`` beside it, or ``http(s)://`` of a tracking server;
            checked by `check_address`.

    Raises:
        StoreError: The registry cannot be reached, or is not one.
    """
    if file := database_file(registry):
        _check_file(registry, file)
    else:
        _check_server(registry)
    from mlflow import MlflowClient

    with registry_errors(registry):
        client = MlflowClient(tracking_uri=registry, registry_uri=registry)
        client.search_experiments(max_results=1)
    return client


def open_existing_registry(registry: str) -> Any:
    """Return what `open_registry` does, or None for a local registry whose file does not exist: only what registers a model creates one."""
    file = database_file(registry)
    return None if file and not file.exists() else open_registry(registry)


def _check_file(registry: str, file: Path) -> None:
    # Before MLflow opens the file: it would migrate it in place, and try for two minutes to open one that is no database.
    try:
        if not is_current(file):
            with lock_registry(registry):
                bring_up_to_date(file)
    except (OSError, sqlite3.Error) as error:
        remedy = "run again when no other program writes to it" if is_locked(error) else "restore the file, or give another registry"
        raise StoreError(f"model registry {registry}: {error}; {remedy}") from error


def _check_server(registry: str) -> None:
    try:
        with urlopen(f"{registry.rstrip('/')}/health", timeout=_REACH_SECONDS):  # noqa: S310
            pass
    except HTTPError:
        return  # a server answers; MLflow's own client says what is wrong with it
    except OSError as error:
        raise StoreError(f"model registry {registry}: no answer ({error}); start the server, or give another registry") from error


@contextmanager
def registry_errors(registry: str, *folders: Path) -> Iterator[None]:
    """Turn an error of MLflow or of its database into one sentence with the registry's URI.

    Args:
        registry: Its URI.
        folders: Folders outside the registry's own that the block writes to.

    Raises:
        StoreError: The registry cannot be reached, or refuses the request.
        MachineError: A disk of this machine is full.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    file = database_file(registry)
    try:
        with room(f"model registry {registry}", file.parent, *folders) if file else nullcontext():
            yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        text = redacted(str(error)).partition("\n")[0][:300]
        raise StoreError(f"model registry {registry}: {text}; check that the registry is up and that its URI is right") from error


@contextmanager
def lock_registry(registry: str) -> Iterator[None]:
    """Lock a local registry, so that one process at a time changes it; a server needs no lock."""
    file = database_file(registry)
    if file is None or file in _LOCKED:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _LOCKED.add(file)
        try:
            yield
        finally:
            _LOCKED.remove(file)


def judged_models(client: Any, name: str) -> dict[str, list[str]]:
    """Return the models that were judged on each window, by the first 12 digits of their hash, sorted."""
    found: dict[str, set[str]] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=1000, page_token=token)
        for version in page:
            for window in filter(None, version.tags.get(WINDOWS_TAG, "").split(",")):
                found.setdefault(window, set()).add(version.tags.get(MODEL_TAG, "")[:12])
        token = page.token
        if not token:
            return {window: sorted(models) for window, models in sorted(found.items())}


def champion_of(client: Any, name: str, alias: str = CHAMPION) -> Any:
    """Return the version of a registered model that has an alias, by default that of the champion; None without such a model or alias."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
