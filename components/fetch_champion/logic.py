"""The champion of a registered model, with what it was trained on."""

from datetime import UTC, datetime
from typing import Any

from intermodal.artifacts import tree_hash, whole_directory, write_json
from intermodal.errors import StoreError
from intermodal.model_registry import CHAMPION, MODEL_TAG, database_file, open_registry, reached


def fetch_champion(*, model_registry: str, model_name: str, champion_path: str) -> None:
    """Write the champion's model, schema and statistics, or that there is none yet.

    Args:
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        champion_path: The directory to write, whole or not at all.

    Raises:
        ConfigurationError: The registry's URI is of no kind that is known.
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
            # Not its evaluations and decisions: the same model may be judged again, and is the same champion still.
            for kept in ("model", "statistics", "schema.pbtxt"):
                client.download_artifacts(version.run_id, kept, str(folder))
        wanted = version.tags.get(MODEL_TAG)
        if not (folder / "model").is_dir() or wanted not in (None, tree_hash(folder / "model")):
            raise StoreError(
                f"model registry {model_registry}: the files of {model_name} version {version.version} are not those that were registered;"
                f" restore the artifacts of run {version.run_id}, or give the alias {CHAMPION!r} to another version"
            )
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
