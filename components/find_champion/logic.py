"""Which version of a registered model is the champion."""

from typing import Any, NamedTuple

from intermodal.registry.client import CHAMPION, MODEL_TAG, database_file, open_registry, reached
from intermodal.runtime.errors import StoreError


class Champion(NamedTuple):
    """A version and the hash of its model; both empty when there is no champion yet."""

    version: str
    model_sha256: str


def find_champion(*, model_registry: str, model_name: str) -> Champion:
    """Return the champion of a registered model.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.

    Raises:
        ConfigurationError: The registry's URI is of no kind that is known.
        StoreError: The registry cannot be reached, or its champion was not registered by `register_model`.
    """
    file = database_file(model_registry)
    # A local registry that nothing was registered in yet is not worth making.
    client = None if file and not file.exists() else open_registry(model_registry)
    version = _aliased(client, model_registry, model_name) if client else None
    if version is None:
        return Champion("", "")
    if MODEL_TAG not in version.tags:
        raise StoreError(
            f"model registry {model_registry}: {model_name} version {version.version}, the {CHAMPION}, has no tag {MODEL_TAG}, so its files cannot be"
            f" checked; register it with register_model, or remove the alias {CHAMPION!r}"
        )
    return Champion(str(version.version), version.tags[MODEL_TAG])


def _aliased(client: Any, registry: str, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    with reached(registry):
        try:
            return client.get_model_version_by_alias(name, CHAMPION)
        except MlflowException as error:
            # No such model yet, or no such alias.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
