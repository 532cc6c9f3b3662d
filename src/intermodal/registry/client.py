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

from intermodal.registry.database import bring_up_to_date, is_current, is_locked
from intermodal.runtime.disk import is_full, room
from intermodal.runtime.errors import ConfigurationError, StoreError
from intermodal.runtime.redaction import redacted
from intermodal.runtime.secret_values import refuse_secrets

#: The alias of the version that serves.
CHAMPION: Final = "champion"
#: Tag of a version, and of its run: the content of its model.
MODEL_TAG: Final = "model_sha256"
_REACH_SECONDS: Final = 10
#: Databases that this process has locked.
_HELD: Final[set[Path]] = set()

# A server that stalls is told of within about a minute: MLflow's own defaults wait for many.
for _name, _value in {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():
    os.environ.setdefault(_name, _value)


def database_file(registry: str) -> Path | None:
    """Return the file of a local SQLite registry; None for every other URI."""
    return Path(registry.removeprefix("sqlite:///")) if registry.startswith("sqlite:///") else None


def open_registry(registry: str) -> Any:
    """Return an MLflow client for tracking and registry.

    Args:
        registry: ``sqlite:////absolute/path.db``, whose artifacts lie in ``mlflow-artifacts`` beside it, or ``http(s)://`` of a tracking server.

    Raises:
        ConfigurationError: The URI is of another kind.
        StoreError: The registry cannot be reached, or is not one.
    """
    refuse_secrets(registry, "stores.model_registry")
    if file := database_file(registry):
        _check_file(registry, file)
    elif registry.startswith(("http://", "https://")):
        _check_server(registry)
    else:
        raise ConfigurationError(f"stores.model_registry {registry}: give sqlite:////path/to/file.db, or the http(s):// address of an MLflow server")
    from mlflow import MlflowClient

    with reached(registry):
        client = MlflowClient(tracking_uri=registry, registry_uri=registry)
        client.search_experiments(max_results=1)
    return client


def _check_file(registry: str, file: Path) -> None:
    # Before MLflow looks at it: that would migrate the file itself, and try for two minutes to open one that is no database.
    try:
        if not is_current(file):
            with alone(registry):
                bring_up_to_date(file)
    except (OSError, sqlite3.Error) as error:
        remedy = "run again when no other program writes to it" if is_locked(error) else "restore the file or set stores.model_registry to another"
        raise StoreError(f"model registry {registry}: {error}; {remedy}") from error


def _check_server(registry: str) -> None:
    try:
        with urlopen(f"{registry.rstrip('/')}/health", timeout=_REACH_SECONDS):  # noqa: S310
            pass
    except HTTPError:
        return  # something answers; MLflow's own client says what is wrong with it
    except OSError as error:
        raise StoreError(f"model registry {registry}: no answer ({error}); start the server or set stores.model_registry to another") from error


@contextmanager
def reached(registry: str, *folders: Path) -> Iterator[None]:
    """Turn what MLflow and its database raise into one sentence with the registry's address.

    Args:
        registry: Its URI.
        folders: Where files of it are written to, beside its own folder.

    Raises:
        StoreError: It cannot be reached, or refuses.
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
        raise StoreError(f"model registry {registry}: {text}; check that it is up, and the stores.model_registry of the configuration") from error


@contextmanager
def alone(registry: str) -> Iterator[None]:
    """Let one process at a time change a local registry; a server orders its callers itself."""
    file = database_file(registry)
    if file is None or file in _HELD:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _HELD.add(file)
        try:
            yield
        finally:
            _HELD.remove(file)
