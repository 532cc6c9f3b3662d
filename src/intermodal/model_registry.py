"""The model registry: MLflow, in a local database file or behind a server, by URI."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from intermodal.errors import StoreError

#: The alias of the version that serves.
CHAMPION = "champion"

# A server that does not answer is told of within about a minute: MLflow's own defaults wait for many.
for _name, _value in (("MLFLOW_HTTP_REQUEST_TIMEOUT", "20"), ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"), ("MLFLOW_DISABLE_TELEMETRY", "true")):
    os.environ.setdefault(_name, _value)


def database_file(registry: str) -> Path | None:
    """Return the file of a local SQLite registry; None for every other URI."""
    return Path(registry.removeprefix("sqlite:///")) if registry.startswith("sqlite:///") else None


def open_registry(registry: str) -> Any:
    """Return an MLflow client for tracking and registry.

    Raises:
        StoreError: The registry cannot be reached.
    """
    from mlflow import MlflowClient

    if file := database_file(registry):
        file.parent.mkdir(parents=True, exist_ok=True)
    with reached(registry):
        client = MlflowClient(tracking_uri=registry, registry_uri=registry)
        client.search_experiments(max_results=1)
    return client


@contextmanager
def reached(registry: str) -> Iterator[None]:
    """Turn what MLflow and its database raise into one sentence with the registry's address."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        text = str(error).partition("\n")[0][:300]
        raise StoreError(
            f"model registry {_without_password(registry)}: {text}; check that it is up, and the stores.model_registry of the configuration"
        ) from error


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri
