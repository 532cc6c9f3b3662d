"""The champion of a registered model, with what it was trained on."""

from datetime import UTC, datetime
from typing import Any

from intermodal.artifacts import whole_directory, write_json
from intermodal.model_registry import CHAMPION, database_file, open_registry, reached


def fetch_champion(*, model_registry: str, model_name: str, champion_path: str) -> None:
    """Write the champion's model, schema, statistics and evaluation, or that there is none yet.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        champion_path: The directory to write, whole or not at all.

    Raises:
        StoreError: The registry cannot be reached, or has lost the champion's files.
    """
    file = database_file(model_registry)
    # A local registry that nothing was registered in yet is not worth making.
    client = None if file and not file.exists() else open_registry(model_registry)
    version = _champion(client, model_registry, model_name) if client else None
    with whole_directory(champion_path) as folder:
        if client is None or version is None:
            write_json(folder / "champion.json", {"version": None, "run_id": None, "registered_at": None})
            return
        with reached(model_registry):
            client.download_artifacts(version.run_id, "", str(folder))
        moment = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds")
        write_json(folder / "champion.json", {"version": str(version.version), "run_id": version.run_id, "registered_at": moment})


def _champion(client: Any, registry: str, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    with reached(registry):
        try:
            return client.get_model_version_by_alias(name, CHAMPION)
        except MlflowException as error:
            # No such model yet, or no such alias.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
