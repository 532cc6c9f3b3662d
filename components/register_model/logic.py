"""A model version in the registry, with its numbers and its lineage."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intermodal.artifacts import read_json, whole_directory, write_json
from intermodal.model_registry import CHAMPION, database_file, open_registry, reached

_MODEL_TAG = "model_sha256"


def register_model(
    *,
    model_path: str,
    training_path: str,
    schema_path: str,
    statistics_path: str,
    evaluation_path: str,
    decision_path: str,
    tables_path: str,
    repository_path: str,
    model_registry: str,
    model_name: str,
    parameters: Mapping[str, Any],
    run_name: str,
    registration_path: str,
) -> None:
    """Register a model; when its gate passed, make it the champion.

    The same model, by content, is one version however often it is registered. A version appears only after all its files are stored, and the
    alias moves last, so that a registration that was cut short is completed by the next one and never half taken.

    Args:
        model_path: The SavedModel.
        training_path: Curves; `history.json` is stored.
        schema_path: Stored beside the model.
        statistics_path: Stored beside the model.
        evaluation_path: Its numbers become the run's metrics.
        decision_path: Its verdict decides about the alias.
        tables_path: Its manifest names the data.
        repository_path: Its hash names the code.
        model_registry: MLflow tracking and registry URI.
        model_name: The registered model's name.
        parameters: The run's parameters.
        run_name: The run's name.
        registration_path: The directory to write, whole or not at all.

    Raises:
        StoreError: The registry cannot be reached or refuses.
        DataError: An input cannot be read.
    """
    decision = read_json(Path(decision_path) / "decision.json")
    manifest = read_json(Path(tables_path) / "manifest.json")
    evaluation = read_json(Path(evaluation_path) / "evaluation.json")
    lineage = {
        _MODEL_TAG: tree_hash(Path(model_path)),
        "data_fingerprint": manifest["fingerprint"],
        "tables": {name: table["sha256"] for name, table in manifest["tables"].items()},
        "repository_sha256": tree_hash(Path(repository_path)),
        "schema_sha256": tree_hash(Path(schema_path)),
        "decision_sha256": tree_hash(Path(decision_path)),
    }
    files = {
        "model": Path(model_path),
        "statistics": Path(statistics_path),
        "": [
            Path(schema_path) / "schema.pbtxt",
            Path(evaluation_path) / "evaluation.json",
            Path(decision_path) / "decision.json",
            Path(training_path) / "history.json",
        ],
    }
    client = open_registry(model_registry)
    with reached(model_registry):
        version = _version_of(client, model_name, lineage[_MODEL_TAG])
        if version is None:
            run = _log_run(
                client, _experiment(client, model_registry, model_name), run_name, parameters, _metrics(evaluation), lineage, decision, files
            )
            _ensure_model(client, model_name)
            tags = {_MODEL_TAG: lineage[_MODEL_TAG], "gate": decision["verdict"]}
            version = client.create_model_version(model_name, f"{run.info.artifact_uri}/model", run.info.run_id, tags=tags)
        previous = _aliased(client, model_name)
        passed = decision["verdict"] == "passed"
        if passed and previous != str(version.version):
            client.set_registered_model_alias(model_name, CHAMPION, version.version)
    with whole_directory(registration_path) as folder:
        write_json(
            folder / "registration.json",
            {
                "name": model_name,
                "version": str(version.version),
                "run_id": version.run_id,
                "champion": passed,
                "previous_champion": previous,
                "registry": model_registry,
                "lineage": lineage,
            },
        )


def tree_hash(path: Path) -> str:
    """Return the SHA-256 of all files below a folder, with their names."""
    digest = hashlib.sha256()
    for each in sorted(path.rglob("*")):
        if each.is_file() and "__pycache__" not in each.parts:
            digest.update(f"{each.relative_to(path)}\0".encode() + hashlib.sha256(each.read_bytes()).digest())
    return digest.hexdigest()


def _version_of(client: Any, name: str, model_hash: str) -> Any:
    found = client.search_model_versions(f"name = '{name}' and tags.{_MODEL_TAG} = '{model_hash}'")
    return min(found, key=lambda each: int(each.version)) if found else None


def _experiment(client: Any, registry: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    from mlflow.exceptions import MlflowException

    # Beside a local database go its files; a server has a place of its own.
    file = database_file(registry)
    location = str(file.absolute().parent / "mlflow-artifacts" / name) if file else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        # Somebody else made it in between.
        if again := client.get_experiment_by_name(name):
            return str(again.experiment_id)
        raise


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log_run(
    client: Any,
    experiment: str,
    run_name: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    lineage: Mapping[str, Any],
    decision: Mapping[str, Any],
    files: Mapping[str, Any],
) -> Any:
    from mlflow.entities import Metric, Param, RunTag

    run = client.create_run(experiment, run_name=run_name)
    tags = {name: str(value) for name, value in lineage.items()} | {"gate": decision["verdict"]}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, run.info.start_time, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    for place, paths in files.items():
        for path in paths if isinstance(paths, list) else [paths]:
            if path.is_dir():
                client.log_artifacts(run.info.run_id, str(path), place)
            else:
                client.log_artifact(run.info.run_id, str(path))
    client.set_terminated(run.info.run_id)
    return client.get_run(run.info.run_id)


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, estimate in evaluation["models"]["challenger"]["metrics"].items():
        for part, suffix in (("value", ""), ("low", "_low"), ("high", "_high")):
            if estimate[part] is not None and math.isfinite(estimate[part]):
                found[f"{name}{suffix}"] = float(estimate[part])
    return found


def _aliased(client: Any, name: str) -> str | None:
    model = client.get_registered_model(name)
    found = (model.aliases or {}).get(CHAMPION)
    return None if found is None else str(found)
